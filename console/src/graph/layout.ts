// Where each node of a graph stands: columns along the direction of calls, one band for each group.
//
// # Why our own
// A picture of a mesh is looked at again and again, so a node must stay where it was. The layout is a function of names alone
// (the order of the input does not matter, traffic does not matter), and one that is given what it answered before moves
// nobody: a new node takes a free place beside its neighbours. Layout libraries optimise each picture by itself and take
// seconds for 500 nodes; this takes milliseconds, so that it needs no worker.
//
// # How
// Cycles are broken depth first, ranks are longest paths, the order within a column comes from a fixed number of barycentre
// sweeps, and heights from isotonic regression towards the neighbours. No dummy nodes: long edges pass behind others.

import { settle } from "./settle.ts";

export interface Link {
  source: string;
  destination: string;
}

export interface Point {
  x: number;
  y: number;
}

export interface Vertex {
  id: string;
  group: string;
}

export interface Layout {
  places: Map<string, Point>;
  // Changes whenever somebody was moved who had a place before.
  moved: boolean;
}

export const COLUMN = 312;
export const ROW = 78;
const BAND_GAP = 64;
const TALL = 1.4; // Higher than this times its width, a picture is broken into stacks of bands side by side.
const FLAT = 6; // Wider than this times its height, a chain of calls is drawn in steps, or calls that skip a station hide each other.
const SWEEPS = 8; // More than eight improve nothing that an eye sees, measured on random graphs.

export function layout(vertices: Vertex[], links: Link[], before?: Map<string, Point>): Layout {
  const graph = index(vertices, links);
  if (before && graph.ids.some((id) => before.has(id))) {
    const kept = keep(graph, before);
    if (kept) return { places: kept, moved: false };
  }
  return { places: arrange(graph), moved: true };
}

interface Graph {
  ids: string[];
  groups: string[];
  out: number[][];
  in: number[][];
}

// Names become numbers in the order of names, so that everything after is independent of the input's order.
function index(vertices: Vertex[], links: Link[]): Graph {
  const sorted = [...new Map(vertices.map((vertex) => [vertex.id, vertex])).values()].sort((a, b) => compare(a.id, b.id));
  const number = new Map(sorted.map((vertex, at) => [vertex.id, at]));
  const out = sorted.map(() => new Set<number>());
  for (const link of links) {
    const from = number.get(link.source);
    const to = number.get(link.destination);
    if (from === undefined || to === undefined || from === to) continue;
    out[from]!.add(to);
  }
  const sortedOut = out.map((set) => [...set].sort((a, b) => a - b));
  const incoming: number[][] = sorted.map(() => []);
  sortedOut.forEach((targets, from) => targets.forEach((to) => incoming[to]!.push(from)));
  return { ids: sorted.map((v) => v.id), groups: sorted.map((v) => v.group), out: sortedOut, in: incoming };
}

function arrange(graph: Graph): Map<string, Point> {
  const rank = ranks(graph);
  const bands = bandsOf(graph, rank).map((nodes) => {
    const heights = settle(order(nodes, rank, graph), graph, ROW);
    const low = Math.min(...heights.values());
    const columns = nodes.map((node) => rank[node]!);
    return { nodes, heights, low, high: Math.max(...heights.values()) - low + ROW, from: Math.min(...columns), columns: Math.max(...columns) - Math.min(...columns) + 1 };
  });
  const places = new Map<string, Point>();
  const [only] = bands;
  const step = bands.length === 1 && only!.columns * COLUMN > only!.high * FLAT && only!.columns > 5 ? ROW * 1.5 : 0;
  for (const { band, left, top } of stack(bands)) {
    for (const [node, y] of band.heights) {
      places.set(graph.ids[node]!, { x: left + rank[node]! * COLUMN, y: Math.round(top + y - band.low + STEPS[rank[node]! % STEPS.length]! * step) });
    }
  }
  return places;
}

const STEPS = [0, 1, -1, 2, -2]; // Three stations on never lie in one line.

interface Band {
  nodes: number[];
  heights: Map<number, number>;
  low: number;
  high: number;
  from: number;
  columns: number;
}

// Bands one below the other; where that gives a tower, in stacks side by side, each of which begins at its own left edge.
function stack(bands: Band[]): { band: Band; left: number; top: number }[] {
  const height = bands.reduce((sum, band) => sum + band.high + BAND_GAP, 0);
  const width = Math.max(1, ...bands.map((band) => band.columns)) * COLUMN + BAND_GAP;
  const stacks = height > width * TALL && bands.length > 3 ? Math.max(1, Math.round(Math.sqrt((height * 1.6) / width))) : 1;
  let [left, top] = [0, 0];
  return bands.map((band, at) => {
    if (stacks > 1 && top > 0 && (top + band.high / 2) * stacks > height) {
      left += width;
      top = 0;
    }
    const place = { band, left: stacks > 1 ? left - band.from * COLUMN : 0, top };
    top += band.high + (at < bands.length - 1 ? BAND_GAP : 0);
    return place;
  });
}

// Longest path from a source, after edges that close a cycle are left out. Written without recursion: a chain of 6,000 calls is legal.
function ranks(graph: Graph): number[] {
  const { finished, closing } = depthFirst(graph);
  const rank = graph.ids.map(() => 0);
  for (const node of finished.reverse()) {
    for (const to of graph.out[node]!) {
      if (!closing.has(node * graph.ids.length + to)) rank[to] = Math.max(rank[to]!, rank[node]! + 1);
    }
  }
  return rank;
}

