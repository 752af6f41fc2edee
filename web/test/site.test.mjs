// What a static copy of the page answers, from files of an update, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const entry = fileURLToPath(new URL("../src/site.ts", import.meta.url));

/** The module, in a page whose files have this content. */
async function siteOf(files) {
  globalThis.document = { querySelector: () => ({ content: "site.json" }) };
  globalThis.fetch = async (path) => ({ ok: path in files, status: 404, json: async () => files[path] });
  const { output } = await build({ configFile: false, logLevel: "silent", build: { ssr: entry, write: false } });
  return import("data:text/javascript," + encodeURIComponent(output[0].code));
}

test("changes are those that were found since a time, as in the API", async () => {
  const since = Date.now() - 3600e3;
  const data = [
    { id: "late", at: since - 2 * 3600e3, found_at: since + 60e3 }, // found after it happened
    { id: "before", at: since - 60e3, found_at: since - 1 },
    { id: "now", at: since, found_at: since },
  ];
  const site = await siteOf({ "site.json": { version: "v" }, "data/v/changes-1d.json": { data, meta: {} } });
  const answer = await site.answer(`api/v1/changes?since=${since}`);
  assert.deepEqual(answer.data.map((c) => c.id), ["late", "now"]);
});
