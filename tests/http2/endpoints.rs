//! Attacks by endpoints, which may be compromised as well as callers are hostile; and callers that make us attack one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::frames::*;
use super::victim::{Cost, Victim, costs, inbound, sum_of};
use crate::harness::{Backend, Client, Mesh, wait};

const FRAMES_MAX: u32 = 200_000;
const LIMIT: Duration = Duration::from_secs(5);
const MEMORY_KIB_MAX: u64 = 4 * 1024;
const CPU_MAX: Duration = Duration::from_millis(100);

/// What an endpoint says to a request, and what it then says for ever.
struct Attack {
    name: &'static str,
    first: Vec<u8>,
    again: Vec<u8>,
}

fn attacks() -> Vec<Attack> {
    let attack = |name, first: Vec<u8>, again: Vec<u8>| Attack { name, first, again };
    let begun = || frame(HEADERS, END_HEADERS, 1, OK);
    let unended = || frame(HEADERS, 0, 1, OK);
    let early = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103")]));
    vec![
        attack("SETTINGS", Vec::new(), setting(INITIAL_WINDOW_SIZE, 65_535)),
        attack("SETTINGS acknowledged", Vec::new(), frame(SETTINGS, ACK, 0, b"")),
        attack("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        attack("PING acknowledged", Vec::new(), frame(PING, ACK, 0, &[0; 8])),
        attack("PRIORITY", Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7])),
        attack("WINDOW_UPDATE", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        attack("unknown frames", Vec::new(), frame(UNKNOWN, 0, 0, b"")),
        attack("RST_STREAM", Vec::new(), frame(RST_STREAM, 0, 1, CANCEL)),
        attack("empty DATA", begun(), frame(DATA, 0, 1, b"")),
        attack("CONTINUATION", unended(), frame(CONTINUATION, 0, 1, &block(&[("x", "y")]))),
        attack("CONTINUATION of nothing", unended(), frame(CONTINUATION, 0, 1, b"")),
        attack("HPACK bomb", bomb(), Vec::new()),
        attack("interim answers", Vec::new(), early),
        attack("window overflow", begun(), frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes())),
        attack("pushes", Vec::new(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&2_u32.to_be_bytes()[..], OK].concat())),
    ]
}

/// `:status: 200`, by its index.
const OK: &[u8] = &[0x88];

/// A field of nearly four kilobytes that enters the table, and then twelve thousand times its index.
fn bomb() -> Vec<u8> {
    let mut bytes = OK.to_vec();
    bytes.push(0x40);
    text(&mut bytes, "x");
    text(&mut bytes, &"y".repeat(3_900));
    bytes.extend(std::iter::repeat_n(0x80 | 62, 12_000));
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes)
}

#[tokio::test]
async fn an_endpoint_that_attacks_loses_its_connection_and_costs_little() {
    let mesh = Mesh::plan().service_of("reviews", &["v1"], "grpc").own_backends().start().await;
    let (pid, to) = (mesh.proxies["reviews-v1"].id(), inbound(&mesh, "reviews-v1"));
    let attacks: Arc<[Attack]> = attacks().into();
    // Behind the last attack there is none: the endpoint answers as it should.
    let which = Arc::new(AtomicUsize::new(attacks.len()));
    let (told, mut ended) = mpsc::unbounded_channel();
    let (all, current) = (Arc::clone(&attacks), Arc::clone(&which));
    let _endpoint = Backend::raw(mesh.application("reviews-v1"), move |stream| {
        let (all, told, index) = (Arc::clone(&all), told.clone(), current.load(Ordering::SeqCst));
        async move {
            let outcome = attack(stream, all.get(index)).await;
            // Whoever waits for it may have what it wanted.
            told.send(outcome).ok();
        }
    })
    .await;
    assert_eq!(Client::new(to).get("reviews:9080", "/").await.expect("answered").status, 200);
    ended.recv().await.expect("the orderly one has ended, too");
    let mut failed = Vec::new();

    for (index, Attack { name, .. }) in attacks.iter().enumerate() {
        which.store(index, Ordering::SeqCst);
        // A request that was tried again has ended more than one.
        while ended.try_recv().is_ok() {}
        let (outcome, Cost { memory_kib, cpu, .. }) = costs(pid, async {
            let answer = tokio::time::timeout(LIMIT, Client::new(to).get("reviews:9080", "/")).await;
            let outcome = tokio::time::timeout(LIMIT, ended.recv()).await;
            (answer.map(|answer| answer.map(|answer| answer.status.as_u16())), outcome)
        })
        .await;
        let (answer, outcome) = outcome;
        let (frames, is_ended) = outcome.ok().flatten().unwrap_or_default();
        println!(
            "{name:<24} {frames:>7} frames, {} {answer:?} {memory_kib:>5} KiB {:>6.1} ms",
            if is_ended { "closed" } else { "NOT ENDED" },
            cpu.as_secs_f64() * 1e3
        );
        if !is_ended || memory_kib > MEMORY_KIB_MAX || cpu > CPU_MAX {
            failed.push(name);
        }
    }

    which.store(attacks.len(), Ordering::SeqCst);
    assert_eq!(Client::new(to).get("reviews:9080", "/").await.expect("answered").status, 200);
    assert!(failed.is_empty(), "not bounded: {failed:?}");
}

