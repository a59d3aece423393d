//! Streams over a pipe with little room, on a clock that the test moves.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::api::{Api, connection};
use crate::changes::{ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::fleet::Fleet;
use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(3_600);

struct Site {
    api: Api,
    fleet: Arc<Fleet>,
    looks: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

fn site(topology: Option<Topology>) -> Site {
    let clock = Clock::of(|| Timestamp::from_unix_ms(1_700_000_000_000));
    let fleet = Arc::new(Fleet::new("/etc/mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 6));
    let hub = Arc::new(Hub::new(fleet.clone()));
    let mut api = Api::new(hub.clone());
    api.live = Arc::new(Live::new(topology));
    let live = api.live.clone();
    let looks = tokio::spawn(async move { live.look(&hub).await });
    Site { api, fleet, looks }
}

impl Site {
    /// Opens a stream; `room` is what fits between the two ends.
    async fn open(&self, room: usize) -> (DuplexStream, JoinHandle<()>) {
        let (mut near, far) = duplex(room);
        let served = tokio::spawn(connection(far, self.api.clone()));
        near.write_all(b"GET /api/v1/stream?window=1m HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        (near, served)
    }

    fn apply(&self) {
        let generation = self.fleet.next_generation();
        let at = Timestamp::from_unix_ms(0);
        let entry = Entry { generation, at, what: Vec::new(), files: Vec::new(), result: Outcome::Applied };
        self.fleet.applied(entry, 3, Vec::new());
    }
}

/// Reads until `wanted` has been seen.
async fn until(stream: &mut DuplexStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1_024];
    while !seen.contains(wanted) {
        let read = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("it comes in time").unwrap();
        assert_ne!(read, 0, "the stream ended before {wanted}: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_what_is_known_and_goes_on_with_what_changes() {
    let site = site(None);
    let (mut stream, _served) = site.open(64 * 1024).await;

    let beginning = until(&mut stream, "event: splits\ndata: {\"generation\":0,\"splits\":[]}\n\n").await;
    site.apply();
    let next = until(&mut stream, "event: status").await;

    assert!(beginning.contains("content-type: text/event-stream\r\n"), "{beginning}");
    assert!(beginning.contains("retry: 1000\n\n") && beginning.contains("event: status\ndata: {\"generation\":0"));
    assert!(next.contains("\"generation\":7"), "{next}");
}

#[tokio::test(start_paused = true)]
async fn a_second_stream_is_told_at_once_what_the_first_knows() {
    let site = site(None);
    let (mut first, _served) = site.open(64 * 1024).await;
    until(&mut first, "event: splits").await;

    let (mut second, _also) = site.open(64 * 1024).await;

    let seen = until(&mut second, "event: splits").await;
    assert!(seen.contains("event: status"), "{seen}");
    assert_eq!(site.api.live.counts(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_shows_that_it_lives_and_repeats_nothing() {
    let site = site(None);
    let (mut stream, _served) = site.open(64 * 1024).await;
    until(&mut stream, "event: splits").await;

    let quiet = until(&mut stream, ": still here").await;
    let longer = until(&mut stream, ": still here").await;

    // The status may come after the splits at first.
    assert!(quiet.matches("event: ").count() <= 1 && !longer.contains("event: "), "{quiet} {longer}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_whole_before_its_connection_is_cut() {
    let site = site(None);
    let began = Instant::now();
    let (mut stream, _served) = site.open(64 * 1024).await;

    let all = until(&mut stream, "\r\n0\r\n\r\n").await;

    assert!(began.elapsed() < CONNECTION_LIFE_MAX && began.elapsed() > HEARTBEAT * 10);
    assert!(all.matches(": still here").count() > 10);
    assert_eq!(site.api.live.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_let_go() {
    let site = site(None);
    let (mut stream, served) = site.open(64).await;

    timeout(DEADLINE, served).await.expect("the connection is ended from this side").unwrap();

    assert_eq!(site.api.live.counts(), (0, 0));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() <= 64, "{} bytes were kept for it", rest.len());
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limit_are_refused_and_counted() {
    let site = site(None);
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        let (mut stream, served) = site.open(64 * 1024).await;
        until(&mut stream, "retry: 1000").await;
        streams.push((stream, served));
    }

    let (mut refused, _served) = site.open(64 * 1024).await;
    until(&mut refused, "HTTP/1.1 503").await;
    assert_eq!(site.api.live.counts(), (STREAMS_MAX, 1));
    let (stream, served) = streams.pop().unwrap();
    drop(stream);
    timeout(DEADLINE, served).await.expect("its end is noticed").unwrap();

    let (mut admitted, _also) = site.open(64 * 1024).await;
    until(&mut admitted, "retry: 1000").await;
}

#[tokio::test(start_paused = true)]
async fn a_topology_is_sent_again_and_again_for_the_query_of_the_stream() {
    let topology: Topology =
        Arc::new(|query| Box::pin(async move { Some(format!("{{\"asked\":\"{query}\"}}").into()) }));
    let site = site(Some(topology));
    let (mut stream, _served) = site.open(64 * 1024).await;
    let began = Instant::now();

    // In three chunks, so that the graph is not copied for each stream.
    let first = until(&mut stream, "{\"asked\":\"window=1m\"}\r\n2\r\n\n\n").await;
    assert!(first.contains("event: topology\ndata: \r\n"), "{first:?}");
    until(&mut stream, "event: topology").await;

    assert!(began.elapsed() >= TOPOLOGY_INTERVAL);
}
