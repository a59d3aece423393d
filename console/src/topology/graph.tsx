// The drawing: lines and boxes of namespaces below, dots on a canvas between, nodes and labels on top.
//
// Nodes and edges are elements of the document, so that the style sheet colours them, a screen reader reads them and a test
// finds them; only the dots, which are many and mean nothing alone, are pixels.

import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Edge, Node, Split } from "../api/model.ts";
import { labelPlaces, route, type Box, type Curve } from "../graph/geometry.ts";
import type { Point } from "../graph/layout.ts";
import { Particles } from "../graph/particles.ts";
import { first, walk } from "../graph/walk.ts";
import { useWords } from "../i18n/index.ts";
import type { EdgeLabel as Label } from "../state/address.ts";
import { useDark } from "../state/settings.ts";
import { EdgeLabel, EdgeLine, edgeName, labelSize } from "./edge.tsx";
import { labelText, weightOf } from "./labels.ts";
import { NodeShape, nodeName } from "./node.tsx";
import type { Hold } from "./use_view.ts";

const LABELS_MAX = 160; // Beyond, only edges in trouble and those of the selection carry one: a page of pills reads as noise.
const PANEL_PIXELS = 420;
const LANE_PIXELS = 9;
const LANES_MAX = 2; // There are three protocols, and a node is no higher.

export interface Selection {
  node: string;
  edge: string;
}

interface Props {
  nodes: Node[];
  edges: Edge[];
  places: Map<string, Point>;
  boxes: { name: string; box: Box }[];
  inside: Map<string, number>;
  splits: Split[];
  label: Label;
  selection: Selection;
  moving: boolean;
  namespaced: boolean;
  hold: Hold;
  onSelect(selection: Selection): void;
}

interface Drawn {
  edge: Edge;
  line: Curve;
}

