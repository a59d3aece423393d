// Numbers keep their width and never pretend: what is unknown is a dash, what is tiny is not nought.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, count, milliseconds, rate, share, since, span } from "./format.ts";

test("rates have three digits at most until they are counted in thousands", () => {
  assert.deepEqual([0, 0.004, 2, 2.034, 45.67, 812.4, 12_345].map(rate), ["0", "<0.01", "2", "2.03", "45.7", "812", "12.3k"]);
});

test("counts are grouped, then shortened", () => {
  assert.deepEqual([0, 1_234, 45_678, 999_499, 2_500_000].map(count), ["0", "1,234", "45.7k", "999k", "2.5M"]);
});

test("a share that is not nought never reads as nought, nor one that is not all as all", () => {
  assert.deepEqual([0, 0.0004, 0.0083, 0.9, 0.9999, 1].map(share), ["0 %", "<0.1 %", "0.8 %", "90 %", ">99.9 %", "100 %"]);
});

test("times have the unit that suits them", () => {
  assert.deepEqual([0.25, 1.2, 250, 1_500, 125_000].map(milliseconds), ["250 µs", "1.2 ms", "250 ms", "1.5 s", "2 min 5 s"]);
});

test("bytes are counted in powers of 1024", () => {
  assert.deepEqual([0, 1_000, 1_536, 5 * 1024 ** 3].map(bytes), ["0 B", "1000 B", "1.5 KiB", "5 GiB"]);
});

test("spans of time show two units", () => {
  assert.deepEqual([0, 12, 200, 7_260, 187_200].map(span), ["0 s", "12 s", "3 min 20 s", "2 h 1 min", "2 d 4 h"]);
});

test("what is unknown is a dash", () => {
  for (const show of [count, rate, share, milliseconds, bytes]) {
    assert.equal(show(null), "–");
    assert.equal(show(Number.NaN), "–");
  }
  assert.equal(since("yesterday", 0), "–");
});
