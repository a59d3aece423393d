// A span: a bar on the scale of its trace, and when it is open what was written about it.

import { milliseconds } from "../format.ts";
import { useWords } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import type { Span, Tag } from "./jaeger.ts";
import { ServiceDot, type Colours } from "./service.tsx";

interface Props {
  span: Span;
  total: number;
  colours: Colours;
  closed: boolean;
  open: boolean;
  reachable: boolean;
  onFold(): void;
  onOpen(): void;
}

export function SpanRow({ span, total, colours, closed, open, reachable, onFold, onOpen }: Props) {
  const t = useWords();
  const percent = (value: number) => (total > 0 ? Math.min(100, Math.max(0, (value / total) * 100)) : 0);
  const left = percent(span.offset);
  const width = Math.max(0.15, percent(span.duration));
  const place = left + width < 86 ? "after" : left > 12 ? "before" : "within";
  return (
    <>
      <div
        class="span-row"
        role="treeitem"
        aria-level={span.depth + 1}
        aria-expanded={span.children > 0 ? !closed : undefined}
        aria-selected={open}
        aria-label={`${span.service} ${span.operation}, ${milliseconds(span.duration)}${span.failed ? `, ${t("traces.error")}` : ""}`}
        tabIndex={reachable ? 0 : -1}
        data-span={span.id}
        data-failed={span.failed}
        onClick={onOpen}
      >
        <div class="span-name" style={{ paddingLeft: `${Math.min(span.depth, 24) * 14 + 8}px` }}>
          {span.children > 0 ? (
            <button
              type="button"
              class="fold"
              tabIndex={-1}
              aria-label={closed ? t("traces.unfold") : t("traces.fold")}
              onClick={(event) => {
                event.stopPropagation();
                onFold();
              }}
            >
              <Icon name={closed ? "forward" : "down"} size={10} />
            </button>
          ) : (
            <span class="fold" />
          )}
          <ServiceDot name={span.service} colours={colours} />
          <b>{span.service}</b> <span>{span.operation}</span>
          {span.failed && (
            <span class="span-failed">
              <Icon name="warning" size={13} />
            </span>
          )}
        </div>
        <div class="span-time">
          <span class={`span-bar service-${colours.get(span.service) ?? 0} ${span.failed ? "span-bar-failed" : ""}`} style={{ left: `${left}%`, width: `${width}%` }} />
          {span.events.map((event, at) => (
            <span key={at} class="span-event" style={{ left: `${percent(event.offset)}%` }} />
          ))}
          <span class={`span-duration ${place}`} style={{ after: { left: `calc(${left + width}% + 6px)` }, before: { right: `calc(${100 - left}% + 6px)` }, within: { right: `calc(${100 - left - width}% + 6px)` } }[place]}>
            {milliseconds(span.duration)}
          </span>
        </div>
      </div>
      {open && <Detail span={span} />}
    </>
  );
}

function Detail({ span }: { span: Span }) {
  const t = useWords();
  return (
    <div class="span-detail" role="group" aria-label={t("traces.detail")} data-span-detail={span.id}>
      <p class="quiet mono">
        {t("traces.span")} {span.id} · {t("traces.startsAt", { at: milliseconds(span.offset) })} · {milliseconds(span.duration)}
      </p>
      <div class="span-tables">
        <Tags title={t("traces.attributes")} tags={span.tags} name="attributes" />
        <Tags title={t("traces.process")} tags={span.process} name="process" />
      </div>
      {span.events.length > 0 && (
        <>
          <h4>{t("traces.events")}</h4>
          <ul class="span-events" data-events={span.events.length}>
            {span.events.map((event, at) => (
              <li key={at}>
                <b>{milliseconds(event.offset)}</b> {event.name}{" "}
                <span class="mono quiet">{event.fields.map(({ key, value }) => `${key}=${String(value)}`).join("  ")}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {span.warnings.map((warning) => (
        <p class="tag tag-degraded" key={warning}>
          {warning}
        </p>
      ))}
    </div>
  );
}

function Tags({ title, tags, name }: { title: string; tags: Tag[]; name: string }) {
  if (tags.length === 0) return null;
  return (
    <table class="table table-tight" data-tags={name}>
      <caption>{title}</caption>
      <tbody>
        {tags.map(({ key, value }, at) => (
          <tr key={at}>
            <th scope="row">{key}</th>
            <td class="mono">{typeof value === "object" ? JSON.stringify(value) : String(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
