// What concentration could be at the ends of the intervals of shares.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const entry = fileURLToPath(new URL("../src/bounds.ts", import.meta.url));
const { output } = await build({ configFile: false, logLevel: "silent", build: { ssr: entry, write: false } });
const { holders, index } = await import("data:text/javascript," + encodeURIComponent(output[0].code));

const shares = (...list) => list.map(([share, low, high]) => ({ share, low, high }));

test("how many groups hold a part", () => {
  const list = shares([0.5, 0.3, 0.7], [0.3, 0.2, 0.4], [0.2, 0.1, 0.3]);
  assert.deepEqual(holders(list, 0, 1 / 3), [1, 2]);
  assert.deepEqual(holders(list, 0, 2 / 3), [1, null], "the lower ends have 60 % together");
  assert.deepEqual(holders(shares([0.3, 0.3, 0.3], [0.3, 0.3, 0.3]), 0, 1 / 3), [2, 2]);
  assert.deepEqual(holders(shares([0.3, 0.3, 0.3], [0.3, 0.3, 0.3]), 0.1, 1 / 3), [1, 2], "what is unknown may be of the largest");
  assert.deepEqual(holders(shares([0.5, null, null]), 0, 1 / 3), [null, null]);
  assert.deepEqual(holders([], 1, 1 / 3), [null, null]);
});

test("the index contains the one of the shares, and 10,000 is the most", () => {
  const list = shares([0.6, 0.5, 0.7], [0.4, 0.3, 0.5]);
  const [low, high] = index(list, 0);
  assert.ok(low < 5200 && high > 5200, `${low} to ${high}`);
  assert.deepEqual(index(shares([1, 0.9, 1], [0, 0, 0.6]), 0.2)[1], 10_000);
  assert.deepEqual(index(shares([0.5, null, 0.6]), 0), [null, null]);
});
