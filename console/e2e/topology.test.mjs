// The topology: drawn from live answers, filtered before it is drawn, still when it is refreshed, honest about what it leaves out.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, fixture, NAMES, needsFixture, open, picture, real, visit } from "./browser.mjs";

let base;
before(async () => {
  await open();
  base = real ?? (await fixture()).url;
});
after(close);

const node = (id) => `[data-node="${id}"]`;
const places = (page) => page.$$eval("[data-node]", (all) => Object.fromEntries(all.map((one) => [one.dataset.node, one.getAttribute("transform")])));

test("the mesh is drawn: nodes, edges, a lock, a number and weights on each edge of a split", async () => {
  const { page, complaints, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));

  for (const id of [NAMES.caller, NAMES.called, ...NAMES.split]) assert.equal(await page.locator(node(id)).count(), 1, id);
  const label = page.locator(`[data-edge-label="${NAMES.caller}>${NAMES.split[0]}>http"]`);
  assert.match(await label.textContent(), /r\/s/);
  assert.match(await label.locator("[data-weight]").getAttribute("data-weight"), /^[\d.]+ → [\d.–]+ → [\d.–]+ %$/);
  assert.match(await page.locator(node(NAMES.caller)).getAttribute("aria-label"), /productpage v1, namespace bookinfo, \w+, [\d.k]+ requests\/s/);
  assert.match(await page.textContent("[data-command]"), /^tidegate topology --window 1m -o table$/);
  await picture(page, "topology-light");
  assert.deepEqual(complaints, []);
  await done();
});

test("a refresh moves nobody, and a hand on the picture is respected", async () => {
  const { page, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));
  const before = await places(page);
  const [text, view] = [await page.textContent("[data-summary]"), () => page.getAttribute("[data-moves]", "transform")];
  await page.mouse.move(700, 650);
  const fitted = await view();
  await page.mouse.wheel(0, -300);
  await page.waitForFunction((old) => document.querySelector("[data-moves]").getAttribute("transform") !== old, fitted);
  const held = await view();

  await page.waitForFunction((old) => document.querySelector("[data-summary]").textContent !== old, text);

  assert.deepEqual(await places(page), before);
  assert.equal(await view(), held);
  await page.keyboard.press("f");
  assert.notEqual(await view(), held);
  await done();
});

test("filters act before drawing and stand in the address", async () => {
  const { page, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));

  await page.fill("input[name=find]", "details");
  await page.waitForSelector(node(NAMES.split[0]), { state: "detached" });
  assert.equal(await page.locator(node(NAMES.called)).count(), 1);
  assert.equal(await page.locator(node(NAMES.caller)).count(), 1, "who calls what was found stays");
  assert.match(page.url(), /find=details/);
  assert.ok(Number(await page.getAttribute("[data-hidden]", "data-hidden")) > 0);

  await page.fill("input[name=find]", "");
  await page.fill("input[name=hide]", "ratings");
  await page.waitForSelector(node("bookinfo/ratings/v1"), { state: "detached" });
  await page.reload();
  await page.waitForSelector(node(NAMES.called));
  assert.equal(await page.locator(node("bookinfo/ratings/v1")).count(), 0, "a link shows the same");
  await done();
});

test("window, type and namespace ask the control plane anew", async () => {
  const { page, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));

  await page.click("[data-choice=window] [data-value='10m']");
  await page.selectOption("select[name=type]", "app");
  await page.waitForSelector(node("bookinfo/reviews"));
  await page.click("[data-menu=namespaces] summary");
  await page.check(`input[name=namespace][value=${NAMES.namespace}]`);
  await page.waitForFunction(() => document.querySelector("[data-command]").textContent.includes("--namespace"));

  assert.equal(await page.textContent("[data-command]"), "tidegate topology --window 10m --namespace bookinfo --type app -o table");
  assert.match(page.url(), /window=10m.*namespace=bookinfo/);
  await page.goBack();
  await page.waitForFunction(() => !location.search.includes("namespace"));
  await done();
});

test("only errors keeps what fails, as a shape and not as a colour alone", needsFixture, async () => {
  const { page, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));

  await page.click("[data-toggle=errors]");
  await page.waitForSelector(node(NAMES.called), { state: "detached" });

  assert.equal(await page.locator("[data-edge]").count(), 2);
  const shapes = await page.$$eval("[data-node] [data-shape] .health-body", (all) => all.map((one) => `${one.parentElement.dataset.shape} ${one.getAttribute("d")}`));
  assert.ok(new Set(shapes.map((shape) => shape.split(" ")[1])).size >= 2, shapes.join("; "));
  await done();
});

test("an edge opens its panel: charts, both sides, policies, command, traces", async () => {
  const { page, complaints, done } = await visit(base);
  await page.waitForSelector(node(NAMES.called));

  await page.locator(`[data-edge-label="${NAMES.caller}>${NAMES.split[0]}>http"]`).click();
  await page.waitForSelector("[data-panel=edge] .u-over");

  for (const section of ["weights", "codes", "reporters", "policies", "ways"]) assert.equal(await page.locator(`[data-section=${section}]`).count(), 1, section);
  assert.equal(await page.locator(".chart canvas").count(), 3);
  assert.match(await page.textContent("[data-section=ways] [data-command]"), /^tidegate edges --window 1m --namespace bookinfo -o table$/);
  assert.match(await page.getAttribute("[data-traces]", "href"), /\/console\/traces\?service=reviews/);
  assert.equal(new URL(page.url()).searchParams.get("edge"), `${NAMES.caller}>${NAMES.split[0]}>http`);
  await page.keyboard.press("Escape");
  await page.waitForSelector("[data-panel]", { state: "detached" });
  assert.deepEqual(complaints, []);
  await done();
});

test("updates can be paused", async () => {
  const { page, done } = await visit(base);
  await page.waitForSelector("[data-link=live], [data-link=polling]");
  await page.keyboard.press("p");
  await page.waitForSelector("[data-link=paused]");
  assert.equal(await page.getAttribute("[data-moving]", "data-moving"), "false");
  await page.keyboard.press("p");
  await page.waitForSelector("[data-link=live], [data-link=polling]");
  await done();
});

test("without a stream the same is asked for again and again", needsFixture, async () => {
  const silent = await fixture({ streams: false });
  const { page, done } = await visit(silent.url);
  await page.waitForSelector("[data-link=polling]");
  await page.waitForSelector(node(NAMES.called));
  await done();
});

test("a control plane that is gone is named, and back again without a key", needsFixture, async () => {
  const frail = await fixture();
  const { page, done } = await visit(frail.url);
  await page.waitForSelector(node(NAMES.called));

  frail.fail(true);
  await page.waitForSelector("[data-banner=lost]");
  assert.equal(await page.locator(node(NAMES.called)).count(), 1, "what was known stays");
  assert.equal(await page.getAttribute("[data-moving]", "data-moving"), "false", "and nothing moves as if it were now");
  await picture(page, "lost-light");

  frail.fail(false);
  await page.waitForSelector("[data-banner=lost]", { state: "detached" });
  await page.waitForSelector("[data-link=live], [data-link=polling]");
  await done();
});

test("a mesh without traffic says what to do", needsFixture, async () => {
  const empty = await fixture({ mesh: "empty" });
  const { page, done } = await visit(empty.url);
  await page.waitForSelector("text=No traffic seen yet");
  await picture(page, "empty-light");
  await done();
});
