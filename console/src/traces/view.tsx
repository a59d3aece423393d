// One trace: its spans as a waterfall that the arrow keys walk, and the details of the one that is open.

import { useMemo, useRef, useState } from "preact/hooks";
import { clock, count, milliseconds } from "../format.ts";
import { useWords } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import { Empty, Failure, Loading } from "../parts/notices.tsx";
import { goTo } from "../state/address.ts";
import { useKeys } from "../state/keys.ts";
import { Link, useLocation } from "../state/location.tsx";
import { usePolled } from "../state/polled.ts";
import { readTrace, type JaegerAnswer, type JaegerTrace, type Span, type Trace } from "./jaeger.ts";
import { ServiceDot, serviceColours, type Colours } from "./service.tsx";
import { SpanRow } from "./span_row.tsx";

const ROWS_MAX = 2_000; // More elements make the page slow, and nobody scrolls that far; collapsing brings others in.

export function TraceView({ id }: { id: string }) {
  const t = useWords();
  const { address, go } = useLocation();
  const { data, failure, retry } = usePolled<JaegerAnswer<JaegerTrace>>(`/api/traces/${encodeURIComponent(id)}`);
  const raw = data?.data?.[0];
  const trace = useMemo(() => (raw && raw.spans.length > 0 ? readTrace(raw) : null), [raw]);
  const colours = useMemo(() => serviceColours(trace?.services.map(({ name }) => name) ?? []), [trace]);
  const back = goTo(address, "traces", { service: trace?.service ?? "" });
  useKeys({ Escape: () => go(back) });

  if (failure) return <Failure failure={failure} onRetry={retry} />;
  if (!data) return <Loading />;
  if (!trace) return <Empty title={t("traces.gone")}><p>{t("traces.goneHelp", { id })}</p></Empty>;
  return (
    <>
      <header class="trace-head">
        <Link to={back} class="icon-button" aria-label={t("traces.back")} title={`${t("traces.back")} (Esc)`}>
          <Icon name="back" />
        </Link>
        <div>
          <h1>
            {trace.service} <span class="quiet">{trace.root}</span>
          </h1>
          <p class="quiet">
            <span class="mono">{trace.id}</span> · {clock(trace.start)} · {milliseconds(trace.duration)} · {t("traces.spanCount", { n: count(trace.spans.length) })}
            {trace.failed > 0 && <span class="tag tag-failing">{t("traces.failed", { n: trace.failed })}</span>}
          </p>
        </div>
        <span class="service-dots">
          {trace.services.map(({ name, spans }) => (
            <span key={name}>
              <ServiceDot name={name} colours={colours} /> {name} <span class="quiet">{spans}</span>
            </span>
          ))}
        </span>
      </header>
      <div class="scroll">
        <Waterfall trace={trace} colours={colours} />
      </div>
    </>
  );
}

function Waterfall({ trace, colours }: { trace: Trace; colours: Colours }) {
  const t = useWords();
  const { address, set } = useLocation();
  const tree = useRef<HTMLDivElement>(null);
  const [closed, setClosed] = useState(new Set<string>());
  const [at, setAt] = useState(address.span || trace.spans[0]!.id);
  const shown = useMemo(() => visible(trace.spans, closed), [trace, closed]);
  const rows = shown.slice(0, ROWS_MAX);

  const focus = (span: Span | undefined) => {
    if (!span) return;
    setAt(span.id);
    tree.current?.querySelector<HTMLElement>(`[data-span="${CSS.escape(span.id)}"]`)?.focus();
  };
  const fold = (span: Span, close: boolean) =>
    setClosed((old) => {
      const next = new Set(old);
      if (close) next.add(span.id);
      else next.delete(span.id);
      return next;
    });
  const open = (span: Span) => set({ span: address.span === span.id ? "" : span.id });
  const onKeyDown = (event: KeyboardEvent) => {
    const index = rows.findIndex((span) => span.id === at);
    const span = rows[index];
    if (!span || !(event.target instanceof HTMLElement) || !event.target.dataset["span"]) return;
    const isClosed = closed.has(span.id);
    const actions: Record<string, () => void> = {
      ArrowDown: () => focus(rows[index + 1]),
      ArrowUp: () => focus(rows[index - 1]),
      Home: () => focus(rows[0]),
      End: () => focus(rows[rows.length - 1]),
      ArrowRight: () => (isClosed ? fold(span, false) : span.children > 0 && focus(rows[index + 1])),
      ArrowLeft: () => (span.children > 0 && !isClosed ? fold(span, true) : focus(rows.slice(0, index).findLast((one) => one.depth < span.depth))),
      Enter: () => open(span),
      " ": () => open(span),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  return (
    <div class="waterfall" role="tree" aria-label={t("traces.waterfall")} ref={tree} onKeyDown={onKeyDown} data-waterfall={trace.spans.length}>
      <div class="waterfall-scale" aria-hidden="true">
        {[0, 0.25, 0.5, 0.75].map((part) => (
          <span key={part} style={{ left: `${part * 100}%` }}>
            {milliseconds(trace.duration * part)}
          </span>
        ))}
      </div>
      {rows.map((span) => (
        <SpanRow
          key={span.id}
          span={span}
          total={trace.duration}
          colours={colours}
          closed={closed.has(span.id)}
          open={address.span === span.id}
          reachable={at === span.id}
          onFold={() => fold(span, !closed.has(span.id))}
          onOpen={() => {
            setAt(span.id);
            open(span);
          }}
        />
      ))}
      {shown.length > rows.length && <p class="quiet waterfall-more">{t("traces.more", { n: shown.length - rows.length })}</p>}
    </div>
  );
}

// Spans below a closed one are left out.
function visible(spans: Span[], closed: Set<string>): Span[] {
  let hiddenBelow = Number.POSITIVE_INFINITY;
  return spans.filter((span) => {
    if (span.depth > hiddenBelow) return false;
    hiddenBelow = closed.has(span.id) ? span.depth : Number.POSITIVE_INFINITY;
    return true;
  });
}
