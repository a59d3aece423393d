// Which weight belongs to which edge, and which policy to which service.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Edge, Node, Policy, Split } from "../api/model.ts";
import { labelText, lagging, weightOf, weightText } from "./labels.ts";
import { concerns } from "./policies_of.tsx";

const node = (name: string, version: string | null) => ({ id: name, namespace: "shop", name, version }) as Node;
const edge = { service: "reviews.shop.svc.cluster.local", share: 0.12, rps: 2, error_share: 0, latency_ms: {} } as Edge;
const destination = (version: string, desired: number, acknowledged: number | null) => ({
  name: version, version, service: edge.service, desired, acknowledged, acknowledged_by: 6, of: 7, observed: null,
});
const split = (gateway: string | null, desired: number): Split => ({
  host: edge.service, namespace: "shop", name: "reviews", kind: "VirtualService", route: "", gateway, source: "reviews.yaml:7",
  destinations: [destination("v1", 1 - desired, 0.9), destination("v2", desired, 0.1)],
});

test("an edge to a version has the weight of its split, with what was really observed", () => {
  const weight = weightOf(edge, node("web", "v1"), node("reviews", "v2"), [split(null, 0.2)]);
  assert.equal(weightText(weight!), "20 → 10 → 12 %");
  assert.equal(lagging(weight!), true);
});

test("a gateway has weights of its own", () => {
  const splits = [split(null, 0.2), split("shop/front", 0.5)];
  assert.equal(weightOf(edge, node("front", null), node("reviews", "v2"), splits)?.desired, 0.5);
  assert.equal(weightOf(edge, node("web", null), node("reviews", "v2"), splits)?.desired, 0.2);
});

test("no weight where there is no choice, no version, or no such split", () => {
  const only = { ...split(null, 0.2), destinations: [destination("v2", 1, 1)] };
  assert.equal(weightOf(edge, undefined, node("reviews", "v2"), [only]), null);
  assert.equal(weightOf(edge, undefined, node("reviews", null), [split(null, 0.2)]), null);
  assert.equal(weightOf({ ...edge, service: "details.shop.svc.cluster.local" }, undefined, node("details", "v2"), [split(null, 0.2)]), null);
});

test("a weight that nobody has acknowledged is a dash and lags", () => {
  assert.equal(weightText(destination("v2", 0.5, null)), "50 → – → – %");
  assert.equal(lagging(destination("v2", 0.5, null)), true);
  assert.equal(lagging(destination("v2", 0.1, 0.1)), false);
});

test("each label shows its number, and a dash for what was not measured", () => {
  assert.deepEqual((["rps", "errors", "share", "p95", "none"] as const).map((label) => labelText(edge, label, "r/s")), ["2 r/s", "0 %", "12 %", "–", ""]);
});

test("policies of a service have its name or split its requests", () => {
  const policy = (kind: string, namespace: string, name: string) => ({ kind, namespace, name }) as Policy;
  const services = ["reviews.shop.svc.cluster.local"];
  assert.equal(concerns(policy("RateLimit", "shop", "reviews"), services, []), true);
  assert.equal(concerns(policy("RateLimit", "bank", "reviews"), services, []), false);
  assert.equal(concerns(policy("VirtualService", "shop", "canary"), services, [{ ...split(null, 0.2), name: "canary" }]), true);
});
