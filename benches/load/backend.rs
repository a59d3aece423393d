//! An application that costs next to nothing: canned answers, no parsing beyond the length of a request.
//!
//! `GET /` is answered with 100 bytes, `POST /` with 16 KiB, `/slow` after [`SLOW`], so that many requests are open at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates;

const SMALL_BYTES: usize = 100;
const LARGE_BYTES: usize = 16 * 1024;
/// Longer than a thousand connections take to open.
const SLOW: Duration = Duration::from_secs(2);
/// A head larger than this is not one of the bench's.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where it listens, and for what.
#[derive(Debug, Args)]
pub(crate) struct Places {
    #[arg(long)]
    http1: Vec<SocketAddr>,
    #[arg(long)]
    http2: Vec<SocketAddr>,
    /// HTTP/1.1 under TLS
    #[arg(long)]
    https1: Vec<SocketAddr>,
    /// HTTP/2 under TLS
    #[arg(long)]
    https2: Vec<SocketAddr>,
    #[arg(long)]
    chain: PathBuf,
    #[arg(long)]
    key: PathBuf,
}

/// What is spoken at a place.
#[derive(Clone)]
struct Spoken {
    http2: bool,
    tls: Option<Arc<ServerConfig>>,
}

pub(crate) async fn run(places: &Places) -> anyhow::Result<()> {
    let tls = |protocol| certificates::server(&places.chain, &places.key, protocol).map(Some);
    let mut listeners = JoinSet::new();
    for (addresses, http2, tls) in [
        (&places.http1, false, None),
        (&places.http2, true, None),
        (&places.https1, false, tls(None)?),
        (&places.https2, true, tls(Some("h2"))?),
    ] {
        for address in addresses {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            listeners.spawn(accept(listener, Spoken { http2, tls: tls.clone() }));
        }
    }
    listeners.join_next().await.context("nothing to listen on")?.context("a listener panicked")?
}

async fn accept(listener: TcpListener, spoken: Spoken) -> anyhow::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await.context("cannot accept")?;
        // One that stands for ten thousand addresses listens on all that the machine has.
        if !peer.ip().is_loopback() {
            continue;
        }
        stream.set_nodelay(true).ok();
        // A caller that hangs up ends the conversation.
        tokio::spawn(converse(stream, spoken.clone()));
    }
}

async fn converse(stream: TcpStream, spoken: Spoken) -> anyhow::Result<()> {
    match spoken {
        Spoken { http2: false, tls: None } => serve_http1(stream).await,
        Spoken { http2: true, tls: None } => serve_http2(stream).await,
        Spoken { http2, tls: Some(config) } => {
            let stream = TlsAcceptor::from(config).accept(stream).await?;
            if http2 { serve_http2(stream).await } else { serve_http1(stream).await }
        }
    }
}

async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
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
            stream.flush().await?;
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

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'x'; SMALL_BYTES]);
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let head = http::Response::builder().header("content-type", "text/plain").body(())?;
        respond.send_response(head, false)?.send_data(body.clone(), true)?;
    }
    Ok(())
}
