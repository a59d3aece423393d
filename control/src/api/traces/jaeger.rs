//! Jaeger's JSON of its old user interface, which Grafana and Kiali read: `/api/services`, `/api/operations`, `/api/traces`,
//! `/api/dependencies`, in the envelope `{data, total, limit, offset, errors}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::parameters::duration_ns;
use super::{Asked, Reply, TRACES_MAX, within_bounds};
use crate::trace::dependencies::dependencies;
use crate::trace::model::{Event, Process, Span, SpanId, Status, TraceId, Value};
use crate::trace::search::{Found, Search};
use crate::trace::store::Trace;

/// Traces of an answer when nobody says how many: Jaeger's own.
const LIMIT: usize = 100;
/// How far back dependencies are looked for when nobody says: Jaeger's own, a day.
const LOOKBACK_MS: u64 = 86_400_000;
/// The largest number that JavaScript tells from its neighbours; larger ones are written as text, as Jaeger does.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Nanoseconds of a microsecond and of a millisecond.
const US: u64 = 1_000;
const MS: u64 = 1_000_000;

#[derive(Serialize)]
struct Envelope<T> {
    data: T,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<Problem>>,
}

#[derive(Serialize)]
struct Problem {
    code: u16,
    msg: String,
}

/// Answers.
pub(super) fn answer(asked: &Asked<'_>) -> Reply {
    let answered = match *asked.path {
        ["services"] => Ok(list(asked.store.services())),
        ["services", service, "operations"] => Ok(operations_of(asked, service)),
        ["operations"] => operations(asked),
        ["traces"] => traces(asked),
        ["traces", id] => trace(asked, id),
        ["dependencies"] => links(asked),
        _ => Err((StatusCode::NOT_FOUND, "there is no such path".to_owned())),
    };
    answered.unwrap_or_else(|(status, msg)| {
        let errors = Some(vec![Problem { code: status.as_u16(), msg }]);
        Reply::json(status, &Envelope { data: (), total: 0, limit: 0, offset: 0, errors })
    })
}

type Answered = Result<Reply, (StatusCode, String)>;

fn bad(why: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, why)
}

fn list<T: Serialize>(data: Vec<T>) -> Reply {
    let total = data.len();
    Reply::json(StatusCode::OK, &Envelope { data, total, limit: 0, offset: 0, errors: None })
}

fn operations_of(asked: &Asked<'_>, service: &str) -> Reply {
    let mut names: Vec<String> = asked.store.operations(Some(service)).into_iter().map(|(name, _)| name).collect();
    names.dedup();
    list(names)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    name: String,
    span_kind: &'static str,
}

fn operations(asked: &Asked<'_>) -> Answered {
    let Some(service) = asked.parameters.find(&["service"]) else {
        return Err(bad("unable to parse param 'service': parameter 'service' is required".to_owned()));
    };
    let kind = asked.parameters.find(&["spanKind"]);
    let all = asked.store.operations(Some(service)).into_iter();
    let wanted = all.filter(|(_, own)| kind.is_none_or(|kind| own.as_str() == kind));
    Ok(list(wanted.map(|(name, kind)| Operation { name, span_kind: kind.as_str() }).collect()))
}

fn traces(asked: &Asked<'_>) -> Answered {
    let ids: Vec<&str> = asked.parameters.all("traceID").filter(|id| !id.is_empty()).collect();
    let limit = asked.parameters.number(&["limit"]).map_err(bad)?;
    let limit = limit.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(TRACES_MAX).min(TRACES_MAX));
    let found = if ids.is_empty() {
        search(asked).map_err(bad)?.run(asked.store, limit)
    } else {
        let mut traces = Vec::new();
        for id in ids.into_iter().take(TRACES_MAX) {
            let id = TraceId::parse(id).ok_or_else(|| bad(format!("unable to parse param 'traceID': {id}")))?;
            traces.extend(asked.store.trace(id));
        }
        Found { total: traces.len(), traces }
    };
    let traces = within_bounds(asked.store, &found);
    let data: Vec<TraceText<'_>> = traces.iter().map(|trace| TraceText::of(trace)).collect();
    Ok(Reply::json(StatusCode::OK, &Envelope { data, total: found.total, limit, offset: 0, errors: None }))
}

fn search(asked: &Asked<'_>) -> Result<Search, String> {
    let Asked { parameters, now_ns, .. } = asked;
    let us = |names: &[&str]| parameters.number(names).map(|time| time.map(|time| time.saturating_mul(US)));
    // The interface sends `lookback` beside `start`, also as the word "custom".
    let lookback = parameters.find(&["lookback"]).and_then(duration_ns);
    Ok(Search {
        service: parameters.find(&["service"]).map(str::to_owned),
        operation: parameters.find(&["operation"]).filter(|name| *name != "all").map(str::to_owned),
        tags: parameters.tags(&["tags"])?,
        start_min_ns: us(&["start"])?.or_else(|| lookback.map(|lookback| now_ns.saturating_sub(lookback))),
        start_max_ns: us(&["end"])?,
        duration_min_ns: parameters.duration(&["minDuration"])?,
        duration_max_ns: parameters.duration(&["maxDuration"])?,
        failed: false,
    })
}

