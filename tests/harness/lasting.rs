//! Load on connections that last: HTTP/2, streams of gRPC, tunnels of TCP; and the applications behind them.
//!
//! What a proxy may do to such a connection is narrow: say GOAWAY, and then finish what it has taken. So a stream that was
//! begun and ends otherwise than by its own last word is a failure, and nothing is tried again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::load::{Load, PAUSE, Seen, fail};
use super::{Backend, wait};

/// Between two messages of a stream or a tunnel.
const BEAT: Duration = Duration::from_millis(20);
/// A message that is not answered by then is lost.
const LIMIT: Duration = Duration::from_secs(10);

/// As it stands on the wire of gRPC: not compressed, two bytes long.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

/// `connections` of HTTP/2, each with one request after the other for `http://HOST/PATH`.
pub(crate) fn http2(proxy: SocketAddr, host: &str, path: &str, connections: usize) -> Load {
    let uri: Arc<str> = format!("http://{host}{path}").into();
    Load::of(connections, move |_, stop| {
        let uri = Arc::clone(&uri);
        async move {
            let mut seen = Seen::default();
            let mut channel = None;
            while !stop.load(Ordering::Relaxed) {
                if let Some(open) = channel_of(&mut channel, proxy, &mut seen).await {
                    let request = Request::get(&*uri).body(()).expect("a request of literals is valid");
                    request_on(open, request, &mut seen).await;
                }
                wait::pass(PAUSE).await;
            }
            seen
        }
    })
}

/// `streams` of gRPC that say something every [`BEAT`] for as long as `lasting`, and then end; then the next ones. A request
/// is a message.
pub(crate) fn grpc_streams(proxy: SocketAddr, host: &str, streams: usize, lasting: Duration) -> Load {
    let uri: Arc<str> = format!("http://{host}/test.Echo/Talk").into();
    Load::of(streams, move |_, stop| {
        let uri = Arc::clone(&uri);
        async move {
            let mut seen = Seen::default();
            let mut channel = None;
            while !stop.load(Ordering::Relaxed) {
                if let Some(open) = channel_of(&mut channel, proxy, &mut seen).await
                    && let Err(why) = timeout(lasting + LIMIT, talk(open, &uri, lasting, &stop, &mut seen))
                        .await
                        .unwrap_or_else(|_| Err("a stream does not end".to_owned()))
                {
                    fail(&mut seen, format!("stream: {why}"));
                }
                wait::pass(PAUSE).await;
            }
            seen
        }
    })
}

/// `tunnels` of TCP that say a byte every [`BEAT`] for as long as `lasting`. A request is a byte, answered by two.
pub(crate) fn tunnels(proxy: SocketAddr, tunnels: usize, lasting: Duration) -> Load {
    Load::of(tunnels, move |_, stop| async move {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            match TcpStream::connect(proxy).await {
                Ok(stream) => {
                    if let Err(why) = ask(stream, lasting, &stop, &mut seen).await {
                        fail(&mut seen, format!("tunnel: {why}"));
                    }
                }
                Err(error) => fail(&mut seen, format!("connect: {error}")),
            }
        }
        seen
    })
}

/// The channel, opened anew when the other side has said that it takes no more.
async fn channel_of(
    channel: &mut Option<SendRequest<Bytes>>,
    proxy: SocketAddr,
    seen: &mut Seen,
) -> Option<SendRequest<Bytes>> {
    if let Some(open) = channel.take()
        && let Ok(open) = open.ready().await
    {
        *channel = Some(open.clone());
        return Some(open);
    }
    let opened = async {
        let stream = TcpStream::connect(proxy).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).ok();
        let (send, connection) = h2::client::handshake(stream).await.map_err(|error| format!("handshake: {error}"))?;
        tokio::spawn(connection);
        send.ready().await.map_err(|error| format!("ready: {error}"))
    };
    match opened.await {
        Ok(open) => {
            *channel = Some(open.clone());
            Some(open)
        }
        Err(why) => {
            fail(seen, why);
            None
        }
    }
}

