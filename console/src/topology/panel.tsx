// The side panel: what is known about the selected node or edge.

import type { ComponentChildren } from "preact";
import type { Edge, Node } from "../api/model.ts";
import type { Aggregated } from "../graph/aggregate.ts";
import { useWords } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import { useLocation } from "../state/location.tsx";
import { EdgePanel } from "./panel_edge.tsx";
import { NodePanel } from "./panel_node.tsx";

export interface Ends {
  source: Node | undefined;
  destination: Node | undefined;
}

export function Panel({ picture, onClose }: { picture: Aggregated; onClose: () => void }) {
  const t = useWords();
  const { address } = useLocation();
  const nodes = new Map(picture.nodes.map((node) => [node.id, node]));
  const edge = picture.edges.find((one) => one.id === address.edge);
  const node = nodes.get(address.node);
  return (
    <aside class="panel" aria-label={t("panel.title")} data-panel={edge ? "edge" : node ? "node" : "gone"}>
      <button type="button" class="icon-button panel-close" aria-label={t("panel.close")} title={`${t("panel.close")} (Esc)`} onClick={onClose}>
        <Icon name="close" />
      </button>
      {edge ? (
        <EdgePanel key={edge.id} edge={edge} ends={{ source: nodes.get(edge.source), destination: nodes.get(edge.destination) }} whole={isWhole(edge, picture)} />
      ) : node ? (
        <NodePanel key={node.id} node={node} picture={picture} />
      ) : (
        <>
          <h2>{t("panel.gone")}</h2>
          <p class="quiet">{t("panel.goneHelp", { name: address.edge || address.node })}</p>
        </>
      )}
    </aside>
  );
}

// An edge that the server knows by this name; a sum that was made here has no history there.
function isWhole(edge: Edge, picture: Aggregated): boolean {
  return picture.level === "none" || edge.reporters !== undefined;
}

export function Section({ title, children, name }: { title: string; children: ComponentChildren; name: string }) {
  return (
    <section class="panel-section" data-section={name}>
      <h3>{title}</h3>
      {children}
    </section>
  );
}

export function Numbers({ items }: { items: { name: string; value: string; tone?: string }[] }) {
  return (
    <dl class="numbers">
      {items.map(({ name, value, tone }) => (
        <div key={name} class={tone ? `tone-${tone}` : ""}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
