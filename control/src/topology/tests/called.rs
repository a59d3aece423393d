//! What splits are observed by.

use std::collections::HashSet;

use super::super::Called;
use super::*;

const REVIEWS: &str = "reviews.shop.svc.cluster.local";
const PREVIEW: &str = "preview.shop.svc.cluster.local";

fn called(bench: &Bench, hosts: &[&str]) -> Called {
    bench.topology.called(&hosts.iter().copied().collect::<HashSet<_>>())
}

fn asked(version: &str, host: &str, protocol: Protocol) -> EdgeKey {
    let service = Service { host: host.to_owned(), ..Service::default() };
    EdgeKey { service: Some(service), protocol: protocol.into(), ..key(Reporter::Source, version) }
}

#[test]
fn what_callers_asked_in_the_last_minute_is_told_apart_by_service_and_version() {
    let bench = Bench::new();
    let mut stream = Stream::default();
    let say = |stream: &mut Stream, number: u64| {
        let said = |id, version, host, count| {
            edge(
                id,
                Some(asked(version, host, Protocol::Http)),
                vec![outcome(200, "", count), outcome(503, "UF", count)],
            )
        };
        // Numbers of a life: half of each is there at the first time.
        let edges = vec![
            said(1, "v1", REVIEWS, 20 * number),
            said(2, "v2", REVIEWS, 5 * number),
            said(3, "v2", PREVIEW, 3 * number),
            // The proxy that was called says the same calls once more.
            edge(
                4,
                Some(EdgeKey { reporter: Reporter::Destination.into(), ..asked("v1", REVIEWS, Protocol::Http) }),
                vec![outcome(200, "", 40 * number)],
            ),
        ];
        bench.topology.take(stream, &report(number, edges)).unwrap();
    };
    say(&mut stream, 1);
    bench.pass(5_000);
    say(&mut stream, 2);

    let both = called(&bench, &[REVIEWS, PREVIEW]);
    let of = |host, version| both.of(host, version);
    assert_eq!([of(REVIEWS, Some("v1")), of(REVIEWS, Some("v2")), of(REVIEWS, None)], [80, 20, 100]);
    assert_eq!([of(PREVIEW, Some("v1")), of(PREVIEW, Some("v2")), of(PREVIEW, None)], [0, 12, 12]);
    assert_eq!(called(&bench, &[REVIEWS]).of(PREVIEW, None), 0, "nobody asked for it");

    // The first slot has left the minute, then the second.
    bench.pass(55_000);
    assert_eq!(called(&bench, &[REVIEWS]).of(REVIEWS, Some("v1")), 40);
    bench.pass(5_000);
    assert_eq!(called(&bench, &[REVIEWS]).of(REVIEWS, Some("v1")), 0);
}

#[test]
fn of_tcp_connections_count() {
    let bench = Bench::new();
    let mut stream = Stream::default();
    let tcp = |id, version, connections_opened| {
        let key = asked(version, REVIEWS, Protocol::Tcp);
        Edge { connections_opened, connections_closed: 1, ..edge(id, Some(key), vec![outcome(0, "UF", 1)]) }
    };
    let said = |number, v1, v2| report(number, vec![tcp(1, "v1", v1), tcp(2, "v2", v2)]);

    // One slot that is over, and one that is not.
    bench.topology.take(&mut stream, &said(1, 5, 2)).unwrap();
    bench.pass(5_000);
    bench.topology.take(&mut stream, &said(2, 9, 3)).unwrap();

    let called = called(&bench, &[REVIEWS]);
    assert_eq!([called.of(REVIEWS, Some("v1")), called.of(REVIEWS, Some("v2"))], [9, 3]);
}
