// Both languages say everything, with the same values in it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DICTIONARIES, translator } from "./index.ts";

const values = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1]).sort();

test("both languages have the same keys, none empty, with the same values", () => {
  const { en, zh } = DICTIONARIES;
  assert.deepEqual(Object.keys(zh).sort(), Object.keys(en).sort());
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    assert.ok(en[key].trim() && zh[key].trim(), key);
    assert.deepEqual(values(zh[key]), values(en[key]), key);
  }
});

test("Chinese is Chinese", () => {
  const foreign = Object.entries(DICTIONARIES.zh).filter(([key, text]) => !/[\u4e00-\u9fff]/.test(text) && !NEUTRAL.has(key));
  assert.deepEqual(foreign, []);
});
// The same in both languages: names, units and signs.
const NEUTRAL = new Set(["language.en", "label.p50", "label.p95", "label.p99", "unit.perSecond", "weights.of", "policies.yaml"]);

test("one is not called by the word for many", () => {
  const t = translator(DICTIONARIES.en);
  assert.equal(t("summary.size", { nodes: 2, edges: 1 }), "2 nodes, 1 edge");
  assert.equal(t("traces.spanCount", { n: "1" }), "1 span");
  assert.equal(t("summary.hidden", { n: 0 }), "0 nodes filtered out");
});

test("a value takes its place, an unknown one stays visible", () => {
  const t = translator({ ...DICTIONARIES.en, "app.title": "{a} of {b}" });
  assert.equal(t("app.title", { a: 1 }), "1 of {b}");
});
