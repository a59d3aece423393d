// One edge, in two parts: the line lies under the nodes, its label above them.

import type { Edge } from "../api/model.ts";
import { rate } from "../format.ts";
import { path, type Curve } from "../graph/geometry.ts";
import type { Point } from "../graph/layout.ts";
import { useWords } from "../i18n/index.ts";
import { HealthShape } from "../parts/health.tsx";
import { labelWidth, lagging, weightText, type Weight } from "./labels.ts";

const LOCKS = {
  mutual: "M-3.500-.5h7v5h-7zM-2-.5v-1.500a2 2 0 014 0v1.500",
  none: "M-3.500-.5h7v5h-7zM-2-.5v-1.500a2 2 0 013.700-1.100",
  unknown: "",
};

interface LineProps {
  edge: Edge;
  line: Curve;
  selected: boolean;
  dimmed: boolean;
  name: string;
}

export function EdgeLine({ edge, line, selected, dimmed, name }: LineProps) {
  const d = path(line);
  return (
    <g class={`edge edge-${edge.health} ${dimmed ? "dimmed" : ""}`} data-edge={edge.id} data-health={edge.health} data-selected={selected} role="button" tabindex={-1} aria-label={name}>
      <path class="edge-hit" d={d} />
      <path class="edge-line" d={d} stroke-width={1.2 + Math.log10(1 + edge.rps) * 0.8} />
      <path class="edge-head" d={head(line)} />
    </g>
  );
}

function head({ c2, to }: Curve): string {
  const length = Math.hypot(to.x - c2.x, to.y - c2.y) || 1;
  const [ux, uy] = [(to.x - c2.x) / length, (to.y - c2.y) / length];
  const [bx, by] = [to.x - ux * 3, to.y - uy * 3];
  const n = (value: number) => Math.round(value * 10) / 10;
  return `M${n(to.x + ux * 5)} ${n(to.y + uy * 5)}L${n(bx - uy * 4)} ${n(by + ux * 4)}L${n(bx + uy * 4)} ${n(by - ux * 4)}Z`;
}

interface LabelProps {
  edge: Edge;
  at: Point;
  text: string;
  weight: Weight | null;
  dimmed: boolean;
}

export function EdgeLabel({ edge, at, text, weight, dimmed }: LabelProps) {
  const t = useWords();
  const { width, height } = labelSize(edge, text, weight);
  const lock = LOCKS[edge.mtls];
  const marked = edge.health === "failing" || edge.health === "degraded";
  const icons = (lock ? 13 : 0) + (marked ? 14 : 0);
  const textWidth = text ? labelWidth(text) - 12 : 0;
  const start = -(icons + textWidth) / 2;
  const y = weight ? -height / 2 + 11.5 : 0;
  return (
    <g class={`edge-label edge-label-${edge.health} ${dimmed ? "dimmed" : ""}`} transform={`translate(${at.x} ${at.y})`} data-edge-label={edge.id} aria-hidden="true">
      <rect x={-width / 2} y={-height / 2} width={width} height={height} rx={weight ? 6 : height / 2} />
      {lock && (
        <g class={`lock lock-${edge.mtls}`} data-lock={edge.mtls} transform={`translate(${start + 5} ${y - 1.5})`}>
          <path d={lock} />
          <title>{t(`mtls.${edge.mtls}`)}</title>
        </g>
      )}
      {marked && (
        <g transform={`translate(${start + (lock ? 13 : 0) + 6} ${y}) scale(.8)`}>
          <HealthShape health={edge.health} />
        </g>
      )}
      <text x={start + icons} y={y + 4}>
        {text}
      </text>
      {weight && (
        <text class={`edge-weight ${lagging(weight) ? "edge-weight-lagging" : ""}`} data-weight={weightText(weight)} x={0} y={y + 20} text-anchor="middle">
          {weightText(weight)}
          <title>{t("weights.legend")}</title>
        </text>
      )}
    </g>
  );
}

export function labelSize(edge: Edge, text: string, weight: Weight | null): { width: number; height: number } {
  const icons = (LOCKS[edge.mtls] ? 13 : 0) + (edge.health === "failing" || edge.health === "degraded" ? 14 : 0);
  const first = (text ? labelWidth(text) : 8) + icons;
  return { width: Math.max(first, weight ? labelWidth(weightText(weight)) : 0), height: weight ? 36 : 20 };
}

export function edgeName(edge: Edge, source: string, destination: string, perSecond: string): string {
  return `${source} → ${destination}, ${rate(edge.rps)} ${perSecond}`;
}
