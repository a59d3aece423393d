//! Clients that mean no good.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::wait;

/// Clients of each kind at once.
const SLOW: usize = 60;
const RESETTING: usize = 2;

/// What slow clients say before they fall silent: nothing, half a line, half a head, half a body, and half of HTTP/2.
const BEGINNINGS: [&[u8]; 5] = [
    b"",
    b"GET / HT",
    b"GET / HTTP/1.1\r\nHost: reviews:9080\r\nX-Slow: ",
    b"POST / HTTP/1.1\r\nHost: reviews:9080\r\nContent-Length: 10\r\n\r\nhalf",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// What they came to.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    slow: usize,
    cut: u64,
    streams: u64,
    stopped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slow, cut, streams, stopped } = self;
        write!(
            f,
            "{slow} slow clients at once, {cut} cut; {streams} streams opened to be reset, {stopped} connections of them stopped"
        )
    }
}

/// Slow clients, and HTTP/2 clients that open streams only to reset them, for so long.
pub(crate) async fn attack(proxy: SocketAddr, time: Duration) -> Counts {
    let start = wait::now();
    let mut clients = JoinSet::new();
    for number in 0..SLOW {
        let beginning = BEGINNINGS[number % BEGINNINGS.len()];
        clients.spawn(async move {
            let mut counts = Counts::default();
            while start.elapsed() < time {
                counts.cut += u64::from(is_cut(proxy, beginning, time.saturating_sub(start.elapsed())).await);
            }
            counts
        });
    }
    for _ in 0..RESETTING {
        clients.spawn(async move {
            let mut counts = Counts::default();
            while start.elapsed() < time {
                let streams = reset(proxy, time.saturating_sub(start.elapsed())).await;
                counts.streams += streams.0;
                counts.stopped += u64::from(streams.1);
            }
            counts
        });
    }
    let mut total = Counts { slow: SLOW, ..Counts::default() };
    for counts in clients.join_all().await {
        total.cut += counts.cut;
        total.streams += counts.streams;
        total.stopped += counts.stopped;
    }
    assert!(total.stopped > 0, "no connection that resets its streams was stopped: {total}");
    total
}

/// Says this and waits for the end, for at most so long.
async fn is_cut(proxy: SocketAddr, beginning: &[u8], time: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect(proxy).await else { return false };
    if stream.write_all(beginning).await.is_err() {
        return true;
    }
    let mut block = [0; 1024];
    let ended = async { while matches!(stream.read(&mut block).await, Ok(1..)) {} };
    tokio::time::timeout(time, ended).await.is_ok()
}

/// Opens streams and resets them until the connection is stopped. How many, and whether it was.
async fn reset(proxy: SocketAddr, time: Duration) -> (u64, bool) {
    let mut streams = 0;
    let attack = async {
        let Ok(stream) = TcpStream::connect(proxy).await else { return false };
        let Ok((mut send, connection)) = h2::client::handshake(stream).await else { return false };
        let connection = tokio::spawn(connection);
        loop {
            let Ok(mut open) = send.ready().await else { break };
            let request = Request::get("http://reviews:9080/").header("x-delay-ms", "50").body(());
            let Ok((_, mut sent)) = open.send_request(request.expect("literals are valid"), false) else { break };
            wait::pass(Duration::from_millis(5)).await;
            sent.send_reset(Reason::CANCEL);
            streams += 1;
            send = open;
        }
        matches!(connection.await, Ok(Err(error)) if error.is_go_away())
    };
    let stopped = tokio::time::timeout(time, attack).await.unwrap_or(false);
    (streams, stopped)
}

/// Idle connections that are held until they are dropped.
pub(crate) async fn crowd(to: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..connections {
        // Those that find no place are closed at once.
        held.extend(TcpStream::connect(to).await);
    }
    held
}
