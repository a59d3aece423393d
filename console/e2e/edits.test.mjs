// Files of a real mesh edited on disk, and what the console shows of it, and when.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, NAMES, open, picture, real, visit } from "./browser.mjs";
import { api, files, needsDemo, until, watch } from "./demo.mjs";

const SHOWN_MS_MAX = 2_000; // While the editor is still in sight.
const FOLLOWED_MS_MAX = 60_000; // What is observed is a mean of the last minute.
const CANARY = '[data-split="bookinfo/reviews/canary"]';
const EDGE = `${NAMES.caller}>${NAMES.split[0]}>http`;

before(async () => {
  if (real) await open();
});
after(close);

const weights = (text, v1, v2) => text.replace(/(subset: v1}\n\s+weight: )\d+/, `$1${v1}`).replace(/(subset: v2}\n\s+weight: )\d+/, `$1${v2}`);
const row = (page, version, name) => page.textContent(`${CANARY} [data-destination=${version}] [data-row=${name}] .weight-value`);

test("a weight that is edited on disk is desired and acknowledged within two seconds, and observed follows", needsDemo, async (t) => {
  const mesh = await files(t);
  const [list, graph] = [await visit(real, "weights"), await visit(real)];
  await list.page.waitForSelector(CANARY);
  await graph.page.waitForSelector(`[data-edge-label="${EDGE}"] [data-weight]`);
  const start = Number.parseFloat(await row(list.page, "v1", "observed"));
  const shows = ([card, name, wanted]) => document.querySelector(`${card} [data-destination=v1] [data-row=${name}] .weight-value`)?.textContent === wanted;
  const acknowledged = ([card]) => {
    const acks = document.querySelector(`${card} [data-destination=v1] [data-acks]`).dataset.acks.split("/");
    return acks[0] === acks[1] && document.querySelector(`${card} [data-destination=v1] [data-row=acknowledged] .weight-value`).textContent === "25 %";
  };
  const drawn = ([edge]) => document.querySelector(`[data-edge-label="${edge}"] [data-weight]`)?.dataset.weight.startsWith("25 → 25 → ");
  const moments = [watch(list.page, shows, [CANARY, "desired", "25 %"]), watch(list.page, acknowledged, [CANARY]), watch(graph.page, drawn, [EDGE])];

  const edited = mesh.save(NAMES.file, weights(mesh.read(NAMES.file), 25, 75));

  const [desired, taken, inGraph] = (await Promise.all(moments)).map((moment) => moment - edited);
  const proxies = await list.page.getAttribute(`${CANARY} [data-destination=v1] [data-acks]`, "data-acks");
  console.log(`an edit of a weight: desired after ${desired} ms, acknowledged by ${proxies} proxies after ${taken} ms, both in the graph after ${inGraph} ms`);
  for (const milliseconds of [desired, taken, inGraph]) assert.ok(milliseconds >= 0 && milliseconds < SHOWN_MS_MAX, `${milliseconds} ms`);
  assert.equal(await row(list.page, "v2", "desired"), "75 %");
  await picture(list.page, "edited-weights");
  await picture(graph.page, "edited-topology");

  const half = (start + 25) / 2;
  const followed = ([card, half]) => Number.parseFloat(document.querySelector(`${card} [data-destination=v1] [data-row=observed] .weight-value`).textContent) <= half;
  const met = (await watch(list.page, followed, [CANARY, half], FOLLOWED_MS_MAX)) - edited;
  console.log(`observed went half of the way from ${start} % to 25 % within ${(met / 1000).toFixed(1)} s`);
  assert.deepEqual([...list.complaints, ...graph.complaints], []);
  await list.done();
  await graph.done();
});

