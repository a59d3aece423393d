// What stands on an edge: the number that the reader chose, a lock, and the weights of a split.

import type { Edge, Node, Split, SplitDestination } from "../api/model.ts";
import { milliseconds, rate, share } from "../format.ts";
import type { EdgeLabel } from "../state/address.ts";

export interface Weight extends SplitDestination {
  split: Split;
}

export function labelText(edge: Edge, label: EdgeLabel, perSecond: string): string {
  switch (label) {
    case "rps":
      return `${rate(edge.rps)} ${perSecond}`;
    case "errors":
      return share(edge.error_share);
    case "p50":
    case "p95":
    case "p99":
      return milliseconds(edge.latency_ms?.[label]);
    case "share":
      return share(edge.share);
    case "none":
      return "";
  }
}

// The weight that an edge to a version should have. Only where there is a choice: a route to one destination is no split. A gateway
// has its own, which other proxies acknowledge.
export function weightOf(edge: Edge, source: Node | undefined, destination: Node | undefined, splits: Split[]): Weight | null {
  if (!destination?.version) return null;
  const fitting = splits.flatMap((split) => {
    if (split.destinations.length < 2) return [];
    const found = split.destinations.find((one) => one.version === destination.version && (one.service === edge.service || (!edge.service && split.name === destination.name)));
    return found ? [{ ...found, observed: edge.share ?? found.observed, split }] : [];
  });
  const own = fitting.find(({ split }) => split.gateway && source && split.gateway.split("/").pop() === source.name);
  return own ?? fitting.find(({ split }) => !split.gateway) ?? null;
}

export function weightText(weight: SplitDestination): string {
  return [weight.desired, weight.acknowledged, weight.observed].map((value) => share(value).replace(" %", "")).join(" → ") + " %";
}

// Proxies have not all taken what the files say.
export function lagging(weight: SplitDestination): boolean {
  return weight.acknowledged === null || Math.abs(weight.acknowledged - weight.desired) > 0.0005;
}

// Rough, but the same everywhere: digits of eleven pixels are six and a half wide.
export function labelWidth(...lines: string[]): number {
  return Math.max(...lines.map((line) => line.length)) * 6.4 + 12;
}
