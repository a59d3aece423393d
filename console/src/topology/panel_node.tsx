// One node: its numbers, who calls it and whom it calls, the policies that act, and a way into what it stands for.

import type { Edge, Node } from "../api/model.ts";
import { CLI } from "../cli.ts";
import { count, milliseconds, rate, share } from "../format.ts";
import type { Aggregated } from "../graph/aggregate.ts";
import { useWords } from "../i18n/index.ts";
import { Command } from "../parts/command.tsx";
import { HealthMark } from "../parts/health.tsx";
import { Icon } from "../parts/icons.tsx";
import { goTo } from "../state/address.ts";
import { Link, useLocation } from "../state/location.tsx";
import { Charts } from "./charts.tsx";
import { nodeName } from "./node.tsx";
import { Numbers, Section } from "./panel.tsx";
import { serviceOf } from "./panel_edge.tsx";
import { PoliciesOf } from "./policies_of.tsx";

const EDGES_MAX = 40; // A list that a person reads; the rest is counted.

export function NodePanel({ node, picture }: { node: Node; picture: Aggregated }) {
  const t = useWords();
  const { address, set } = useLocation();
  const inside = picture.inside.get(node.id) ?? 1;
  const coming = picture.edges.filter((edge) => edge.destination === node.id);
  const going = picture.edges.filter((edge) => edge.source === node.id);
  const open = () => set({ namespaces: [node.namespace], find: node.kind === "namespace" ? "" : node.name, node: "", edge: "" }, "push");
  return (
    <>
      <p class="panel-kind">
        {t(`kind.${node.kind}`)} <HealthMark health={node.health} />
      </p>
      <h2>
        {nodeName(node, t)} {node.version && <span class="version">{node.version}</span>}
      </h2>
      {node.namespace && <p class="quiet">{t("node.inNamespace", { namespace: node.namespace })}</p>}
      {inside > 1 && (
        <p>
          <button type="button" class="button" data-drill={node.id} onClick={open}>
            {t("aggregate.open", { n: inside })} <Icon name="forward" size={12} />
          </button>
        </p>
      )}
      <Numbers
        items={[
          { name: t("unit.requestsPerSecond"), value: rate(node.rps) },
          { name: t("label.errors"), value: share(node.error_share), tone: node.health },
          { name: t("numbers.requests"), value: count(node.requests) },
          ...(node.latency_ms ? (["p50", "p95", "p99"] as const).map((name) => ({ name: t(`label.${name}`), value: milliseconds(node.latency_ms?.[name]) })) : []),
        ]}
      />
      {inside === 1 ? <Charts node={node.id} /> : <p class="quiet">{t("charts.sum")}</p>}
      <EdgeList title={t("panel.callers")} name="callers" edges={coming} other={(edge) => edge.source} picture={picture} />
      <EdgeList title={t("panel.called")} name="called" edges={going} other={(edge) => edge.destination} picture={picture} />
      {inside === 1 && (node.services?.length ?? 0) > 0 && <PoliciesOf services={node.services ?? []} />}
      <Section name="ways" title={t("panel.ways")}>
        <p>
          <Link class="button" data-traces to={goTo(address, "traces", { service: serviceOf(node) })}>
            {t("panel.traces")} <Icon name="forward" size={12} />
          </Link>
        </p>
        <Command line={CLI.edges({ ...address, namespaces: [node.namespace] })} />
      </Section>
    </>
  );
}

// Every edge can be reached from here with the Tab key; in the drawing only nodes can.
function EdgeList({ title, name, edges, other, picture }: { title: string; name: string; edges: Edge[]; other: (edge: Edge) => string; picture: Aggregated }) {
  const t = useWords();
  const { set } = useLocation();
  if (edges.length === 0) return null;
  const nodes = new Map(picture.nodes.map((node) => [node.id, node]));
  const sorted = [...edges].sort((a, b) => b.rps - a.rps);
  return (
    <Section name={name} title={`${title} (${edges.length})`}>
      <ul class="edge-list">
        {sorted.slice(0, EDGES_MAX).map((edge) => {
          const node = nodes.get(other(edge));
          return (
            <li key={edge.id}>
              <button type="button" data-open-edge={edge.id} onClick={() => set({ edge: edge.id, node: "" }, "push")}>
                <HealthMark health={edge.health} word={false} />
                <span class="edge-list-name">
                  {node ? nodeName(node, t) : other(edge)} {node?.version && <span class="version">{node.version}</span>}
                </span>
                <span>
                  {rate(edge.rps)} {t("unit.perSecond")}
                </span>
                <span>{edge.errors > 0 ? share(edge.error_share) : ""}</span>
                <span>{milliseconds(edge.latency_ms?.p95)}</span>
              </button>
            </li>
          );
        })}
      </ul>
      {edges.length > EDGES_MAX && <p class="quiet">{t("panel.more", { n: edges.length - EDGES_MAX })}</p>}
    </Section>
  );
}
