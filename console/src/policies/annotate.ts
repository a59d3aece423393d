// Brings a file and its findings together: which letters of which line are underlined, and what is said under them.

import { placesOf, type Finding, type Place } from "../api/model.ts";

export type Tone = "failing" | "degraded" | "note";

export interface Mark {
  from: number;
  to: number;
  tone: Tone;
}

export interface Note {
  // Where the sentence begins: under the first letter of its mark.
  column: number;
  tone: Tone;
  finding: Finding;
  label: string;
  // The first place of a finding carries its message and cure; the others only what they contribute.
  primary: boolean;
}

export interface Line {
  number: number;
  text: string;
  marks: Mark[];
  notes: Note[];
}

export interface Annotated {
  lines: Line[];
  // Findings about the file that point at no line of it.
  elsewhere: Finding[];
}

export function annotate(path: string, text: string, findings: Finding[]): Annotated {
  const lines: Line[] = text.replace(/\n$/, "").split("\n").map((line, at) => ({ number: at + 1, text: line.replace(/\r$/, ""), marks: [], notes: [] }));
  const elsewhere: Finding[] = [];
  for (const finding of findings) {
    const here = placesOf(finding)
      .map((place, at) => ({ place, primary: place.primary ?? at === 0 }))
      .filter(({ place }) => place.file === path && lines[place.line - 1] !== undefined);
    if (here.length === 0) elsewhere.push(finding);
    here.forEach(({ place, primary }, at) => note(lines[place.line - 1]!, place, finding, primary || at === 0));
  }
  for (const line of lines) line.marks.sort((a, b) => a.from - b.from || a.to - b.to);
  return { lines, elsewhere };
}

function note(line: Line, place: Place, finding: Finding, primary: boolean): void {
  const tone = toneOf(finding.severity);
  // A column counts characters, a string of this language counts halves of some of them.
  const letters = [...line.text];
  const indent = letters.findIndex((letter) => letter !== " ");
  const whole = place.column === 0; // No column: the line itself.
  const column = Math.min(whole ? Math.max(indent, 0) : place.column - 1, Math.max(letters.length - 1, 0));
  const length = whole ? letters.length - column : place.length && place.length > 0 ? place.length : wordAt(letters, column);
  const from = letters.slice(0, column).join("").length;
  const to = letters.slice(0, column + length).join("").length;
  line.marks.push({ from, to: Math.max(to, from + 1), tone });
  line.notes.push({ column, tone, finding, label: place.label ?? "", primary });
}

function wordAt(letters: string[], column: number): number {
  const end = letters.findIndex((letter, at) => at > column && /[\s,:}\]]/.test(letter));
  return (end === -1 ? letters.length : end) - column;
}

export function toneOf(severity: string): Tone {
  if (severity === "error") return "failing";
  return severity === "warning" ? "degraded" : "note";
}

export interface Piece {
  text: string;
  kind: "plain" | "key" | "comment";
  tone: Tone | null;
}

// A line in pieces of one colour and one underline each.
export function pieces(line: Pick<Line, "text" | "marks">): Piece[] {
  const colours = yaml(line.text);
  const cuts = new Set([0, line.text.length]);
  for (const { from, to } of [...colours, ...line.marks]) cuts.add(from).add(Math.min(to, line.text.length));
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(0, -1).map((from, at) => ({
    text: line.text.slice(from, sorted[at + 1]),
    kind: colours.find((colour) => colour.from <= from && from < colour.to)?.kind ?? "plain",
    tone: line.marks.find((mark) => mark.from <= from && from < mark.to)?.tone ?? null,
  }));
}

// Just enough YAML to tell keys and comments from values; a wrong guess costs a colour.
function yaml(text: string): { from: number; to: number; kind: "key" | "comment" }[] {
  const comment = /(^|\s)#.*$/.exec(text);
  const end = comment ? comment.index + comment[1]!.length : text.length;
  const keys = [...text.slice(0, end).matchAll(/(?<=^[\s-]*|[{,]\s*)[\w./-]+(?=:(\s|$))/g)].map((key) => ({ from: key.index, to: key.index + key[0].length, kind: "key" as const }));
  return comment ? [...keys, { from: end, to: text.length, kind: "comment" }] : keys;
}
