//! Promise: a client that owes something, or holds a connection for nothing, is let go within a minute, whatever it does, with the
//! limits that nobody has changed; and until then it costs next to nothing.
//!
//! # Why a minute of real time
//! The limits are those of real processes, configured by a real control plane, which may set none of them. All kinds are slow at the
//! same time, so that the test takes as long as the slowest of them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::process::resident_kib;
use crate::harness::{Backend, Client, Mesh, wait};

/// Nobody is kept for longer.
const LIMIT: Duration = Duration::from_secs(60);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const UPLOAD: &[u8] = b"POST /upload HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 10\r\n\r\nhalf";

#[tokio::test]
async fn slow_clients_of_every_kind_are_cut_within_a_minute() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).own_backends().start().await;
    let reader_gone = Arc::new(Notify::new());
    let _application = application(mesh.application("reviews-v1"), Arc::clone(&reader_gone)).await;
    let proxy = mesh.outbound("web-v1");
    let greets = greeting();
    let mut good = 0;

    let slow = async {
        <[_; 9]>::from(tokio::join!(
            timed("idle, without a byte", says(proxy, b"")),
            timed("half a request line", says(proxy, b"GET / HT")),
            timed("a head that drips", drips(proxy)),
            timed("a body that stands still", says(proxy, UPLOAD)),
            timed("idle between requests", says(proxy, b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n")),
            timed("an HTTP/2 preface alone", says(proxy, PREFACE)),
            timed("HTTP/2, and no answer", says(proxy, &greets)),
            timed("idle on HTTP/2", idles_on_http2(proxy)),
            timed("a reader that stopped", stops_reading(proxy, &reader_gone)),
        ))
    };
    let fair = async {
        let mut client = mesh.client("web-v1");
        loop {
            client.get("reviews:9080", "/").await.expect("a good client is served meanwhile");
            good += 1;
            wait::pass(Duration::from_millis(100)).await;
        }
    };
    let cut = tokio::select! {
        cut = slow => cut,
        never = fair => never,
    };

    for (name, time) in &cut {
        println!("{name:<26} {}", time.map_or("never".into(), |time| format!("cut after {:.1} s", time.as_secs_f32())));
    }
    println!("{good} requests of a good client meanwhile, 0 failed");
    assert!(cut.iter().all(|(_, time)| time.is_some_and(|time| time <= LIMIT)), "{cut:?}");
    assert!(good > 0);
    wait::until("every connection is gone", LIMIT, || async { open_connections(&mesh).await == 0 }).await;
    for (reason, at_least) in [("detection", 2), ("ping", 1), ("idle", 2)] {
        let counted = sum_of(&mesh, &format!("tidegate_downstream_connections_cut_total{{reason=\"{reason}\"}}")).await;
        assert!(counted >= at_least, "{counted} were cut for {reason}");
    }
}

/// All that an HTTP/2 client says who wants nothing: its settings, and that it has taken the server's.
fn greeting() -> Vec<u8> {
    [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 0, 4, 1, 0, 0, 0, 0]].concat()
}

/// When a client of this kind was cut, if it was.
async fn timed(name: &'static str, kind: impl Future<Output = Duration>) -> (&'static str, Option<Duration>) {
    (name, tokio::time::timeout(2 * LIMIT, kind).await.ok())
}

async fn connect(proxy: SocketAddr) -> TcpStream {
    TcpStream::connect(proxy).await.expect("the sidecar listens")
}

/// Says this, reads what comes, and waits for the end.
async fn says(proxy: SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = connect(proxy).await;
    let start = wait::now();
    stream.write_all(bytes).await.expect("a connection that was just opened takes a few bytes");
    let mut block = [0; 4096];
    while matches!(stream.read(&mut block).await, Ok(1..)) {}
    start.elapsed()
}

