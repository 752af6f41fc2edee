// How fast the page is with 10,000 nodes of invented data, and with a real server, a devnet:
// node test/bench.mjs. MINUTES=60 also measures memory over that time of live updates of the
// real server. It fails when a bound is missed.
import { launch, settled } from "./browser.mjs";
import { serve } from "./fixture.mjs";
import { start } from "./valtrack.mjs";

const minutes = Number(process.env.MINUTES ?? 0);
const { context, close } = await launch();
const page = await context.newPage();
const cdp = await context.newCDPSession(page);
let failed = false;

/** Prints a figure with its bound. */
function report(what, value, unit, holds, bound) {
  console.log(`${holds ? "ok  " : "FAIL"} ${what}: ${value} ${unit} (${bound})`);
  failed ||= !holds;
}

async function usable(url) {
  const once = async () => {
    const began = performance.now();
    await page.goto(url + "?" + Math.random());
    await page.locator("[data-tile=validators] strong").waitFor();
    return performance.now() - began;
  };
  await once();
  const times = [];
  for (let i = 0; i < 5; i++) times.push(await once());
  return times.map((t) => Math.round(t)).sort((a, b) => a - b);
}

async function panned(url) {
  await page.goto(url + "#/map");
  await settled(page);
  const box = await page.locator("canvas").boundingBox();
  for (let i = 0; i < 3; i++) await page.getByRole("button", { name: "Zoom in" }).click();
  await page.evaluate(() => {
    window.frames_ = [];
    const tick = (t) => {
      window.frames_?.push(t);
      if (window.frames_) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await page.mouse.move(box.x + 700, box.y + 300);
  await page.mouse.down();
  for (let i = 0; i < 120; i++) await page.mouse.move(box.x + 700 - 4 * i, box.y + 300 + (i % 40));
  await page.mouse.up();
  const frames = await page.evaluate(() => {
    const frames = window.frames_;
    window.frames_ = null; // what measures must not grow in the page
    return frames;
  });
  return ((frames.length - 1) * 1000) / (frames.at(-1) - frames[0]);
}

async function heap() {
  await cdp.send("HeapProfiler.collectGarbage");
  return (await cdp.send("Runtime.getHeapUsage")).usedSize / 1e6;
}

/** The heap at eight times; the first is before the caches are filled. */
async function grown(url) {
  await page.goto(url + "?fresh#/");
  await settled(page);
  let updates = 0;
  page.on("response", (r) => (updates += Number(r.url().endsWith("/summary"))));
  const sizes = [];
  for (let i = 0; i < 8; i++) {
    if (i > 0) await page.waitForTimeout((60_000 * minutes) / 7);
    sizes.push(await heap());
    console.log(`     heap after ${((minutes * i) / 7).toFixed(1)} min, ${updates} updates: ${sizes.at(-1).toFixed(2)} MB`);
  }
  return sizes;
}

for (const [name, open] of [["10,000 invented nodes", () => serve(10_000, 0)], ["a devnet", start]]) {
  const server = await open();
  const times = await usable(server.url);
  report(`Overview usable, ${name}, slowest of ${times.length}`, times.at(-1), "ms", times.at(-1) <= 1000, "at most 1000");
  const fps = await panned(server.url);
  report(`Map panned, ${name}`, fps.toFixed(1), "frames/s", fps >= 30, "at least 30");
  if (server.stop && minutes > 0) {
    const sizes = await grown(server.url);
    const more = sizes.at(-1) - sizes[1];
    report(`heap, from the first ${(minutes / 7).toFixed(1)} min on`, "+" + more.toFixed(2), "MB", more <= 1, "at most +1: its history grows");
  }
  await (server.stop ?? server.close)();
}
await close();
process.exit(failed ? 1 : 0);
