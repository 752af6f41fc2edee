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
const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" });
const percent = (s) => (s * 100).toFixed(1) + "\u00a0%";

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
  // What does not depend on where the data are from.
  const once = { skip: isCopy && process.env.WEB_SHORT ? "as of the server" : false };

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
    assert.match(await text(".headline"), /reachable nodes of devnet run about/);
    assert.match(await text(".banner"), /Simulated network/);
  });

  const total = (list, column) => list.reduce((n, g) => n + (g[column] ?? 0), 0);
  const numbers = {
    "/map": async () => {
      const cities = (await api("cities")).data.filter((g) => g.latitude !== null);
      return [`${number(total(cities, "nodes"))} nodes in ${number(cities.length)} locations, about ${number(total(cities, "validators"))} validators`];
    },
    "/clients": async () => (await api("clients")).data.filter((g) => g.by === "client").map((g) => `${number(g.nodes)} · ${percent(g.share_nodes)}`),
    "/clients?by=validators": async () => (await api("clients")).data.filter((g) => g.by === "client").map((g) => `${number(g.validators)} (${number(g.validators_low)} to ${number(g.validators_high)}) · ${percent(g.share_validators)}`),
    "/subnets": async () => {
      const kept = (await api("subnets")).data.subnets.map((s) => s.long_lived);
      return [`${number(Math.min(...kept))} (faintest) to ${number(Math.max(...kept))} (strongest)`];
    },
    "/concentration": async () => (await api("concentration")).data.map((c) => `has ${percent(c.largest_share)} (${percent(c.largest_share_low)} to ${percent(c.largest_share_high)})`),
    "/crawl": async () => {
      const { funnel } = (await api("summary")).data;
      return [`Records found\n${number(funnel.records)}`, `Connected\n${number(funnel.connected)}`, `MetaData\n${number(funnel.metadata)}`, `Run validators\n≈ ${number(funnel.with_validators)}`];
    },
  };
  if (!isCopy) {
    numbers["/changes"] = async () => {
      const { data } = await api("changes?since=" + (Date.now() - 86340e3));
      return ["appeared", "vanished", "upgraded"].map((kind) => `${kind[0].toUpperCase() + kind.slice(1)}\n${number(data.filter((c) => c.kind === kind).length)}\n`);
    };
    numbers["/data"] = async () => (await api("datasets")).data.map((d) => `${d.table}\t${number(d.rows)}\t${number(d.files)}\t`);
  }

  test("the other pages have the numbers of the API", async () => {
    for (const [path, wanted] of Object.entries(numbers)) {
      // They change while a devnet runs.
      for (let attempt = 0; ; attempt++) {
        await open(path);
        const shown = await page.evaluate(() => {
          // Without explanations, which are there and hidden.
          for (const e of document.querySelectorAll("[role=tooltip]")) e.hidden = true;
          return document.querySelector("main").innerText.replace(/\n+/g, "\n");
        });
        const missing = (await wanted()).filter((text) => !shown.includes(text));
        if (missing.length === 0) break;
        if (attempt > 8) assert.deepEqual(missing, [], path + " shows " + shown.slice(0, 1500));
        await page.waitForTimeout(700);
        await page.reload();
      }
    }
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
    const ids = await page.locator("table.nodes td:first-child a").evaluateAll((list) => list.map((a) => decodeURIComponent(a.hash).split("/").pop()));
    assert.equal(ids.length, Math.min(50, want.meta.total));
    assert.deepEqual(new Set(await page.locator("table.nodes tbody td:nth-child(2)").evaluateAll((l) => l.map((td) => td.innerText.trim().split(" ")[0]))), new Set(["Lighthouse"]));
    await page.getByRole("button", { name: "Remove filter Client lighthouse" }).click();
    await settled(page);
    assert.ok(!page.url().includes("client="));
    await page.getByRole("button", { name: "Next" }).click();
    await settled(page);
    assert.match(page.url(), /cursor=/);
    const second = await text("table.nodes td:first-child a");
    await page.reload();
    await settled(page);
    assert.equal(await text("table.nodes td:first-child a"), second, "a link to a page shows that page");
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

  test("keyboard: what has the focus is seen, in the order of the page; Escape hides explanations", once, async () => {
    for (const path of ["/", "/nodes"]) {
      await open(path);
      await page.evaluate(() => document.activeElement.blur());
      let before;
      for (let i = 0; i < 40; i++) {
        await page.keyboard.press("Tab");
        const at = await page.evaluateHandle(() => document.activeElement);
        const [what, shown, ordered] = await page.evaluate(
          ([e, before]) => {
            const { width, height } = e.getBoundingClientRect();
            const style = getComputedStyle(e);
            return [e.outerHTML.slice(0, 120), width > 0 && height > 0 && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, !before || !!(before.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING)];
          },
          [at, before],
        );
        assert.ok(shown, "no focus to be seen: " + what);
        assert.ok(ordered, "not in order: " + what);
        before = at;
      }
    }
    await open("/");
    const term = page.locator(".tile .term").first();
    await term.locator("button").focus();
    await page.keyboard.press("Escape");
    assert.ok(!(await term.locator("[role=tooltip]").isVisible()));
    await page.locator(".tile .term").nth(1).hover();
    assert.ok(await page.locator(".tile .term [role=tooltip]").nth(1).isVisible());
  });

  test("reduced motion, and twice the size", once, async () => {
    const moving = () => page.locator(".bars .fill").first().evaluate((e) => getComputedStyle(e).transitionDuration);
    await open("/");
    assert.notEqual(await moving(), "0s");
    await page.emulateMedia({ reducedMotion: "reduce" });
    assert.equal(await moving(), "0s");
    await page.emulateMedia({ reducedMotion: null });
    await page.setViewportSize({ width: 640, height: 500 }); // of 1280 by 1000
    const node = (await api("nodes?limit=1&sort=-validators")).data[0].id;
    for (const path of ["/", "/map", "/nodes", "/concentration", "/node/" + node]) {
      await open(path);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 640, path);
    }
    await page.setViewportSize({ width: 1560, height: 1000 });
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
    assert.equal(file.split("\r\n")[0], "name,code,nodes,share_nodes,validators,validators_low,validators_high,share_validators,share_validators_low,share_validators_high");
    assert.equal(file.trim().split("\r\n").length - 1, data.filter((g) => g.by === "client").length);
    const picture = page.waitForEvent("download");
    await page.getByRole("button", { name: "SVG: Consensus clients" }).click();
    const svg = readFileSync(await (await picture).path(), "utf8");
    assert.match(svg, /^<svg[^>]+>.*<title>Consensus clients<\/title>.*<\/svg>$/s);
    assert.match(svg, /Valtrack, devnet \(simulated network\), \d+ \w+ \d{4}/, "it says what it is of");
    await open("/map");
    const places = page.waitForEvent("download");
    await page.getByRole("button", { name: "CSV: Where the nodes are" }).click();
    assert.match(readFileSync(await (await places).path(), "utf8"), /^place,latitude,longitude,nodes,validators,validators_low,validators_high\r\n/);
    assert.match(await text("main .sub"), /nodes in \d+ locations, about [\d,]+ validators \(90 % interval.*: at the widest [\d,]+ to [\d,]+\)/s);
    await open("/");
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

  test("columns are as high as their numbers", once, async () => {
    await open("/");
    const columns = await page.locator(".histogram > div").evaluateAll((list) => list.map((e) => [Number(e.title.split(": ")[1].replaceAll(",", "")), e.querySelector("i").getBoundingClientRect().height]));
    const [top, height] = columns.reduce((a, b) => (b[0] > a[0] ? b : a));
    assert.ok(top > 0 && height > 50, `${top} nodes: ${height} px`);
    for (const [n, h] of columns) assert.ok(Math.abs(h - Math.max(2, (height * n) / top)) < 1, `${n} of ${top} nodes: ${h} of ${height} px`);
  });

  test("what a plot shows, and what is counted, is in the address", async () => {
    await open("/");
    await page.getByRole("group", { name: "Clients by" }).getByRole("button", { name: "Validators" }).click();
    assert.match(page.url(), /clients=validators/);
    const series = (await api("timeseries?metric=clients&step=all")).data.filter((p) => p.clients);
    if (series.length < 2) return; // the network is too young
    const plot = page.locator(".plot .u-over").first();
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + 0.2 * box.width, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + 0.7 * box.width, box.y + 20, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/zoom=\d+-\d+/);
    const url = page.url();
    assert.match(url, /clients=validators/, "other choices stay");
    await page.reload();
    await settled(page);
    assert.equal(page.url(), url);
    assert.equal(await page.getByRole("group", { name: "Clients by" }).getByRole("button", { name: "Validators" }).getAttribute("aria-pressed"), "true");
    const [from, to] = /zoom=(\d+)-(\d+)/.exec(url).slice(1).map(Number);
    const newest = (await text(".plot .u-legend")).match(/\d{4}-\d\d-\d\d \d\d:\d\d/);
    if (newest) assert.ok(Date.parse(newest[0].replace(" ", "T") + "Z") <= to, "the legend is of what is shown");
    assert.ok(to > from);
    await page.getByRole("button", { name: "Show all times" }).first().click();
    assert.ok(!page.url().includes("zoom="));
    assert.match(page.url(), /clients=validators/);
  });

  test("copying works without the clipboard of secure pages", once, async () => {
    const { id } = (await api("nodes?limit=1&sort=-validators")).data[0];
    await open("/node/" + id);
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true }));
    await page.getByRole("button", { name: "Copy peer id" }).first().click();
    assert.equal(await text(".nodehead .copy"), "Copied");
    await open("/nodes");
    await page.getByRole("searchbox").focus();
    await page.keyboard.press("Control+V");
    assert.equal(await page.getByRole("searchbox").inputValue(), id);
    await page.reload(); // with the clipboard again
  });

  test("a circle says what is there, also to a finger", once, async () => {
    await open("/");
    // Here and there until there is a circle.
    const found = await page.locator(".map canvas").evaluate(async (c) => {
      const { x: left, y: top, width, height } = c.getBoundingClientRect();
      for (let y = 2; y < height; y += 6)
        for (let x = 2; x < width; x += 6) {
          c.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, buttons: 1, pointerType: "touch", clientX: left + x, clientY: top + y }));
          c.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "touch" }));
          if (x % 60 === 2) await new Promise((done) => setTimeout(done, 0));
          const tip = document.querySelector(".map .tip");
          if (tip) return tip.innerText;
        }
    });
    assert.match(found ?? "", /nodes?, about [\d,]+ validators\s+90 %: [\d,]+ to [\d,]+/);
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

  const refused = (status, detail) => (r) => r.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ title: "refused", status, detail }) });
  const states = [
    ["a wrong key", "**/api/v1/**", refused(401, "unknown key"), ["/", "/map", "/nodes", "/concentration"], /The key is not accepted.*Forget the key.*Data and API/s, /key not accepted/],
    ["a key is needed", "**/api/v1/nodes?*", refused(403, "searching by an address needs a key"), ["/nodes?q=127.0.0.1"], /This needs a key.*Data and API/s],
    ["too many requests", "**/api/v1/**", refused(429, "slow down"), ["/", "/subnets"], /Too many requests.*retries automatically/s, /error 429/],
    ["an error", "**/api/v1/**", refused(500, "the disk is full"), ["/clients", "/changes"], /cannot answer right now.*the disk is full/s],
    ["no server", "**/api/v1/**", (r) => r.abort(), ["/", "/nodes", "/crawl"], /No connection to the server.*still running/s, /no connection/],
  ];
  for (const [name, requests, answer, paths, says, status] of states)
    test("what to do: " + name, async () => {
      const before = problems.length;
      await page.route(requests, answer);
      for (const path of paths) {
        await page.goto(`${server.url}?${encodeURIComponent(name)}#${path}`);
        await page.locator("main", { hasText: says }).waitFor({ timeout: 10_000 });
        if (status) await page.locator(".status", { hasText: status }).waitFor({ timeout: 10_000 });
        assert.ok(!/No numbers yet/.test(await text("main")), path);
      }
      await page.unrouteAll({ behavior: "ignoreErrors" });
      problems.length = before; // the browser reports what failed
    });

  test("old data are called old, with the reason to look for", async () => {
    const summary = await api("summary");
    summary.meta.as_of = Date.now() - 5 * 3600e3;
    await page.route("**/api/v1/summary", (r) => r.fulfill({ json: summary }));
    await page.goto(server.url + "?old#/");
    await page.getByRole("complementary", { name: "Old data" }).waitFor();
    assert.match(await text(".banner.bad"), /5 h old.*Crawl health/);
    assert.match(await text(".status"), /5 h old/);
    await page.unrouteAll({ behavior: "wait" });
  });

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
