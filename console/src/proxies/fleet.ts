// What the answers of proxies amount to.

import type { Answers, Health, Proxy } from "../api/model.ts";

const ORDER = ["LDS", "RDS", "CDS", "EDS", "SDS"]; // In the order of a request's way.

export function healthOfAnswers({ state }: Pick<Answers, "state">): Health {
  switch (state) {
    case "SYNCED":
      return "healthy";
    case "STALE":
      return "degraded";
    case "NACKED":
      return "failing";
    case "NOT_SENT":
      return "idle";
  }
}

export function healthOfProxy(proxy: Proxy): Health {
  const all = Object.values(proxy.types).map(healthOfAnswers);
  if (all.includes("failing")) return "failing";
  return all.includes("degraded") ? "degraded" : "healthy";
}

export function trouble(proxy: Proxy): number {
  return { failing: 2, degraded: 1, healthy: 0, idle: 0 }[healthOfProxy(proxy)];
}

export function fleet(proxies: Proxy[]): { types: string[]; counts: Record<Health, number> } {
  const counts: Record<Health, number> = { healthy: 0, degraded: 0, failing: 0, idle: 0 };
  for (const proxy of proxies) counts[healthOfProxy(proxy)] += 1;
  const rank = (type: string) => (ORDER.includes(type) ? ORDER.indexOf(type) : ORDER.length);
  const types = [...new Set(proxies.flatMap((proxy) => Object.keys(proxy.types)))].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return { types, counts };
}
