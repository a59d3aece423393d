// Lines that can be pasted: nothing that is a default, nothing that a shell would take apart.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CLI, quote } from "./cli.ts";

test("a line says what the page shows, without defaults", () => {
  assert.equal(CLI.topology({ window: "10m", namespaces: ["shop", "bank"], type: "versionedApp" }), "tidegate topology --window 10m --namespace shop,bank -o table");
  assert.equal(CLI.edges({ window: "1m", namespaces: ["shop", "shop", ""], type: "app" }), "tidegate edges --window 1m --namespace shop --type app -o table");
  assert.equal(CLI.object({ kind: "RateLimit", namespace: "", name: "fair" }), "tidegate status RateLimit fair");
});

test("what a shell would take apart is quoted", () => {
  assert.equal(quote("a b"), "'a b'");
  assert.equal(quote("it's"), "'it'\\''s'");
  assert.equal(CLI.check({ directory: "my mesh; rm -rf" }), "tidegate check 'my mesh; rm -rf'");
});
