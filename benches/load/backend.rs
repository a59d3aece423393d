//! An application that costs next to nothing: canned answers, no parsing beyond the length of a request.
//!
//! `GET /` is answered with 100 bytes, `POST /` with 16 KiB, `/slow` after [`SLOW`], so that many requests are open at once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 16 * 1024;
/// Longer than a thousand connections take to open.
const SLOW: Duration = Duration::from_secs(2);
/// A head larger than this is not one of the bench's.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(crate) async fn run(http1: &[SocketAddr], http2: &[SocketAddr]) -> anyhow::Result<()> {
    let mut listeners = JoinSet::new();
    for (address, is_http2) in http1.iter().map(|a| (*a, false)).chain(http2.iter().map(|a| (*a, true))) {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        listeners.spawn(accept(listener, is_http2));
    }
    listeners.join_next().await.context("nothing to listen on")?.context("a listener panicked")?
}

async fn accept(listener: TcpListener, is_http2: bool) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true).ok();
        tokio::spawn(async move {
            // A caller that hangs up ends the conversation.
            if is_http2 { serve_http2(stream).await.ok() } else { serve_http1(stream).await.ok() }
        });
    }
}

async fn serve_http1(mut stream: TcpStream) -> anyhow::Result<()> {
    let [small, large] = [SMALL_BYTES, LARGE_BYTES].map(answer);
    let mut input = Vec::new();
    let mut output = Vec::new();
    loop {
        output.clear();
        let mut slow = false;
        while let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) {
            let head = &input[..end];
            let body = length(head);
            if input.len() < end + body {
                break;
            }
            slow |= head.windows(5).take(64).any(|w| w == b"/slow");
            output.extend_from_slice(if head.starts_with(b"POST") { &large } else { &small });
            input.drain(..end + body);
        }
        if slow {
            tokio::time::sleep(SLOW).await;
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
        }
        if stream.read_buf(&mut input).await? == 0 || input.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
}

fn answer(length: usize) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; length]].concat()
}

/// The length that a head announces for its body.
fn length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head);
    let field = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    field.unwrap_or(0)
}

async fn serve_http2(stream: TcpStream) -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'x'; SMALL_BYTES]);
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let head = http::Response::builder().header("content-type", "text/plain").body(())?;
        respond.send_response(head, false)?.send_data(body.clone(), true)?;
    }
    Ok(())
}
