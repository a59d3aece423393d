// Draws fewer, larger things when a mesh has more nodes than a picture can carry: versions become apps, apps become namespaces.
//
// Sums are sums. A latency of several edges is not: percentiles cannot be added, so an aggregated edge shows the worst of its
// parts for each, which is an upper bound and never hides a slow one.

import type { Edge, Health, Latency, Mtls, Node } from "../api/model.ts";
import type { Picture } from "./select.ts";

export const NODES_MAX = 150; // A node is 160 by 48 pixels: 150 of them fill a large screen, and nobody reads more.

export type Level = "none" | "app" | "namespace";

export interface Aggregated extends Picture {
  level: Level;
  // How many nodes each drawn one stands for, by its id.
  inside: Map<string, number>;
  of: number;
}

export function aggregate(picture: Picture, all: boolean): Aggregated {
  const of = picture.nodes.length;
  if (all || of <= NODES_MAX) return { ...picture, level: "none", inside: new Map(), of };
  const apps = group(picture, (node) => (node.kind === "app" || node.kind === "workload" ? `${node.namespace}/${node.name}` : node.id), "app");
  if (apps.nodes.length <= NODES_MAX) return { ...apps, level: "app", of };
  return { ...group(picture, (node) => node.namespace || node.id, "namespace"), level: "namespace", of };
}

function group(picture: Picture, key: (node: Node) => string, kind: "app" | "namespace"): Picture & { inside: Map<string, number> } {
  const home = new Map(picture.nodes.map((node) => [node.id, key(node)]));
  const members = collect(picture.nodes, (node) => home.get(node.id)!);
  const nodes = [...members].map(([id, list]) => (list.length === 1 && list[0]!.id === id ? list[0]! : mergeNodes(id, list, kind)));
  const bundles = collect(
    picture.edges.filter((edge) => home.get(edge.source) !== home.get(edge.destination)),
    (edge) => `${home.get(edge.source)}>${home.get(edge.destination)}>${edge.protocol}`,
  );
  const edges = [...bundles].map(([id, list]) => mergeEdges(id, list, home.get(list[0]!.source)!, home.get(list[0]!.destination)!));
  return { nodes, edges, inside: new Map([...members].map(([id, list]) => [id, list.length])) };
}

function mergeNodes(id: string, nodes: Node[], kind: "app" | "namespace"): Node {
  const first = nodes[0]!;
  return {
    ...totals(nodes),
    id,
    kind,
    namespace: first.namespace,
    name: kind === "namespace" ? first.namespace || first.name : first.name,
    version: null,
    workloads: [...new Set(nodes.flatMap((node) => node.workloads ?? []))],
    services: [...new Set(nodes.flatMap((node) => node.services ?? []))],
  };
}

function mergeEdges(id: string, edges: Edge[], source: string, destination: string): Edge {
  const sum = (pick: (edge: Edge) => number | undefined) => edges.reduce((total, edge) => total + (pick(edge) ?? 0), 0);
  const services = new Set(edges.map((edge) => edge.service));
  return {
    ...totals(edges),
    id,
    source,
    destination,
    protocol: edges[0]!.protocol,
    service: services.size === 1 ? edges[0]!.service : "",
    mtls: weakest(edges.map((edge) => edge.mtls)),
    share: null,
    codes: counts(edges.map((edge) => edge.codes)),
    flags: counts(edges.map((edge) => edge.flags)),
    latency_ms: worst(edges.map((edge) => edge.latency_ms)),
    request_bytes: sum((edge) => edge.request_bytes),
    response_bytes: sum((edge) => edge.response_bytes),
    connections_opened: sum((edge) => edge.connections_opened),
    connections_closed: sum((edge) => edge.connections_closed),
  };
}

function totals(parts: { requests: number; rps: number; errors: number }[]) {
  const requests = parts.reduce((sum, part) => sum + part.requests, 0);
  const errors = parts.reduce((sum, part) => sum + part.errors, 0);
  const rps = parts.reduce((sum, part) => sum + part.rps, 0);
  const error_share = requests > 0 ? errors / requests : 0;
  return { requests, rps, errors, error_share, health: healthOf(requests, error_share) };
}

// The server's thresholds, which are KubeSphere's.
export function healthOf(requests: number, errorShare: number): Health {
  if (requests === 0) return "idle";
  if (errorShare > 0.2) return "failing";
  return errorShare > 0.001 ? "degraded" : "healthy";
}

function worst(parts: (Latency | null | undefined)[]): Latency {
  const most = (name: keyof Latency) => {
    const values = parts.map((part) => part?.[name]).filter((value): value is number => typeof value === "number");
    return values.length > 0 ? Math.max(...values) : null;
  };
  return { p50: most("p50"), p90: most("p90"), p95: most("p95"), p99: most("p99") };
}

function weakest(parts: Mtls[]): Mtls {
  if (parts.includes("none")) return "none";
  return parts.includes("unknown") ? "unknown" : "mutual";
}

function counts(parts: (Record<string, number> | undefined)[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const part of parts) for (const [name, value] of Object.entries(part ?? {})) sum[name] = (sum[name] ?? 0) + value;
  return sum;
}

function collect<T>(items: T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const list = groups.get(name);
    if (list) list.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}
