//! SkyWalking's segments.

use super::*;
use crate::trace::fixture::{Collected, message, number};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn segment(trace: &str, id: &str, service: &str, spans: &[Vec<u8>]) -> Vec<u8> {
    let mut segment = message(&[(1, trace.as_bytes()), (2, id.as_bytes()), (4, service.as_bytes()), (5, b"pod-1")]);
    spans.iter().for_each(|span| segment.extend(message(&[(3, span)])));
    segment
}

/// Negative numbers are sign-extended to 64 bits.
fn span_object(id: i32, parent: i32, role: u64, references: &[Vec<u8>]) -> Vec<u8> {
    let numbers = [(1, i64::from(id)), (2, i64::from(parent)), (3, 1_700_000_000_000), (4, 1_700_000_000_250)];
    let mut span: Vec<u8> = numbers.iter().flat_map(|(field, n)| number(*field, n.cast_unsigned())).collect();
    references.iter().for_each(|reference| span.extend(message(&[(5, reference)])));
    span.extend(message(&[(6, b"/reviews"), (7, b"10.0.0.7:9080")]));
    span.extend([number(8, role), number(9, 3), number(10, 4), number(11, role)].concat());
    span.extend(message(&[(12, &message(&[(1, b"url"), (2, b"http://reviews/")]))]));
    span.extend(message(&[(
        13,
        &[number(1, 1_700_000_000_001), message(&[(2, &message(&[(1, b"event"), (2, b"error")]))])].concat(),
    )]));
    span
}

fn reference(trace: &str, segment: &str, id: u64) -> Vec<u8> {
    [message(&[(2, trace.as_bytes()), (3, segment.as_bytes())]), number(4, id)].concat()
}

fn decoded(message: &[u8]) -> Collected {
    let mut collected = Collected::default();
    decode_segment(message, &mut collected).unwrap();
    collected
}

#[test]
fn a_segment_of_a_sidecar_is_an_entry_and_an_exit() {
    let from = reference(TRACE, "caller-segment", 1);
    let spans = [span_object(0, -1, 0, &[from]), span_object(1, 0, 1, &[])];

    let spans = decoded(&segment(TRACE, "own-segment", "reviews", &spans)).spans;

    let (entry, exit) = (&spans[0], &spans[1]);
    assert_eq!(entry.trace.to_string(), TRACE);
    assert_eq!((entry.kind, exit.kind), (Kind::Server, Kind::Client));
    assert_eq!(entry.parent, Some(SpanId::of_segment("caller-segment", 1)), "the caller's exit span");
    assert_eq!(exit.parent, Some(entry.id));
    assert_eq!((entry.start_ns, entry.duration_ns), (1_700_000_000_000 * MS, 250 * MS));
    assert_eq!((&entry.status, &exit.status), (&Status::Unset, &Status::Error("".into())));
    assert_eq!(&*entry.events[0].name, "error");
    assert_eq!(&*exit.process.service, "reviews");
    let tags: Vec<String> = exit.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert!(tags.contains(&"network.peer.address=10.0.0.7".to_owned()), "{tags:?}");
    assert!(tags.contains(&"network.peer.port=9080".to_owned()), "{tags:?}");
    assert!(tags.contains(&"sw8.layer=Http".to_owned()), "{tags:?}");
}

#[test]
fn further_references_become_links() {
    let references = [reference("another trace", "a", 0), reference("t", "b", 2), reference("t", "c", 3)];

    let spans = decoded(&segment("t", "own", "s", &[span_object(0, -1, 0, &references)])).spans;

    assert_eq!(spans[0].parent, Some(SpanId::of_segment("b", 2)));
    assert_eq!(
        *spans[0].links,
        [
            (TraceId::of_text("another trace"), SpanId::of_segment("a", 0)),
            (TraceId::of_text("t"), SpanId::of_segment("c", 3))
        ]
    );
}

#[test]
fn a_segment_without_ids_is_refused() {
    let collected = decoded(&segment("", "own", "s", &[span_object(0, -1, 0, &[])]));
    assert_eq!((collected.spans.len(), collected.rejected), (0, vec![BAD_IDS]));
}

#[test]
fn a_collection_is_its_segments() {
    let one = |id: &str| segment("t", id, "s", &[span_object(0, -1, 2, &[])]);
    let mut collected = Collected::default();

    decode_collection(&message(&[(1, &one("a")), (1, &one("b"))]), &mut collected).unwrap();

    assert_eq!(collected.spans.len(), 2);
    assert_eq!(collected.spans[0].kind, Kind::Internal);
    assert!(decode_collection(&[0x0a, 9, 1], &mut collected).is_err());
}