export function Graph(props: Props) {
  const { nodes, edges, places, boxes, inside, selection, hold, onSelect, namespaced } = props;
  const t = useWords();
  const [at, setAt] = useState("");
  const canvas = useRef<HTMLCanvasElement>(null);
  const byId = useMemo(() => new Map(nodes.map((node) => [node.id, node])), [nodes]);
  const lines = useMemo(() => new Map<string, Curve>(), [places]);
  const drawn = useMemo<Drawn[]>(() => {
    const lanes = new Map<string, number>();
    return edges.flatMap((edge) => draw(edge, places, lines, lanes));
  }, [edges, places, lines]);
  const near = useMemo(() => neighbourhood(selection, edges), [selection.node, selection.edge, edges]);
  const labels = useLabels(props, drawn, byId, near);
  const bright = useMemo(() => (near ? drawn.filter(({ edge }) => near.has(edge.id)) : drawn), [drawn, near]);
  useParticles(canvas, bright, props.moving, hold);
  useEffect(() => {
    const chosen = edges.find((edge) => edge.id === selection.edge);
    const place = places.get(selection.node) ?? places.get(chosen?.destination ?? "");
    if (place) hold.reveal(place, PANEL_PIXELS);
  }, [selection.node, selection.edge, places]);
  const reachable = byId.has(at) ? at : byId.has(selection.node) ? selection.node : first(places);

  const focus = (id: string) => {
    setAt(id);
    const place = places.get(id);
    if (place) hold.reveal(place, selection.node || selection.edge ? PANEL_PIXELS : 0);
    hold.frame.current?.querySelector<SVGElement>(`[data-node="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const target = targetOf(event.target);
    if (!target.node && !target.edge) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onSelect(target);
    } else if (target.node) {
      const next = walk(places, target.node, event.key);
      if (event.key.startsWith("Arrow")) event.preventDefault();
      if (next) focus(next);
    }
  };
  const onClick = (event: MouseEvent) => {
    if (hold.dragged()) return;
    const target = targetOf(event.target);
    if (target.node) setAt(target.node);
    onSelect(target);
  };
  const dimmed = (id: string) => near !== null && !near.has(id);
  const name = (id: string) => {
    const node = byId.get(id);
    return node ? `${nodeName(node, t)} ${node.version ?? ""}`.trim() : id;
  };

  return (
    <div class="graph" ref={hold.frame} onClick={onClick} onKeyDown={onKeyDown} data-graph data-nodes={nodes.length} data-edges={edges.length}>
      <svg class="graph-lines" role="group" aria-label={t("graph.edges", { n: edges.length })}>
        <g data-moves>
          {boxes.map(({ name, box }) => (
            <g class="namespace-box" key={name} data-box={name}>
              <rect x={box.left} y={box.top} width={box.right - box.left} height={box.bottom - box.top} rx={14} />
              <text x={box.left + 14} y={box.top + 20}>
                {name}
              </text>
            </g>
          ))}
          {drawn.map(({ edge, line }) => (
            <EdgeLine key={edge.id} edge={edge} line={line} selected={selection.edge === edge.id} dimmed={dimmed(edge.id)} name={edgeName(edge, name(edge.source), name(edge.destination), t("unit.requestsPerSecond"))} />
          ))}
        </g>
      </svg>
      <canvas class="graph-particles" ref={canvas} aria-hidden="true" data-moving={props.moving} />
      <svg class="graph-nodes" role="group" aria-label={t("graph.nodes", { n: nodes.length })}>
        <g data-moves>
          {labels.map(({ edge, at, text, weight }) => (
            <EdgeLabel key={edge.id} edge={edge} at={at} text={text} weight={weight} dimmed={dimmed(edge.id)} />
          ))}
          {nodes.map((node) => {
            const place = places.get(node.id);
            return place ? (
              <NodeShape
                key={node.id}
                node={node}
                place={place}
                inside={inside.get(node.id) ?? 1}
                selected={selection.node === node.id}
                dimmed={dimmed(node.id)}
                reachable={reachable === node.id}
                namespaced={namespaced}
              />
            ) : null;
          })}
        </g>
      </svg>
    </div>
  );
}

// Numbers come every two seconds, ways only when somebody moves: a way that was found is kept.
// Edges between the same two, of different protocols, have lanes of their own.
function draw(edge: Edge, places: Map<string, Point>, lines: Map<string, Curve>, lanes: Map<string, number>): Drawn[] {
  const [source, destination] = [places.get(edge.source), places.get(edge.destination)];
  if (!source || !destination) return [];
  const pair = `${edge.source}>${edge.destination}`;
  const lane = lanes.get(pair) ?? 0;
  lanes.set(pair, lane + 1);
  const down = (point: Point): Point => ({ x: point.x, y: point.y + Math.min(lane, LANES_MAX) * LANE_PIXELS });
  const line = lines.get(edge.id) ?? route(down(source), down(destination), [...places.values()]);
  lines.set(edge.id, line);
  return [{ edge, line }];
}

function useLabels({ splits, label, selection, places }: Props, drawn: Drawn[], byId: Map<string, Node>, near: Set<string> | null) {
  const t = useWords();
  const perSecond = t("unit.perSecond");
  return useMemo(() => {
    const sparse = drawn.length > LABELS_MAX;
    const chosen = drawn.filter(({ edge }) => !sparse || edge.health === "failing" || (near?.has(edge.id) ?? false) || selection.edge === edge.id);
    const all = chosen
      .map(({ edge, line }) => {
        const weight = weightOf(edge, byId.get(edge.source), byId.get(edge.destination), splits);
        const text = labelText(edge, label, perSecond);
        return { edge, line, text, weight, ...labelSize(edge, text, weight) };
      })
      .filter(({ text, weight, edge }) => text || weight || edge.mtls !== "unknown");
    const spots = labelPlaces(all, sparse ? [] : [...places.values()]);
    return all.map((one, index) => ({ ...one, at: spots[index]! }));
  }, [drawn, byId, splits, label, near, places, perSecond]);
}

function useParticles(canvas: RefObject<HTMLCanvasElement | null>, drawn: Drawn[], moving: boolean, hold: Hold): void {
  const particles = useRef<Particles | null>(null);
  const dark = useDark();
  useEffect(() => {
    if (!canvas.current) return;
    particles.current ??= new Particles(canvas.current);
    const style = getComputedStyle(canvas.current);
    const ink = { calm: style.getPropertyValue("--particle").trim(), bad: style.getPropertyValue("--failing").trim() };
    particles.current.show(drawn, ink, () => hold.view.current);
  }, [drawn, dark]);
  useEffect(() => {
    particles.current?.run(moving);
    if (!moving) particles.current?.clear();
    return () => particles.current?.run(false);
  }, [moving]);
}

// What a selection keeps bright: itself, and who it talks to.
function neighbourhood({ node, edge }: Selection, edges: Edge[]): Set<string> | null {
  if (!node && !edge) return null;
  const kept = edges.filter((one) => one.id === edge || one.source === node || one.destination === node);
  if (kept.length === 0) return null;
  return new Set([node, ...kept.flatMap((one) => [one.id, one.source, one.destination])]);
}

function targetOf(target: EventTarget | null): Selection {
  const element = target instanceof Element ? target.closest<SVGElement>("[data-node], [data-edge], [data-edge-label]") : null;
  const { node = "", edge = "", edgeLabel = "" } = element?.dataset ?? {};
  return { node, edge: edge || edgeLabel };
}
