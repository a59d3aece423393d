//! Jaeger's API v3, which its new user interface searches with: `/api/v3/services`, `/operations`, `/trace-summaries`, `/traces`.

use std::collections::{BTreeMap, HashSet};

use http::StatusCode;
use serde::Serialize;

use super::otlp::ResourceSpans;
use super::parameters::moment_ns;
use super::{Asked, Reply, TRACES_MAX, within_bounds};
use crate::trace::model::{SpanId, TraceId};
use crate::trace::search::Search;
use crate::trace::store::Trace;

/// Traces of an answer when nobody says how many: Jaeger's own.
const LIMIT: usize = 100;

#[derive(Serialize)]
struct Failure {
    error: Problem,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    http_code: u16,
    message: String,
}

type Answered = Result<Reply, (StatusCode, String)>;

/// Answers.
pub(super) fn answer(asked: &Asked<'_>) -> Reply {
    let answered = match *asked.path {
        ["services"] => Ok(Reply::json(StatusCode::OK, &Services { services: asked.store.services() })),
        ["operations"] => Ok(operations(asked)),
        ["trace-summaries"] => summaries(asked),
        ["traces"] => traces(asked),
        ["traces", id] => trace(asked, id),
        _ => Err((StatusCode::NOT_FOUND, "there is no such path".to_owned())),
    };
    answered.unwrap_or_else(|(status, message)| {
        Reply::json(status, &Failure { error: Problem { http_code: status.as_u16(), message } })
    })
}

#[derive(Serialize)]
struct Services {
    services: Vec<String>,
}

#[derive(Serialize)]
struct Operations {
    operations: Vec<Operation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    name: String,
    span_kind: &'static str,
}

fn operations(asked: &Asked<'_>) -> Reply {
    let kind = asked.parameters.find(&["span_kind", "spanKind"]);
    let all = asked.store.operations(asked.parameters.find(&["service"])).into_iter();
    let wanted = all.filter(|(_, own)| kind.is_none_or(|kind| own.as_str() == kind));
    let operations = wanted.map(|(name, kind)| Operation { name, span_kind: kind.as_str() }).collect();
    Reply::json(StatusCode::OK, &Operations { operations })
}

#[derive(Serialize)]
struct Summaries {
    summaries: Vec<Summary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    trace_id: String,
    root_service_name: String,
    root_operation_name: String,
    min_start_time_unix_nano: String,
    max_end_time_unix_nano: String,
    span_count: usize,
    error_span_count: usize,
    orphan_span_count: usize,
    services: Vec<ServiceSummary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSummary {
    name: String,
    span_count: usize,
    error_span_count: usize,
}

fn summaries(asked: &Asked<'_>) -> Answered {
    let (search, limit) = search(asked)?;
    let found = search.run(asked.store, limit);
    let summaries = found.traces.iter().map(|trace| Summary::of(trace)).collect();
    Ok(Reply::json(StatusCode::OK, &Summaries { summaries }))
}

impl Summary {
    fn of(trace: &Trace) -> Self {
        let ids: HashSet<SpanId> = trace.spans().map(|span| span.id).collect();
        let mut services: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let (mut errors, mut orphans) = (0, 0);
        for span in trace.spans() {
            let failed = usize::from(span.failed());
            let (spans, failures) = services.entry(&span.process.service).or_default();
            *spans += 1;
            *failures += failed;
            errors += failed;
            orphans += usize::from(span.parent.is_some_and(|parent| !ids.contains(&parent)));
        }
        let service = |(name, (span_count, error_span_count)): (&str, (usize, usize))| ServiceSummary {
            name: name.to_owned(),
            span_count,
            error_span_count,
        };
        let root = trace.root();
        Self {
            trace_id: trace.id.to_string(),
            root_service_name: root.map(|root| root.process.service.to_string()).unwrap_or_default(),
            root_operation_name: root.map(|root| root.name.to_string()).unwrap_or_default(),
            min_start_time_unix_nano: trace.start_ns.to_string(),
            max_end_time_unix_nano: trace.end_ns.to_string(),
            span_count: trace.spans().len(),
            error_span_count: errors,
            orphan_span_count: orphans,
            services: services.into_iter().map(service).collect(),
        }
    }
}

/// What is searched for, and how many. Names are in camel case or, as earlier clients have it, in snake case.
fn search(asked: &Asked<'_>) -> Result<(Search, usize), (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let parameters = &asked.parameters;
    let moment = |names: &[&str]| parameters.parse(names, "a moment such as 2026-01-02T03:04:05Z", moment_ns);
    let depth = parameters.number(&["query.searchDepth", "query.search_depth", "query.num_traces"]).map_err(bad)?;
    let limit = depth.map_or(LIMIT, |depth| usize::try_from(depth).unwrap_or(TRACES_MAX).min(TRACES_MAX));
    let search = Search {
        service: parameters.find(&["query.serviceName", "query.service_name"]).map(str::to_owned),
        operation: parameters.find(&["query.operationName", "query.operation_name"]).map(str::to_owned),
        tags: parameters.tags(&["query.attributes"]).map_err(bad)?,
        start_min_ns: moment(&["query.startTimeMin", "query.start_time_min"]).map_err(bad)?,
        start_max_ns: moment(&["query.startTimeMax", "query.start_time_max"]).map_err(bad)?,
        duration_min_ns: parameters.duration(&["query.durationMin", "query.duration_min"]).map_err(bad)?,
        duration_max_ns: parameters.duration(&["query.durationMax", "query.duration_max"]).map_err(bad)?,
        failed: false,
    };
    Ok((search, limit))
}

#[derive(Serialize)]
struct TracesData<'a> {
    result: Spans<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spans<'a> {
    resource_spans: Vec<ResourceSpans<'a>>,
}

fn traces(asked: &Asked<'_>) -> Answered {
    let (search, limit) = search(asked)?;
    let traces = within_bounds(asked.store, &search.run(asked.store, limit));
    let resource_spans = traces.iter().flat_map(|trace| ResourceSpans::of(trace)).collect();
    Ok(Reply::json(StatusCode::OK, &TracesData { result: Spans { resource_spans } }))
}

fn trace(asked: &Asked<'_>, id: &str) -> Answered {
    let bad = || (StatusCode::BAD_REQUEST, format!("malformed parameter trace_id: {id}"));
    let trace = asked.store.trace(TraceId::parse(id).ok_or_else(bad)?);
    let trace = trace.ok_or_else(|| (StatusCode::NOT_FOUND, "trace not found".to_owned()))?;
    let resource_spans = ResourceSpans::of(&trace);
    Ok(Reply::json(StatusCode::OK, &TracesData { result: Spans { resource_spans } }))
}
