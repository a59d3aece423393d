// Promises of the layout: the same names give the same picture, and nobody moves because somebody else came.

import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, ROW, type Link, type Point, type Vertex } from "./layout.ts";
import { apart } from "./settle.ts";

const vertex = (id: string, group = ""): Vertex => ({ id, group });
const link = (text: string): Link => {
  const [source, destination] = text.split(">") as [string, string];
  return { source, destination };
};

const NODES = ["gateway", "productpage", "details", "reviews-v1", "reviews-v2", "ratings"].map((id) => vertex(id));
const LINKS = ["gateway>productpage", "productpage>details", "productpage>reviews-v1", "productpage>reviews-v2", "reviews-v2>ratings"].map(link);

// A generator whose numbers are the same on every machine.
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

function mesh(nodes: number, links: number, groups = 1): { vertices: Vertex[]; links: Link[] } {
  const random = numbers(nodes + links);
  const pick = () => Math.floor(random() * nodes);
  return {
    vertices: Array.from({ length: nodes }, (_, at) => vertex(`n${at}`, `g${at % groups}`)),
    links: Array.from({ length: links }, () => ({ source: `n${pick()}`, destination: `n${pick()}` })),
  };
}

function assertApart(vertices: Vertex[], places: Map<string, Point>): void {
  const extents = [...new Set(vertices.map((v) => v.group))].map((group) => {
    const own = vertices.filter((v) => v.group === group).map((v) => places.get(v.id)!);
    const [x, y] = [own.map((p) => p.x), own.map((p) => p.y)];
    return { left: Math.min(...x), right: Math.max(...x), top: Math.min(...y), bottom: Math.max(...y) };
  });
  extents.forEach((a, at) =>
    extents.slice(at + 1).forEach((b) => assert.ok(a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top, JSON.stringify([a, b]))),
  );
}

test("calls go from left to right", () => {
  const { places } = layout(NODES, LINKS);
  for (const { source, destination } of LINKS) assert.ok(places.get(source)!.x < places.get(destination)!.x);
});

test("the order of the input does not matter", () => {
  const one = layout(NODES, LINKS).places;
  const other = layout([...NODES].reverse(), [...LINKS].reverse()).places;
  for (const [id, place] of one) assert.deepEqual(other.get(id), place);
});

test("nobody moves when a node comes", () => {
  const before = layout(NODES, LINKS).places;
  const after = layout([...NODES, vertex("reviews-v3")], [...LINKS, link("productpage>reviews-v3"), link("reviews-v3>ratings")], before);
  assert.equal(after.moved, false);
  for (const [id, place] of before) assert.deepEqual(after.places.get(id), place);
  assert.ok(after.places.get("reviews-v3"));
});

test("nobody moves when a node goes and comes back", () => {
  const before = layout(NODES, LINKS).places;
  const without = layout(NODES.slice(0, -1), LINKS, before);
  for (const [id, place] of without.places) assert.deepEqual(before.get(id), place);
  assert.deepEqual(layout(NODES, LINKS, before).places.get("ratings"), before.get("ratings"));
});

test("no two nodes lie on each other", () => {
  const { vertices, links } = mesh(120, 300, 4);
  const places = [...layout(vertices, links).places.values()];
  places.forEach((a, at) =>
    places.slice(at + 1).forEach((b) => assert.ok(a.x !== b.x || Math.abs(a.y - b.y) >= ROW - 1, JSON.stringify([a, b]))),
  );
});

test("a new node takes a place that is free", () => {
  const before = layout(NODES, LINKS).places;
  const { places } = layout([...NODES, vertex("x"), vertex("y")], [...LINKS, link("productpage>x"), link("productpage>y")], before);
  const all = [...places.values()];
  all.forEach((a, at) => all.slice(at + 1).forEach((b) => assert.ok(a.x !== b.x || Math.abs(a.y - b.y) >= ROW - 1)));
});

test("bands of groups do not overlap", () => {
  const { vertices, links } = mesh(60, 150, 3);
  const { places } = layout(vertices, links);
  assertApart(vertices, places);
});

test("a tower of bands is broken into stacks, which do not overlap either", () => {
  const { vertices } = mesh(240, 0, 24);
  const links = vertices.slice(24).map((v, at) => ({ source: vertices[at]!.id, destination: v.id })).filter((_, at) => at % 24 < 22 || at % 2);
  const { places } = layout(vertices, links.filter(({ source }) => Number(source.slice(1)) % 48 < 24));
  const [x, y] = [[...places.values()].map((p) => p.x), [...places.values()].map((p) => p.y)];
  assert.ok(Math.max(...y) - Math.min(...y) < 2 * (Math.max(...x) - Math.min(...x)));
  assertApart(vertices, places);
});

test("cycles, loops, doubles, strangers and nothing at all have a layout of numbers", () => {
  const odd = layout(["a", "b", "c", "a"].map((id) => vertex(id)), ["a>b", "b>c", "c>a", "a>a", "a>b", "a>nobody"].map(link));
  assert.equal(odd.places.size, 3);
  for (const { x, y } of odd.places.values()) assert.ok(Number.isFinite(x) && Number.isFinite(y));
  assert.equal(layout([], []).places.size, 0);
  assert.equal(layout([vertex("alone")], []).places.size, 1);
});

test("a chain of six thousand calls does not exhaust the stack", () => {
  const vertices = Array.from({ length: 6_000 }, (_, at) => vertex(`n${String(at).padStart(5, "0")}`));
  const links = vertices.slice(1).map((v, at) => ({ source: vertices[at]!.id, destination: v.id }));
  assert.equal(layout(vertices, links).places.size, 6_000);
});

test("large meshes take no time that a person notices", () => {
  for (const [nodes, links, allowed] of [[300, 1_000, 50], [2_000, 6_000, 1_000]] as const) {
    const graph = mesh(nodes, links, 12);
    layout(graph.vertices, graph.links);
    const tries = Array.from({ length: 5 }, () => {
      const start = performance.now();
      layout(graph.vertices, graph.links);
      return performance.now() - start;
    });
    const best = Math.min(...tries);
    console.log(`layout of ${nodes} nodes and ${links} edges: ${best.toFixed(1)} ms`);
    assert.ok(best < allowed, `${best} ms`);
  }
});

test("heights are as near to the wishes as the distance allows", () => {
  assert.deepEqual(apart([0, 100], 10), [0, 100]);
  assert.deepEqual(apart([5, 5], 10), [0, 10]);
  assert.deepEqual(apart([], 10), []);
});
