//! Attacks by callers, each over one connection for as long as that is left open, and what they cost.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;

use super::frames::*;
use super::victim::{Cost, Victim};
use crate::harness::{Client, wait};

/// An attack that has not been cut off by then goes on for ever.
const STREAMS_MAX: u32 = 10_000;
const FRAMES_MAX: u32 = 200_000;
/// From its last frame to the end of its connection.
const LIMIT: Duration = Duration::from_secs(5);

/// What each may cost.
const REQUESTS_MAX: u64 = 130;
const MEMORY_KIB_MAX: u64 = 4 * 1024;
const CPU_MAX: Duration = Duration::from_millis(100);

/// ENHANCE_YOUR_CALM (RFC 9113 7).
const CALM: u32 = 11;

/// How an attack ended.
struct Outcome {
    streams: u32,
    frames: u32,
    ended: bool,
    heard: Heard,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.ended, self.heard.goaway) {
            (false, _) => "not ended".to_owned(),
            (true, Some(CALM)) => "calmed down".to_owned(),
            (true, Some(code)) => format!("GOAWAY {code}"),
            (true, None) => "closed".to_owned(),
        };
        write!(f, "{:>6} streams {:>7} frames {end:<12}", self.streams, self.frames)
    }
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

type Attack = fn(SocketAddr) -> Running;

/// Everything that is tried.
fn attacks() -> Vec<(&'static str, Attack)> {
    vec![
        ("reset at once", |to| Box::pin(spoiled(to, 100, None, get, reset))),
        ("reset after 2 ms", |to| Box::pin(spoiled(to, 100, Some(2), get, reset))),
        ("reset after 10 ms", |to| Box::pin(spoiled(to, 100, Some(10), get, reset))),
        ("reset after 50 ms", |to| Box::pin(spoiled(to, 100, Some(50), get, reset))),
        ("reset after 2 ms, one by one", |to| Box::pin(spoiled(to, 1, Some(2), get, reset))),
        ("window overflow", |to| Box::pin(spoiled(to, 100, Some(10), post, overflow))),
        ("window of nothing", |to| Box::pin(spoiled(to, 100, Some(10), post, no_increment))),
        ("self-dependency", |to| Box::pin(spoiled(to, 100, Some(10), post, on_itself))),
        ("DATA after the end", |to| Box::pin(spoiled(to, 100, Some(10), get, data))),
        ("HEADERS after the end", |to| Box::pin(spoiled(to, 100, Some(10), get, get))),
        ("more than its length", |to| Box::pin(spoiled(to, 100, Some(10), post_of_one, data))),
        ("trailers that do not end", |to| Box::pin(spoiled(to, 100, Some(10), post, unended_trailers))),
        ("trailers without end", |to| Box::pin(spoiled(to, 100, Some(10), post, many_trailers))),
        ("streams without end", |to| Box::pin(spoiled(to, 1_000, Some(0), post, |_| Vec::new()))),
        ("CONTINUATION", |to| Box::pin(flood(to, open_block(), frame(CONTINUATION, 0, 1, &crumbs(1))))),
        ("CONTINUATION of nothing", |to| Box::pin(flood(to, open_block(), frame(CONTINUATION, 0, 1, b"")))),
        ("HPACK bomb", |to| Box::pin(spoiled(to, 1, Some(0), bomb, |_| Vec::new()))),
        ("cookie crumbs", |to| Box::pin(spoiled(to, 1, Some(0), crumbly, |_| Vec::new()))),
        ("SETTINGS", |to| Box::pin(flood(to, Vec::new(), setting(INITIAL_WINDOW_SIZE, 65_535)))),
        ("SETTINGS acknowledged", |to| Box::pin(flood(to, Vec::new(), frame(SETTINGS, ACK, 0, b"")))),
        ("PING", |to| Box::pin(flood(to, Vec::new(), frame(PING, 0, 0, &[0; 8])))),
        ("PING acknowledged", |to| Box::pin(flood(to, Vec::new(), frame(PING, ACK, 0, &[0; 8])))),
        ("PRIORITY", |to| Box::pin(flood(to, Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7])))),
        ("WINDOW_UPDATE", |to| Box::pin(flood(to, Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])))),
        ("unknown frames", |to| Box::pin(flood(to, Vec::new(), frame(UNKNOWN, 0, 0, b"")))),
        ("RST_STREAM", |to| Box::pin(flood(to, [get(1), reset(1)].concat(), reset(1)))),
        ("empty DATA", |to| Box::pin(flood(to, post(1), frame(DATA, 0, 1, b"")))),
    ]
}

