// How fast the page is with 10,000 nodes of invented data: node test/bench.mjs. MINUTES=60 also
// measures memory over that time of live updates.
import { launch, settled } from "./browser.mjs";
import { serve } from "./fixture.mjs";

const server = await serve(10_000, 0);
const { context, close } = await launch();
const page = await context.newPage();
const cdp = await context.newCDPSession(page);

async function usable() {
  const began = performance.now();
  await page.goto(server.url + "?" + Math.random());
  await page.locator("[data-tile=validators] strong").waitFor();
  return performance.now() - began;
}

await usable();
const times = [];
for (let i = 0; i < 5; i++) times.push(await usable());
console.log(`Overview usable after ${times.map((t) => Math.round(t)).join(", ")} ms (at most 1000)`);

await page.goto(server.url + "#/map");
await settled(page);
const box = await page.locator("canvas").boundingBox();
for (let i = 0; i < 3; i++) await page.getByRole("button", { name: "Zoom in" }).click();
await page.evaluate(() => {
  window.frames_ = [];
  const tick = (t) => (window.frames_.push(t), requestAnimationFrame(tick));
  requestAnimationFrame(tick);
});
await page.mouse.move(box.x + 700, box.y + 300);
await page.mouse.down();
for (let i = 0; i < 120; i++) await page.mouse.move(box.x + 700 - 4 * i, box.y + 300 + (i % 40));
await page.mouse.up();
const frames = await page.evaluate(() => window.frames_);
console.log(`Map panned at ${(((frames.length - 1) * 1000) / (frames.at(-1) - frames[0])).toFixed(1)} frames/s (at least 30)`);

await page.goto(server.url + "#/");
await settled(page);
const heap = async () => {
  await cdp.send("HeapProfiler.collectGarbage");
  return (await cdp.send("Runtime.getHeapUsage")).usedSize / 1e6;
};
const minutes = Number(process.env.MINUTES ?? 0);
for (let i = 0; i <= minutes; i += Math.max(1, minutes / 6)) {
  console.log(`Heap after ${i.toFixed(0)} min: ${(await heap()).toFixed(1)} MB`);
  if (i < minutes) await page.waitForTimeout((60_000 * minutes) / 6);
}
await close();
server.close();
