// Traces, proxies, policies and weights.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, fixture, NAMES, needsFixture, open, real, visit } from "./browser.mjs";

let base;
before(async () => {
  await open();
  base = real ?? (await fixture()).url;
});
after(close);

test("a waterfall opens from an edge, and the arrow keys walk it", async () => {
  const { page, complaints, done } = await visit(base, `topology?edge=${encodeURIComponent(`${NAMES.caller}>${NAMES.split[0]}>http`)}`);
  await page.click("[data-traces]");
  await page.waitForSelector("[data-trace]");
  assert.match(await page.inputValue("select[name=service]"), /reviews/);

  await page.click("[data-trace] a");
  await page.waitForSelector("[data-span]");
  assert.match(page.url(), /\/console\/traces\/[0-9a-f]+/);
  const spans = await page.locator("[data-span]").count();
  assert.ok(spans >= 2);

  await page.focus("[data-span][tabindex='0']");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-span-detail] [data-tags=attributes]");
  assert.match(page.url(), /span=/);
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction((all) => document.querySelectorAll("[data-span]").length < all, spans);
  await page.keyboard.press("Escape");
  await page.waitForSelector("[data-trace]");
  assert.deepEqual(complaints, []);
  await done();
});

test("traces are filtered by errors and by duration", needsFixture, async () => {
  const { page, done } = await visit(base, "traces?service=reviews.bookinfo");
  const count = () => page.locator("[data-trace]").count();
  await page.waitForSelector("[data-trace]");
  const all = await count();

  await page.click("[data-toggle=failed]");
  await page.waitForFunction(() => [...document.querySelectorAll("[data-trace]")].every((row) => row.dataset.failed === "true"));
  const failed = await count();
  assert.ok(failed > 0 && failed < all);
  await page.fill("input[name=min]", "10s");
  await page.waitForSelector("text=No trace fits");
  assert.match(page.url(), /failed=1.*|min=10s/);
  await done();
});

test("an error's events are in the detail of its span", needsFixture, async () => {
  const { page, done } = await visit(base, "traces?service=reviews.bookinfo&failed=1");
  await page.click("[data-trace] a");
  const failed = page.locator("[data-span][data-failed=true]", { hasText: "GET /reviews/0" });
  await failed.click();
  await page.waitForSelector("[data-span-detail] [data-events]");
  assert.match(await page.textContent("[data-events]"), /ConnectionReset/);
  await done();
});

test("each proxy shows its types", async () => {
  const { page, complaints, done } = await visit(base, "proxies");
  await page.waitForSelector("[data-proxy]");
  assert.ok((await page.locator("[data-proxy]").count()) >= 7);
  assert.ok((await page.locator("[data-state]").count()) >= 7);
  assert.equal(await page.textContent("[data-command]"), "tidegate status");
  assert.deepEqual(complaints, []);
  await done();
});

test("a refusal comes first, in the proxy's own words", needsFixture, async () => {
  const { page, done } = await visit(base, "proxies");
  await page.waitForSelector("[data-nack=RDS]");
  assert.match(await page.textContent("[data-nack=RDS]"), /1 min 34 s ago.*weights are all zero/);
  const order = await page.$$eval("[data-proxy]", (all) => all.map((one) => one.dataset.health));
  assert.deepEqual(order.slice(0, 3), ["failing", "degraded", "healthy"]);
  await done();
});

test("policies are listed and open their file", async () => {
  const { page, complaints, done } = await visit(base, "policies");
  await page.click('[data-policy="VirtualService/bookinfo/reviews"] a');
  await page.waitForSelector(`[data-file-view="${NAMES.file}"] [data-line="1"]`);
  assert.match(await page.textContent('[data-line="1"]'), /Which version of reviews answers/);
  assert.ok((await page.locator("[data-conditions] li").count()) >= 1);
  assert.equal(await page.textContent("[data-command]"), "tidegate status VirtualService bookinfo/reviews");
  assert.deepEqual(complaints, []);
  await done();
});

test("a finding stands under its line, underlined where it is, and a broken file says that it is not in force", needsFixture, async () => {
  const { page, done } = await visit(base, "policies?file=ledger.yaml");
  await page.waitForSelector("[data-banner=not-in-force]");
  assert.equal(await page.textContent('[data-line="11"] mark'), "90");
  const first = page.locator("[data-finding=P0107]").first();
  assert.equal(await first.getAttribute("data-at"), "11:15");
  assert.match(await first.textContent(), /v1 gets 90 %.*add up to 110.*help:.*lower one weight by 10/);
  assert.equal(await page.locator('[data-line="11"] + [data-finding=P0107]').count(), 1);
  assert.match(await page.locator('[data-line="13"] + [data-finding]').textContent(), /v2 gets 20 %/);
  assert.equal(await page.getAttribute("[data-config]", "data-config"), "rejected");
  await done();
});

test("weights stand side by side: desired, acknowledged, observed", async () => {
  const { page, complaints, done } = await visit(base, "weights");
  await page.waitForSelector("[data-split]");
  const first = page.locator('[data-split*="reviews"]').first();
  for (const row of ["desired", "acknowledged", "observed"]) assert.ok((await first.locator(`[data-row=${row}]`).count()) >= 2, row);
  assert.match(await first.locator("[data-acks]").first().getAttribute("data-acks"), /^\d+\/\d+$/);
  assert.deepEqual(complaints, []);
  await done();
});