#[tokio::test]
async fn every_attack_ends_its_own_connection_and_costs_little() {
    let victim = Victim::start().await;
    // What a process holds once it has done anything of the kind is not counted.
    let first = Client::new(victim.address()).get("reviews:9080", "/").await.expect("served");
    assert_eq!(first.status, 200);
    spoiled(victim.address(), 100, Some(2), get, reset).await;
    let mut failed = Vec::new();

    for (name, attack) in attacks() {
        let (outcome, cost) = victim.costs(attack(victim.address())).await;
        let Cost { requests, memory_kib, cpu } = cost;
        println!("{name:<30} {outcome} {requests:>4} requests {memory_kib:>5} KiB {:>6.1} ms", cpu.as_secs_f64() * 1e3);
        if !outcome.ended || requests > REQUESTS_MAX || memory_kib > MEMORY_KIB_MAX || cpu > CPU_MAX {
            failed.push(name);
        }
    }

    let after = Client::new(victim.address()).get("reviews:9080", "/").await.expect("served");
    assert_eq!(after.status, 200);
    assert!(failed.is_empty(), "not bounded: {failed:?}");
}

/// What is asked of others while there is an attack: of each round its 99th percentile, of all rounds the middle one. In every other
/// round the attack is on another proxy, so that both kinds of round share the machine with an attacker and its work.
#[tokio::test]
async fn others_are_served_as_fast_beside_attacks() {
    let (victim, other) = (Victim::start().await, Victim::start().await);
    let to = victim.address();
    asked(to, CALLS / 4).await;

    // Four requests of four hundred are above a 99th percentile, and other work of the machine can make them: such a finding is
    // made again. Each is printed.
    let mut held = false;
    for _ in 0..DRAWS_MAX {
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            quiet.push(asked_while_attacked(to, other.address()).await);
            beside.push(asked_while_attacked(to, to).await);
        }
        let (quiet, beside) = (middle(quiet), middle(beside));
        println!(
            "p99 of {CALLS} requests, median of {ROUNDS} rounds: {quiet:?} beside attacks on another, {beside:?} on it"
        );
        held = beside <= 2 * quiet.max(GRAIN);
        if held {
            break;
        }
    }
    assert!(held, "others wait more than twice as long");
}

async fn asked_while_attacked(to: SocketAddr, attacked: SocketAddr) -> Duration {
    // On a thread of their own: their work must not hold up the caller that is measured.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let attacker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                () = attacked_for_ever(attacked) => {}
                _stopped = stopped => {}
            }
        });
    });
    let took = asked(to, CALLS).await;
    drop(stop);
    attacker.join().expect("an attacker does not panic");
    took
}

/// One attack after the other, with a breath between them.
async fn attacked_for_ever(to: SocketAddr) {
    loop {
        for (_, attack) in attacks() {
            attack(to).await;
            wait::pass(Duration::from_millis(20)).await;
        }
    }
}

const ROUNDS: usize = 5;
const DRAWS_MAX: usize = 3;
const CALLS: usize = 400;

/// Below this a 99th percentile says more about the machine's scheduler than about the proxy.
const GRAIN: Duration = Duration::from_millis(1);

