//! Backends: a real HTTP/1.1 server, a real HTTP/2 server, and one that says exactly what a test tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// Answers with its name, the method, the path and the body, over hyper.
pub(crate) async fn echo(name: &'static str) -> SocketAddr {
    counted(name).await.0
}

/// The same, with the number of connections it has taken.
pub(crate) async fn counted(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = bind().await;
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(move |request: Request<Incoming>| async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("a whole body").to_bytes();
                let text = format!("{name} {} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
                let mut response = Response::new(Full::new(Bytes::from(text)));
                if let Some(id) = parts.headers.get("x-request-id") {
                    response.headers_mut().insert("x-request-id", id.clone());
                }
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(async move {
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    (address, count)
}

/// A connection that a script speaks on.
pub(crate) struct Scripted {
    pub(crate) stream: TcpStream,
    held: Vec<u8>,
}

impl Scripted {
    /// Reads a head and gives it back.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.held.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.held.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.held, rest)).expect("text");
            }
            assert_ne!(self.stream.read_buf(&mut self.held).await.expect("reads"), 0, "closed before a head");
        }
    }

    /// Reads exactly so many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count {
            assert_ne!(self.stream.read_buf(&mut self.held).await.expect("reads"), 0, "closed early");
        }
        let rest = self.held.split_off(count);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether the peer has closed.
    pub(crate) async fn ended(&mut self) -> bool {
        self.held.is_empty() && matches!(self.stream.read_buf(&mut self.held).await, Ok(0) | Err(_))
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("writes");
    }
}

/// A backend whose every connection runs the script.
pub(crate) async fn scripted<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(Scripted) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let (listener, address) = bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(Scripted { stream, held: Vec::new() }));
        }
    });
    address
}

/// Answers every request with the same bytes, for ever, on any number of connections.
pub(crate) async fn says(answer: &'static str) -> SocketAddr {
    scripted(move |mut connection| async move {
        loop {
            connection.head().await;
            connection.say(answer).await;
        }
    })
    .await
}

/// A backend that nobody listens at.
pub(crate) async fn nobody() -> SocketAddr {
    bind().await.1
}

/// An HTTP/2 server that sends every byte of a request straight back, then trailers.
pub(crate) async fn http2_echo() -> SocketAddr {
    let (listener, address) = bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("an HTTP/2 client");
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo_stream(request, respond));
                }
            });
        }
    });
    address
}

async fn echo_stream(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let mut response = Response::new(());
    let path = HeaderValue::from_str(parts.uri.path()).expect("visible");
    response.headers_mut().insert("x-path", path);
    let mut out = respond.send_response(response, false).expect("answers");
    while let Some(Ok(bytes)) = body.data().await {
        drop(body.flow_control().release_capacity(bytes.len()));
        send_all(&mut out, bytes).await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Ok(Some(sent)) = body.trailers().await {
        trailers.extend(sent);
    }
    drop(out.send_trailers(trailers));
}

/// Sends all of it, as the window allows.
pub(crate) async fn send_all(out: &mut h2::SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let piece = bytes.split_to(room.min(bytes.len()));
        if out.send_data(piece, false).is_err() {
            return;
        }
    }
}

/// A backend whose answers a test changes while it runs, and that counts them.
#[derive(Clone)]
pub(crate) struct Switchable {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Switchable {
    /// Begins with 200; answers with its name.
    pub(crate) async fn start(name: &'static str) -> Self {
        let (listener, address) = bind().await;
        let this = Self { address, status: Arc::new(AtomicUsize::new(200)), requests: Arc::default() };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let service = service_fn(move |_: Request<Incoming>| {
                    let serving = serving.clone();
                    async move {
                        serving.requests.fetch_add(1, Ordering::SeqCst);
                        let mut response = Response::new(Full::new(Bytes::from_static(name.as_bytes())));
                        let status = u16::try_from(serving.status.load(Ordering::SeqCst)).expect("a status");
                        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        this
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status.into(), Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}