const MISTAKES = [
  { name: "an unknown field", from: "weight: 90", to: "wieght: 90", at: "wieght", says: /wieght/ },
  { name: "an unknown subset", from: "{host: reviews, subset: v2}", to: "{host: reviews, subset: v9}", at: "v9", says: /v9/ },
  // A bracket that is not closed shows only in the line below, and the cure says so.
  { name: "broken YAML", from: "hosts: [reviews]", to: "hosts: [reviews", at: "  http:", says: /not YAML.*look at the line above/ },
];

for (const mistake of MISTAKES) {
  test(`${mistake.name} on disk is shown under its line, and is gone when it is mended`, needsDemo, async (t) => {
    const mesh = await files(t);
    const { page, complaints, done } = await visit(real, `policies?file=${NAMES.file}&policy=VirtualService/bookinfo/reviews`);
    await page.waitForSelector(`[data-file-view="${NAMES.file}"] [data-line="1"]`);
    assert.equal(await page.locator("[data-finding], [data-banner]").count(), 0);
    const good = mesh.read(NAMES.file);
    const bad = good.replace(mistake.from, mistake.to);
    assert.notEqual(bad, good);
    const line = bad.split("\n").findIndex((text) => text.includes(mistake.at)) + 1;

    const shown = watch(page, () => document.querySelector("[data-finding]"));
    const broken = mesh.save(NAMES.file, bad);
    const after = (await shown) - broken;

    const finding = page.locator(`[data-line="${line}"] + [data-finding]`).first();
    assert.equal(await finding.count(), 1, `under line ${line}, not ${await page.$$eval("[data-finding]", (all) => all.map((one) => `${one.dataset.at} ${one.textContent}`))}`);
    assert.match(await finding.textContent(), mistake.says);
    assert.ok((await page.locator(`[data-line="${line}"] mark`).count()) >= 1, "the place is underlined");
    await page.waitForSelector("[data-banner=not-in-force]");
    await page.waitForSelector("[data-config=rejected]");
    assert.ok(after < SHOWN_MS_MAX, `${after} ms`);
    await picture(page, `finding-${mistake.name.replaceAll(" ", "-")}`);
    const { splits } = await api("/api/v1/splits");
    assert.equal(splits.find(({ route }) => route === "canary").destinations[0].acknowledged, 0.9, "proxies keep the last good one");

    const gone = watch(page, () => !document.querySelector("[data-finding], [data-banner]"));
    const mended = mesh.save(NAMES.file, good);
    const healed = (await gone) - mended;

    console.log(`${mistake.name}: shown at line ${line} after ${after} ms, gone ${healed} ms after it was mended`);
    assert.ok(healed < SHOWN_MS_MAX, `${healed} ms`);
    await page.waitForSelector("[data-config=current]");
    assert.deepEqual(complaints, []);
    await done();
  });
}

test("an object that is added is listed with its state, and one that is removed is not", needsDemo, async (t) => {
  const mesh = await files(t);
  const { page, complaints, done } = await visit(real, "policies");
  await page.waitForSelector('[data-policy="VirtualService/bookinfo/reviews"]');
  const added = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: bookinfo}
spec:
  hosts: [details]
  http:
  - timeout: 3s
    route:
    - destination: {host: details}
`;
  mesh.save("details.yaml", added);

  await page.waitForSelector('[data-policy="VirtualService/bookinfo/details"] [data-policy-state=healthy]');
  const { policies } = await until("/api/v1/policies", ({ policies }) => policies.some(({ name, status }) => name === "details" && status === "Programmed"));
  assert.equal(await page.getAttribute("[data-policies]", "data-policies"), String(policies.length));
  await page.waitForFunction(() => document.querySelector('[data-policy="VirtualService/bookinfo/details"] [data-policy-state]').textContent.includes("Programmed"));

  mesh.save("details.yaml", null);
  await page.waitForSelector('[data-policy="VirtualService/bookinfo/details"]', { state: "detached" });
  assert.equal(await page.locator('[data-file="details.yaml"]').count(), 0);
  assert.deepEqual(complaints, []);
  await done();
});
