//! Spans for tests, and what they are sent as.

use std::sync::Arc;

use super::Sink;
use super::model::{Kind, Process, Span, SpanId, Status, TraceId, Value};
use super::wire::{put_bytes, put_number};

/// A moment in 2023, in nanoseconds.
pub(crate) const BEGAN_NS: u64 = 1_700_000_000_000_000_000;
/// Nanoseconds of a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// What a decoder hands out.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) spans: Vec<Span>,
    pub(crate) rejected: Vec<&'static str>,
}

impl Sink for Collected {
    fn span(&mut self, span: Span) {
        self.spans.push(span);
    }

    fn reject(&mut self, why: &'static str) {
        self.rejected.push(why);
    }
}

pub(crate) fn process(service: &str) -> Arc<Process> {
    Arc::new(Process { service: service.into(), tags: vec![("host.name".into(), Value::Text("h1".into()))].into() })
}

/// A span of `service` that began a millisecond per id after the others, and took as long.
pub(crate) fn span(trace: u128, id: u64, parent: u64, service: &str) -> Span {
    Span {
        trace: TraceId(trace),
        id: SpanId(id),
        parent: (parent > 0).then_some(SpanId(parent)),
        links: Box::default(),
        kind: Kind::Server,
        name: "GET /reviews".into(),
        process: process(service),
        start_ns: BEGAN_NS + id * MS,
        duration_ns: id * MS,
        tags: vec![("http.response.status_code".into(), Value::Int(200))].into(),
        events: Box::default(),
        status: Status::Unset,
        lost: 0,
    }
}

/// A message of these fields.
pub(crate) fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(field, bytes)| put_bytes(&mut out, *field, bytes));
    out
}

/// A number as a field.
pub(crate) fn number(field: u32, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, field, number);
    out
}

/// `KeyValue` with the bytes of an `AnyValue`.
pub(crate) fn key_value(key: &str, any: &[u8]) -> Vec<u8> {
    message(&[(1, key.as_bytes()), (2, any)])
}

/// `ExportTraceServiceRequest` with spans of `service`.
pub(crate) fn export_request(service: &str, spans: &[Vec<u8>]) -> Vec<u8> {
    let resource = message(&[(1, &key_value("service.name", &message(&[(1, service.as_bytes())])))]);
    let scope = message(&[(1, b"my.tracer"), (2, b"1.2")]);
    let mut scope_spans = message(&[(1, &scope)]);
    spans.iter().for_each(|span| put_bytes(&mut scope_spans, 2, span));
    // The resource behind its spans: the order of fields is nobody's to rely on.
    message(&[(1, &message(&[(2, &scope_spans), (1, &resource)]))])
}

/// `Span` with ids and a name.
pub(crate) fn span_message(trace: u128, id: u64, name: &str) -> Vec<u8> {
    let mut span = message(&[(1, &trace.to_be_bytes()), (2, &id.to_be_bytes()), (5, name.as_bytes())]);
    for (field, at) in [(7, BEGAN_NS), (8, BEGAN_NS + 5 * MS)] {
        span.push(field << 3 | 1);
        span.extend_from_slice(&at.to_le_bytes());
    }
    span
}
