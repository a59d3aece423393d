// The tree of spans, from traces that are whole and traces that are not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readTags, readTrace, resolveService, type JaegerSpan } from "./jaeger.ts";

const span = (spanID: string, parent: string | null, startTime: number, duration = 10_000, tags: JaegerSpan["tags"] = []): JaegerSpan => ({
  traceID: "t", spanID, operationName: `op ${spanID}`, processID: "p", startTime, duration, tags,
  references: parent ? [{ refType: "CHILD_OF", traceID: "t", spanID: parent }] : [],
});
const read = (spans: JaegerSpan[]) => readTrace({ traceID: "t", spans, processes: { p: { serviceName: "web" } } });
const shape = (spans: JaegerSpan[]) => read(spans).spans.map(({ id, depth }) => `${depth}${id}`);

test("parents come before children and siblings by time, whatever the order they were stored in", () => {
  const spans = [span("c", "a", 3_000), span("d", "b", 2_500), span("b", "a", 2_000), span("a", null, 1_000)];
  assert.deepEqual(shape(spans), ["0a", "1b", "2d", "1c"]);
  assert.deepEqual(shape([...spans].reverse()), ["0a", "1b", "2d", "1c"]);
});

test("times are milliseconds from the start of the trace", () => {
  const trace = read([span("a", null, 1_000, 40_000), span("b", "a", 3_500, 1_500)]);
  assert.deepEqual([trace.start, trace.duration, trace.spans[1]!.offset, trace.spans[1]!.duration], [1, 40, 2.5, 1.5]);
});

test("a lost parent makes a root, a circle is cut, and nobody is lost", () => {
  assert.deepEqual(shape([span("a", "gone", 1), span("b", "a", 2)]), ["0a", "1b"]);
  assert.deepEqual(shape([span("a", "b", 1), span("b", "a", 2)]), ["0a", "1b"]);
  assert.deepEqual(shape([span("a", "a", 1)]), ["0a"]);
  assert.equal(read([]).duration, 0);
});

test("an error is counted by either of the two signs", () => {
  const trace = read([span("a", null, 1, 1, [{ key: "error", value: true }]), span("b", "a", 2, 1, [{ key: "otel.status_code", value: "ERROR" }]), span("c", "a", 3)]);
  assert.equal(trace.failed, 2);
});

test("tags are read as people write them", () => {
  assert.deepEqual(readTags('http.route=/x  user="two words" retried', true), { "http.route": "/x", user: "two words", retried: "true", error: "true" });
  assert.deepEqual(readTags("  ", false), {});
});

test("a service is found by the name it reports under", () => {
  assert.equal(resolveService("reviews.shop", ["reviews.shop"]), "reviews.shop");
  assert.equal(resolveService("reviews.shop", ["details", "reviews"]), "reviews");
  assert.equal(resolveService("reviews.shop", ["shop/reviews"]), "shop/reviews");
  assert.equal(resolveService("reviews.shop", ["details"]), "reviews.shop");
});
