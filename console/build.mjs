// Builds console/dist: one page, its script in chunks that load when they are needed, one style sheet.
//
// Every name but index.html's carries a hash of its content, so that a browser may keep what it has. Nothing stands inline
// in the page: the control plane serves it with `default-src 'self'`.

import { build } from "esbuild";
import { mkdirSync, readFileSync, rmSync, writeFileSync, copyFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const BASE = "/console/";

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: { console: "src/main.tsx" },
  outdir: "dist",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  metafile: true,
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  define: { "process.env.NODE_ENV": '"production"' },
});

const outputs = Object.entries(result.metafile.outputs).map(([path, output]) => ({ name: path.replace("dist/", ""), ...output }));
const script = outputs.find((output) => output.entryPoint === "src/main.tsx");
const style = script?.cssBundle?.replace("dist/", "");
if (!script || !style) throw new Error("the build made no script or no style sheet: look at src/main.tsx");

const page = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("{{script}}", BASE + script.name)
  .replace("{{style}}", BASE + style)
  .replace("{{icon}}", `${BASE}icon.svg`);
writeFileSync(join(dist, "index.html"), page);
copyFileSync(join(here, "src/icon.svg"), join(dist, "icon.svg"));

const gzipped = (name) => gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;
const kib = (bytes) => `${(bytes / 1024).toFixed(1).padStart(7)} KiB`;
let bytes = 0;
let packed = 0;
for (const name of [...outputs.map((output) => output.name), "index.html", "icon.svg"]) {
  const size = readFileSync(join(dist, name)).length;
  bytes += size;
  packed += gzipped(name);
  console.log(`${kib(size)} ${kib(gzipped(name))} gz  ${name}`);
}
const foreign = outputs
  .flatMap((output) => Object.entries(output.inputs))
  .filter(([path]) => path.startsWith("node_modules/"))
  .reduce((sum, [, input]) => sum + input.bytesInOutput, 0);
console.log(`${kib(bytes)} ${kib(packed)} gz  in all, ${(foreign / 1024).toFixed(1)} KiB of it not ours (before gzip)`);
