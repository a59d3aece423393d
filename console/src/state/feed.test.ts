// The live connection, with a stream and a server of our own making: what is shown when either goes and comes back.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Feed } from "./feed.ts";

class Stream extends EventTarget {
  static OPEN = 1;
  static CLOSED = 2;
  static all: Stream[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  constructor(readonly url: string) {
    super();
    Stream.all.push(this);
  }
  opens() {
    this.readyState = Stream.OPEN;
    this.onopen?.();
  }
  breaks(closed: boolean) {
    this.readyState = closed ? Stream.CLOSED : 0;
    this.onerror?.();
  }
  says(event: string, data: unknown) {
    this.dispatchEvent(new MessageEvent(event, { data: typeof data === "string" ? data : JSON.stringify(data) }));
  }
  close() {
    this.readyState = Stream.CLOSED;
  }
}

let asked: string[] = [];
let reachable = true;
const settled = async () => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
};
const later = async (seconds: number) => {
  mock.timers.tick(seconds * 1000);
  await settled();
};
const question = (window: string) => ({ window, type: "app", namespaces: ["a", "b"] });

beforeEach(() => {
  asked = [];
  reachable = true;
  Stream.all = [];
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  Object.assign(globalThis, {
    EventSource: Stream,
    fetch: (path: string) => {
      asked.push(path);
      return reachable ? Promise.resolve(Response.json({ path })) : Promise.reject(new TypeError("refused"));
    },
  });
});
afterEach(() => mock.timers.reset());

async function begun(): Promise<{ feed: Feed; stream: Stream }> {
  const feed = new Feed();
  feed.ask(question("1m"));
  await new Promise((turn) => setImmediate(turn));
  return { feed, stream: Stream.all[0]! };
}

test("everything is asked for once at the start, whatever the stream does", async () => {
  const { feed, stream } = await begun();
  assert.deepEqual(asked, ["/api/v1/topology?window=1m&type=app&namespace=a%2Cb", "/api/v1/splits", "/api/v1/status"]);
  assert.equal(stream.url, "/api/v1/stream?window=1m&type=app&namespace=a%2Cb");
  assert.equal(feed.state.link, "polling");
  feed.close();
});

test("an open stream is live, and nobody is asked beside it", async () => {
  const { feed, stream } = await begun();
  stream.opens();
  stream.says("topology", { nodes: [] });
  const before = asked.length;
  await later(10);
  assert.deepEqual([feed.state.link, feed.state.topology.data, asked.length], ["live", { nodes: [] }, before]);
  feed.close();
});

test("a torn event harms nothing", async () => {
  const { feed, stream } = await begun();
  stream.says("status", "{");
  assert.ok(feed.state.status.data);
  feed.close();
});

test("without a stream the same is asked for every two seconds, and the stream is tried again", async () => {
  const { feed, stream } = await begun();
  stream.breaks(true);
  const before = asked.length;
  await later(2.1);
  await new Promise((turn) => setImmediate(turn));
  assert.equal(asked.length, before + 3);
  assert.equal(feed.state.link, "polling");
  for (let turn = 0; turn < 8; turn += 1) {
    await later(2.1);
    await new Promise((done) => setImmediate(done));
  }
  assert.equal(Stream.all.length, 2);
  feed.close();
});

test("a control plane that is gone is lost, and what was known stays", async () => {
  const { feed, stream } = await begun();
  stream.breaks(false);
  reachable = false;
  await later(2.1);
  await new Promise((turn) => setImmediate(turn));
  assert.equal(feed.state.link, "lost");
  assert.ok(feed.state.topology.data && feed.state.topology.failure?.unreachable);
  feed.close();
});

test("another question drops the answer to the old one, the same question does not", async () => {
  const { feed } = await begun();
  feed.ask(question("1m"));
  assert.ok(feed.state.topology.data);
  feed.ask(question("1h"));
  assert.equal(feed.state.topology.data, null);
  assert.equal(Stream.all.length, 2);
  assert.equal(Stream.all[0]!.readyState, Stream.CLOSED);
  feed.close();
});

test("paused, nothing is asked until it goes on", async () => {
  const { feed } = await begun();
  feed.pause(true);
  const before = asked.length;
  await later(30);
  assert.deepEqual([feed.state.link, asked.length, Stream.all.length], ["paused", before, 1]);
  feed.pause(false);
  assert.equal(Stream.all.length, 2);
  feed.close();
});
