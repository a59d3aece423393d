// An address says what is shown, and a wrong one does no harm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BASE, format, goTo, parse, type Address } from "./address.ts";

const read = (url: string): Address => {
  const { pathname, search } = new URL(url, "http://localhost");
  return parse(pathname, search);
};

test("what was written is read again", () => {
  const address: Address = {
    ...read(BASE),
    window: "10m",
    type: "workload",
    namespaces: ["shop", "bank"],
    find: "a b&c",
    onlyErrors: true,
    label: "p99",
    edge: "shop/productpage/v1>shop/reviews/v1>http",
  };
  assert.deepEqual(read(format(address)), address);
});

test("defaults are left out", () => {
  assert.equal(format(read(BASE)), "/console/topology");
});

test("names can be read in an address", () => {
  const address = { ...read(BASE), namespaces: ["a", "b"], edge: "a/x>a/y>http" };
  assert.equal(format(address), "/console/topology?namespace=a,b&edge=a/x>a/y>http");
});

test("a trace's id is a part of the path", () => {
  assert.equal(read("/console/traces/4bf92f35").item, "4bf92f35");
  assert.equal(format(read("/console/traces/a%2Fb")), "/console/traces/a%2Fb");
});

test("what is unknown or wrong becomes the default", () => {
  const address = read("/console/nowhere?window=99y&type=toaster&errors=maybe&label=%00");
  assert.deepEqual([address.page, address.window, address.type, address.onlyErrors, address.label], ["topology", "1m", "versionedApp", false, "rps"]);
  assert.equal(read("/console/traces/%E0%A4%A").page, "traces");
  assert.equal(read(`/console/?find=${"x".repeat(9_999)}`).find.length, 500);
});

test("another page keeps window, type and namespaces and nothing else", () => {
  const there = goTo(read("/console/topology?window=1h&namespace=shop&node=n&find=f"), "traces", { service: "s" });
  assert.equal(format(there), "/console/traces?window=1h&namespace=shop&service=s");
});
