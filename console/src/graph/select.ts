// Which part of the mesh is drawn: decided before anything is laid out, because a picture that is made first and thinned out
// afterwards has already cost its time and its reader's patience.

import type { Edge, Node, Topology } from "../api/model.ts";

export interface Picture {
  nodes: Node[];
  edges: Edge[];
}

export interface Wishes {
  find: string;
  hide: string;
  onlyErrors: boolean;
}

// What the words match stays with its neighbours; what the words to hide match goes, and so does who is then alone because of it.
export function select(topology: Pick<Topology, "nodes" | "edges">, wishes: Wishes): Picture {
  const hidden = words(wishes.hide);
  const visible = topology.nodes.filter((node) => !hidden.some((word) => matches(node, word)));
  let ids = new Set(visible.map((node) => node.id));
  let edges = topology.edges.filter((edge) => ids.has(edge.source) && ids.has(edge.destination));

  if (wishes.onlyErrors) {
    edges = edges.filter((edge) => edge.errors > 0);
    ids = ends(edges);
  }
  const found = words(wishes.find);
  if (found.length > 0) {
    const hits = new Set(visible.filter((node) => ids.has(node.id) && found.some((word) => matches(node, word))).map((node) => node.id));
    edges = edges.filter((edge) => hits.has(edge.source) || hits.has(edge.destination));
    ids = new Set([...hits, ...ends(edges)]);
  }
  return { nodes: visible.filter((node) => ids.has(node.id)), edges };
}

function ends(edges: Edge[]): Set<string> {
  return new Set(edges.flatMap((edge) => [edge.source, edge.destination]));
}

// Words stand between spaces or commas; one of them is enough.
function words(text: string): string[] {
  return text.toLowerCase().split(/[\s,]+/).filter(Boolean);
}

export function matches(node: Node, word: string): boolean {
  const name = `${node.namespace}/${title(node)}`.toLowerCase();
  return name.includes(word) || node.id.toLowerCase().includes(word) || (node.workloads ?? []).some((w) => w.toLowerCase().includes(word));
}

export function title(node: Pick<Node, "name" | "version">): string {
  return node.version ? `${node.name} ${node.version}` : node.name;
}

export function namespaces(nodes: Node[]): string[] {
  return [...new Set(nodes.map((node) => node.namespace).filter(Boolean))].sort();
}
