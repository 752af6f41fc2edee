import { execFile, spawn } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer as createFileServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { promisify } from "node:util";

const program = process.env.VALTRACK ?? "../valtrack";
const patience = 120_000; // ms until the first estimates

function freePort() {
  return new Promise((done) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });
}

const apiOf = (url) => async (path) => (await fetch(url + "api/v1/" + path)).json();

/** A devnet with its API, or the server at VALTRACK_URL. */
export async function start() {
  if (process.env.VALTRACK_URL) return { url: process.env.VALTRACK_URL, api: apiOf(process.env.VALTRACK_URL), stop() {} };
  const dir = mkdtempSync(join(tmpdir(), "valtrack-web-"));
  const address = "127.0.0.1:" + (await freePort());
  const url = `http://${address}/`;
  let process_, log;
  const run = async () => {
    log = "";
    process_ = spawn(program, ["run", "--network", "devnet", "--devnet-nodes", "80", "--segment-age", "5s", "--data-dir", dir, "--http", address], { stdio: ["ignore", "pipe", "pipe"] });
    for (const s of [process_.stdout, process_.stderr]) s.on("data", (b) => (log = (log + b).slice(-8000)));
    for (const began = Date.now(); Date.now() - began < patience; await new Promise((r) => setTimeout(r, 500))) {
      if (process_.exitCode !== null) throw new Error("valtrack ended: " + log);
      const s = await fetch(url + "api/v1/summary").then((r) => r.json()).catch(() => null);
      if (s?.data?.nodes.counted > 0 && s.data.validators.attachments) return;
    }
    throw new Error("no estimate in time: " + log);
  };
  const halt = () => new Promise((done) => (process_.exitCode !== null ? done() : (process_.once("exit", done), process_.kill("SIGINT"))));
  try {
    await run();
  } catch (e) {
    process_?.kill("SIGKILL");
    throw e;
  }
  return { url, api: apiOf(url), halt, resume: run, stop: async () => { await halt(); rmSync(dir, { recursive: true, force: true }); } };
}

const types = { html: "text/html", js: "text/javascript", css: "text/css", json: "application/json", svg: "image/svg+xml" };

/** A plain file server of a directory, below a path. */
function serveFiles(dir) {
  const below = "/some/where/";
  const server = createFileServer((req, res) => {
    const path = normalize(decodeURIComponent(new URL(req.url, "http://x").pathname));
    const file = join(dir, path.slice(below.length) || "index.html");
    if (!path.startsWith(below) || !existsSync(file) || !statSync(file).isFile()) return res.writeHead(404).end();
    res.writeHead(200, { "Content-Type": types[file.split(".").at(-1)] ?? "application/octet-stream" });
    createReadStream(file).pipe(res);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done({ url: `http://127.0.0.1:${server.address().port}${below}`, close: () => { server.closeAllConnections(); server.close(); } })));
}

/** A static copy of a server, whose answers are compared with those of its files. */
export async function copy({ url }) {
  const dir = mkdtempSync(join(tmpdir(), "valtrack-site-"));
  const out = join(dir, "site");
  // --every keeps it running: it is stopped when it has written, and says the interval on the page.
  const update = async () => {
    const run = promisify(execFile)(program, ["site", "--url", url, "--out", out, "--every", "1h"]);
    run.child.stdout.once("data", () => run.child.kill("SIGTERM"));
    await run.catch((e) => { if (e.signal !== "SIGTERM") throw e; });
  };
  await update();
  const files = await serveFiles(out);
  const api = async (path) => {
    const { version } = JSON.parse(readFileSync(join(out, "site.json"), "utf8"));
    const [name, search] = path.split("?");
    const [list, id] = name.split("/");
    const answer = JSON.parse(readFileSync(join(out, "data", version, list + ".json"), "utf8"));
    if (list !== "nodes") return answer;
    if (id) return { data: { ...answer.data.find((n) => n.id === id), why: "" } };
    const q = new URLSearchParams(search);
    const rows = answer.data.filter((n) => !q.get("client") || n.client === q.get("client")).sort((a, b) => (b.validators ?? -1) - (a.validators ?? -1));
    return { data: rows.slice(0, Number(q.get("limit"))), meta: { ...answer.meta, total: rows.length } };
  };
  return { url: files.url, api, update, stop: () => { files.close(); rmSync(dir, { recursive: true, force: true }); } };
}
