//! Zipkin's v2 JSON.

use super::*;
use crate::trace::fixture::Collected;

fn decoded(list: &str) -> Collected {
    let mut collected = Collected::default();
    decode(list.as_bytes(), &mut collected).unwrap();
    collected
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let list = r#"[{"id":"352bff9a74ca9ad2","traceId":"5af7183fb1d4cf5f","parentId":"6b221d5bc9e6496c","name":"get /api",
      "timestamp":1556604172355737,"duration":1431,"kind":"SERVER",
      "localEndpoint":{"serviceName":"backend","ipv4":"192.168.99.1","port":3306},
      "remoteEndpoint":{"ipv4":"172.19.0.2","port":58648},
      "annotations":[{"timestamp":1556604172355738,"value":"ws"}],
      "tags":{"http.method":"GET","http.path":"/api"}}]"#;

    let spans = decoded(list).spans;

    let span = &spans[0];
    assert_eq!(span.trace.to_string(), "00000000000000005af7183fb1d4cf5f");
    assert_eq!((&*span.process.service, &*span.name, span.kind), ("backend", "get /api", Kind::Server));
    assert_eq!((span.start_ns, span.duration_ns), (1_556_604_172_355_737_000, 1_431_000));
    assert_eq!((span.events[0].at_ns, &*span.events[0].name), (1_556_604_172_355_738_000, "ws"));
    let tags: Vec<String> = span.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let expected = ["http.method=GET", "http.path=/api", "network.peer.address=172.19.0.2", "network.peer.port=58648"];
    assert_eq!(tags, expected);
}

#[test]
fn the_called_side_of_a_shared_span_is_a_child_of_its_caller() {
    let list = r#"[{"traceId":"1","id":"2","kind":"CLIENT","tags":{"error":"503"}},
                   {"traceId":"1","id":"2","kind":"SERVER","shared":true,"parentId":"9"}]"#;

    let spans = decoded(list).spans;

    assert_eq!(spans[0].status, Status::Error("503".into()));
    assert_eq!(spans[1].parent, Some(spans[0].id));
    assert_ne!(spans[1].id, spans[0].id);
}

#[test]
fn a_span_without_ids_is_refused_alone_and_garbage_as_a_whole() {
    let collected = decoded(r#"[{"traceId":"xyz","id":"1"},{},{"traceId":"1","id":"1"}]"#);
    assert_eq!((collected.spans.len(), collected.rejected.len()), (1, 2));
    for text in ["{}", "[1]", "[[[[", "", r#"[{"tags":{"a":{}}}]"#, r#"[{"annotations":3}]"#] {
        assert!(decode(text.as_bytes(), &mut Collected::default()).is_err(), "{text}");
    }
}