/// A byte of a head each second.
async fn drips(proxy: SocketAddr) -> Duration {
    let mut stream = connect(proxy).await;
    let start = wait::now();
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nHost: reviews:9080\r\nX: ".iter().chain(std::iter::repeat(&b'y')) {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            wait::pass(Duration::from_secs(1)).await;
        }
    };
    let mut block = [0; 4096];
    let end = async { while matches!(reading.read(&mut block).await, Ok(1..)) {} };
    tokio::select! {
        () = drip => {}
        () = end => {}
    }
    start.elapsed()
}

/// A client that answers every PING, and asks for nothing.
async fn idles_on_http2(proxy: SocketAddr) -> Duration {
    let stream = connect(proxy).await;
    let start = wait::now();
    let (send, connection) =
        h2::client::Builder::new().handshake::<_, Bytes>(stream).await.expect("the sidecar speaks HTTP/2");
    // The handle is held: without it the library would close.
    connection.await.ok();
    drop(send);
    start.elapsed()
}

/// Asks for more than all buffers on the way can hold, and reads nothing of it. Seen from the application: the client cannot look for
/// an end without reading.
async fn stops_reading(proxy: SocketAddr, gone: &Notify) -> Duration {
    let mut stream = connect(proxy).await;
    let start = wait::now();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.expect("a request is taken");
    gone.notified().await;
    start.elapsed()
}

/// Answers with two bytes, takes uploads without ever answering, and says `/endless` things for as long as somebody takes them.
async fn application(address: SocketAddr, reader_gone: Arc<Notify>) -> Backend {
    Backend::raw(address, move |stream| serve(stream, Arc::clone(&reader_gone))).await
}

