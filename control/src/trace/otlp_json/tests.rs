//! OTLP's JSON form.

use super::*;
use crate::trace::fixture::Collected;
use crate::trace::model::Status;

fn decoded(request: &str) -> Collected {
    let mut collected = Collected::default();
    decode(request.as_bytes(), &mut collected).unwrap();
    collected
}

fn with_span(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
}

#[test]
fn the_example_of_the_specification_is_read() {
    let request = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
      "scopeSpans":[{"scope":{"name":"my.tracer","version":"1.0.0","attributes":[]},"spans":[{
      "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",
      "name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,"kind":2,
      "unknownField":[[{}]],
      "attributes":[{"key":"my.attr","value":{"stringValue":"some value"}},{"key":"n","value":{"intValue":"17"}},
        {"key":"list","value":{"arrayValue":{"values":[{"intValue":1},{"stringValue":"a"},{}]}}},
        {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}}],
      "events":[{"timeUnixNano":"1","name":"e"}],"status":{"code":2,"message":"no"}}]}]}]}"#;

    let spans = decoded(request).spans;

    let span = &spans[0];
    assert_eq!(span.trace.to_string(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.parent.map(|parent| parent.to_string()).as_deref(), Some("eee19b7ec3c1b173"));
    assert_eq!((span.start_ns, span.duration_ns), (1_544_712_660_000_000_000, 1_000_000_000));
    assert_eq!((&*span.process.service, span.kind), ("my.service", Kind::Server));
    assert_eq!(span.status, Status::Error("no".into()));
    let tags: Vec<String> = span.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let expected =
        ["my.attr=some value", "n=17", r#"list=[1,"a",""]"#, r#"map={"k":true}"#, "otel.scope.name=my.tracer"];
    assert_eq!(tags[..5], expected);
}

#[test]
fn ids_are_whole() {
    let span = |trace: &str, id: &str| with_span(&format!(r#"{{"traceId":"{trace}","spanId":"{id}"}}"#));
    assert_eq!(decoded(&span(&"a".repeat(32), &"b".repeat(16))).spans.len(), 1);
    for (trace, id) in [("abc", "b"), ("W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXQ="), ("", "")] {
        assert_eq!(decoded(&span(trace, id)).rejected.len(), 1, "{trace}");
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    for text in ["", "nonsense", "[]x", r#"{"resourceSpans":7}"#, r#"{"resourceSpans":[{"scopeSpans":"#] {
        assert!(decode(text.as_bytes(), &mut Collected::default()).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(with_span(&deep).as_bytes(), &mut Collected::default()).is_err());
}

#[test]
fn nested_lists_and_maps_are_cut_where_they_are_too_deep() {
    let deep = |open: &str, close: &str| format!("{}{{}}{}", open.repeat(2_000), close.repeat(2_000));
    let value = deep(r#"{"arrayValue":{"values":["#, "]}}");
    let span = format!(
        r#"{{"traceId":"{}","spanId":"{}","attributes":[{{"key":"deep","value":{value}}}]}}"#,
        "a".repeat(32),
        "b".repeat(16)
    );

    let spans = decoded(&with_span(&span)).spans;

    assert!(spans[0].tags[0].1.to_string().len() < 100);
}
