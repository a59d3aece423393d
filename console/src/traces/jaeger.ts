// Jaeger's legacy JSON, and the tree of spans that is made of it. What the collector stored may be incomplete or wrong: a parent
// that is missing makes its child a root, a circle of parents is cut.

export interface Tag {
  key: string;
  type?: string;
  value: unknown;
}

export interface JaegerSpan {
  traceID: string;
  spanID: string;
  operationName: string;
  processID: string;
  startTime: number; // microseconds
  duration: number; // microseconds
  references?: { refType: string; traceID: string; spanID: string }[] | null;
  tags?: Tag[] | null;
  logs?: { timestamp: number; fields: Tag[] }[] | null;
  warnings?: string[] | null;
}

export interface JaegerTrace {
  traceID: string;
  spans: JaegerSpan[];
  processes: Record<string, { serviceName: string; tags?: Tag[] | null }>;
  warnings?: string[] | null;
}

export interface JaegerAnswer<T> {
  data: T[] | null;
  errors?: unknown;
}

export interface Span {
  id: string;
  service: string;
  operation: string;
  depth: number;
  children: number;
  // Milliseconds; the offset is from the start of the trace.
  offset: number;
  duration: number;
  failed: boolean;
  tags: Tag[];
  process: Tag[];
  events: { offset: number; name: string; fields: Tag[] }[];
  warnings: string[];
}

export interface Trace {
  id: string;
  root: string;
  service: string;
  start: number; // milliseconds since the epoch
  duration: number; // milliseconds
  failed: number;
  services: { name: string; spans: number }[];
  // Parents before children, siblings by time.
  spans: Span[];
}

export function readTrace(raw: JaegerTrace): Trace {
  const spans = new Map(raw.spans.map((span) => [span.spanID, span]));
  const start = Math.min(...raw.spans.map((span) => span.startTime));
  const end = Math.max(...raw.spans.map((span) => span.startTime + span.duration));
  const children = new Map<string, JaegerSpan[]>();
  for (const span of spans.values()) {
    const parent = parentOf(span, spans);
    const list = children.get(parent);
    if (list) list.push(span);
    else children.set(parent, [span]);
  }
  const ordered = walk(children, spans).map(({ span, depth }) => readSpan(span, depth, children.get(span.spanID)?.length ?? 0, start, raw));
  const first = ordered[0];
  const services = new Map<string, number>();
  for (const span of ordered) services.set(span.service, (services.get(span.service) ?? 0) + 1);
  return {
    id: raw.traceID,
    root: first?.operation ?? "",
    service: first?.service ?? "",
    start: Number.isFinite(start) ? start / 1000 : 0,
    duration: Number.isFinite(end - start) ? (end - start) / 1000 : 0,
    failed: ordered.filter((span) => span.failed).length,
    services: [...services].map(([name, count]) => ({ name, spans: count })),
    spans: ordered,
  };
}

const ROOT = "";

function parentOf(span: JaegerSpan, spans: Map<string, JaegerSpan>): string {
  const reference = span.references?.find((one) => one.refType === "CHILD_OF") ?? span.references?.[0];
  return reference && reference.spanID !== span.spanID && spans.has(reference.spanID) ? reference.spanID : ROOT;
}

function walk(children: Map<string, JaegerSpan[]>, spans: Map<string, JaegerSpan>): { span: JaegerSpan; depth: number }[] {
  const seen = new Set<string>();
  const found: { span: JaegerSpan; depth: number }[] = [];
  const byTime = (list: JaegerSpan[]) => [...list].sort((a, b) => b.startTime - a.startTime || (a.spanID < b.spanID ? 1 : -1));
  const descend = (from: JaegerSpan[]) => {
    const open = byTime(from).map((span) => ({ span, depth: 0 }));
    for (let next = open.pop(); next; next = open.pop()) {
      if (seen.has(next.span.spanID)) continue;
      seen.add(next.span.spanID);
      found.push(next);
      for (const child of byTime(children.get(next.span.spanID) ?? [])) open.push({ span: child, depth: next.depth + 1 });
    }
  };
  descend(children.get(ROOT) ?? []);
  // Spans whose parents form a circle have no root: the earliest of them becomes one.
  for (const span of [...spans.values()].sort((a, b) => a.startTime - b.startTime)) if (!seen.has(span.spanID)) descend([span]);
  return found;
}

function readSpan(span: JaegerSpan, depth: number, children: number, start: number, raw: JaegerTrace): Span {
  const process = raw.processes[span.processID];
  const tags = span.tags ?? [];
  return {
    id: span.spanID,
    service: process?.serviceName ?? "?",
    operation: span.operationName,
    depth,
    children,
    offset: (span.startTime - start) / 1000,
    duration: span.duration / 1000,
    failed: failed(tags),
    tags,
    process: process?.tags ?? [],
    events: (span.logs ?? []).map((log) => ({
      offset: (log.timestamp - start) / 1000,
      name: String(log.fields.find((field) => field.key === "event")?.value ?? ""),
      fields: log.fields.filter((field) => field.key !== "event"),
    })),
    warnings: span.warnings ?? [],
  };
}

function failed(tags: Tag[]): boolean {
  return tags.some(({ key, value }) => (key === "error" && (value === true || value === "true")) || (key === "otel.status_code" && value === "ERROR"));
}

// `key=value key2="two words"` as Jaeger wants it. Words without a sign ask for the flag itself.
export function readTags(text: string, onlyErrors: boolean): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const [, key, quoted, plain] of text.matchAll(/([^\s="]+)(?:=(?:"([^"]*)"|(\S*)))?/g)) {
    if (key) tags[key] = quoted ?? plain ?? "true";
  }
  if (onlyErrors) tags["error"] = "true";
  return tags;
}

// The name under which a service of the mesh reports: whoever instruments it may have left the namespace out.
export function resolveService(wanted: string, known: string[]): string {
  if (!wanted || known.includes(wanted)) return wanted;
  const [name] = wanted.split(".");
  const parts = (service: string) => service.split(/[./]/);
  return known.find((service) => service.startsWith(`${wanted}.`)) ?? known.find((service) => parts(service)[0] === name) ?? known.find((service) => parts(service).includes(name!)) ?? wanted;
}