async fn serve(mut stream: TcpStream, reader_gone: Arc<Notify>) {
    let mut held = Vec::new();
    while matches!(stream.read_buf(&mut held).await, Ok(1..)) {
        let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = held.drain(..end + 4).collect::<Vec<u8>>();
        if head.starts_with(b"POST") {
            continue;
        }
        if head.starts_with(b"GET /endless") {
            let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
            let mut said = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            while said.is_ok() {
                said = stream.write_all(chunk.as_bytes()).await;
            }
            return reader_gone.notify_one();
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Connections of callers that the sidecar of `web` holds.
async fn open_connections(mesh: &Mesh) -> u64 {
    sum_of(mesh, "tidegate_downstream_connections_active{").await
}

/// The sum of all samples of `web`'s sidecar that begin so.
async fn sum_of(mesh: &Mesh, sample: &str) -> u64 {
    let page = Client::new(mesh.admin("web-v1")).get("localhost", "/stats/prometheus").await.expect("admin answers");
    let text = page.text();
    let values = text.lines().filter(|line| line.starts_with(sample)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

/// A connection without a request may cost so much.
const KIB_PER_CONNECTION_MAX: f64 = 4.0;

/// One that holds an exchange.
const KIB_PER_EXCHANGE_MAX: f64 = 8.0;

/// One of HTTP/2: the library gives each of them 28 KiB of buffers, of which three pages are touched for a few bytes.
const KIB_PER_HTTP2_MAX: f64 = 20.0;

/// One whose reader has stopped: what it has not taken yet stays in the kernel.
const KIB_PER_READER_MAX: f64 = 12.0;
const CONNECTIONS: u32 = 2_000;

#[tokio::test]
async fn an_idle_connection_costs_little_memory() {
    let mesh = Mesh::plan().service("reviews", &["v1"]).start().await;
    let pid = mesh.proxies["web-v1"].id();
    let proxy = mesh.outbound("web-v1");
    // What a proxy holds once it has served anybody at all is not counted.
    let mut held = vec![asked_once(proxy).await];
    let before = resident_kib(pid);

    for _ in 0..CONNECTIONS {
        held.push(asked_once(proxy).await);
    }
    let after = resident_kib(pid);

    let open = open_connections(&mesh).await;
    let each = after.saturating_sub(before) as f64 / f64::from(CONNECTIONS);
    println!("{open} connections are open; from {before} to {after} KiB: {each:.2} KiB each");
    assert!(open >= u64::from(CONNECTIONS), "they are all held");
    assert!(each <= KIB_PER_CONNECTION_MAX, "{each:.2} KiB for each connection");
}

/// A connection that has had its answer and is kept.
async fn asked_once(proxy: SocketAddr) -> TcpStream {
    let mut stream = connect(proxy).await;
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: reviews:9080\r\n\r\n").await.expect("a request is taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.expect("reads"), 0, "closed before an answer");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// A kind of slow client: what it says before it does nothing, how many there are, and what each may cost. Of readers that stopped
/// there are fewer, because of what the kernel keeps for each.
struct Kind {
    name: &'static str,
    says: Vec<u8>,
    count: u32,
    kib_max: f64,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, says: &[u8], count, kib_max| Kind { name, says: says.to_vec(), count, kib_max };
    let head = b"GET / HTTP/1.1\r\nHost: reviews:9080\r\n";
    let ask = [head, &b"\r\n"[..]].concat();
    let endless = b"GET /endless HTTP/1.1\r\nHost: reviews:9080\r\n\r\n";
    vec![
        kind("idle, without a byte", b"", 500, KIB_PER_CONNECTION_MAX),
        kind("half a request line", b"GET / HT", 500, KIB_PER_CONNECTION_MAX),
        kind("a head that drips", &[head, &b"X: yyyy"[..]].concat(), 500, KIB_PER_CONNECTION_MAX),
        kind("a body that stands still", UPLOAD, 500, KIB_PER_EXCHANGE_MAX),
        kind("idle between requests", &ask, 500, KIB_PER_EXCHANGE_MAX),
        kind("an HTTP/2 preface alone", PREFACE, 500, KIB_PER_CONNECTION_MAX),
        kind("idle on HTTP/2", &greeting(), 500, KIB_PER_HTTP2_MAX),
        kind("a reader that stopped", endless, 25, KIB_PER_READER_MAX),
    ]
}

#[tokio::test]
async fn slow_clients_of_every_kind_cost_little_memory() {
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).own_backends().start().await;
    let _application = application(mesh.application("reviews-v1"), Arc::new(Notify::new())).await;
    let mut costs = Vec::new();

    for Kind { name, says, count, kib_max } in kinds() {
        // A process of its own for each, so that none finds the memory of the one before.
        mesh.proxies.get_mut("web-v1").expect("started").kill();
        mesh.start_proxy("web-v1");
        mesh.ready("web-v1", Duration::from_secs(20)).await;
        let (proxy, pid) = (mesh.outbound("web-v1"), mesh.proxies["web-v1"].id());
        let mut held = vec![asked_once(proxy).await, held_after(proxy, &says).await];
        let before = settled_kib(pid).await;
        for _ in 0..count {
            held.push(held_after(proxy, &says).await);
        }
        let after = settled_kib(pid).await;
        let open = open_connections(&mesh).await;
        assert!(open >= u64::from(count), "{name}: only {open} are held");
        costs.push((name, after.saturating_sub(before) as f64 / f64::from(count), kib_max));
    }

    for (name, each, _) in &costs {
        println!("{name:<26} {each:.2} KiB each");
    }
    assert!(costs.iter().all(|(_, each, kib_max)| each <= kib_max), "{costs:?}");
}

/// A connection on which this was said, and nothing else is.
async fn held_after(proxy: SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = connect(proxy).await;
    stream.write_all(says).await.expect("a connection that was just opened takes a few bytes");
    stream
}

/// A process's memory, when it has stopped growing.
async fn settled_kib(pid: u32) -> u64 {
    let (mut last, mut same) = (0, 0);
    wait::until("memory stands still", Duration::from_secs(4), || {
        let now = resident_kib(pid);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        std::future::ready(same >= 40)
    })
    .await;
    last
}
