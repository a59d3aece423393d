// For everybody: keys alone, dark and light, Chinese, less motion, enough contrast.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, fixture, NAMES, open, picture, real, visit } from "./browser.mjs";

let base;
before(async () => {
  await open();
  base = real ?? (await fixture()).url;
});
after(close);

const focused = (page) => page.evaluate(() => document.activeElement?.dataset?.node ?? null);

test("the keyboard alone finds a node, walks, opens, reads an edge and closes", async () => {
  const { page, complaints, done } = await visit(base);
  await page.waitForSelector(`[data-node="${NAMES.called}"]`);
  for (let presses = 0; presses < 60 && (await focused(page)) === null; presses += 1) await page.keyboard.press("Tab");
  const start = await focused(page);
  assert.ok(start, "Tab reaches the graph");

  await page.keyboard.press("ArrowRight");
  const next = await focused(page);
  assert.notEqual(next, start);
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement.querySelector(".node-box")).strokeWidth);
  assert.equal(ring, "3px", "the focus can be seen");

  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-panel=node]");
  await page.focus("[data-open-edge]");
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-panel=edge]");
  await page.keyboard.press("Escape");
  await page.waitForSelector("[data-panel]", { state: "detached" });

  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open]");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog[open]", { state: "detached" });
  await page.keyboard.press("3");
  await page.waitForSelector("[data-proxy]");
  assert.deepEqual(complaints, []);
  await done();
});

test("colours follow the system until somebody chooses, and the choice is remembered", async () => {
  const { page, done } = await visit(base, "", { dark: true });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.waitForSelector("[data-node]");
  const dark = await ground();

  await page.click("[data-theme-switch]");
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  await page.waitForSelector("[data-node]");
  assert.equal(await ground(), light);
  await done();
});

test("Chinese by the browser's language, English by choice", async () => {
  const { page, complaints, done } = await visit(base, "", { language: "zh-CN" });
  await page.waitForSelector("[data-node]");
  assert.equal(await page.textContent("[data-page=topology]"), "拓扑");
  assert.equal(await page.getAttribute("html", "lang"), "zh-Hans");
  await picture(page, "topology-chinese");

  await page.click("[data-language]");
  assert.equal(await page.textContent("[data-page=topology]"), "Topology");
  await page.reload();
  await page.waitForSelector("[data-node]");
  assert.equal(await page.textContent("[data-page=topology]"), "Topology");
  assert.deepEqual(complaints, []);
  await done();
});

test("nothing moves for who asks for less motion", async () => {
  const { page, done } = await visit(base, "", { reduced: true });
  await page.waitForSelector("[data-node]");
  assert.equal(await page.getAttribute("[data-moving]", "data-moving"), "false");
  assert.equal(await page.isDisabled("[data-particles]"), true);
  const dots = await page.$eval(".graph-particles", (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0));
  assert.equal(dots, false);
  await done();
});

const INKS = ["--ink", "--ink-soft", "--ink-quiet", "--accent", "--failing", "--degraded", "--note"];
const GROUNDS = ["--ground", "--surface", "--raised", "--sunken"];
const PAIRS = [...INKS.flatMap((ink) => GROUNDS.map((ground) => [ink, ground, 4.5])), ["--failing", "--failing-ground", 4.5], ["--degraded", "--degraded-ground", 4.5], ["--accent", "--accent-ground", 4.5], ["--ink", "--accent-ground", 4.5], ["--ink-quiet", "--box", 4.5], ["--edge", "--ground", 3], ["--healthy", "--surface", 3], ["--idle", "--surface", 3], ["--particle", "--ground", 3], ["--surface", "--service-0", 4.5]];

test("every pair of ink and ground has the contrast of WCAG AA, dark and light", async () => {
  for (const dark of [false, true]) {
    const { page, done } = await visit(base, "", { dark });
    const weak = await page.evaluate((pairs) => {
      const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const light = (name) => {
        canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      return pairs.flatMap(([ink, ground, least]) => {
        const [a, b] = [light(ink), light(ground)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return ratio < least ? [`${ink} on ${ground}: ${ratio.toFixed(2)}, ${least} wanted`] : [];
      });
    }, PAIRS);
    assert.deepEqual(weak, [], dark ? "dark" : "light");
    await done();
  }
});
