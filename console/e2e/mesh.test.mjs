// What the console shows of a real mesh is what its control plane says, and what the bookshop really does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, NAMES, open, picture, real, visit } from "./browser.mjs";
import { alone, api, files, needsDemo, until, way } from "./demo.mjs";

const EDGE = `${NAMES.caller}>${NAMES.split[0]}>http`;
// Who calls whom in the bookshop.
const CALLS = [
  ["bookinfo/front/unknown", NAMES.caller],
  [NAMES.caller, NAMES.called],
  [NAMES.caller, NAMES.split[0]],
  [NAMES.caller, NAMES.split[1]],
  [NAMES.split[1], "bookinfo/ratings/v1"],
];

before(async () => {
  if (real) await open();
});
after(close);

test("the bookshop's services and calls are drawn, those and no others", needsDemo, async () => {
  const { page, complaints, done } = await visit(real);
  const view = await until("/api/v1/topology?window=1m", ({ edges }) => edges.length >= CALLS.length);
  await page.waitForFunction((edges) => document.querySelectorAll("[data-edge]").length === edges, view.edges.length);

  const ids = (name) => page.$$eval(`[data-${name}]`, (all, name) => all.map((one) => one.dataset[name]).sort(), name);
  assert.deepEqual(await ids("node"), view.nodes.map(({ id }) => id).sort());
  assert.deepEqual(await ids("edge"), view.edges.map(({ id }) => id).sort());
  for (const [source, destination] of CALLS) assert.ok(view.edges.some((edge) => edge.source === source && edge.destination === destination), `${source} > ${destination}: ${view.edges.map(({ id }) => id)}`);
  await page.waitForFunction(() => {
    const canvas = document.querySelector(".graph-particles");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0);
  });
  await picture(page, "demo-topology-light");
  assert.deepEqual(complaints, []);
  await done();
});

test("a waterfall opens from an edge of the drawing, with the services that the request went through", needsDemo, async () => {
  const { page, complaints, done } = await visit(real);
  await page.locator(`[data-edge-label="${EDGE}"]`).click();
  await page.waitForSelector("[data-panel=edge] .u-over");
  await picture(page, "demo-edge-light");
  await page.click("[data-traces]");
  assert.equal(await page.inputValue("select[name=service]"), "reviews.bookinfo");
  // Not the newest, whose last spans may be on their way.
  const row = page.locator("[data-trace]").last();
  const id = await row.getAttribute("data-trace");
  await row.locator("a").click();
  await page.waitForSelector("[data-span]");

  const [trace] = (await api(`/api/traces/${id}`)).data;
  const services = new Set(Object.values(trace.processes).map(({ serviceName }) => serviceName));
  for (const service of ["front.bookinfo", "productpage.bookinfo", "reviews.bookinfo"]) assert.ok(services.has(service), `${service} of ${[...services]}`);
  assert.equal(await page.getAttribute("[data-waterfall]", "data-waterfall"), String(trace.spans.length));
  const drawn = await page.$$eval("[data-span] .span-name b", (all) => all.map((one) => one.textContent));
  assert.deepEqual(new Set(drawn), services);
  assert.equal(Number.parseFloat(await page.$eval("[data-span] .span-bar", (bar) => bar.style.left)), 0, "the first span begins the trace");
  await page.locator("[data-span]").nth(1).click();
  await page.waitForSelector("[data-span-detail] [data-tags=attributes]");
  await picture(page, "demo-waterfall-light");
  assert.deepEqual(complaints, []);
  await done();
});

