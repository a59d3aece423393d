//! OTLP's protobuf form.

use super::*;
use crate::trace::fixture::{BEGAN_NS, Collected, MS, export_request, key_value, message, number, span_message};

fn decoded(request: &[u8]) -> Collected {
    let mut collected = Collected::default();
    decode(request, &mut collected).unwrap();
    collected
}

#[test]
fn a_span_is_read_with_its_resource_and_scope() {
    let mut bytes = span_message(0xabc, 7, "GET");
    bytes.extend(message(&[(4, &6_u64.to_be_bytes())]));
    bytes.extend(number(6, 3));
    bytes.extend(message(&[(9, &key_value("http.response.status_code", &number(3, 503)))]));
    bytes.extend(message(&[(11, &message(&[(2, b"exception")]))]));
    bytes.extend(message(&[(13, &message(&[(1, &9_u128.to_be_bytes()), (2, &8_u64.to_be_bytes())]))]));
    bytes.extend(message(&[(15, &[message(&[(2, b"upstream")]), number(3, 2)].concat())]));

    let spans = decoded(&export_request("reviews", &[bytes])).spans;

    let span = &spans[0];
    assert_eq!((span.trace, span.id, span.parent), (TraceId(0xabc), SpanId(7), Some(SpanId(6))));
    assert_eq!((&*span.name, span.kind, &*span.process.service), ("GET", Kind::Client, "reviews"));
    assert_eq!((span.start_ns, span.duration_ns), (BEGAN_NS, 5 * MS));
    assert_eq!(span.status, Status::Error("upstream".into()));
    assert_eq!(&*span.events[0].name, "exception");
    assert_eq!(*span.links, [(TraceId(9), SpanId(8))]);
    let tags: Vec<String> = span.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(tags, ["http.response.status_code=503", "otel.scope.name=my.tracer", "otel.scope.version=1.2"]);
}

#[test]
fn lists_and_maps_become_their_json() {
    let list = message(&[(5, &message(&[(1, &message(&[(1, b"a\"b")])), (1, &number(3, 7)), (1, b"")]))]);
    let map = message(&[(6, &message(&[(1, &key_value("k", &number(2, 1)))]))]);
    let mut bytes = span_message(1, 1, "x");
    let attributes = [("list", list), ("map", map), ("bytes", message(&[(7, b"\x01\x02")]))];
    attributes.iter().for_each(|(key, any)| bytes.extend(message(&[(9, &key_value(key, any))])));

    let spans = decoded(&export_request("s", &[bytes])).spans;

    let texts: Vec<String> = spans[0].tags.iter().take(3).map(|(_, value)| value.to_string()).collect();
    assert_eq!(texts, [r#"["a\"b",7,null]"#, r#"{"k":true}"#, "AQI="]);
}

#[test]
fn a_span_without_ids_is_refused_alone() {
    let bad = message(&[(1, b"short"), (2, &1_u64.to_be_bytes())]);
    let zero = message(&[(1, &[0; 16]), (2, &1_u64.to_be_bytes())]);

    let collected = decoded(&export_request("s", &[bad, zero, span_message(1, 1, "good")]));

    assert_eq!((collected.spans.len(), collected.rejected.len()), (1, 2));
}

#[test]
fn what_lies_too_deep_is_refused() {
    let mut value = number(3, 1);
    for _ in 0..100 {
        value = message(&[(5, &message(&[(1, &value)]))]);
    }
    let mut bytes = span_message(1, 1, "x");
    bytes.extend(message(&[(9, &key_value("deep", &value))]));

    let error = decode(&export_request("s", &[bytes]), &mut Collected::default());

    assert_eq!(error, Err(WireError::TooDeep));
}

#[test]
fn a_long_list_in_an_attribute_is_cut_and_counted() {
    let mut list = Vec::new();
    (0..100_000).for_each(|_| list.extend(message(&[(1, b"")])));
    let mut bytes = span_message(1, 1, "x");
    bytes.extend(message(&[(9, &key_value("list", &message(&[(5, &list)])))]));

    let spans = decoded(&export_request("s", &[bytes])).spans;

    assert_eq!(spans[0].lost, 1);
    assert!(spans[0].bytes() < 10_000);
}

#[test]
fn a_process_without_a_name_has_opentelemetrys() {
    assert_eq!(&*decoded(&export_request("", &[span_message(1, 1, "x")])).spans[0].process.service, UNKNOWN_SERVICE);
}

#[test]
fn no_cut_of_a_request_panics() {
    let request = export_request("s", &[span_message(1, 1, "x"), span_message(1, 2, "y")]);
    let read = |end: usize| decode(&request[..end], &mut Collected::default()).is_ok();
    assert_eq!((0..=request.len()).filter(|end| read(*end)).count(), 2, "nothing, and all of it");
}
