// What a page shows is in its address, so that a link given to somebody shows them the same. This file is the only one that
// knows how: each field has a name in the query, a default that is left out, and a reader that distrusts what it reads.

import type { GraphType, Window } from "../api/model.ts";

export const BASE = "/console/";
export const PAGES = ["topology", "traces", "proxies", "policies", "weights"] as const;
export const WINDOWS: readonly Window[] = ["1m", "10m", "1h", "total"];
export const TYPES: readonly GraphType[] = ["versionedApp", "app", "workload", "service"];
export const LABELS = ["rps", "errors", "p50", "p95", "p99", "share", "none"] as const;
const TEXT_MAX = 500; // No field a person types is longer, and an address of a stranger must not fill the page.
const LIST_MAX = 100;

export type Page = (typeof PAGES)[number];
export type EdgeLabel = (typeof LABELS)[number];

export interface Address {
  page: Page;
  // The second part of the path: a trace's id.
  item: string;
  // Kept when the page changes.
  window: Window;
  type: GraphType;
  namespaces: string[];
  // Topology.
  find: string;
  hide: string;
  onlyErrors: boolean;
  label: EdgeLabel;
  boxes: boolean;
  all: boolean;
  node: string;
  edge: string;
  // Traces.
  service: string;
  operation: string;
  tags: string;
  minDuration: string;
  maxDuration: string;
  lookback: string;
  failed: boolean;
  span: string;
  // Policies.
  file: string;
  policy: string;
  // Proxies.
  proxy: string;
}

interface Field<T> {
  query: string;
  initial: T;
  read(text: string): T | null;
  write(value: T): string;
}

const text = (query: string): Field<string> => ({ query, initial: "", read: (t) => t.slice(0, TEXT_MAX), write: (value) => value });
const flag = (query: string, initial = false): Field<boolean> => ({
  query,
  initial,
  read: (t) => (t === "1" ? true : t === "0" ? false : null),
  write: (value) => (value ? "1" : "0"),
});
const oneOf = <T extends string>(query: string, choices: readonly T[], initial: T): Field<T> => ({
  query,
  initial,
  read: (t) => choices.find((choice) => choice === t) ?? null,
  write: (value) => value,
});
const list = (query: string): Field<string[]> => ({
  query,
  initial: [],
  read: (t) => [...new Set(t.split(",").filter(Boolean))].slice(0, LIST_MAX).map((one) => one.slice(0, TEXT_MAX)),
  write: (value) => value.join(","),
});

const FIELDS: { [K in Exclude<keyof Address, "page" | "item">]: Field<Address[K]> } = {
  window: oneOf("window", WINDOWS, "1m"),
  type: oneOf("type", TYPES, "versionedApp"),
  namespaces: list("namespace"),
  find: text("find"),
  hide: text("hide"),
  onlyErrors: flag("errors"),
  label: oneOf("label", LABELS, "rps"),
  boxes: flag("boxes", true),
  all: flag("all"),
  node: text("node"),
  edge: text("edge"),
  service: text("service"),
  operation: text("operation"),
  tags: text("tags"),
  minDuration: text("min"),
  maxDuration: text("max"),
  lookback: text("lookback"),
  failed: flag("failed"),
  span: text("span"),
  file: text("file"),
  policy: text("policy"),
  proxy: text("proxy"),
};
const KEPT = ["window", "type", "namespaces"] as const;

export function parse(path: string, search: string): Address {
  const [page = "", item = ""] = path.startsWith(BASE) ? path.slice(BASE.length).split("/") : [];
  const query = new URLSearchParams(search);
  const address: Record<string, unknown> = {
    page: PAGES.find((known) => known === page) ?? "topology",
    item: decode(item).slice(0, TEXT_MAX),
  };
  for (const [name, field] of Object.entries(FIELDS)) {
    const written = query.get(field.query);
    address[name] = (written === null ? null : field.read(written)) ?? field.initial;
  }
  return address as unknown as Address;
}

export function format(address: Address): string {
  const query = new URLSearchParams();
  for (const [name, field] of Object.entries(FIELDS) as [keyof typeof FIELDS, Field<unknown>][]) {
    const value = address[name];
    if (String(value) !== String(field.initial)) query.set(field.query, field.write(value));
  }
  const path = BASE + address.page + (address.item ? `/${encodeURIComponent(address.item)}` : "");
  // A comma and a slash need no escape in a query, and people read these.
  const search = query.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3E", ">");
  return search ? `${path}?${search}` : path;
}

// Another page: what a reader chose for the mesh stays, what belongs to the old page goes.
export function goTo(address: Address, page: Page, change: Partial<Address> = {}): Address {
  const fresh = parse(BASE + page, "");
  for (const name of KEPT) Object.assign(fresh, { [name]: address[name] });
  return { ...fresh, ...change };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