/// Answers the first request of a connection with an attack and says how many frames were taken, and whether the connection was
/// ended for it; without one, answers it as it should and closes.
async fn attack(mut stream: TcpStream, attack: Option<&Attack>) -> (u32, bool) {
    const AT_ONCE: u32 = 100;
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() {
        return (0, true);
    }
    let mut connection =
        Connection::over(stream, &[frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat()).await;
    connection.hears(LIMIT, |heard| heard.heads > 0 || heard.closed).await;
    let Some(Attack { first, again, .. }) = attack else {
        connection.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)).await;
        // So that the next request meets what comes next.
        connection.say(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
        return (1, connection.ends(LIMIT).await);
    };
    let mut frames = 1;
    let mut goes_on = connection.say(first).await;
    let piece = again.repeat(AT_ONCE as usize);
    while goes_on && !piece.is_empty() && frames < FRAMES_MAX {
        goes_on = connection.say(&piece).await;
        frames += AT_ONCE;
    }
    (frames, connection.ends(LIMIT).await)
}

const CANCELLED: usize = 5_000;
const CANCELLING: usize = 25;
/// That somebody has gone is noticed after some milliseconds; until then a request keeps its stream. More streams than a
/// connection has (100) would rightly open another one.
const OPEN_MAX: u64 = 50;

#[tokio::test]
async fn thousands_of_cancelled_requests_cost_no_other_request_of_their_connection() {
    let victim = Arc::new(Victim::over("grpc").await);
    let to = victim.address();
    let mut good = Client::new(to);
    assert_eq!(good.get("reviews:9080", "/").await.expect("served").status, 200);

    let cancelling: Vec<_> = (0..CANCELLING)
        .map(|_| {
            let victim = Arc::clone(&victim);
            tokio::spawn(async move {
                for _ in 0..CANCELLED / CANCELLING {
                    while victim.open() > OPEN_MAX {
                        wait::pass(Duration::from_millis(1)).await;
                    }
                    let mut stream = TcpStream::connect(to).await.expect("the sidecar listens");
                    let request = b"GET /attack HTTP/1.1\r\nHost: reviews:9080\r\n\r\n";
                    stream.write_all(request).await.expect("a request is taken");
                    // On its way, or there already, when it is cancelled.
                    wait::pass(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let mut served = 0;
    while !cancelling.iter().all(tokio::task::JoinHandle::is_finished) {
        let answer = good.get("reviews:9080", "/").await.expect("no collateral failure");
        assert_eq!(answer.status, 200, "{}", answer.text());
        served += 1;
    }
    for cancelled in cancelling {
        cancelled.await.expect("no panic");
    }

    let connects = sum_of(&victim.mesh, "reviews-v1", "tidegate_upstream_connect_total{").await;
    println!(
        "{CANCELLED} cancelled ({} had reached the endpoint), {served} others served, 0 failed, {connects} connections",
        victim.attacked()
    );
    assert!(victim.attacked() as usize >= CANCELLED / 2, "most were cancelled before they were requests");
    assert_eq!(connects, 1, "they all shared one");
    assert!(served > 100);
}
