// The page against a real server: `valtrack run --network devnet`, the program in VALTRACK; or
// against one that runs, at VALTRACK_URL. Then the same against a static copy of it from a plain
// file server, below a path. WEB_SHORT leaves out the dark theme and the restart.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { launch, pages, settled } from "./browser.mjs";
import { copy, start } from "./valtrack.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const number = (n) => Math.round(n).toLocaleString("en-US");
const percent = (s) => (s * 100).toFixed(1) + " %";

let live, browser, page;
let server; // live, or the copy
let problems = []; // errors in the console, requests that leave the origin

const api = (path) => server.api(path);
const text = (selector) => page.locator(selector).first().innerText();

async function open(path) {
  await page.goto(server.url + "#" + path);
  await settled(page);
}

before(async () => {
  live = server = await start();
  browser = await launch();
  page = await browser.context.newPage();
  page.on("console", (m) => m.type() === "error" && problems.push(m.text()));
  page.on("pageerror", (e) => problems.push(String(e)));
  page.on("request", (r) => r.url().startsWith(server.url) || r.url().startsWith("blob:") || problems.push("request to " + r.url()));
});

after(async () => {
  await browser?.close();
  await live?.stop();
});

function tests(isCopy) {
  test("the overview has the numbers of the API", async () => {
    await open("/");
    // Numbers grow while a devnet runs: what is shown is between two answers, or the same.
    for (let attempt = 0; ; attempt++) {
      const s = (await api("summary")).data;
      const v = s.validators;
      const client = s.clients.filter((g) => g.name).sort((a, b) => b.nodes - a.nodes)[0];
      const want = { nodes: number(s.nodes.counted), validators: number(v.attachments), interval: `${number(v.attachments_low)} to ${number(v.attachments_high)}`, client: percent(client.share_nodes) };
      const got = { nodes: await text("[data-tile=nodes] strong"), validators: await text("[data-tile=validators] strong"), interval: (await text("[data-tile=validators] .sub")).replace("90 %: ", ""), client: (await text("[data-tile=client] .sub")).split(" of")[0] };
      if (JSON.stringify(got) === JSON.stringify(want)) break;
      if (attempt > 10) assert.deepEqual(got, want);
      await page.waitForTimeout(1500);
    }
    assert.match(await text(".headline"), /reachable nodes of devnet carry about/);
    assert.match(await text(".banner"), /Simulated network/);
  });

  test("every page draws, without errors and violations", async () => {
    const node = (await api("nodes?limit=1&sort=-validators")).data[0].id;
    const found = [];
    for (const colorScheme of process.env.WEB_SHORT ? ["light"] : ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const path of [...Object.values(pages), "/node/" + node, "/node/nobody", "/no-such-page"]) {
        await open(path);
        assert.ok(!(await text("main")).includes("undefined"), path);
        assert.ok(!/\bNaN\b/.test(await text("main")), path + " has NaN");
        // By the protocol, since the page's policy allows no script of ours.
        if (isCopy && process.env.WEB_SHORT) continue; // the same as of the server, mostly
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document));
        found.push(...violations.map((v) => `${path} ${colorScheme}: ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(" | ").slice(0, 600)}`));
      }
    }
    assert.deepEqual(found, []);
    await page.emulateMedia({ colorScheme: "light" });
  });

  test("nodes: filters, order, pages and search are in the address", async () => {
    await open("/nodes?client=lighthouse&sort=-validators");
    const want = await api("nodes?counted=true&client=lighthouse&sort=-validators&limit=50");
    const ids = await page.locator("table.nodes tbody a").evaluateAll((list) => list.map((a) => decodeURIComponent(a.hash).split("/").pop()));
    assert.equal(ids.length, Math.min(50, want.meta.total));
    assert.deepEqual(new Set(await page.locator("table.nodes tbody td:nth-child(2)").evaluateAll((l) => l.map((td) => td.innerText.trim().split(" ")[0]))), new Set(["Lighthouse"]));
    await page.getByRole("button", { name: "Remove filter Client lighthouse" }).click();
    await settled(page);
    assert.ok(!page.url().includes("client="));
    await page.getByRole("button", { name: "Next" }).click();
    await settled(page);
    assert.match(page.url(), /cursor=/);
    const second = await text("table.nodes tbody a");
    await page.reload();
    await settled(page);
    assert.equal(await text("table.nodes tbody a"), second, "a link to a page shows that page");
    await page.getByRole("button", { name: "Validators" }).click();
    await settled(page);
    assert.match(page.url(), /sort=validators/);
    await page.getByRole("searchbox").fill(ids[0].slice(0, 20));
    await page.keyboard.press("Enter");
    await page.waitForURL("**/#/node/" + ids[0]);
    await settled(page);
    assert.ok((await text("main")).includes(ids[0]));
    await open("/nodes?q=16Uiu2HAmNobody");
    assert.match(await text("main"), /No node matches/);
  });

  test("a node's page says its number, interval and why", async () => {
    const row = (await api("nodes?limit=1&sort=-validators&counted=true")).data[0];
    await open("/node/" + row.id);
    const { data } = await api("nodes/" + row.id);
    const head = await text(".nodehead");
    assert.ok(head.includes(number(data.validators)) || head.includes(number(row.validators)), head);
    assert.ok((await text(".why")).length > 10);
    if (isCopy) return assert.match(await text(".why"), /on the server/);
    assert.ok(data.why.length > 10);
    if (data.posterior?.length) assert.ok(await page.getByRole("img", { name: /Probability of at most/ }).isVisible());
    assert.match(await text(".signals"), /Together/);
  });

  test("keyboard: skip link, terms, theme, map", async () => {
    await open("/");
    await page.reload();
    await settled(page);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.locator(".term button").first().focus();
    assert.ok(await page.locator(".term [role=tooltip]").first().isVisible());
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    await page.getByRole("button", { name: "Dark theme" }).press("Enter");
    assert.equal(await theme(), "dark");
    await page.reload();
    await settled(page);
    assert.equal(await theme(), "dark", "the choice is kept");
    await page.getByRole("button", { name: "Light theme" }).press("Enter");
    await open("/map");
    await page.locator("canvas").focus();
    await page.keyboard.press("+");
    await page.keyboard.press("ArrowRight");
    await page.waitForURL(/at=/);
    const at = new URLSearchParams(page.url().split("?")[1]).get("at");
    await page.reload();
    await settled(page);
    await page.locator("canvas").focus();
    await page.keyboard.press("x"); // does nothing
    assert.equal(new URLSearchParams(page.url().split("?")[1]).get("at"), at);
  });

  test("CSV and picture of a plot", async () => {
    await open("/");
    const wait = page.waitForEvent("download");
    await page.getByRole("button", { name: "CSV: Consensus clients" }).click();
    const file = readFileSync(await (await wait).path(), "utf8");
    const { data } = await api("clients");
    assert.equal(file.split("\r\n")[0], "name,code,nodes,share_nodes,validators,validators_low,validators_high,share_validators");
    assert.equal(file.trim().split("\r\n").length - 1, data.filter((g) => g.by === "client").length);
    const picture = page.waitForEvent("download");
    await page.getByRole("button", { name: "SVG: Consensus clients" }).click();
    assert.match(readFileSync(await (await picture).path(), "utf8"), /^<svg[^>]+>.*<title>Consensus clients<\/title>.*<\/svg>$/s);
    await page.getByRole("button", { name: "Table: Consensus clients" }).click();
    assert.ok(await page.getByRole("region", { name: "Consensus clients, data" }).isVisible());
  });

  test("on a phone nothing is wider than the screen", async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    for (const path of Object.values(pages)) {
      await open(path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 360, `${path} is ${wide} wide`);
    }
    await page.setViewportSize({ width: 1560, height: 1000 });
  });

  test("no error in the console, no request elsewhere", () => {
    // That a node is not known is an answer, which the browser reports.
    assert.deepEqual(problems.filter((p) => !/status of 404/.test(p)), []);
  });

  test("a picture as PNG", async () => {
    await open("/");
    const wait = page.waitForEvent("download");
    await page.getByRole("button", { name: "PNG: Consensus clients" }).click();
    const file = readFileSync(await (await wait).path());
    assert.deepEqual([...file.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
    const { width } = await page.locator("section", { has: page.getByRole("heading", { name: "Consensus clients" }) }).boundingBox();
    assert.equal(file.readUInt32BE(16), Math.ceil(width) * 2);
    const colours = await page.evaluate(async (base64) => {
      // The policy forbids to load it: createImageBitmap reads the bytes.
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const ctx = canvas.getContext("2d");
      ctx.drawImage(bitmap, 0, 0);
      return new Set(new Uint32Array(ctx.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer)).size;
    }, file.toString("base64"));
    assert.ok(colours > 20, `${colours} colours: bars and text are in it`);
  });

  test("a release is found with and without its v, a client by its name", async () => {
    const { data } = await api("nodes?limit=1&sort=-validators&counted=true&client=lighthouse");
    for (const typed of ["v" + data[0].client_release, data[0].client_release, "Lighthouse v" + data[0].client_release]) {
      await open("/nodes");
      await page.getByRole("searchbox").fill(typed);
      await page.keyboard.press("Enter");
      await page.waitForURL(/version=/);
      await settled(page);
      assert.match(await text("table.nodes tbody tr"), /Lighthouse/, typed);
    }
  });
}

describe("of a server", () => {
  tests(false);

  test("downloads send the key", async () => {
    const withKey = [];
    await page.route("**/api/v1/**", (r) => {
      const { "x-api-key": key, ...headers } = r.request().headers();
      if (key === "vt_test") withKey.push(r.request().url());
      return r.continue({ headers }); // the server does not know it
    });
    await page.evaluate(() => sessionStorage.setItem("valtrack-key", "vt_test"));
    await page.goto(server.url + "?key#/nodes");
    await settled(page);
    const wait = page.waitForEvent("download");
    await page.locator("footer .tools").getByText("CSV").click();
    assert.equal((await wait).suggestedFilename(), "nodes.csv");
    assert.ok(withKey.some((u) => u.includes("format=csv")), withKey.join(" "));
    await page.evaluate(() => sessionStorage.clear());
    await page.unrouteAll({ behavior: "wait" });
  });

  test("the page's files are at most 130 KB, and its policy allows nothing else", async () => {
    const res = await fetch(server.url, { headers: { "Accept-Encoding": "identity" } });
    const policy = res.headers.get("content-security-policy");
    assert.match(policy, /^default-src 'none'/);
    assert.ok(!/unsafe|https?:|\*/.test(policy));
    let sum = 0;
    const fresh = await browser.context.newPage();
    const cdp = await browser.context.newCDPSession(fresh);
    await cdp.send("Network.enable");
    const files = new Set();
    cdp.on("Network.responseReceived", (e) => /\/(assets\/.*)?$/.test(new URL(e.response.url).pathname) && files.add(e.requestId));
    cdp.on("Network.loadingFinished", (e) => files.has(e.requestId) && (sum += e.encodedDataLength));
    await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
    await fresh.goto(server.url);
    await settled(fresh);
    await fresh.waitForTimeout(500);
    await fresh.close();
    assert.ok(sum > 50_000 && sum <= 130_000, `${sum} bytes`);
  });

  test("a restart of the server under an open page", { skip: process.env.VALTRACK_URL ? "the server is not ours" : !!process.env.WEB_SHORT }, async () => {
    await open("/");
    await server.halt();
    await page.locator(".status.bad").waitFor({ timeout: 20_000 });
    assert.match(await text(".status"), /no connection/);
    assert.match(await text(".headline"), /reachable nodes/, "what was shown stays");
    await server.resume();
    await page.locator(".status.live").waitFor({ timeout: 60_000 });
  });
});

describe("before there are data", () => {
  const expected = [
    [{ records: 0, connected: 0, status: 0 }, /Nothing is stored yet/],
    [{ records: 12, connected: 0, status: 0 }, /12 records found, no peer reached yet: .*open for outgoing traffic/],
    [{ records: 12, connected: 5, status: 0 }, /5 peers connected, none completed a handshake/],
  ];
  for (const [funnel, says] of expected)
    test(`${funnel.records} records, ${funnel.connected} connected`, async () => {
      const [summary, crawl] = [await api("summary"), await api("crawl")];
      summary.data.nodes = { ...summary.data.nodes, counted: 0, known: 0 };
      crawl.data.funnel = { ...crawl.data.funnel, ...funnel };
      crawl.data.events = { ...crawl.data.events, lag: 0, last_commit: funnel.records ? Date.now() : null };
      await page.route("**/api/v1/summary", (r) => r.fulfill({ json: summary }));
      await page.route("**/api/v1/crawl", (r) => r.fulfill({ json: crawl }));
      for (const path of Object.values(pages).filter((p) => !["/crawl", "/data", "/methodology"].includes(p))) {
        await page.goto(`${server.url}?${funnel.records}-${funnel.connected}#${path}`); // another query loads the page again
        await page.locator("main", { hasText: says }).waitFor({ timeout: 10_000 });
      }
      await page.unrouteAll();
    });
});

describe("of a static copy", () => {
  let made;
  before(async () => {
    made = server = await copy(live);
    problems = [];
  });
  after(() => {
    server = live;
    return made?.stop();
  });
  tests(true);

  test("the copy says what it is and cannot do", async () => {
    await open("/");
    assert.match(await text("[aria-label='Static copy']"), /Static copy, made .* ago and updated every 60 min/);
    assert.match(await text(".status"), /data/);
    const head = await (await fetch(made.url)).text();
    assert.match(head, /http-equiv="Content-Security-Policy" content="default-src 'none'/);
    await open("/data");
    for (const href of await page.locator("main a").evaluateAll((list) => list.map((a) => a.href))) assert.equal((await fetch(href)).status, 200, href);
  });

  test("an open page shows the next update", async () => {
    await open("/");
    const made_at = () => page.evaluate(async () => (await (await fetch("site.json", { cache: "no-cache" })).json()).version);
    const before = await made_at();
    const asked = [];
    page.on("request", (r) => asked.push(r.url()));
    await made.update();
    const next = await made_at();
    assert.notEqual(next, before);
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.waitForTimeout(1500);
    assert.ok(asked.some((u) => u.endsWith(next + "/summary.json")), asked.join(" "));
  });
});
