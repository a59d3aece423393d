// Findings stand where they belong, also when what is said about their place is odd.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../api/model.ts";
import { annotate, pieces } from "./annotate.ts";

const TEXT = "kind: X\nspec:\n  weight: 90 # too much\n";
const finding = (places: Finding["places"], severity = "error"): Finding => ({ code: "P0107", severity, message: "m", help: "h", places });
const place = (line: number, column: number, length?: number, file = "a.yaml") => ({ file, line, column, length });

test("the letters of the place are underlined and the message stands under them", () => {
  const { lines } = annotate("a.yaml", TEXT, [finding([place(3, 11, 2)])]);
  assert.equal(lines.length, 3);
  assert.deepEqual(lines[2]!.marks, [{ from: 10, to: 12, tone: "failing" }]);
  assert.deepEqual(pieces(lines[2]!).filter((piece) => piece.tone).map((piece) => piece.text), ["90"]);
  assert.equal(lines[2]!.notes[0]!.column, 10);
});

test("without a length the word is underlined", () => {
  const { lines } = annotate("a.yaml", TEXT, [finding([place(3, 3)])]);
  assert.deepEqual(pieces(lines[2]!).filter((piece) => piece.tone).map((piece) => piece.text), ["weight"]);
});

test("one finding may have several places, and only the first says everything", () => {
  const { lines } = annotate("a.yaml", TEXT, [finding([place(1, 1), place(2, 1)])]);
  assert.deepEqual(lines.map((line) => line.notes.map((note) => note.primary)), [[true], [false], []]);
});

test("what points nowhere in this file is kept beside it", () => {
  const result = annotate("a.yaml", TEXT, [finding([place(99, 1)]), finding([place(1, 1, 1, "b.yaml")]), { code: "C0001", severity: "warning", message: "m" }]);
  assert.equal(result.elsewhere.length, 3);
});

test("the older form of a finding is understood", () => {
  const { lines } = annotate("a.yaml", TEXT, [{ code: "P1", severity: "warning", message: "m", file: "a.yaml", line: 2, column: 1 }]);
  assert.equal(lines[1]!.marks[0]!.tone, "degraded");
});

test("columns count characters, and one beyond the line marks its end", () => {
  const { lines } = annotate("a.yaml", "name: 🐚x\n", [finding([place(1, 8, 1)]), finding([place(1, 99, 5)])]);
  assert.deepEqual(pieces(lines[0]!).filter((piece) => piece.tone).map((piece) => piece.text).join(""), "x");
});

test("a place without a column is its whole line, and the server says which place the finding is about", () => {
  const places = [{ ...place(1, 1), primary: false }, { ...place(3, 0), primary: true }];
  const { lines } = annotate("a.yaml", TEXT, [finding(places)]);
  assert.deepEqual(lines[2]!.marks, [{ from: 2, to: 23, tone: "failing" }]);
  assert.equal(lines[2]!.notes[0]!.primary, true);
});

test("pieces of a line are the line", () => {
  for (const text of ["", "  - {name: a, limit: {requests: 1}} # x", "a: 'b#c'", "url: http://x:1/"]) {
    assert.equal(pieces({ text, marks: [{ from: 0, to: 3, tone: "note" }] }).map((piece) => piece.text).join(""), text);
  }
});