test("each proxy's states are those that it acknowledged, and an edit moves them on", needsDemo, async (t) => {
  const mesh = await files(t);
  const { page, complaints, done } = await visit(real, "proxies");
  await page.waitForSelector("[data-proxy]");
  const status = await api("/api/v1/status");

  assert.equal(status.proxies.length, 7);
  for (const { node, types, generation } of status.proxies) {
    const row = page.locator(`[data-proxy="${node}"]`);
    assert.equal(await row.getAttribute("data-health"), "healthy", node);
    for (const type of ["LDS", "RDS", "CDS", "EDS"]) assert.equal(types[type].state, "SYNCED", `${node} ${type}`);
    assert.equal(await row.locator("[data-state=SYNCED]").count(), Object.values(types).filter(({ state }) => state === "SYNCED").length, node);
    assert.match(await row.locator("td.numeric").textContent(), new RegExp(`^${generation} / ${generation}$`));
  }
  assert.match(await page.textContent("[data-counts]"), /7 .*0 .*0 /);
  assert.match(await page.textContent("[data-config=current]"), new RegExp(`\\b${status.generation}\\b`));

  mesh.save(NAMES.file, mesh.read(NAMES.file).replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"));
  const after = await until("/api/v1/status", ({ generation }) => generation > status.generation);
  await page.waitForFunction((generation) => [...document.querySelectorAll("[data-proxy] td.numeric")].every((cell) => cell.textContent === `${generation} / ${generation}`), after.generation);
  assert.match(await page.textContent("[data-config=current]"), new RegExp(`\\b${after.generation}\\b`));
  await picture(page, "demo-proxies-light");
  assert.deepEqual(complaints, []);
  await done();
});

const FAULT = `# Half of the calls to details fail.
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: bookinfo}
spec:
  hosts: [details]
  http:
  - fault:
      abort: {httpStatus: 503, percentage: {value: 50}}
    route:
    - destination: {host: details}
`;

test("requests that fail are seen on their edge, alone when asked for, and in their traces", needsDemo, async (t) => {
  const mesh = await files(t);
  mesh.save("fault.yaml", FAULT);
  const { page, complaints, done } = await visit(real, "topology?errors=1");
  // The caller's proxy answers by itself: the request reached the service and none of its versions.
  const edge = `${NAMES.caller}>bookinfo/details>http`;
  await page.waitForSelector(`[data-edge="${edge}"][data-health=failing]`);
  assert.equal(await page.locator(`[data-edge="${EDGE}"]`).count(), 0, "who does not fail is not drawn");
  await page.locator(`[data-edge-label="${edge}"]`).click();
  await page.waitForSelector("[data-panel=edge] [data-code='5xx']");
  await page.waitForSelector("[data-panel=edge] [data-flag=FI]");
  await picture(page, "demo-errors-light");

  await page.goto(`${real}traces?service=productpage.bookinfo&failed=1`);
  await page.waitForSelector("[data-trace][data-failed=true]");
  assert.equal(await page.locator("[data-trace][data-failed=false]").count(), 0);
  await page.locator("[data-trace] a").last().click();
  await page.locator("[data-span][data-failed=true]").last().click();
  assert.match(await page.textContent("[data-span-detail] [data-tags=attributes]"), /503|502/);
  await picture(page, "demo-failed-trace-light");
  await page.keyboard.press("Escape");
  await page.fill("input[name=min]", "10s");
  await page.waitForSelector("text=No trace fits");
  assert.deepEqual(complaints, []);
  await done();
});

test("a real control plane that is gone is named, what was known stays, and it is back by itself", needsDemo, async (t) => {
  const road = await way(t);
  const { page, done } = await visit(road.url);
  await page.waitForSelector(`[data-node="${NAMES.called}"]`);
  await page.waitForSelector("[data-link=live]");

  road.cut(true);
  await page.waitForSelector("[data-banner=lost]");
  assert.equal(await page.locator(`[data-node="${NAMES.called}"]`).count(), 1);
  assert.equal(await page.getAttribute("[data-moving]", "data-moving"), "false");

  road.cut(false);
  await page.waitForSelector("[data-banner=lost]", { state: "detached" });
  await page.waitForSelector("[data-link=live]", { timeout: 25_000 });
  await done();
});

test("a real control plane whose streams are all taken is asked again and again", needsDemo, async (t) => {
  const { page, done } = await visit(real);
  await page.route("**/api/v1/stream*", (route) => route.fulfill({ status: 503, contentType: "text/plain", body: "too many streams" }));
  await page.reload();
  await page.waitForSelector("[data-link=polling]");
  await page.waitForSelector(`[data-node="${NAMES.called}"]`);
  const summary = await page.textContent("[data-summary]");
  await page.waitForFunction((old) => document.querySelector("[data-summary]").textContent !== old, summary);
  await done();
});

const QUIET = `apiVersion: v1
kind: Namespace
metadata: {name: quiet}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: quiet}
spec:
  selector: {app: nobody}
  ports: [{name: http, port: 80}]
`;

test("a real control plane without proxies and traffic says on each page what to do", needsDemo, async (t) => {
  const base = await alone(t, { "quiet.yaml": QUIET });
  const { page, complaints, done } = await visit(base);
  await page.waitForSelector("text=No traffic seen yet");
  for (const [path, words] of [["proxies", "No proxy is connected"], ["weights", "Nothing is split"]]) {
    await page.goto(base + path);
    await page.waitForSelector(`text=/${words}/i`).catch(async (error) => assert.fail(`${path}: ${error}\n${await page.textContent("main")}`));
  }
  await page.goto(`${base}traces`);
  await page.waitForSelector("[data-trace]");
  assert.match(await page.textContent("[data-trace]"), /configuration change.*tidegate/, "its own, of reading the files");
  await page.goto(`${base}policies`);
  await page.waitForSelector('[data-file="quiet.yaml"]');
  assert.deepEqual(complaints, []);
  await done();
});
