// Dots that run along the edges, as many and as fast as there is traffic, some of them in the colour of errors when some requests
// fail. All on one canvas: the same dots as SVG elements halve the frame rate at 300 edges.

import type { Edge } from "../api/model.ts";
import { evenly, type Curve } from "./geometry.ts";
import type { View } from "./viewport.ts";

const PARTICLES_MAX = 1_500; // What a software renderer moves at thirty frames a second.
const PER_EDGE_MAX = 6;
const STEP_SECONDS_MAX = 0.1; // A tab that comes back from the background does not jump.

interface Track {
  id: string;
  points: Float32Array;
  length: number;
  speed: number;
  count: number;
  bad: number;
}

export interface Ink {
  calm: string;
  bad: string;
}

// How many dots an edge has and how fast they run (pixels of the picture in a second): both grow with the logarithm, so that one
// request a second and a thousand can stand in one picture.
export function pace(rps: number): { count: number; speed: number } {
  if (!(rps > 0)) return { count: 0, speed: 0 };
  const size = Math.log10(1 + rps);
  return { count: Math.min(PER_EDGE_MAX, 1 + Math.floor(size * 1.8)), speed: Math.min(30 + size * 34, 150) };
}

export class Particles {
  private tracks: Track[] = [];
  private phases = new Map<string, number>();
  private frame = 0;
  private last = 0;
  private view: () => View = () => ({ scale: 1, x: 0, y: 0 });
  private ink: Ink = { calm: "#888", bad: "#c00" };

  constructor(private readonly canvas: HTMLCanvasElement) {}

  show(edges: { edge: Edge; line: Curve }[], ink: Ink, view: () => View): void {
    this.view = view;
    this.ink = ink;
    const wanted = edges.map(({ edge }) => pace(edge.rps).count);
    const total = wanted.reduce((sum, count) => sum + count, 0);
    const part = Math.min(1, PARTICLES_MAX / Math.max(total, 1));
    const phases = new Map<string, number>();
    this.tracks = edges.flatMap(({ edge, line }, at) => {
      const { speed } = pace(edge.rps);
      const count = Math.min(wanted[at]!, Math.max(1, Math.floor(wanted[at]! * part)));
      if (count === 0) return [];
      phases.set(edge.id, this.phases.get(edge.id) ?? spread(edge.id));
      return [{ id: edge.id, ...evenly(line), speed, count, bad: edge.errors > 0 ? Math.max(1, Math.round(edge.error_share * count)) : 0 }];
    });
    this.phases = phases;
  }

  run(running: boolean): void {
    if (running && this.frame === 0) {
      this.last = 0;
      this.frame = requestAnimationFrame(this.tick);
    }
    if (!running) {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
    }
  }

  clear(): void {
    this.canvas.getContext("2d")?.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  private tick = (now: number) => {
    const seconds = this.last === 0 ? 0 : Math.min((now - this.last) / 1000, STEP_SECONDS_MAX);
    this.last = now;
    for (const track of this.tracks) {
      this.phases.set(track.id, (this.phases.get(track.id)! + (seconds * track.speed) / track.length) % 1);
    }
    this.draw();
    this.frame = requestAnimationFrame(this.tick);
  };

  private draw(): void {
    const context = this.resized();
    if (!context) return;
    const { scale, x, y } = this.view();
    const ratio = this.canvas.width / Math.max(this.canvas.clientWidth, 1);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const radius = Math.max(1.1, Math.min(2.6, 2.4 * Math.sqrt(scale))) * ratio;
    for (const bad of [false, true]) {
      context.beginPath();
      for (const track of this.tracks) this.trace(context, track, bad, radius, scale * ratio, x * ratio, y * ratio);
      context.fillStyle = bad ? this.ink.bad : this.ink.calm;
      context.fill();
    }
  }

  private trace(context: CanvasRenderingContext2D, track: Track, bad: boolean, radius: number, scale: number, x: number, y: number): void {
    const { points, count } = track;
    const phase = this.phases.get(track.id)!;
    const last = points.length / 2 - 1;
    for (let particle = 0; particle < count; particle += 1) {
      if (particle < track.bad !== bad) continue;
      const along = ((phase + particle / count) % 1) * last;
      const index = Math.floor(along) * 2;
      const part = along - Math.floor(along);
      const px = (points[index]! + (points[index + 2]! - points[index]!) * part) * scale + x;
      const py = (points[index + 1]! + (points[index + 3]! - points[index + 1]!) * part) * scale + y;
      if (px < -4 || py < -4 || px > this.canvas.width + 4 || py > this.canvas.height + 4) continue;
      context.moveTo(px + radius, py);
      context.arc(px, py, radius, 0, 6.2832);
    }
  }

  private resized(): CanvasRenderingContext2D | null {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [Math.round(this.canvas.clientWidth * ratio), Math.round(this.canvas.clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    return this.canvas.getContext("2d");
  }
}

// Edges start apart from each other, the same on every visit.
function spread(id: string): number {
  let hash = 7;
  for (let at = 0; at < id.length; at += 1) hash = (hash * 31 + id.charCodeAt(at)) % 9973;
  return hash / 9973;
}