/// The 99th percentile of a steady caller.
async fn asked(to: SocketAddr, calls: usize) -> Duration {
    let mut client = Client::new(to);
    let mut took = Vec::new();
    for _ in 0..calls {
        let start = wait::now();
        let answer = client.get("reviews:9080", "/").await.expect("others are served");
        took.push(start.elapsed());
        assert_eq!(answer.status, 200);
        wait::pass(Duration::from_millis(4)).await;
    }
    took.sort();
    took[took.len() * 99 / 100]
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Connects, and says the preface.
pub(super) async fn connect(to: SocketAddr, first: &[u8]) -> Connection {
    let stream = TcpStream::connect(to).await.expect("the sidecar listens");
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, b"")[..], first].concat();
    Connection::over(stream, &preface).await
}

/// Opens so many streams at once, waits, spoils each of them, and begins again. Without a pause, each stream is spoiled in the
/// same breath.
async fn spoiled(
    to: SocketAddr,
    at_once: u32,
    pause_ms: Option<u64>,
    open: fn(u32) -> Vec<u8>,
    spoil: fn(u32) -> Vec<u8>,
) -> Outcome {
    let mut connection = connect(to, b"").await;
    let (mut streams, mut goes_on) = (0, true);
    while goes_on && streams < STREAMS_MAX {
        let ids = (streams..streams + at_once).map(|index| 2 * index + 1);
        streams += at_once;
        goes_on = match pause_ms {
            None => connection.say(&ids.flat_map(|id| [open(id), spoil(id)].concat()).collect::<Vec<u8>>()).await,
            Some(pause) => {
                let opened = connection.say(&ids.clone().flat_map(open).collect::<Vec<u8>>()).await;
                wait::pass(Duration::from_millis(pause)).await;
                opened && connection.say(&ids.flat_map(spoil).collect::<Vec<u8>>()).await
            }
        };
        tokio::task::yield_now().await;
    }
    let ended = connection.ends(LIMIT).await;
    Outcome { streams, frames: 2 * streams, ended, heard: connection.heard() }
}

/// Says the same thing again and again.
async fn flood(to: SocketAddr, first: Vec<u8>, again: Vec<u8>) -> Outcome {
    const AT_ONCE: u32 = 100;
    let mut connection = connect(to, &first).await;
    let piece = again.repeat(AT_ONCE as usize);
    let mut frames = 0;
    while frames < FRAMES_MAX && connection.say(&piece).await {
        frames += AT_ONCE;
    }
    let ended = connection.ends(LIMIT).await;
    Outcome { streams: 1, frames, ended, heard: connection.heard() }
}

fn pseudo(method: &'static str) -> Vec<Field<'static>> {
    vec![(":method", method), (":scheme", "http"), (":authority", "reviews:9080"), (":path", "/attack")]
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&pseudo("GET")))
}

pub(super) fn get_big(stream: u32) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "reviews:9080"), (":path", "/big")];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

/// A request whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&pseudo("POST")))
}

fn post_of_one(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&[&pseudo("POST")[..], &[("content-length", "1")]].concat()))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, CANCEL)
}

fn overflow(stream: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
}

fn no_increment(stream: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &[0; 4])
}

fn on_itself(stream: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat())
}

fn data(stream: u32) -> Vec<u8> {
    frame(DATA, 0, stream, b"more")
}

fn unended_trailers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&[("x", "y")]))
}

fn many_trailers(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &crumbs(1_500))
}

fn crumbs(count: usize) -> Vec<u8> {
    block(&vec![("cookie", "x"); count])
}

/// A list of fields that goes on.
fn open_block() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET")))
}

/// A field of nearly four kilobytes that enters the table, and then twelve thousand times its index: 48 MiB in 16 KiB.
fn bomb(stream: u32) -> Vec<u8> {
    let mut bytes = block(&pseudo("GET"));
    bytes.push(0x40);
    text(&mut bytes, "x");
    text(&mut bytes, &"y".repeat(3_900));
    bytes.extend(std::iter::repeat_n(0x80 | 62, 12_000));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &bytes)
}

fn crumbly(stream: u32) -> Vec<u8> {
    let fields = [block(&pseudo("GET")), crumbs(1_500)].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
}
