// Runs the unit tests, which lie beside what they test: bundled to plain JavaScript first, because Node 20 reads no types.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = join(here, "../target/console/unit");
const wanted = process.argv[2] ?? "";

const tests = readdirSync(join(here, "src"), { recursive: true })
  .filter((path) => /\.test\.tsx?$/.test(path) && path.includes(wanted))
  .map((path) => join(here, "src", path));
if (tests.length === 0) throw new Error(`no test's path contains ${wanted}`);

rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: tests,
  outdir,
  outbase: join(here, "src"),
  bundle: true,
  platform: "node",
  format: "esm",
  outExtension: { ".js": ".mjs" },
  jsx: "automatic",
  jsxImportSource: "preact",
});
const built = readdirSync(outdir, { recursive: true }).filter((path) => path.endsWith(".mjs")).map((path) => join(outdir, path));
const run = spawnSync(process.execPath, ["--test", ...built], { stdio: "inherit" });
process.exit(run.status ?? 1);
