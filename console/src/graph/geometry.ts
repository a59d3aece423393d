// Lines between boxes: curves as SVG paths, the same curves as points for what moves along them, and places for their labels.

import { COLUMN, type Point } from "./layout.ts";

export const NODE_WIDTH = 164;
export const NODE_HEIGHT = 48;
const SAMPLES = 24; // Enough that a particle's way looks round at twice the size.

export interface Curve {
  from: Point;
  c1: Point;
  c2: Point;
  to: Point;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const BOWS = [0, -64, 64, -128, 128, -200, 200, -290, 290];
const LOOKS = 14; // Points of a curve that are looked at: about one for each sixth of a node's width at three columns.

// A line that avoids the nodes between its ends where one of a few bows does; those between are given from left to right.
export function route(source: Point, destination: Point, nodes: Point[]): Curve {
  if (destination.x - source.x < COLUMN * 1.5) return curve(source, destination);
  const between = nodes.filter((node) => node.x > source.x + 1 && node.x < destination.x - 1);
  let best = curve(source, destination);
  let fewest = Number.POSITIVE_INFINITY;
  for (const bow of BOWS) {
    const line = curve(source, destination, bow);
    const met = hits(line, between);
    if (met < fewest) [best, fewest] = [line, met];
    if (met === 0) break;
  }
  return best;
}

function hits(line: Curve, nodes: Point[]): number {
  let met = 0;
  for (let look = 1; look < LOOKS; look += 1) {
    const { x, y } = at(line, look / LOOKS);
    if (nodes.some((node) => Math.abs(node.x - x) < NODE_WIDTH / 2 + 6 && Math.abs(node.y - y) < NODE_HEIGHT / 2 + 6)) met += 1;
  }
  return met;
}

// From the right of the caller to the left of the called; a call against the direction leaves at the bottom and enters there.
export function curve(source: Point, destination: Point, bow = 0): Curve {
  const half = NODE_WIDTH / 2;
  if (destination.x - source.x > NODE_WIDTH) {
    const from = { x: source.x + half, y: source.y };
    const to = { x: destination.x - half - 5, y: destination.y };
    const bend = Math.min((to.x - from.x) / 2, COLUMN * 0.6);
    const reach = bow === 0 ? bend : Math.max(bend, (to.x - from.x) * 0.3);
    return { from, c1: { x: from.x + reach, y: from.y + bow }, c2: { x: to.x - reach, y: to.y + bow }, to };
  }
  const drop = NODE_HEIGHT / 2;
  const from = { x: source.x + half * 0.5, y: source.y + drop };
  const to = { x: destination.x - half * 0.5, y: destination.y + drop + 5 };
  const low = Math.max(from.y, to.y) + 54 + Math.abs(source.x - destination.x) / 12;
  return { from, c1: { x: from.x + 12, y: low }, c2: { x: to.x - 12, y: low }, to };
}

export function path({ from, c1, c2, to }: Curve): string {
  const n = (value: number) => Math.round(value * 10) / 10;
  return `M${n(from.x)} ${n(from.y)}C${n(c1.x)} ${n(c1.y)} ${n(c2.x)} ${n(c2.y)} ${n(to.x)} ${n(to.y)}`;
}

export function at({ from, c1, c2, to }: Curve, t: number): Point {
  const u = 1 - t;
  const [a, b, c, d] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return { x: a * from.x + b * c1.x + c * c2.x + d * to.x, y: a * from.y + b * c1.y + c * c2.y + d * to.y };
}

// Points at equal distances along the curve, so that what moves along it moves evenly.
export function evenly(line: Curve): { points: Float32Array; length: number } {
  const fine = Array.from({ length: SAMPLES * 2 + 1 }, (_, step) => at(line, step / (SAMPLES * 2)));
  const walked = [0];
  for (let step = 1; step < fine.length; step += 1) {
    const [a, b] = [fine[step - 1]!, fine[step]!];
    walked.push(walked[step - 1]! + Math.hypot(b.x - a.x, b.y - a.y));
  }
  const length = walked[walked.length - 1]!;
  const points = new Float32Array((SAMPLES + 1) * 2);
  let step = 1;
  for (let sample = 0; sample <= SAMPLES; sample += 1) {
    const wanted = (length * sample) / SAMPLES;
    while (step < fine.length - 1 && walked[step]! < wanted) step += 1;
    const [a, b] = [fine[step - 1]!, fine[step]!];
    const part = (wanted - walked[step - 1]!) / (walked[step]! - walked[step - 1]! || 1);
    points[sample * 2] = a.x + (b.x - a.x) * part;
    points[sample * 2 + 1] = a.y + (b.y - a.y) * part;
  }
  return { points, length };
}

const TRIED = [0.5, 0.6, 0.4, 0.68, 0.32, 0.76, 0.24, 0.84];

// For each curve the first place along it where its label covers neither a node nor a label that was placed before.
export function labelPlaces(labels: { line: Curve; width: number; height: number }[], nodes: Point[]): Point[] {
  const taken: Box[] = nodes.map((node) => around(node, NODE_WIDTH, NODE_HEIGHT));
  return labels.map(({ line, width, height }) => {
    const spots = TRIED.map((t) => at(line, t));
    const place = spots.find((spot) => !taken.some((box) => overlap(box, around(spot, width, height)))) ?? spots[0]!;
    taken.push(around(place, width, height));
    return place;
  });
}

function around(centre: Point, width: number, height: number): Box {
  return { left: centre.x - width / 2, right: centre.x + width / 2, top: centre.y - height / 2, bottom: centre.y + height / 2 };
}

function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

export function bounds(places: Iterable<Point>, margin: number): Box | null {
  const all = [...places];
  if (all.length === 0) return null;
  const [x, y] = [all.map((p) => p.x), all.map((p) => p.y)];
  const [wide, high] = [NODE_WIDTH / 2 + margin, NODE_HEIGHT / 2 + margin];
  return { left: Math.min(...x) - wide, right: Math.max(...x) + wide, top: Math.min(...y) - high, bottom: Math.max(...y) + high };
}
