// What every test of the console in a browser needs: Chromium, a page on the control plane that is asked for or on the fixture, and
// a place for pictures.
//
// CONSOLE_URL=http://127.0.0.1:15014/console/ runs the tests against that control plane; those that need the fixture's invented
// troubles are then left out, loudly.

import { accessSync, constants, mkdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startFixture } from "./fixture.mjs";

const here = dirname(fileURLToPath(import.meta.url));
export const pictures = join(here, "../../target/console");
export const real = process.env.CONSOLE_URL?.replace(/\/?$/, "/") ?? null;
export const needsFixture = real ? { skip: "SKIPPED: needs the fixture's invented mesh, and CONSOLE_URL names another" } : {};

const VIEWPORT = { width: 1440, height: 900 };
const WAIT_MS = 15_000; // The machine may be busy; a page that takes longer is broken.

// The names that the tests look for. The bookshop of examples/bookinfo, which the fixture plays too.
export const NAMES = {
  namespace: "bookinfo",
  caller: "bookinfo/productpage/v1",
  split: ["bookinfo/reviews/v1", "bookinfo/reviews/v2"],
  called: "bookinfo/details/v1",
  file: "reviews.yaml",
};

let browser = null;
const fixtures = [];

export async function open() {
  browser ??= await chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  mkdirSync(pictures, { recursive: true });
  return browser;
}

export async function close() {
  await browser?.close();
  browser = null;
  for (const fixture of fixtures.splice(0)) await fixture.close();
}

export async function fixture(options) {
  const started = await startFixture(options);
  fixtures.push(started);
  return started;
}

// A page in a context of its own, which fails the test when the console logs an error or asks anybody else than its server.
export async function visit(base, path = "", { dark = false, language = "en-GB", reduced = false, settings } = {}) {
  const context = await (await open()).newContext({ viewport: VIEWPORT, colorScheme: dark ? "dark" : "light", locale: language, reducedMotion: reduced ? "reduce" : "no-preference" });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/Failed to load resource|net::ERR/.test(message.text()) && complaints.push(message.text()));
  page.on("request", (request) => new URL(request.url()).origin !== new URL(base).origin && complaints.push(`asked ${request.url()}`));
  if (settings) await page.addInitScript((value) => localStorage.setItem("tidegate.console", value), JSON.stringify(settings));
  await page.goto(base + path);
  return { page, complaints, done: () => context.close() };
}

export async function picture(page, name) {
  await page.screenshot({ path: join(pictures, `${name}.png`) });
}

function chromiumPath() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not in this folder.
      }
    }
  }
  throw new Error("no chromium in PATH: bash console/install.sh installs one");
}
