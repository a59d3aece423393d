// Takes a picture of every page, dark and light, for people to look at: target/console/*.png.
//
//     node e2e/pictures.mjs [PART OF A NAME]

import { close, fixture, NAMES, open, picture, real, visit } from "./browser.mjs";

const wanted = process.argv[2] ?? "";
await open();
const base = real ?? (await fixture()).url;
const large = real ?? (await fixture({ mesh: "large" })).url;
const edge = `${NAMES.caller}>${NAMES.split[1]}>http`;

const SHOTS = [
  ["topology", base, "topology", "[data-node]"],
  ["topology-edge", base, `topology?edge=${encodeURIComponent(edge)}`, ".u-legend"],
  ["topology-node", base, `topology?node=${encodeURIComponent(NAMES.caller)}`, ".u-legend"],
  ["topology-large", large, "topology", "[data-node]"],
  ["topology-all", large, "topology?all=1", "[data-node]"],
  ["traces", base, "traces", "[data-traces]"],
  ["proxies", base, "proxies", "[data-proxy]"],
  ["policies", base, "policies", "[data-policy]"],
  ["policies-file", base, "policies?file=ledger.yaml&policy=VirtualService/billing/ledger", "[data-finding]"],
  ["weights", base, "weights", "[data-split]"],
];

for (const [name, url, path, ready] of SHOTS) {
  for (const dark of [false, true]) {
    const full = `${name}-${dark ? "dark" : "light"}`;
    if (!full.includes(wanted)) continue;
    const { page, complaints, done } = await visit(url, path, { dark });
    await page.waitForSelector(ready).catch(() => complaints.push(`${ready} did not appear`));
    // Dots need a few frames to be on the picture.
    await page.evaluate(() => new Promise((ready) => { let frames = 0; const tick = () => (frames++ < 20 ? requestAnimationFrame(tick) : ready()); tick(); }));
    await picture(page, full);
    console.log(full, complaints.join("; "));
    await done();
  }
}
if ("trace".includes(wanted) || wanted === "") {
  for (const dark of [false, true]) {
    const { page, done } = await visit(base, "traces", { dark });
    await page.click("[data-trace][data-failed=true] a, [data-trace] a");
    await page.waitForSelector("[data-span]");
    await page.click("[data-span][data-failed=true], [data-span]");
    await picture(page, `trace-${dark ? "dark" : "light"}`);
    await done();
  }
}
await close();
