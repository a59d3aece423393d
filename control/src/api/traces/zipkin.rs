//! Zipkin's read API: `/api/v2/services`, `/spans`, `/remoteServices`, `/traces`, `/trace/ID`, `/traceMany`, `/dependencies`.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;

use super::{Asked, Reply, TRACES_MAX, within_bounds};
use crate::trace::dependencies::dependencies;
use crate::trace::model::{Kind, Span, Status, TraceId, Value};
use crate::trace::search::{Found, Search, Wanted};
use crate::trace::store::Trace;

/// Traces of an answer when nobody says how many: Zipkin's own.
const LIMIT: usize = 10;
/// How far back is looked when nobody says: Zipkin's own, a day.
const LOOKBACK_MS: u64 = 86_400_000;
/// Nanoseconds of a microsecond and of a millisecond.
const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Answers. Zipkin says errors in plain text.
pub(super) fn answer(asked: &Asked<'_>) -> Reply {
    let answered = match *asked.path {
        ["services"] => Ok(ok(&asked.store.services())),
        ["spans"] => names(asked),
        // Autocompletion is of keys that a server is configured with; there are none here.
        ["remoteServices" | "autocompleteKeys" | "autocompleteValues"] => Ok(ok(&Vec::<String>::new())),
        ["traces"] => traces(asked),
        ["trace", id] => trace(asked, id),
        ["traceMany"] => many(asked),
        ["dependencies"] => links(asked),
        _ => Err((StatusCode::NOT_FOUND, "there is no such path".to_owned())),
    };
    answered.unwrap_or_else(|(status, why)| Reply::text(status, &why))
}

type Answered = Result<Reply, (StatusCode, String)>;

fn ok(value: &impl Serialize) -> Reply {
    Reply::json(StatusCode::OK, value)
}

fn bad(why: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, why)
}

fn names(asked: &Asked<'_>) -> Answered {
    let service = asked.parameters.find(&["serviceName"]).ok_or_else(|| bad("serviceName is required".to_owned()))?;
    let mut names: Vec<String> = asked.store.operations(Some(service)).into_iter().map(|(name, _)| name).collect();
    names.dedup();
    Ok(ok(&names))
}

fn traces(asked: &Asked<'_>) -> Answered {
    let limit = asked.parameters.number(&["limit"]).map_err(bad)?;
    let limit = limit.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(TRACES_MAX).min(TRACES_MAX));
    let found = search(asked).map_err(bad)?.run(asked.store, limit);
    Ok(show(asked, &found))
}

fn show(asked: &Asked<'_>, found: &Found) -> Reply {
    let traces = within_bounds(asked.store, found);
    ok(&traces.iter().map(|trace| spans(trace)).collect::<Vec<_>>())
}

fn search(asked: &Asked<'_>) -> Result<Search, String> {
    let Asked { parameters, now_ns, .. } = asked;
    let us = |names: &[&str]| parameters.number(names).map(|time| time.map(|time| time.saturating_mul(US)));
    let (start_min_ns, start_max_ns) = window(asked, *now_ns)?;
    Ok(Search {
        service: parameters.find(&["serviceName"]).map(str::to_owned),
        operation: parameters.find(&["spanName"]).filter(|name| *name != "all").map(str::to_owned),
        tags: parameters.find(&["annotationQuery"]).map(wanted).unwrap_or_default(),
        start_min_ns: Some(start_min_ns),
        start_max_ns: Some(start_max_ns),
        duration_min_ns: us(&["minDuration"])?,
        duration_max_ns: us(&["maxDuration"])?,
        failed: false,
    })
}

fn window(asked: &Asked<'_>, now_ns: u64) -> Result<(u64, u64), String> {
    // A clock that is a little ahead is no reason not to be found, unless somebody says when to end.
    let end_ms = asked.parameters.number(&["endTs"])?;
    let lookback_ms = asked.parameters.number(&["lookback"])?.unwrap_or(LOOKBACK_MS);
    let start_ns = end_ms.unwrap_or(now_ns / MS).saturating_sub(lookback_ms).saturating_mul(MS);
    Ok((start_ns, end_ms.map_or(u64::MAX, |end_ms| end_ms.saturating_mul(MS))))
}

