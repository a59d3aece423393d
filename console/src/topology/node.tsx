// One node: a box whose outline says what kind of thing it is, a shape for its health, its name and its traffic.

import type { Node } from "../api/model.ts";
import { rate, share } from "../format.ts";
import { NODE_HEIGHT, NODE_WIDTH } from "../graph/geometry.ts";
import type { Point } from "../graph/layout.ts";
import { useWords, type Translate } from "../i18n/index.ts";
import { HealthShape } from "../parts/health.tsx";

const NAME_LETTERS = 18;

interface Props {
  node: Node;
  place: Point;
  inside: number;
  selected: boolean;
  dimmed: boolean;
  // The one node that the Tab key reaches; arrow keys lead to the others.
  reachable: boolean;
  namespaced: boolean;
}

export function NodeShape({ node, place, inside, selected, dimmed, reachable, namespaced }: Props) {
  const t = useWords();
  const name = nodeName(node, t);
  const [left, top] = [-NODE_WIDTH / 2, -NODE_HEIGHT / 2];
  return (
    <g
      class={`node node-${node.kind} ${dimmed ? "dimmed" : ""}`}
      transform={`translate(${place.x} ${place.y})`}
      data-node={node.id}
      data-health={node.health}
      data-selected={selected}
      role="button"
      tabindex={reachable ? 0 : -1}
      aria-pressed={selected}
      aria-label={spoken(node, name, inside, t)}
    >
      {inside > 1 && <rect class="node-behind" x={left + 4} y={top - 4} width={NODE_WIDTH} height={NODE_HEIGHT} rx={8} />}
      <rect class="node-box" x={left} y={top} width={NODE_WIDTH} height={NODE_HEIGHT} rx={node.kind === "service" ? 24 : node.kind === "workload" ? 3 : 8} />
      <g transform={`translate(${left + 18} 0)`}>
        <HealthShape health={node.health} />
      </g>
      <text class="node-name" x={left + 34} y={-3.5}>
        {shorten(name)}
      </text>
      <text class="node-line" x={left + 34} y={12.5}>
        {node.version && <tspan class="node-version">{`${shorten(node.version)}  `}</tspan>}
        {secondLine(node, inside, namespaced, t)}
      </text>
      <title>{node.namespace ? `${node.namespace}/${name}` : name}</title>
    </g>
  );
}

function secondLine(node: Node, inside: number, namespaced: boolean, t: Translate): string {
  const numbers = `${rate(node.rps)} ${t("unit.perSecond")}`;
  if (inside > 1) return `${t("node.inside", { n: inside })} · ${numbers}`;
  // Who only calls has no errors of its own to show.
  if (node.requests > 0 && (node.health === "degraded" || node.health === "failing")) return `${numbers} · ${share(node.error_share)}`;
  return namespaced && node.namespace ? `${numbers} · ${node.namespace}` : numbers;
}

export function nodeName(node: Node, t: Translate): string {
  if (node.kind === "other") return t("node.other");
  if (node.kind === "unknown" && (!node.name || node.name === "unknown")) return t("node.unknown");
  return node.name;
}

function spoken(node: Node, name: string, inside: number, t: Translate): string {
  const parts = [
    node.version ? `${name} ${node.version}` : name,
    node.namespace ? t("node.inNamespace", { namespace: node.namespace }) : "",
    inside > 1 ? t("node.inside", { n: inside }) : "",
    t(`health.${node.health}`),
    `${rate(node.rps)} ${t("unit.requestsPerSecond")}`,
    node.errors > 0 ? `${share(node.error_share)} ${t("label.errors")}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}

function shorten(text: string): string {
  return text.length > NAME_LETTERS ? `${text.slice(0, NAME_LETTERS - 1)}…` : text;
}
