//! What senders of spans send, in any format, and what is answered about it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tidegate_control::fuzzing::answer_about_traces;
use tidegate_control::trace::Sink;
use tidegate_control::trace::intake::{Format, Intake, decode};
use tidegate_control::trace::model::{Kind, Span};
use tidegate_control::trace::store::{Store, Trace};

/// Of the store: a few spans make it full.
const BYTES_MAX: usize = 16 * 1024;
/// Traces that are shown one by one.
const SHOWN_MAX: usize = 4;
/// 2023-11-14.
const NOW_NS: u64 = 1_700_000_000_000_000_000;
/// The first bit of a choice: the body is packed with gzip.
const PACKED: u8 = 0x80;

const FORMATS: [Format; 5] =
    [Format::Otlp, Format::OtlpJson, Format::Zipkin, Format::SkyWalking, Format::SkyWalkingCollection];

/// The first byte says what the others are: spans in a format, or a question.
pub(crate) fn trace_intake(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let Some(format) = FORMATS.get(usize::from(choice & !PACKED)) else { return question(body) };
    let intake = Intake::new(Arc::new(Store::bounded(BYTES_MAX)));
    // Exporters repeat themselves.
    for _ in 0..2 {
        // What was sound before an error is kept.
        drop(intake.take_at_once(*format, Bytes::copy_from_slice(body), choice & PACKED != 0));
        is_within_bounds(intake.store());
    }
    is_shown(intake.store());
}

fn is_within_bounds(store: &Store) {
    let (fill, traces) = (store.fill(), store.traces());
    assert!(fill.bytes <= BYTES_MAX, "{fill:?}");
    assert!(traces.iter().map(|trace| trace.bytes).sum::<usize>() <= fill.bytes, "{fill:?}");
    assert_eq!((traces.len(), traces.iter().map(|trace| trace.spans().len()).sum()), (fill.traces, fill.spans));
    assert!(traces.iter().all(|trace| trace.root().is_some()), "no trace is empty");
    let services: BTreeSet<String> = all_spans(store).map(|span| span.process.service.to_string()).collect();
    assert!(services.iter().eq(&store.services()), "{services:?} {:?}", store.services());
    let operations: BTreeSet<(String, Kind)> =
        all_spans(store).map(|span| (span.name.to_string(), span.kind)).collect();
    assert!(operations.iter().eq(&store.operations(None)), "{operations:?}");
}

fn all_spans(store: &Store) -> impl Iterator<Item = Arc<Span>> {
    store.traces().into_iter().flat_map(|trace| trace.spans().cloned().collect::<Vec<_>>())
}

fn is_shown(store: &Store) {
    let mut targets: Vec<String> = [
        "/api/services",
        "/api/traces",
        "/api/dependencies?endTs=18446744073709551615&lookback=18446744073709551615",
        "/api/v3/services",
        "/api/v3/operations",
        "/api/v3/trace-summaries",
        "/api/v3/traces",
        "/api/v2/services",
        "/api/v2/traces?lookback=18446744073709551615",
        "/api/v2/dependencies?lookback=18446744073709551615",
    ]
    .map(str::to_owned)
    .into();
    for service in store.services().iter().take(SHOWN_MAX) {
        let service = escaped(service);
        targets.push(format!("/api/services/{service}/operations"));
        targets.push(format!("/api/operations?service={service}"));
        targets.push(format!("/api/traces?service={service}&limit=3"));
        targets.push(format!("/api/v2/spans?serviceName={service}"));
    }
    for target in targets {
        answered(&target, store);
    }
    for trace in store.traces().iter().take(SHOWN_MAX) {
        is_the_same_to_others(trace, store);
    }
}

/// The JSON of an answer that is there.
fn answered(target: &str, store: &Store) -> serde_json::Value {
    let (status, body) = answer_about_traces(target, store, NOW_NS).expect("it is about traces");
    assert!(status.is_success(), "{target}: {status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{target} is no JSON: {error}"))
}

/// What an API gives out can be taken in again, and is what it was.
fn is_the_same_to_others(trace: &Trace, store: &Store) {
    let id = trace.id;
    let jaeger = answered(&format!("/api/traces/{id}"), store);
    assert_eq!(jaeger["data"][0]["spans"].as_array().map(Vec::len), Some(trace.spans().len()));

    let otlp = answered(&format!("/api/v3/traces/{id}"), store)["result"].to_string();
    assert_eq!(read(Format::OtlpJson, &otlp).all(told), of(trace, told));

    let zipkin = answered(&format!("/api/v2/trace/{id}"), store).to_string();
    assert_eq!(read(Format::Zipkin, &zipkin).all(told_to_zipkin), of(trace, told_to_zipkin));
}

fn of(trace: &Trace, told: fn(&Span) -> String) -> BTreeSet<String> {
    trace.spans().map(|span| told(span)).collect()
}

/// Zipkin knows fewer kinds, and microseconds.
fn told_to_zipkin(span: &Span) -> String {
    let Span { trace, id, parent, name, .. } = span;
    format!("{trace} {id} {parent:?} {name:?} {:?}", span.process.service)
}

fn told(span: &Span) -> String {
    let Span { trace, id, parent, kind, name, start_ns, status, .. } = span;
    let process = &span.process.service;
    format!("{trace} {id} {parent:?} {kind:?} {name:?} {process:?} {start_ns} {} {status:?}", span.end_ns())
}

/// What comes out of it, as a set.
struct Read(Vec<Span>);

impl Read {
    fn all(self, told: fn(&Span) -> String) -> BTreeSet<String> {
        self.0.iter().map(told).collect()
    }
}

impl Sink for Read {
    fn span(&mut self, span: Span) {
        self.0.push(span);
    }

    fn reject(&mut self, why: &'static str) {
        panic!("what we answer has {why}");
    }
}

fn read(format: Format, json: &str) -> Read {
    let mut read = Read(Vec::new());
    decode(format, json.as_bytes(), &mut read).unwrap_or_else(|error| panic!("we cannot read {json}: {error}"));
    read
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

const SPANS: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},
"scopeSpans":[{"spans":[{"traceId":"0000000000000000000000000000002a","spanId":"0000000000000007","name":"GET /","kind":2,
"startTimeUnixNano":"1699999999000000000","endTimeUnixNano":"1699999999500000000",
"attributes":[{"key":"error","value":{"boolValue":true}}]}]}]}]}"#;

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let store = Store::bounded(BYTES_MAX);
    assert!(store.insert(read(Format::OtlpJson, SPANS).0).is_empty());
    store
});

/// Any path and query have an answer, and what is answered well is JSON.
fn question(text: &[u8]) {
    let Ok(target) = std::str::from_utf8(text) else { return };
    let Some((status, body)) = answer_about_traces(target, &STORE, NOW_NS) else { return };
    assert!(!status.is_server_error(), "{target}: {status}");
    if status.is_success() {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&body);
        assert!(json.is_ok(), "{target}: {json:?}");
    }
}
