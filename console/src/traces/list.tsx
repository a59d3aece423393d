// The traces that fit the filters, newest first, each with its time to scale.

import { useMemo, useState } from "preact/hooks";
import { query } from "../api/client.ts";
import { clock, count, milliseconds, since } from "../format.ts";
import { useWords } from "../i18n/index.ts";
import { useNow } from "../parts/header.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { goTo, type Address } from "../state/address.ts";
import { Link, useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { TraceFilters, lookbackSeconds } from "./filters.tsx";
import { readTags, readTrace, resolveService, type JaegerAnswer, type JaegerTrace, type Trace } from "./jaeger.ts";
import { ServiceDot, serviceColours } from "./service.tsx";

const TRACES_MAX = 60; // As many as are read; whoever looks for one narrows the filters.

export function TraceList() {
  const t = useWords();
  const { address } = useLocation();
  const [round, again] = useState(0);
  const services = usePolled<JaegerAnswer<string>>("/api/services");
  const known = useMemo(() => [...(services.data?.data ?? [])].sort(), [services.data]);
  const service = resolveService(address.service, known) || known[0] || "";
  const path = useMemo(() => (service ? ask(address, service) : null), [service, address.operation, address.tags, address.minDuration, address.maxDuration, address.lookback, address.failed, round]);
  const { data, failure, loading, retry } = usePolled<JaegerAnswer<JaegerTrace>>(path);
  const traces = useMemo(() => (data?.data ?? []).filter((raw) => raw.spans.length > 0).map(readTrace).sort((a, b) => b.start - a.start), [data]);

  const content = () => {
    if (services.failure) return <Failure failure={services.failure} onRetry={services.retry} />;
    if (failure && !data) return <Failure failure={failure} onRetry={retry} />;
    if (services.loading || loading) return <Loading />;
    if (!service) return <Empty title={t("traces.none")}><p>{t("traces.noneHelp")}</p></Empty>;
    if (traces.length === 0) return <Empty title={t("traces.noMatch")}><p>{t("traces.noMatchHelp")}</p></Empty>;
    return <Results traces={traces} />;
  };
  return (
    <>
      <TraceFilters services={known} service={service} onAgain={() => again((n) => n + 1)} />
      <div class="scroll">{content()}</div>
    </>
  );
}

function ask(address: Address, service: string): string {
  const end = Date.now();
  const tags = readTags(address.tags, address.failed);
  return query("/api/traces", {
    service,
    operation: address.operation,
    tags: Object.keys(tags).length > 0 ? JSON.stringify(tags) : "",
    minDuration: duration(address.minDuration),
    maxDuration: duration(address.maxDuration),
    start: String((end - lookbackSeconds(address.lookback) * 1000) * 1000),
    end: String(end * 1000),
    limit: TRACES_MAX,
  });
}

// A number alone means milliseconds.
function duration(text: string): string {
  const trimmed = text.replaceAll(" ", "");
  return /^[\d.]+$/.test(trimmed) ? `${trimmed}ms` : trimmed;
}

function Results({ traces }: { traces: Trace[] }) {
  const t = useWords();
  const { address } = useLocation();
  const now = useNow();
  const colours = useMemo(() => serviceColours(traces.flatMap((trace) => trace.services.map(({ name }) => name))), [traces]);
  const longest = Math.max(...traces.map((trace) => trace.duration), 0.001);
  return (
    <table class="table traces" data-traces={traces.length}>
      <caption class="unseen">{t("page.traces")}</caption>
      <thead>
        <tr>
          <th scope="col">{t("traces.trace")}</th>
          <th scope="col">{t("traces.services")}</th>
          <th scope="col" class="numeric">{t("traces.spans")}</th>
          <th scope="col" class="trace-time">{t("traces.duration")}</th>
          <th scope="col" class="numeric">{t("traces.started")}</th>
        </tr>
      </thead>
      <tbody>
        {traces.map((trace) => (
          <tr key={trace.id} data-trace={trace.id} data-failed={trace.failed > 0}>
            <th scope="row">
              <Link to={goTo(address, "traces", { item: trace.id })}>
                {trace.root} <span class="quiet mono">{trace.id.slice(0, 8)}</span>
              </Link>
              {trace.failed > 0 && <span class="tag tag-failing">{t("traces.failed", { n: trace.failed })}</span>}
            </th>
            <td>
              <span class="service-dots">
                {trace.services.map(({ name, spans }) => (
                  <span key={name} title={`${name}: ${spans}`}>
                    <ServiceDot name={name} colours={colours} /> {name.split(".")[0]}
                  </span>
                ))}
              </span>
            </td>
            <td class="numeric">{count(trace.spans.length)}</td>
            <td class="trace-time">
              <span class="duration-track">
                <span class={`duration-bar ${trace.failed > 0 ? "duration-bar-failing" : ""}`} style={{ width: `${Math.max(1, (trace.duration / longest) * 100)}%` }} />
              </span>
              <span class="duration-value">{milliseconds(trace.duration)}</span>
            </td>
            <td class="numeric" title={new Date(trace.start).toISOString()}>
              {clock(trace.start)} <span class="quiet">{t("time.ago", { span: since(new Date(trace.start).toISOString(), now) })}</span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
