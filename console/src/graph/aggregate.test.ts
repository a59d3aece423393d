// Sums stay sums, and a reader is told.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Edge, Node } from "../api/model.ts";
import { aggregate, NODES_MAX } from "./aggregate.ts";
import { select } from "./select.ts";

const node = (namespace: string, name: string, version: string): Node => ({
  id: `${namespace}/${name}/${version}`, kind: "app", namespace, name, version,
  health: "healthy", requests: 10, rps: 1, errors: 0, error_share: 0,
});
const edge = (source: Node, destination: Node, errors = 0): Edge => ({
  id: `${source.id}>${destination.id}>http`, source: source.id, destination: destination.id, protocol: "http",
  service: destination.name, mtls: errors ? "none" : "mutual", health: "healthy",
  requests: 10, rps: 1, errors, error_share: errors / 10, latency_ms: { p50: 1, p99: errors ? 50 : 5 },
});

const many = (apps: number, versions: number, namespaces: number) =>
  Array.from({ length: apps * versions }, (_, at) => node(`ns${Math.floor(at / versions) % namespaces}`, `app${Math.floor(at / versions)}`, `v${at % versions}`));

test("a mesh that fits is drawn as it is", () => {
  const nodes = many(10, 2, 2);
  assert.equal(aggregate({ nodes, edges: [] }, false).level, "none");
});

test("versions become apps before apps become namespaces", () => {
  assert.deepEqual([aggregate({ nodes: many(100, 3, 5), edges: [] }, false)].map((a) => [a.level, a.nodes.length, a.of]), [["app", 100, 300]]);
  assert.deepEqual([aggregate({ nodes: many(200, 2, 5), edges: [] }, false)].map((a) => [a.level, a.nodes.length]), [["namespace", 5]]);
  assert.equal(aggregate({ nodes: many(200, 2, 5), edges: [] }, true).nodes.length, 400);
});

test("requests and errors add up, latencies take the worst, the weakest encryption counts", () => {
  const nodes = many(NODES_MAX, 2, 1);
  const [a1, a2, b1, b2] = nodes as [Node, Node, Node, Node];
  const result = aggregate({ nodes, edges: [edge(a1, b1), edge(a2, b2, 4), edge(a1, a2)] }, false);
  assert.equal(result.edges.length, 1);
  const [sum] = result.edges as [Edge];
  assert.deepEqual([sum.requests, sum.errors, sum.error_share, sum.health], [20, 4, 0.2, "degraded"]);
  assert.deepEqual([sum.latency_ms?.p99, sum.mtls], [50, "none"]);
  assert.equal(result.inside.get("ns0/app0"), 2);
});

test("find keeps neighbours, hide takes away, errors only keeps what fails", () => {
  const [a, b, c] = [node("x", "web", "v1"), node("x", "cart", "v1"), node("y", "bank", "v1")];
  const topology = { nodes: [a, b, c], edges: [edge(a, b), edge(b, c, 3)] };
  const names = (wishes: Partial<Parameters<typeof select>[1]>) =>
    select(topology, { find: "", hide: "", onlyErrors: false, ...wishes }).nodes.map((n) => n.name);
  assert.deepEqual(names({}), ["web", "cart", "bank"]);
  assert.deepEqual(names({ find: "web" }), ["web", "cart"]);
  assert.deepEqual(names({ hide: "web, y/" }), ["cart"]);
  assert.deepEqual(names({ onlyErrors: true }), ["cart", "bank"]);
  assert.deepEqual(names({ find: "nothing" }), []);
});
