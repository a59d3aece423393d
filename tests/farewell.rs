//! Promise of the tests to themselves: the load over HTTP/2 repeats what a farewell says was not processed (RFC 9113 6.8), and
//! counts everything else that was not answered as lost.
//!
//! # Why this is asserted
//! A load that forgives too much sees no fault, and one that forgives too little blames a proxy for doing as it should. The
//! server here is a script, so that it is certain what was on its way when the farewell was said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::load::Seen;
use crate::harness::{Backend, lasting, wait};

const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status 200`, as the static table of HPACK has it.
const STATUS_200: &[u8] = &[0x88];
const LIMIT: Duration = Duration::from_secs(10);

/// What the first connection says to its first request.
#[derive(Clone, Copy)]
enum First {
    /// A farewell to streams below it, and the end.
    NotSeen,
    /// A farewell to streams up to it, and the end.
    SeenAndCut,
    /// The end.
    Cut,
}

#[tokio::test]
async fn a_request_above_the_last_stream_of_a_farewell_is_repeated() {
    let seen = load_beside(First::NotSeen).await;

    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
}

#[tokio::test]
async fn a_request_that_was_taken_and_not_answered_is_lost() {
    for first in [First::SeenAndCut, First::Cut] {
        let seen = load_beside(first).await;

        assert_eq!(seen.failed, 1, "{:?}", seen.failures);
    }
}

/// One caller, until three of its requests are answered.
async fn load_beside(first: First) -> Seen {
    let (connections, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&answered);
    let server = Backend::raw(SocketAddr::from(([127, 0, 0, 1], 0)), move |stream| {
        let first = (connections.fetch_add(1, Ordering::Relaxed) == 0).then_some(first);
        serve(stream, first, Arc::clone(&counted))
    })
    .await;
    let load = lasting::http2(server.address, "reviews:9080", "/", 1);
    wait::until("three requests are answered", LIMIT, || async { answered.load(Ordering::Relaxed) >= 3 }).await;
    load.stop().await
}

async fn serve(mut stream: TcpStream, first: Option<First>, answered: Arc<AtomicU64>) {
    let mut preface = [0; PREFACE_BYTES];
    let said = async {
        stream.read_exact(&mut preface).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, id @ ..] = head;
            let mut content = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut content).await?;
            let id = u32::from_be_bytes(id);
            let last = match first {
                Some(First::NotSeen) => Some(id - id.min(2)),
                Some(First::SeenAndCut) => Some(id),
                Some(First::Cut) | None => None,
            };
            match (kind, first) {
                (SETTINGS, _) if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
                (HEADERS, None) => {
                    stream.write_all(&frame(HEADERS, END_STREAM_AND_HEADERS, id, STATUS_200)).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                (HEADERS, Some(_)) => {
                    if let Some(last) = last {
                        let farewell = [last.to_be_bytes(), [0; 4]].concat();
                        stream.write_all(&frame(GOAWAY, 0, 0, &farewell)).await?;
                    }
                    return stream.shutdown().await;
                }
                _ => {}
            }
        }
    };
    // The caller has gone.
    said.await.ok();
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a script's frames are short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}
