// Pictures of every page, light, dark and on a phone, and those of README: node
// test/screenshots.mjs DIR [URL] [PAGE,...].
// Without a URL the data are invented ones of 8000 nodes.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch, pages, settled } from "./browser.mjs";
import { serve } from "./fixture.mjs";

const [dir = "../bin/screenshots", url, only] = process.argv.slice(2);
mkdirSync(dir, { recursive: true });
const server = url ? { url, close() {} } : await serve(8000, 0);
const { context, close } = await launch();
const { data } = await (await fetch(server.url + "api/v1/nodes?limit=1&sort=-validators")).json();
const all = { ...pages, node: "/node/" + data[0]?.id };
const looks = { light: { colorScheme: "light", size: { width: 1560, height: 1000 } }, dark: { colorScheme: "dark", size: { width: 1560, height: 1000 } }, phone: { colorScheme: "light", size: { width: 390, height: 844 } } };
for (const [look, { colorScheme, size }] of Object.entries(looks)) {
  const page = await context.newPage();
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme });
  for (const [name, path] of Object.entries(all)) {
    if (only && !only.split(",").includes(name)) continue;
    await page.goto(server.url + "#" + path);
    await settled(page);
    await page.screenshot({ path: join(dir, `${name}-${look}.png`), fullPage: true });
  }
  await page.close();
}
const page = await context.newPage();
await page.setViewportSize({ width: 1560, height: 1000 });
for (const [name, colorScheme] of [["overview", "light"], ["node", "light"], ["concentration", "dark"]]) {
  if (only && !only.split(",").includes("readme")) continue;
  await page.emulateMedia({ colorScheme });
  await page.goto(server.url + "#" + all[name]);
  await settled(page);
  await page.screenshot({ path: join(dir, `readme-${name}.png`) });
}
await close();
server.close();
