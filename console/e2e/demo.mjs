// A real mesh under the tests: what its control plane says, its files on disk, and a way to it that can be cut.
//
// CONSOLE_URL names the control plane of `tidegate demo`. Its files are found by what it says of itself, and only edited where they
// are on this machine. Every edit is put back when its test is over, and waited for.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, existsSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { real } from "./browser.mjs";

export const needsDemo = real ? {} : { skip: "SKIPPED: needs a real mesh, and CONSOLE_URL names none" };

const SETTLE_MS = 10_000; // An edit is with every proxy in milliseconds; the machine may be busy.
const LOOK_MS = 50;
const binary = join(dirname(fileURLToPath(import.meta.url)), "../../target/demo/tidegate");

export async function api(path) {
  const response = await fetch(new URL(path, real));
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

// The same answer again and again, until it is as wanted.
export async function until(path, wanted) {
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const answer = await api(path);
    if (wanted(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`${path} did not become ${wanted}: ${JSON.stringify(answer).slice(0, 2_000)}`);
    await new Promise((later) => setTimeout(later, LOOK_MS));
  }
}

const settled = ({ generation, config, proxies }) => config.state === "current" && proxies.every((proxy) => proxy.settled_generation === generation);

// The mesh's files for one test. They are as they were when it is over, and so is every proxy.
export async function files(test) {
  const { directory } = (await until("/api/v1/status", settled)).config;
  if (!existsSync(directory)) throw new Error(`the files of ${real} are in ${directory}, which is not on this machine`);
  const before = new Map();
  test.after(async () => {
    for (const [name, text] of before) save(name, text);
    await until("/api/v1/policies", ({ in_force, files }) => in_force && [...before].every(([name, text]) => files.some(({ path }) => path === name) === (text !== null)));
    await until("/api/v1/status", settled);
  });
  const read = (name) => (existsSync(join(directory, name)) ? readFileSync(join(directory, name), "utf8") : null);
  // As editors save: a new file that takes the place of the old one; without a text there is none. Gives the moment at which it did.
  const save = (name, text) => {
    const path = join(directory, name);
    if (!before.has(name)) before.set(name, read(name));
    if (text !== null) writeFileSync(`${path}.new`, text);
    const at = Date.now();
    if (text !== null) renameSync(`${path}.new`, path);
    else rmSync(path, { force: true });
    return at;
  };
  return { read, save };
}

// How long after `since` the page showed something, when it was looked for from before it could be there:
//
//     const shown = watch(page, (wanted) => document.body.textContent.includes(wanted), "90");
//     ... bring it about at `since` ...
//     const milliseconds = (await shown) - since;
export async function watch(page, shows, argument, timeout = SETTLE_MS) {
  const moment = await page.waitForFunction(new Function("argument", `return (${shows})(argument) ? Date.now() : 0;`), argument, { timeout });
  return moment.jsonValue();
}

// A way to the control plane that can be cut and mended, as if it had gone away and come back.
export async function way(test) {
  const { hostname, port } = new URL(real);
  const open = new Set();
  let cut = false;
  const relay = createServer((near) => {
    if (cut) return void near.destroy();
    const far = connect(Number(port), hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      open.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        open.delete(socket);
        other.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise((ready) => relay.listen(0, "127.0.0.1", ready));
  const end = () => open.forEach((socket) => socket.destroy());
  test.after(() => {
    end();
    return new Promise((done) => relay.close(done));
  });
  return {
    url: `http://127.0.0.1:${relay.address().port}/console/`,
    cut: (yes) => {
      cut = yes;
      if (yes) end();
    },
  };
}

// A control plane of its own, over these files and without any proxy.
export async function alone(test, contents) {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-console-"));
  for (const [name, text] of Object.entries(contents)) writeFileSync(join(folder, name), text);
  const process_ = spawn(binary, ["serve", "--config", folder, "--state", join(folder, "state"), "--xds", "127.0.0.1:0", "--api", "127.0.0.1:0"], { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, RUST_LOG: "info" } });
  test.after(async () => {
    const ended = new Promise((done) => process_.once("exit", done));
    if (process_.exitCode === null && process_.kill("SIGTERM")) await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  let log = "";
  return new Promise((ready, fail) => {
    process_.once("error", fail);
    process_.once("exit", (code) => fail(new Error(`${binary} ended with ${code}: ${log}`)));
    process_.stderr.on("data", (text) => {
      log += text;
      const address = /api=(127\.0\.0\.1:\d+)/.exec(log);
      if (address && log.includes("configuration applied")) ready(`http://${address[1]}/console/`);
    });
  });
}