function depthFirst(graph: Graph): { finished: number[]; closing: Set<number> } {
  const size = graph.ids.length;
  const state = new Uint8Array(size); // 0 unseen, 1 on the path, 2 finished
  const finished: number[] = [];
  const closing = new Set<number>();
  // Nodes that nobody calls come first: traffic enters there.
  const starts = [...graph.ids.keys()].sort((a, b) => Number(graph.in[a]!.length > 0) - Number(graph.in[b]!.length > 0) || a - b);
  for (const start of starts) {
    if (state[start] !== 0) continue;
    const path: { node: number; next: number }[] = [{ node: start, next: 0 }];
    state[start] = 1;
    while (path.length > 0) {
      const step = path[path.length - 1]!;
      const to = graph.out[step.node]![step.next];
      step.next += 1;
      if (to === undefined) {
        state[step.node] = 2;
        finished.push(step.node);
        path.pop();
      } else if (state[to] === 1) {
        closing.add(step.node * size + to);
      } else if (state[to] === 0) {
        state[to] = 1;
        path.push({ node: to, next: 0 });
      }
    }
  }
  return { finished, closing };
}

// Groups from where traffic enters to where it ends.
function bandsOf(graph: Graph, rank: number[]): number[][] {
  const members = new Map<string, number[]>();
  graph.groups.forEach((group, node) => {
    const list = members.get(group);
    if (list) list.push(node);
    else members.set(group, [node]);
  });
  const mean = (nodes: number[]) => nodes.reduce((sum, node) => sum + rank[node]!, 0) / nodes.length;
  return [...members.entries()]
    .map(([group, nodes]) => ({ group, nodes, at: mean(nodes) }))
    .sort((a, b) => a.at - b.at || compare(a.group, b.group))
    .map((band) => band.nodes);
}

function order(nodes: number[], rank: number[], graph: Graph): number[][] {
  const columns: number[][] = [];
  for (const node of nodes) (columns[rank[node]!] ??= []).push(node);
  const filled = [...columns].map((column) => column ?? []);
  const at = new Map<number, number>();
  const remember = (column: number[]) => column.forEach((node, place) => at.set(node, (place + 0.5) / column.length));
  filled.forEach(remember);

  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forward = sweep % 2 === 0;
    for (const column of forward ? filled : [...filled].reverse()) {
      const weight = new Map(column.map((node) => [node, barycentre((forward ? graph.in : graph.out)[node]!, at) ?? at.get(node)!]));
      column.sort((a, b) => weight.get(a)! - weight.get(b)! || a - b);
      remember(column);
    }
  }
  return filled;
}

function barycentre(neighbours: number[], at: Map<number, number>): number | null {
  let sum = 0;
  let found = 0;
  for (const neighbour of neighbours) {
    const place = at.get(neighbour);
    if (place === undefined) continue;
    sum += place;
    found += 1;
  }
  return found === 0 ? null : sum / found;
}

// Who had a place keeps it; who is new gets the free one nearest to its neighbours. A place of somebody who is away just now is
// not free: a caller without traffic for a minute comes back to where it was. Nothing when the picture would be bad: half
// of it is new, or a band would grow into the next.
function keep(graph: Graph, before: Map<string, Point>): Map<string, Point> | null {
  const fresh = graph.ids.filter((id) => !before.has(id));
  if (fresh.length * 2 > graph.ids.length) return null;

  const places = new Map<string, Point>();
  for (const id of graph.ids) {
    const place = before.get(id);
    if (place) places.set(id, place);
  }
  const taken = new Map(before);
  const banded = new Set(graph.groups).size > 1;
  for (const id of fresh) {
    const node = graph.ids.indexOf(id);
    const near = (list: number[]) => list.map((n) => places.get(graph.ids[n]!)).filter((p): p is Point => p !== undefined);
    const callers = near(graph.in[node]!);
    const called = near(graph.out[node]!);
    const x = callers.length > 0 ? Math.max(...callers.map((p) => p.x)) + COLUMN : called.length > 0 ? Math.min(...called.map((p) => p.x)) - COLUMN : 0;
    const all = [...callers, ...called];
    const wish = all.length > 0 ? all.reduce((sum, p) => sum + p.y, 0) / all.length : 0;
    const place = free(x, wish, taken);
    if (banded && !inBand(graph, node, place, places)) return null;
    places.set(id, place);
    taken.set(id, place);
  }
  return places;
}

function free(x: number, wish: number, taken: Map<string, Point>): Point {
  const column = [...taken.values()].filter((p) => Math.abs(p.x - x) < COLUMN / 2).map((p) => p.y);
  const fits = (y: number) => column.every((other) => Math.abs(other - y) >= ROW);
  const candidates = [wish, ...column.flatMap((y) => [y - ROW, y + ROW])].filter(fits);
  candidates.sort((a, b) => Math.abs(a - wish) - Math.abs(b - wish) || a - b);
  return { x, y: Math.round(candidates[0] ?? wish) };
}

function inBand(graph: Graph, node: number, place: Point, places: Map<string, Point>): boolean {
  const heights = graph.ids.flatMap((id, at) => (graph.groups[at] === graph.groups[node] && places.has(id) ? [places.get(id)!.y] : []));
  return heights.length > 0 && place.y >= Math.min(...heights) && place.y <= Math.max(...heights);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
