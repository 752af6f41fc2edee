import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

/** Debian's Chromium. */
export async function launch() {
  const dir = mkdtempSync(join(tmpdir(), "valtrack-chromium-"));
  const context = await chromium.launchPersistentContext(dir, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    headless: true,
    viewport: { width: 1560, height: 1000 },
  });
  return { context, browser: context.browser(), close: async () => { await context.close(); rmSync(dir, { recursive: true, force: true }); } };
}

export const pages = { overview: "/", map: "/map", nodes: "/nodes", clients: "/clients", subnets: "/subnets", concentration: "/concentration", changes: "/changes", crawl: "/crawl", data: "/data", methodology: "/methodology" };

/** Waits until the page has what it asked for and has drawn it. */
export async function settled(page) {
  await page.waitForLoadState("load");
  await page.waitForFunction(() => document.querySelector("main") && !document.querySelector("main [aria-label^=Loading]"), null, { timeout: 30_000 });
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 400)))));
}
