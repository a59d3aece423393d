//! Answers as they are sent: true to the moment where that is cheap, kept fresh where it is not, and the rest of a limited one.

use std::io::Read as _;
use std::num::NonZeroUsize;

use flate2::read::GzDecoder;

use super::super::answers::{Answers, Pace};
use super::super::model::LeftOut;
use super::super::{Form, Json};
use super::*;

/// A topology whose answers all count as cheap, or all as dear.
fn topology(cheap: Duration) -> Arc<Topology> {
    let clock = Clock::of(|| Timestamp::from_unix_ms(NOON_MS));
    let pace = Pace { cheap, refresh: Duration::from_millis(1), kept: Duration::from_secs(60) };
    Arc::new(Topology { answers: Answers::paced(pace), ..Topology::new(clock) })
}

/// Says that so many requests have come since the beginning.
fn say(topology: &Topology, stream: &mut Stream, sequence: u64, requests: u64) {
    let said = edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", requests)]);
    topology.take(stream, &report(sequence, vec![said])).unwrap();
}

async fn requests(topology: &Arc<Topology>) -> u64 {
    let json = topology.json(&Query::default(), Form::Plain).await.unwrap();
    assert!(!json.bytes.contains(&b'\n'));
    serde_json::from_slice::<View>(&json.bytes).unwrap().edges.iter().map(|edge| edge.requests).sum()
}

#[tokio::test]
async fn the_graph_of_a_small_mesh_has_what_was_reported_a_moment_ago() {
    let (topology, mut stream) = (topology(Duration::MAX), Stream::default());

    for count in 1..=50 {
        say(&topology, &mut stream, count, count);
        assert_eq!(requests(&topology).await, count);
    }
    assert_eq!(*topology.answers.made.borrow(), 0);
}

#[tokio::test]
async fn the_graph_of_a_large_mesh_is_made_beforehand_and_has_what_was_reported_soon_after() {
    let (topology, mut stream) = (topology(Duration::ZERO), Stream::default());
    say(&topology, &mut stream, 1, 1);
    assert_eq!(requests(&topology).await, 1);

    say(&topology, &mut stream, 2, 2);
    let mut made = topology.answers.made.subscribe();
    // One may have been begun before that was said, the next was not.
    let before = *made.borrow_and_update();
    made.wait_for(|made| *made >= before + 2).await.unwrap();

    assert_eq!(requests(&topology).await, 2);
}

#[tokio::test]
async fn a_look_at_a_large_mesh_waits_for_no_lock_that_reports_hold() {
    let topology = topology(Duration::ZERO);
    say(&topology, &mut Stream::default(), 1, 1);
    assert_eq!(requests(&topology).await, 1);

    // The keeper and every report wait here; a look would hang if it did.
    let books = Arc::clone(&topology);
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || {
        let _books = books.lock();
        held.send(()).unwrap();
        released.recv().unwrap();
    });
    is_held.await.unwrap();
    assert_eq!(requests(&topology).await, 1);
    release.send(()).unwrap();
    holding.await.unwrap();
}

#[tokio::test]
async fn whoever_reads_gzip_is_sent_it_when_there_is_one() {
    let topology = topology(Duration::ZERO);
    say(&topology, &mut Stream::default(), 1, 3);
    let first = topology.json(&Query::default(), Form::Gzip).await.unwrap();
    assert_eq!(first.form, Form::Plain);

    let mut made = topology.answers.made.subscribe();
    let packed = loop {
        match topology.json(&Query::default(), Form::Gzip).await.unwrap() {
            Json { bytes, form: Form::Gzip } => break bytes,
            Json { form: Form::Plain, .. } => made.changed().await.unwrap(),
        }
    };

    let mut json = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut json).unwrap();
    assert_eq!(json.into_bytes(), first.bytes);
}

#[test]
fn a_limit_shows_the_edges_with_the_most_requests_and_counts_the_rest() {
    let bench = Bench::new();
    let edges = (1..=5_u64).map(|n| {
        let outcomes = vec![outcome(200, "", 10 * n), outcome(500, "", 1)];
        edge(u32::try_from(n).unwrap(), Some(key(Reporter::Source, &format!("v{n}"))), outcomes)
    });
    bench.topology.take(&mut Stream::default(), &report(1, edges.collect())).unwrap();
    let all = bench.view(Window::Minute, Grouping::VersionedApp);

    let limited = |limit| {
        let query = Query { limit: NonZeroUsize::new(limit), ..Query::default() };
        bench.topology.snapshot(&query)
    };

    let two = limited(2);
    let ids: Vec<_> = two.edges.iter().map(|edge| &*edge.id).collect();
    assert_eq!(ids, ["shop/web/v1>shop/reviews/v5>http", "shop/web/v1>shop/reviews/v4>http"]);
    let nodes: Vec<_> = two.nodes.iter().map(|node| &*node.id).collect();
    assert_eq!(nodes, ["shop/reviews/v4", "shop/reviews/v5", "shop/web/v1"]);
    // Shares are of everything, also of what is left out.
    assert_eq!(two.edges[0].share, find(&all, "shop/web/v1>shop/reviews/v5>http").share);
    let left_out = two.folded.left_out.unwrap();
    let expected = LeftOut {
        edges: 3,
        nodes: 3,
        requests: 63,
        errors: 3,
        request_bytes: 30,
        response_bytes: 60,
        connections_opened: 0,
        connections_closed: 0,
    };
    assert_eq!(left_out, expected);
    let requests = |view: &View| view.edges.iter().map(|edge| edge.requests).sum::<u64>();
    assert_eq!(requests(&two) + left_out.requests, requests(&all));

    assert_eq!((limited(99).edges.len(), limited(99).folded.left_out), (5, Some(LeftOut::default())));
    assert_eq!(all.folded.left_out, None);
}
