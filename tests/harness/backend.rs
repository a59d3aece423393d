//! Applications behind the mesh: small servers inside the test, which sees what they were sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::wait;

/// What an application answers with.
type Page = Response<BoxBody<Bytes, Infallible>>;

/// An application of HTTP/1.1, HTTP/2 and gRPC that says who it is and what it was asked.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Backend {
    /// An application that answers 200 with `x-version: VERSION` and, as its body, the request's method, path and
    /// headers, one per line, then its body. A gRPC call is answered with VERSION as the message. A request that says
    /// `x-delay-ms` waits that long for its answer.
    pub(crate) async fn echo(address: SocketAddr, version: &str) -> Self {
        Self::slow_echo(address, version, Duration::ZERO).await
    }

    /// As [`Backend::echo`], but every answer takes `delay`.
    pub(crate) async fn slow_echo(address: SocketAddr, version: &str, delay: Duration) -> Self {
        let version: Arc<str> = version.into();
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        Self::serve(address, requests, move |stream| {
            let (version, counter) = (Arc::clone(&version), Arc::clone(&counter));
            async move {
                let service = service_fn(move |request| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    echo(Arc::clone(&version), delay, request)
                });
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http1().timer(TokioTimer::new()).preserve_header_case(true);
                http.serve_connection_with_upgrades(TokioIo::new(stream), service).await.ok();
            }
        })
        .await
    }

    /// An application that answers everything with 500.
    pub(crate) async fn broken(address: SocketAddr) -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        Self::serve(address, requests, move |mut stream| {
            let counter = Arc::clone(&counter);
            async move {
                let mut bytes = vec![0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    // A caller that has gone needs no answer.
                    stream.write_all(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n").await.ok();
                }
            }
        })
        .await
    }

    /// An application that does with each connection what `talk` says.
    pub(crate) async fn raw<F, Fut>(address: SocketAddr, talk: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::serve(address, Arc::new(AtomicU64::new(0)), talk).await
    }

    async fn serve<F, Fut>(address: SocketAddr, requests: Arc<AtomicU64>, talk: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("backend on {address}: {e}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                tokio::spawn(talk(stream));
            }
        });
        Self { address, requests, task }
    }

    /// How many requests it has answered.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(version: Arc<str>, delay: Duration, request: Request<Incoming>) -> Result<Page, Infallible> {
    let (head, body) = request.into_parts();
    let asked = head.headers.get("x-delay-ms").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let delay = asked.map_or(delay, Duration::from_millis);
    if !delay.is_zero() {
        wait::pass(delay).await;
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if head.headers.get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc")) {
        return Ok(grpc_answer(&version));
    }
    let mut page = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        page.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    page.push('\n');
    let mut page = page.into_bytes();
    page.extend_from_slice(&body);
    let response = Response::builder().header("x-version", &*version).body(Full::new(Bytes::from(page)).boxed());
    Ok(response.expect("a response of literals is valid"))
}

/// One message, uncompressed (a zero byte, then its length), and the trailers of success.
fn grpc_answer(version: &str) -> Page {
    let length = u32::try_from(version.len()).expect("a version is a short word");
    let message = [&[0], &length.to_be_bytes()[..], version.as_bytes()].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let response =
        Response::builder().header("content-type", "application/grpc").header("x-version", version).body(body.boxed());
    response.expect("a response of literals is valid")
}