async fn request_on(mut channel: SendRequest<Bytes>, request: Request<()>, seen: &mut Seen) {
    // What cannot be sent any more was not sent: the connection has just been told to end.
    let Ok((response, _)) = channel.send_request(request, true) else { return };
    seen.requests += 1;
    let answered = async {
        let response = match response.await {
            Ok(response) => response,
            Err(error) if is_unprocessed(&error) => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        let status = response.status();
        read(response.into_body()).await?;
        if status == 200 { Ok(true) } else { Err(status.to_string()) }
    };
    let start = wait::now();
    match timeout(LIMIT, answered).await {
        Ok(Ok(true)) => seen.took(start.elapsed()),
        Ok(Ok(false)) => seen.requests -= 1,
        Ok(Err(why)) => fail(seen, why),
        Err(_) => fail(seen, "no answer".to_owned()),
    }
}

/// The request crossed a GOAWAY that says it was not processed and may be sent again (RFC 9113 6.8). One that was processed and
/// then cut ends otherwise: its connection breaks.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

async fn talk(
    mut channel: SendRequest<Bytes>,
    uri: &str,
    lasting: Duration,
    stop: &AtomicBool,
    seen: &mut Seen,
) -> Result<(), String> {
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(()).expect("a request of literals is valid");
    let Ok((response, mut send)) = channel.send_request(request, false) else { return Ok(()) };
    let start = wait::now();
    seen.requests += 1;
    send.send_data(Bytes::from_static(MESSAGE), false).map_err(|error| error.to_string())?;
    let mut body = match response.await {
        Ok(response) => response.into_body(),
        Err(error) if is_unprocessed(&error) => {
            seen.requests -= 1;
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    expect(&mut body).await?;
    while start.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
        wait::pass(BEAT).await;
        let said = wait::now();
        seen.requests += 1;
        send.send_data(Bytes::from_static(MESSAGE), false).map_err(|error| error.to_string())?;
        expect(&mut body).await?;
        seen.took(said.elapsed());
    }
    send.send_data(Bytes::new(), true).map_err(|error| error.to_string())?;
    if body.data().await.is_some() {
        return Err("more than was said".to_owned());
    }
    let trailers = body.trailers().await.map_err(|error| error.to_string())?;
    match trailers.and_then(|trailers| trailers.get("grpc-status").cloned()) {
        Some(status) if status == "0" => Ok(()),
        other => Err(format!("grpc-status {other:?}")),
    }
}

async fn expect(body: &mut RecvStream) -> Result<(), String> {
    let mut heard = Vec::new();
    while heard.len() < MESSAGE.len() {
        let part = body.data().await.ok_or("the stream ended")?.map_err(|error| error.to_string())?;
        body.flow_control().release_capacity(part.len()).map_err(|error| error.to_string())?;
        heard.extend_from_slice(&part);
    }
    if heard == MESSAGE { Ok(()) } else { Err(format!("{heard:?}")) }
}

async fn read(mut body: RecvStream) -> Result<(), String> {
    while let Some(part) = body.data().await {
        let part = part.map_err(|error| error.to_string())?;
        body.flow_control().release_capacity(part.len()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn ask(mut stream: TcpStream, lasting: Duration, stop: &AtomicBool, seen: &mut Seen) -> Result<(), String> {
    let start = wait::now();
    while start.elapsed() < lasting && !stop.load(Ordering::Relaxed) {
        seen.requests += 1;
        let said = wait::now();
        stream.write_all(b"?").await.map_err(|error| error.to_string())?;
        let mut answer = [0; 2];
        match timeout(LIMIT, stream.read_exact(&mut answer)).await {
            Ok(Ok(_)) => seen.took(said.elapsed()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer".to_owned()),
        }
        wait::pass(BEAT).await;
    }
    Ok(())
}

/// An application of gRPC that says back what it hears, message by message.
pub(crate) async fn grpc_application(address: SocketAddr) -> Backend {
    Backend::raw(address, async move |stream| {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            // Ends with its stream, or with the connection.
            tokio::spawn(say_back(request.into_body(), respond));
        }
    })
    .await
}

/// `None`: the caller has gone.
async fn say_back(mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Option<()> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).ok()?;
    let mut send = respond.send_response(head, false).ok()?;
    while let Some(part) = body.data().await {
        let part = part.ok()?;
        body.flow_control().release_capacity(part.len()).ok()?;
        send.send_data(part, false).ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers).ok()
}

/// An application of bytes that answers each with its name.
pub(crate) async fn tcp_application(address: SocketAddr, name: &'static [u8; 2]) -> Backend {
    Backend::raw(address, async move |mut stream| {
        while stream.read_u8().await.is_ok() {
            if stream.write_all(name).await.is_err() {
                return;
            }
        }
    })
    .await
}
