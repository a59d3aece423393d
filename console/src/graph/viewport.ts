// Which part of the picture the window shows. Pure: a view and a wish give a view.

import type { Box } from "./geometry.ts";
import type { Point } from "./layout.ts";

export interface View {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

const SCALE_MIN = 0.03; // Four hundred nodes in one column still fit.
const SCALE_MAX = 2.5;
const FIT_MAX = 1.15; // A mesh of three services is not blown up to fill the screen.

export function fit(box: Box | null, size: Size): View {
  if (!box || size.width === 0 || size.height === 0) return { scale: 1, x: size.width / 2, y: size.height / 2 };
  const scale = clamp(Math.min(size.width / (box.right - box.left), size.height / (box.bottom - box.top), FIT_MAX));
  return {
    scale,
    x: size.width / 2 - ((box.left + box.right) / 2) * scale,
    y: size.height / 2 - ((box.top + box.bottom) / 2) * scale,
  };
}

// What lies under the point stays there.
export function zoom(view: View, factor: number, point: Point): View {
  const scale = clamp(view.scale * factor);
  const ratio = scale / view.scale;
  return { scale, x: point.x - (point.x - view.x) * ratio, y: point.y - (point.y - view.y) * ratio };
}

export function pan(view: View, dx: number, dy: number): View {
  return { ...view, x: view.x + dx, y: view.y + dy };
}

// The smallest move that brings a point of the picture into the window.
export function reveal(view: View, point: Point, size: Size, margin: number): View {
  const inside = (value: number, length: number) => Math.min(Math.max(value, Math.min(margin, length / 2)), Math.max(length - margin, length / 2));
  const [sx, sy] = [point.x * view.scale + view.x, point.y * view.scale + view.y];
  return pan(view, inside(sx, size.width) - sx, inside(sy, size.height) - sy);
}

function clamp(scale: number): number {
  return Math.min(Math.max(scale, SCALE_MIN), SCALE_MAX);
}
