//! A change's trace, as the fleet learns of it.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_xds::ads::Mode;
use tidegate_xds::ads::server::StreamEvent;
use tidegate_xds::name::ResourceType;

use super::*;
use crate::api::model::ProxyKind;
use crate::changes::ChangeLog;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::store::Store;

const BEGAN_MS: u64 = 1_700_000_000_000;

/// A fleet whose clock goes on by a millisecond whenever it is read.
fn fleet() -> Fleet {
    let time = AtomicU64::new(BEGAN_MS);
    let clock = Clock::of(move || Timestamp::from_unix_ms(time.fetch_add(1, Ordering::Relaxed)));
    Fleet::new("/etc/mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 0)
}

fn introduction(number: usize) -> Introduction {
    Introduction {
        node: format!("web-{number}.shop").into(),
        kind: ProxyKind::Sidecar,
        workload: Some("shop/web".to_owned()),
        mode: Mode::Delta,
        peer: ([127, 0, 0, 1], 1).into(),
    }
}

fn entry(generation: u64, result: Outcome) -> Entry {
    let at = Timestamp::from_unix_ms(BEGAN_MS);
    Entry { generation, at, what: vec!["reviews: v1 90 %".to_owned()], files: vec!["reviews.yaml".into()], result }
}

fn answer(fleet: &Fleet, session: u64, rejected: bool) {
    let of_type = ResourceType::Route;
    let sent = StreamEvent::Sent { resource_type: of_type, generation: 1, resources: 1, removed: 0, bytes: 9 };
    fleet.record(session, sent);
    fleet.record(session, StreamEvent::Settled { generation: 1, rejected });
}

fn spans(fleet: &Fleet) -> Vec<Arc<Span>> {
    let traces = fleet.traces().store().traces();
    assert_eq!(traces.len(), 1, "one trace for one change");
    traces[0].spans().cloned().collect()
}

fn tag(span: &Span, key: &str) -> String {
    span.tags.iter().find(|(own, _)| **own == *key).map(|(_, value)| value.to_string()).unwrap_or_default()
}

#[test]
fn a_change_is_a_trace_from_the_files_to_the_last_answer() {
    let fleet = fleet();
    let sessions = [fleet.connect(introduction(1)), fleet.connect(introduction(2))];

    fleet.applied(entry(1, Outcome::Applied), 1, Vec::new());
    answer(&fleet, sessions[0], false);
    assert_eq!(spans(&fleet).len(), 2, "the other proxy has not answered");
    answer(&fleet, sessions[1], true);

    let spans = spans(&fleet);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["read and compile", "push", "push", "configuration change"]);
    let whole = &spans[3];
    assert!(spans[..3].iter().all(|span| span.parent == Some(whole.id)));
    assert_eq!(
        (tag(whole, "acked"), tag(whole, "nacked"), tag(whole, "proxies")),
        ("1".into(), "1".into(), "2".into())
    );
    assert_eq!((tag(&spans[1], "node"), tag(whole, "what")), ("web-1.shop".into(), "reviews: v1 90 %".into()));
    assert!(!spans[1].failed() && spans[2].failed() && whole.failed());
    assert!(spans[1].duration_ns > 0 && whole.end_ns() >= spans[2].end_ns());
    assert_eq!(&*whole.process.service, "tidegate");
}

#[test]
fn a_change_that_is_refused_or_that_nobody_waits_for_is_whole_at_once() {
    let fleet = fleet();

    fleet.rejected(entry(1, Outcome::Rejected), 1, Vec::new());

    let spans = spans(&fleet);
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.failed()));
}

#[test]
fn a_large_fleet_is_counted_and_not_shown_whole() {
    let fleet = fleet();
    let sessions: Vec<u64> = (0..PROXIES_MAX + 10).map(|number| fleet.connect(introduction(number))).collect();
    fleet.applied(entry(1, Outcome::Applied), 1, Vec::new());

    let (last, others) = sessions.split_last().unwrap();
    others.iter().for_each(|session| answer(&fleet, *session, false));
    fleet.disconnect(*last);

    let spans = spans(&fleet);
    assert_eq!(spans.len(), PROXIES_MAX + 2);
    let whole = spans.last().unwrap();
    assert_eq!((tag(whole, "acked"), tag(whole, "left")), ((PROXIES_MAX + 9).to_string(), "1".to_owned()));
}
