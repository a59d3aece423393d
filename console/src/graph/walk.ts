// Where the arrow keys lead: to the nearest node that lies in the direction of the key, sideways distance counting double.

import type { Point } from "./layout.ts";

const DIRECTIONS: Record<string, Point> = {
  ArrowRight: { x: 1, y: 0 },
  ArrowLeft: { x: -1, y: 0 },
  ArrowDown: { x: 0, y: 1 },
  ArrowUp: { x: 0, y: -1 },
};

export function walk(places: Map<string, Point>, from: string, key: string): string | null {
  const direction = DIRECTIONS[key];
  const start = places.get(from);
  if (!direction || !start) return null;
  let best: { id: string; cost: number } | null = null;
  for (const [id, place] of places) {
    if (id === from) continue;
    const [dx, dy] = [place.x - start.x, place.y - start.y];
    const ahead = dx * direction.x + dy * direction.y;
    const aside = Math.abs(dx * direction.y) + Math.abs(dy * direction.x);
    if (ahead < 1 || aside > ahead * 4) continue;
    const cost = ahead + aside * 2;
    if (!best || cost < best.cost || (cost === best.cost && id < best.id)) best = { id, cost };
  }
  return best?.id ?? null;
}

// The node where a walk begins: the leftmost, topmost.
export function first(places: Map<string, Point>): string | null {
  const all = [...places].sort(([a, p], [b, q]) => p.x - q.x || p.y - q.y || (a < b ? -1 : 1));
  return all[0]?.[0] ?? null;
}
