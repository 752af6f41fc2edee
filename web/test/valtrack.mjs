import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const patience = 120_000; // ms until the first estimates

function freePort() {
  return new Promise((done) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });
}

/** A devnet with its API, or the server at VALTRACK_URL. */
export async function start() {
  if (process.env.VALTRACK_URL) return { url: process.env.VALTRACK_URL, stop() {} };
  const dir = mkdtempSync(join(tmpdir(), "valtrack-web-"));
  const address = "127.0.0.1:" + (await freePort());
  const url = `http://${address}/`;
  let process_, log;
  const run = async () => {
    log = "";
    process_ = spawn(process.env.VALTRACK ?? "../valtrack", ["run", "--network", "devnet", "--devnet-nodes", "80", "--segment-age", "5s", "--data-dir", dir, "--http", address], { stdio: ["ignore", "pipe", "pipe"] });
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
  return { url, halt, resume: run, stop: async () => { await halt(); rmSync(dir, { recursive: true, force: true }); } };
}