fn trace(asked: &Asked<'_>, id: &str) -> Answered {
    let id = TraceId::parse(id).ok_or_else(|| bad(format!("{id} is not a trace id of up to 32 hexadecimal digits")))?;
    let trace = asked.store.trace(id).ok_or_else(|| (StatusCode::NOT_FOUND, "trace not found".to_owned()))?;
    Ok(list(vec![TraceText::of(&trace)]))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkText {
    parent: String,
    child: String,
    call_count: u64,
}

fn links(asked: &Asked<'_>) -> Answered {
    let end_ms = asked.parameters.number(&["endTs"]).map_err(bad)?.unwrap_or(asked.now_ns / MS);
    let lookback_ms = asked.parameters.number(&["lookback"]).map_err(bad)?.unwrap_or(LOOKBACK_MS);
    let start_ns = end_ms.saturating_sub(lookback_ms).saturating_mul(MS);
    let links = dependencies(asked.store, start_ns, end_ms.saturating_mul(MS)).into_iter();
    Ok(list(links.map(|l| LinkText { parent: l.parent, child: l.child, call_count: l.calls }).collect()))
}

#[derive(Serialize)]
struct TraceText<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<SpanText<'a>>,
    processes: BTreeMap<String, ProcessText<'a>>,
    warnings: Option<()>,
}

#[derive(Serialize)]
struct ProcessText<'a> {
    #[serde(rename = "serviceName")]
    service_name: &'a str,
    tags: Vec<Tag<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanText<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    flags: u8,
    operation_name: &'a str,
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag<'a>>,
    logs: Vec<Log<'a>>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Reference {
    #[serde(rename = "refType")]
    kind: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
struct Log<'a> {
    timestamp: u64,
    fields: Vec<Tag<'a>>,
}

#[derive(Serialize)]
struct Tag<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: TagValue<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TagValue<'a> {
    Text(&'a str),
    Bool(bool),
    Int(i64),
    LargeInt(String),
    Double(f64),
}

impl<'a> TraceText<'a> {
    fn of(trace: &'a Trace) -> Self {
        let place = |process: &Arc<Process>| {
            trace.processes().iter().position(|known| Arc::ptr_eq(known, process)).map_or(0, |at| at + 1)
        };
        let processes = trace.processes().iter().enumerate().map(|(at, process)| {
            let text = ProcessText { service_name: &process.service, tags: tags(&process.tags) };
            (format!("p{}", at + 1), text)
        });
        Self {
            trace_id: trace.id.to_string(),
            spans: trace.spans().map(|span| SpanText::of(span, format!("p{}", place(&span.process)))).collect(),
            processes: processes.collect(),
            warnings: None,
        }
    }
}

impl<'a> SpanText<'a> {
    fn of(span: &'a Span, process_id: String) -> Self {
        let parent = span.parent.map(|parent| ("CHILD_OF", span.trace, parent));
        let links = span.links.iter().map(|(trace, id)| ("FOLLOWS_FROM", *trace, *id));
        let reference = |(kind, trace, id): (_, TraceId, SpanId)| Reference {
            kind,
            trace_id: trace.to_string(),
            span_id: id.to_string(),
        };
        let log = |event: &'a Event| {
            let name = Tag { key: "event", kind: "string", value: TagValue::Text(&event.name) };
            Log { timestamp: event.at_ns / US, fields: std::iter::once(name).chain(tags(&event.tags)).collect() }
        };
        Self {
            trace_id: span.trace.to_string(),
            span_id: span.id.to_string(),
            flags: 1,
            operation_name: &span.name,
            references: parent.into_iter().chain(links).map(reference).collect(),
            start_time: span.start_ns / US,
            duration: span.duration_ns / US,
            tags: span_tags(span),
            logs: span.events.iter().map(log).collect(),
            process_id,
            warnings: (span.lost > 0)
                .then(|| vec![format!("{} attributes or events were dropped or shortened", span.lost)]),
        }
    }
}

/// Its own, and those that Jaeger derives from kind and status.
fn span_tags(span: &Span) -> Vec<Tag<'_>> {
    let mut all = tags(&span.tags);
    let has = |all: &[Tag<'_>], key: &str| all.iter().any(|tag| tag.key == key);
    let mut derive = |key, value: TagValue<'static>| {
        if !has(&all, key) {
            all.push(Tag { key, kind: if matches!(value, TagValue::Bool(_)) { "bool" } else { "string" }, value });
        }
    };
    if !span.kind.as_str().is_empty() {
        derive("span.kind", TagValue::Text(span.kind.as_str()));
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => derive("otel.status_code", TagValue::Text("OK")),
        Status::Error(_) => {
            derive("otel.status_code", TagValue::Text("ERROR"));
            derive("error", TagValue::Bool(true));
        }
    }
    if let Status::Error(why) = &span.status
        && !why.is_empty()
    {
        all.push(Tag { key: "otel.status_description", kind: "string", value: TagValue::Text(why) });
    }
    all
}

fn tags(tags: &[(Box<str>, Value)]) -> Vec<Tag<'_>> {
    tags.iter().map(|(key, value)| Tag::of(key, value)).collect()
}

impl<'a> Tag<'a> {
    fn of(key: &'a str, value: &'a Value) -> Self {
        let (kind, value) = match value {
            Value::Text(text) => ("string", TagValue::Text(text)),
            Value::Bool(truth) => ("bool", TagValue::Bool(*truth)),
            Value::Int(number) if number.unsigned_abs() > SAFE_INTEGER_MAX => {
                ("int64", TagValue::LargeInt(number.to_string()))
            }
            Value::Int(number) => ("int64", TagValue::Int(*number)),
            Value::Double(number) => ("float64", TagValue::Double(*number)),
        };
        Self { key, kind, value }
    }
}