/// `error and http.method=GET`
fn wanted(query: &str) -> Vec<Wanted> {
    let one = |text: &str| match text.split_once('=') {
        Some((key, value)) => Wanted { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Wanted { key: text.to_owned(), value: None },
    };
    query.split(" and ").map(str::trim).filter(|text| !text.is_empty()).map(one).collect()
}

fn parse_id(id: &str) -> Result<TraceId, (StatusCode, String)> {
    TraceId::parse(id).ok_or_else(|| bad(format!("{id} is not a trace id of up to 32 lower-hex digits")))
}

fn trace(asked: &Asked<'_>, id: &str) -> Answered {
    match asked.store.trace(parse_id(id)?) {
        Some(trace) => Ok(ok(&spans(&trace))),
        None => Err((StatusCode::NOT_FOUND, format!("{id} not found"))),
    }
}

fn many(asked: &Asked<'_>) -> Answered {
    let ids = asked.parameters.find(&["traceIds"]).ok_or_else(|| bad("traceIds is required".to_owned()))?;
    let ids: Vec<TraceId> = ids.split(',').take(TRACES_MAX).map(parse_id).collect::<Result<_, _>>()?;
    let traces: Vec<_> = ids.into_iter().filter_map(|id| asked.store.trace(id)).collect();
    Ok(show(asked, &Found { total: traces.len(), traces }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkText {
    parent: String,
    child: String,
    call_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    error_count: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn links(asked: &Asked<'_>) -> Answered {
    let (start_ns, end_ns) = window(asked, asked.now_ns).map_err(bad)?;
    let links = dependencies(asked.store, start_ns, end_ns).into_iter();
    let text = links.map(|link| LinkText {
        parent: link.parent,
        child: link.child,
        call_count: link.calls,
        error_count: link.errors,
    });
    Ok(ok(&text.collect::<Vec<_>>()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanText<'a> {
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: &'a str,
    timestamp: u64,
    duration: u64,
    local_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, String>,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
struct Annotation<'a> {
    timestamp: u64,
    value: &'a str,
}

fn spans(trace: &Trace) -> Vec<SpanText<'_>> {
    trace.spans().map(|span| SpanText::of(span)).collect()
}

impl<'a> SpanText<'a> {
    fn of(span: &'a Span) -> Self {
        let mut tags: BTreeMap<&str, String> =
            span.tags.iter().map(|(key, value)| (&**key, value.to_string())).collect();
        if let Status::Error(why) = &span.status {
            let why = if why.is_empty() { "true" } else { why };
            tags.entry("error").or_insert_with(|| why.to_owned());
        }
        let remote = Endpoint::of(
            text(&span.tags, "peer.service"),
            text(&span.tags, "network.peer.address"),
            number(&span.tags, "network.peer.port"),
        );
        let process = &span.process;
        Self {
            trace_id: span.trace.to_string(),
            parent_id: span.parent.map(|parent| parent.to_string()),
            id: span.id.to_string(),
            kind: match span.kind {
                Kind::Unspecified | Kind::Internal => None,
                Kind::Server => Some("SERVER"),
                Kind::Client => Some("CLIENT"),
                Kind::Producer => Some("PRODUCER"),
                Kind::Consumer => Some("CONSUMER"),
            },
            name: &span.name,
            timestamp: span.start_ns / US,
            // Zipkin takes zero for unknown.
            duration: (span.duration_ns / US).max(1),
            local_endpoint: Endpoint::of(
                Some(&process.service),
                text(&process.tags, "ip"),
                number(&process.tags, "port"),
            ),
            remote_endpoint: (remote != Endpoint::default()).then_some(remote),
            annotations: span.events.iter().map(|e| Annotation { timestamp: e.at_ns / US, value: &e.name }).collect(),
            tags,
        }
    }
}

impl<'a> Endpoint<'a> {
    fn of(service_name: Option<&'a str>, ip: Option<&'a str>, port: Option<u16>) -> Self {
        let (ipv6, ipv4) = (ip.filter(|ip| ip.contains(':')), ip.filter(|ip| !ip.contains(':')));
        Self { service_name, ipv4, ipv6, port }
    }
}

fn text<'a>(tags: &'a [(Box<str>, Value)], key: &str) -> Option<&'a str> {
    match tags.iter().find(|(own, _)| **own == *key) {
        Some((_, Value::Text(text))) => Some(text),
        Some((_, Value::Bool(_) | Value::Int(_) | Value::Double(_))) | None => None,
    }
}

fn number(tags: &[(Box<str>, Value)], key: &str) -> Option<u16> {
    match tags.iter().find(|(own, _)| **own == *key) {
        Some((_, Value::Int(number))) => u16::try_from(*number).ok(),
        Some((_, Value::Text(_) | Value::Bool(_) | Value::Double(_))) | None => None,
    }
}
