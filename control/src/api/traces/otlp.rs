//! Spans as OTLP's JSON says them: what came in by OTLP goes out as it came.

use std::sync::Arc;

use serde::Serialize;

use crate::trace::model::{Event, Span, Status, Value};
use crate::trace::store::Trace;

/// The spans of a process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: Vec<ScopeSpans<'a>>,
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope<'a>,
    spans: Vec<SpanText<'a>>,
}

#[derive(Serialize)]
struct Scope<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanText<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_span_id: String,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    events: Vec<EventText<'a>>,
    links: Vec<LinkText>,
    status: StatusText<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventText<'a> {
    time_unix_nano: String,
    name: &'a str,
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkText {
    trace_id: String,
    span_id: String,
}

#[derive(Default, Serialize)]
struct StatusText<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
enum AnyValue<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "boolValue")]
    Bool(bool),
    /// 64-bit numbers are texts in JSON of protobuf.
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
}

impl<'a> ResourceSpans<'a> {
    /// A trace, by its processes and their scopes.
    pub(super) fn of(trace: &'a Trace) -> Vec<Self> {
        let of_process = |process| {
            let mut scopes: Vec<ScopeSpans<'a>> = Vec::new();
            for span in trace.spans().filter(|span| Arc::ptr_eq(&span.process, process)) {
                let (name, version) = (scope_part(span, "otel.scope.name"), scope_part(span, "otel.scope.version"));
                let known = scopes.iter_mut().find(|known| known.scope.name == name && known.scope.version == version);
                match known {
                    Some(known) => known.spans.push(SpanText::of(span)),
                    None => scopes.push(ScopeSpans { scope: Scope { name, version }, spans: vec![SpanText::of(span)] }),
                }
            }
            scopes
        };
        let resource = |process: &'a Arc<crate::trace::model::Process>| {
            let service = KeyValue { key: "service.name", value: AnyValue::Text(&process.service) };
            Resource { attributes: std::iter::once(service).chain(attributes(&process.tags)).collect() }
        };
        let each = trace.processes().iter();
        each.map(|process| Self { resource: resource(process), scope_spans: of_process(process) }).collect()
    }
}

/// The scope of a span is kept among its attributes.
fn scope_part<'a>(span: &'a Span, key: &str) -> &'a str {
    let found = span.tags.iter().find(|(own, _)| **own == *key);
    if let Some((_, Value::Text(text))) = found { text } else { "" }
}

impl<'a> SpanText<'a> {
    fn of(span: &'a Span) -> Self {
        let event = |event: &'a Event| EventText {
            time_unix_nano: event.at_ns.to_string(),
            name: &event.name,
            attributes: attributes(&event.tags).collect(),
        };
        let status = match &span.status {
            Status::Unset => StatusText::default(),
            Status::Ok => StatusText { code: Some(1), message: "" },
            Status::Error(message) => StatusText { code: Some(2), message },
        };
        let own = attributes(&span.tags);
        Self {
            trace_id: span.trace.to_string(),
            span_id: span.id.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()).unwrap_or_default(),
            name: &span.name,
            kind: span.kind.number(),
            start_time_unix_nano: span.start_ns.to_string(),
            end_time_unix_nano: span.end_ns().to_string(),
            attributes: own.filter(|tag| !matches!(tag.key, "otel.scope.name" | "otel.scope.version")).collect(),
            events: span.events.iter().map(event).collect(),
            links: span
                .links
                .iter()
                .map(|(trace, id)| LinkText { trace_id: trace.to_string(), span_id: id.to_string() })
                .collect(),
            status,
            dropped_attributes_count: span.lost,
        }
    }
}

fn attributes(tags: &[(Box<str>, Value)]) -> impl Iterator<Item = KeyValue<'_>> {
    tags.iter().map(|(key, value)| KeyValue {
        key,
        value: match value {
            Value::Text(text) => AnyValue::Text(text),
            Value::Bool(truth) => AnyValue::Bool(*truth),
            Value::Int(number) => AnyValue::Int(number.to_string()),
            Value::Double(number) => AnyValue::Double(*number),
        },
    })
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
