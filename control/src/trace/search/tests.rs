//! What a search finds.

use super::*;
use crate::trace::fixture::{BEGAN_NS, MS, span};
use crate::trace::model::{Event, Kind, Value};

fn store() -> Store {
    let store = Store::default();
    let mut failed = span(2, 20, 0, "reviews");
    failed.status = Status::Error("".into());
    failed.kind = Kind::Client;
    failed.tags = vec![("http.response.status_code".into(), Value::Int(503))].into();
    let tags = vec![("exception.type".into(), Value::Text("Timeout".into()))].into();
    failed.events = vec![Event { at_ns: BEGAN_NS, name: "exception".into(), tags }].into();
    store.insert([span(1, 10, 0, "reviews"), span(1, 11, 10, "ratings"), failed]);
    store
}

fn found(search: &Search) -> Vec<u128> {
    search.run(&store(), 100).traces.iter().map(|trace| trace.id.0).collect()
}

fn tag(key: &str, value: &str) -> Search {
    let value = (!value.is_empty()).then(|| value.to_owned());
    Search { tags: vec![Wanted { key: key.to_owned(), value }], ..Search::default() }
}

#[test]
fn everything_is_found_and_what_began_last_comes_first() {
    assert_eq!(found(&Search::default()), [2, 1]);
}

#[test]
fn a_service_an_operation_and_a_time_narrow_it() {
    let service = |name: &str| Search { service: Some(name.to_owned()), ..Search::default() };
    assert_eq!(found(&service("ratings")), [1]);
    assert!(found(&service("rating")).is_empty());
    assert!(found(&Search { operation: Some("POST".to_owned()), ..service("reviews") }).is_empty());
    assert_eq!(found(&Search { start_min_ns: Some(BEGAN_NS + 15 * MS), ..Search::default() }), [2]);
    assert_eq!(found(&Search { start_max_ns: Some(BEGAN_NS + 15 * MS), ..Search::default() }), [1]);
    assert_eq!(found(&Search { duration_min_ns: Some(20 * MS), ..Search::default() }), [2]);
    assert_eq!(found(&Search { duration_max_ns: Some(19 * MS), ..Search::default() }), [1]);
    assert_eq!(found(&Search { failed: true, ..Search::default() }), [2]);
}

#[test]
fn one_span_has_to_meet_all_of_it() {
    let search = Search { service: Some("ratings".to_owned()), duration_max_ns: Some(10 * MS), ..Search::default() };
    assert!(found(&search).is_empty(), "the other span of the trace is short enough, but of another service");
}

#[test]
fn tags_are_those_of_the_span_its_process_its_events_and_derived_ones() {
    assert_eq!(found(&tag("http.response.status_code", "503")), [2]);
    assert_eq!(found(&tag("error", "true")), [2]);
    assert_eq!(found(&tag("span.kind", "client")), [2]);
    assert_eq!(found(&tag("exception.type", "Timeout")), [2]);
    assert_eq!(found(&tag("exception", "")), [2]);
    assert_eq!(found(&tag("host.name", "h1")), [2, 1]);
    assert!(found(&tag("host.name", "h")).is_empty());
}

#[test]
fn a_limit_cuts_the_list_and_not_the_count() {
    let found = Search::default().run(&store(), 1);
    assert_eq!((found.traces.len(), found.total), (1, 2));
}
