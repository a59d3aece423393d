// The mesh as it is now. Filters act first, then aggregation, then the layout; what is left is drawn.

import { useMemo } from "preact/hooks";
import type { Node } from "../api/model.ts";
import { CLI } from "../cli.ts";
import { aggregate, type Aggregated } from "../graph/aggregate.ts";
import { bounds, type Box } from "../graph/geometry.ts";
import type { Point } from "../graph/layout.ts";
import { namespaces, select } from "../graph/select.ts";
import { useWords } from "../i18n/index.ts";
import { Command } from "../parts/command.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { useLive } from "../state/feed_context.tsx";
import { useKeys } from "../state/keys.ts";
import { useLocation } from "../state/location.tsx";
import { useReducedMotion, useSettings } from "../state/settings.ts";
import { Controls } from "./controls.tsx";
import { Graph } from "./graph.tsx";
import { Panel } from "./panel.tsx";
import { FoldedNotice, Summary } from "./summary.tsx";
import { Toolbar } from "./toolbar.tsx";
import { usePlaces } from "./use_places.ts";
import { useView } from "./use_view.ts";

const BOX_MARGIN = 26;
const BOX_TITLE = 12;
const EDGE_OF_WINDOW = 48;

export function TopologyPage() {
  const { address, set } = useLocation();
  const live = useLive();
  const t = useWords();
  const topology = live.topology.data;
  const { find, hide, onlyErrors, all } = address;
  const picture = useMemo<Aggregated>(
    () => aggregate(topology ? select(topology, { find, hide, onlyErrors }) : { nodes: [], edges: [] }, all),
    [topology, find, hide, onlyErrors, all],
  );
  const names = useMemo(() => namespaces(topology?.nodes ?? []), [topology]);
  const boxed = address.boxes && picture.level !== "namespace" && new Set(picture.nodes.map((node) => node.namespace)).size > 1;
  const homes = useMemo(() => homesOf(picture), [picture]);
  const { places, version, rearrange } = usePlaces(picture, `${address.type}/${picture.level}/${boxed}`, (id) => (boxed ? (homes.get(id) ?? "") : ""));
  const boxes = useMemo(() => (boxed ? boxesOf(picture.nodes, places) : []), [boxed, picture, places]);
  const extent = useMemo(() => bounds(places.values(), EDGE_OF_WINDOW), [places]);
  const hold = useView(extent, version);
  const reduced = useReducedMotion();
  // Dots say "now": they stop when what is shown is no longer that.
  const moving = useSettings().particles && !reduced && !live.paused && live.link !== "lost";

  const close = () => set({ node: "", edge: "" }, "push");
  useKeys({
    f: hold.fit,
    "0": hold.fit,
    "+": () => hold.zoomBy(1.25),
    "=": () => hold.zoomBy(1.25),
    "-": () => hold.zoomBy(0.8),
    Escape: () => (address.node || address.edge) && close(),
    "/": () => document.querySelector<HTMLInputElement>("input[name=find]")?.focus(),
  });

  const content = () => {
    if (!topology) return live.topology.failure ? <Failure failure={live.topology.failure} onRetry={live.retry} /> : <Loading />;
    if (picture.nodes.length === 0) return <NothingDrawn filtered={topology.nodes.length > 0} />;
    return (
      <Graph
        nodes={picture.nodes}
        edges={picture.edges}
        places={places}
        boxes={boxes}
        inside={picture.inside}
        splits={live.splits.data?.splits ?? []}
        label={address.label}
        selection={{ node: address.node, edge: address.edge }}
        moving={moving}
        namespaced={!boxed && names.length > 1}
        hold={hold}
        onSelect={(selection) => (selection.node !== address.node || selection.edge !== address.edge) && set(selection, "push")}
      />
    );
  };

  return (
    <>
      <Toolbar namespaces={names} />
      <FoldedNotice picture={picture} />
      <div class="stage">
        {content()}
        {topology && picture.nodes.length > 0 && <Controls hold={hold} onArrange={rearrange} moving={moving} reduced={reduced} />}
        {topology && (address.node || address.edge) && <Panel picture={picture} onClose={close} />}
      </div>
      <footer class="footer">
        {topology && <Summary picture={picture} topology={topology} />}
        <Command line={CLI.topology(address)} />
        <span class="unseen" role="status">
          {topology ? t("graph.spoken", { nodes: picture.nodes.length, edges: picture.edges.length }) : ""}
        </span>
      </footer>
    </>
  );
}

function NothingDrawn({ filtered }: { filtered: boolean }) {
  const t = useWords();
  const { set } = useLocation();
  return (
    <Empty title={filtered ? t("empty.filtered") : t("empty.mesh")}>
      <p>{filtered ? t("empty.filteredHelp") : t("empty.meshHelp")}</p>
      {filtered && (
        <button type="button" class="button" onClick={() => set({ find: "", hide: "", onlyErrors: false })}>
          {t("filter.clear")}
        </button>
      )}
    </Empty>
  );
}

// The band that each node stands in: its namespace. Who has none and only calls stands before the one it calls most.
function homesOf({ nodes, edges }: Aggregated): Map<string, string> {
  const homes = new Map(nodes.map((node) => [node.id, node.namespace]));
  const called = new Set(edges.map((edge) => edge.destination));
  for (const node of nodes) {
    if (node.namespace || called.has(node.id)) continue;
    const [most] = edges.filter((edge) => edge.source === node.id).sort((a, b) => b.rps - a.rps || (a.id < b.id ? -1 : 1));
    homes.set(node.id, homes.get(most?.destination ?? "") ?? "");
  }
  return homes;
}

function boxesOf(nodes: Node[], places: Map<string, Point>): { name: string; box: Box }[] {
  const members = new Map<string, Point[]>();
  for (const node of nodes) {
    const place = places.get(node.id);
    if (node.namespace && place) members.set(node.namespace, [...(members.get(node.namespace) ?? []), place]);
  }
  return [...members].flatMap(([name, points]) => {
    const box = bounds(points, BOX_MARGIN);
    return box ? [{ name, box: { ...box, top: box.top - BOX_TITLE } }] : [];
  });
}
