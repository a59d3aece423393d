//! The store's bounds.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::trace::fixture::span;
use crate::trace::model::Value;

#[test]
fn spans_of_a_trace_come_together_in_whatever_order() {
    let store = Store::default();

    store.insert([span(1, 2, 1, "reviews"), span(7, 1, 0, "ratings"), span(1, 1, 0, "productpage")]);

    let trace = store.trace(TraceId(1)).unwrap();
    assert_eq!(trace.spans().len(), 2);
    assert_eq!(trace.root().map(|root| root.id), Some(SpanId(1)));
    assert_eq!((trace.start_ns, trace.end_ns), (span(1, 1, 0, "x").start_ns, span(1, 2, 0, "x").end_ns()));
    assert_eq!(store.services(), ["productpage", "ratings", "reviews"]);
    assert_eq!(store.operations(Some("reviews")), [("GET /reviews".to_owned(), Kind::Server)]);
    assert_eq!(store.trace(TraceId(2)).map(|trace| trace.id), None);
}

#[test]
fn a_batch_that_is_sent_twice_counts_once() {
    let store = Store::default();
    store.insert([span(1, 1, 0, "reviews")]);
    let before = store.fill();

    store.insert([span(1, 1, 0, "reviews")]);

    assert_eq!(store.fill(), before);
}

#[test]
fn the_oldest_traces_leave_first_and_memory_stays_within_the_bound() {
    let store = Store::new(1);

    for trace in 1..=20_000 {
        store.insert([span(trace, 1, 0, &format!("service-{trace}"))]);
        assert!(store.fill().bytes <= store.bytes_max());
    }

    let fill = store.fill();
    let counts = store.counts();
    assert!(fill.traces > 100, "{fill:?}");
    assert_eq!(counts.evicted_traces.load(Relaxed), 20_000 - fill.traces as u64);
    assert_eq!(counts.evicted_spans.load(Relaxed), counts.evicted_traces.load(Relaxed));
    assert!(store.trace(TraceId(1)).is_none());
    assert!(store.trace(TraceId(20_000)).is_some());
    assert_eq!(store.services().len(), fill.traces, "services of traces that left are gone");
}

#[test]
fn an_empty_store_accounts_for_nothing() {
    let store = Store::new(1);
    store.insert((1..500).map(|trace| span(trace, 1, 0, "reviews")));

    let mut inner = store.inner.write().unwrap();
    while inner.evict().is_some() {}

    assert_eq!((inner.bytes, inner.spans, inner.places.len()), (0, 0, 0));
    assert!(inner.services.names().is_empty());
}

#[test]
fn one_trace_cannot_push_out_all_others() {
    let store = Store::default();
    store.insert([span(1, 1, 0, "reviews")]);

    let refused = store.insert((1..=SPANS_PER_TRACE_MAX as u64 + 5).map(|id| span(2, id, 0, "loop")));

    assert_eq!(refused, [TooLarge::Trace; 5]);
    assert!(store.trace(TraceId(1)).is_some());
    assert_eq!(store.counts().too_large.load(Relaxed), 5);
}

#[test]
fn a_span_of_unreasonable_size_is_refused_and_leaves_nothing() {
    let store = Store::default();
    let mut large = span(1, 1, 0, "reviews");
    large.tags = (0..100).map(|n| (format!("k{n}").into(), Value::Text("x".repeat(1_000).into()))).collect();

    assert_eq!(store.insert([large]), [TooLarge::Span]);

    assert_eq!(store.fill(), Fill { traces: 0, spans: 0, bytes: 0 });
}

#[test]
fn a_trace_in_the_hands_of_a_reader_does_not_change() {
    let store = Store::default();
    store.insert([span(1, 1, 0, "reviews")]);
    let held = store.trace(TraceId(1)).unwrap();

    store.insert([span(1, 2, 1, "ratings")]);

    assert_eq!(held.spans().len(), 1);
    assert_eq!(store.trace(TraceId(1)).unwrap().spans().len(), 2);
}

/// Unoptimised, as tests are, it takes many times as long as in a release; the bound is for the shape of the work.
#[test]
fn a_search_through_a_full_store_is_quick_enough_for_a_person() {
    let store = Store::default();
    for trace in 1..=40_000 {
        store.insert(
            (1..=4).map(|id| span(trace, id, id - 1, ["front", "reviews", "ratings", "details"][id as usize % 4])),
        );
    }
    let before = store.fill();
    let tags = vec![crate::trace::search::Wanted { key: "nobody.has.it".to_owned(), value: Some("1".to_owned()) }];
    let search = crate::trace::search::Search { tags, ..Default::default() };
    let mut times: Vec<std::time::Duration> = (0..10)
        .map(|_| {
            let began = tokio::time::Instant::now();
            assert_eq!(search.run(&store, 100).total, 0);
            began.elapsed()
        })
        .collect();
    times.sort();

    println!("{before:?}: half of all searches within {:?}, all within {:?}", times[5], times[9]);
    assert!(times[5] < std::time::Duration::from_secs(2), "{:?}", times[5]);
}
