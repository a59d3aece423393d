// The window onto the picture, the curves in it, and the way the arrow keys take.

import assert from "node:assert/strict";
import { test } from "node:test";
import { at, bounds, curve, evenly, labelPlaces } from "./geometry.ts";
import { fit, reveal, zoom } from "./viewport.ts";
import { first, walk } from "./walk.ts";

const SIZE = { width: 1000, height: 500 };

test("what fits is in the window and never larger than life", () => {
  const view = fit({ left: 0, top: 0, right: 4000, bottom: 1000 }, SIZE);
  assert.deepEqual(view, { scale: 0.25, x: 0, y: 125 });
  assert.equal(fit({ left: 0, top: 0, right: 10, bottom: 10 }, SIZE).scale, 1.15);
  assert.ok(Number.isFinite(fit(bounds([], 0), SIZE).x));
});

test("what lies under the pointer stays under it", () => {
  const before = { scale: 1, x: 10, y: 20 };
  const after = zoom(before, 2, { x: 110, y: 120 });
  assert.equal((110 - after.x) / after.scale, 100);
  assert.equal((120 - after.y) / after.scale, 100);
});

test("a node that is outside is brought in, one that is inside moves nothing", () => {
  const view = { scale: 1, x: 0, y: 0 };
  assert.deepEqual(reveal(view, { x: 500, y: 250 }, SIZE, 50), view);
  assert.deepEqual(reveal(view, { x: 2000, y: 250 }, SIZE, 50), { scale: 1, x: -1050, y: 0 });
});

test("points along a curve lie at equal distances", () => {
  for (const line of [curve({ x: 0, y: 0 }, { x: 500, y: 300 }), curve({ x: 500, y: 0 }, { x: 0, y: 90 }), curve({ x: 0, y: 0 }, { x: 0, y: 0 })]) {
    const { points, length } = evenly(line);
    assert.ok(Number.isFinite(length) && length > 0);
    const steps = Array.from({ length: points.length / 2 - 1 }, (_, i) => Math.hypot(points[i * 2 + 2]! - points[i * 2]!, points[i * 2 + 3]! - points[i * 2 + 1]!));
    assert.ok(Math.max(...steps) < Math.min(...steps) * 1.25, `${Math.min(...steps)} to ${Math.max(...steps)}`);
  }
});

test("labels of parallel lines do not cover each other", () => {
  const line = curve({ x: 0, y: 0 }, { x: 600, y: 0 });
  const [a, b] = labelPlaces([{ line, width: 60, height: 20 }, { line, width: 60, height: 20 }], []);
  assert.deepEqual(a, at(line, 0.5));
  assert.ok(Math.abs(a!.x - b!.x) >= 60);
});

test("arrow keys lead to the neighbour in their direction", () => {
  const places = new Map(Object.entries({ a: { x: 0, y: 0 }, b: { x: 270, y: -40 }, c: { x: 270, y: 40 }, d: { x: 540, y: 0 } }));
  assert.equal(walk(places, "a", "ArrowRight"), "b");
  assert.equal(walk(places, "b", "ArrowDown"), "c");
  assert.equal(walk(places, "c", "ArrowRight"), "d");
  assert.equal(walk(places, "a", "ArrowLeft"), null);
  assert.equal(walk(places, "a", "Enter"), null);
  assert.equal(first(places), "a");
});
