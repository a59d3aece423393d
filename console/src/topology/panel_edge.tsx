// One edge: its numbers, what the callers and what the called saw, why requests failed, the weights and policies that act, and
// the ways on (traces, command line).

import type { Edge, Node, Reporter } from "../api/model.ts";
import { CLI } from "../cli.ts";
import { bytes, count, known, milliseconds, rate, share } from "../format.ts";
import { useWords, type Translate } from "../i18n/index.ts";
import { Command } from "../parts/command.tsx";
import { HealthMark } from "../parts/health.tsx";
import { Icon } from "../parts/icons.tsx";
import { goTo } from "../state/address.ts";
import { useLive } from "../state/feed_context.tsx";
import { Link, useLocation } from "../state/location.tsx";
import { WeightBars } from "../weights/bars.tsx";
import { Charts } from "./charts.tsx";
import { Breakdown } from "./breakdown.tsx";
import { weightOf } from "./labels.ts";
import { nodeName } from "./node.tsx";
import { Numbers, Section, type Ends } from "./panel.tsx";
import { PoliciesOf } from "./policies_of.tsx";

export function EdgePanel({ edge, ends, whole }: { edge: Edge; ends: Ends; whole: boolean }) {
  const t = useWords();
  const { address, set } = useLocation();
  const splits = useLive().splits.data?.splits ?? [];
  const weight = weightOf(edge, ends.source, ends.destination, splits);
  const end = (node: Node | undefined, id: string) => (
    <button type="button" class="link" onClick={() => set({ node: id, edge: "" }, "push")}>
      {node ? nodeName(node, t) : id} {node?.version && <span class="version">{node.version}</span>}
    </button>
  );
  return (
    <>
      <p class="panel-kind">
        {t("panel.edge")} · {edge.protocol} <HealthMark health={edge.health} />
      </p>
      <h2 class="panel-edge">
        {end(ends.source, edge.source)} <span aria-hidden="true">→</span> {end(ends.destination, edge.destination)}
      </h2>
      <p class="quiet">
        <Icon name={edge.mtls === "mutual" ? "lock" : "unlock"} size={13} /> {t(`mtls.${edge.mtls}`)}
        {edge.service && ` · ${edge.service}`}
      </p>
      <Numbers items={numbers(edge, t)} />
      {whole ? <Charts edge={edge.id} /> : <p class="quiet">{t("charts.sum")}</p>}
      {weight && (
        <Section name="weights" title={t("page.weights")}>
          <WeightBars split={{ ...weight.split, destinations: weight.split.destinations.map((one) => (one.name === weight.name ? weight : one)) }} highlight={weight.name} />
        </Section>
      )}
      <Breakdown codes={edge.codes ?? {}} flags={edge.flags ?? {}} requests={edge.requests} />
      {edge.reporters && <Reporters edge={edge} />}
      {edge.service && <PoliciesOf services={[edge.service]} />}
      <Section name="ways" title={t("panel.ways")}>
        <p>
          <Link class="button" data-traces to={goTo(address, "traces", { service: serviceOf(ends.destination, edge) })}>
            {t("panel.traces")} <Icon name="forward" size={12} />
          </Link>
        </p>
        <Command line={CLI.edges({ ...address, namespaces: [ends.source?.namespace ?? "", ends.destination?.namespace ?? ""] })} />
      </Section>
    </>
  );
}

// The name that spans carry for a service of the mesh.
export function serviceOf(node: Node | undefined, edge?: Edge): string {
  if (node?.namespace) return `${node.name}.${node.namespace}`;
  return edge?.service.split(".").slice(0, 2).join(".") ?? node?.name ?? "";
}

function numbers(edge: Edge, t: Translate) {
  const tcp = edge.protocol === "tcp";
  const items = [
    { name: t("unit.requestsPerSecond"), value: rate(edge.rps) },
    { name: t("label.errors"), value: share(edge.error_share), tone: edge.health },
    { name: t("label.share"), value: share(edge.share) },
    ...(["p50", "p95", "p99"] as const).map((name) => ({ name: t(`label.${name}`), value: milliseconds(edge.latency_ms?.[name]) })),
  ];
  const volume = [
    { name: t("numbers.sent"), value: bytes(edge.request_bytes) },
    { name: t("numbers.received"), value: bytes(edge.response_bytes) },
    { name: t("numbers.connections"), value: count((edge.connections_opened ?? 0) - (edge.connections_closed ?? 0)) },
  ];
  return tcp ? volume : [...items, ...volume];
}

function Reporters({ edge }: { edge: Edge }) {
  const t = useWords();
  const { source, destination } = edge.reporters ?? {};
  const cell = (reporter: Partial<Reporter> | null | undefined, show: (reporter: Partial<Reporter>) => string) => (reporter && known(reporter.requests) && reporter.requests > 0 ? show(reporter) : "–");
  const rows: [string, (reporter: Partial<Reporter>) => string][] = [
    [t("numbers.requests"), (r) => count(r.requests)],
    [t("numbers.errors"), (r) => count(r.errors)],
    [t("label.p50"), (r) => milliseconds(r.latency_ms?.p50)],
    [t("label.p95"), (r) => milliseconds(r.latency_ms?.p95)],
    [t("label.p99"), (r) => milliseconds(r.latency_ms?.p99)],
  ];
  return (
    <Section name="reporters" title={t("reporters.title")}>
      <table class="table table-tight">
        <thead>
          <tr>
            <td />
            <th scope="col">{t("reporters.source")}</th>
            <th scope="col">{t("reporters.destination")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, show]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{cell(source, show)}</td>
              <td>{cell(destination, show)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}
