//! Calls to the other services, through the sidecar.
//!
//! # What an application owes a mesh
//! Two things, and this file is both: it names the service it wants (`Host: reviews:9080`), and it copies the trace
//! headers of the request it serves to the calls it makes for it, since no sidecar can know which call belongs to
//! which request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderName};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Options;

/// A demo that hangs teaches nothing: no call takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// No page of the bookshop is larger.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Headers that tie a call to the request it serves (W3C, B3, SkyWalking) and select a version (`end-user`).
const COPIED: [&str; 12] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "sw8",
    "x-request-id",
    "end-user",
];

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The process was started without `--outbound`.
    NoOutbound { service: String },
    /// The connection or the exchange broke.
    Broken { service: String, reason: String },
    /// It answered, but not with 200.
    Refused { service: String, status: StatusCode, body: String },
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoOutbound { service } => write!(f, "cannot call {service}: started without --outbound"),
            Self::Broken { service, reason } => write!(f, "calling {service} failed: {reason}"),
            Self::Refused { service, status, body } => write!(f, "{service} answered {status}: {body}"),
        }
    }
}

/// Calls made on behalf of one request.
pub(crate) struct Outbound<'a> {
    sidecar: Option<SocketAddr>,
    port: u16,
    serving: &'a HeaderMap,
}

impl<'a> Outbound<'a> {
    pub(crate) fn new(options: &Options, serving: &'a Request<Incoming>) -> Self {
        Self { sidecar: options.outbound, port: options.service_port, serving: serving.headers() }
    }

    /// The JSON page of another service.
    pub(crate) async fn get(&self, service: &str, path: &str) -> Result<Value, CallError> {
        let sidecar = self.sidecar.ok_or_else(|| CallError::NoOutbound { service: service.to_owned() })?;
        let broken = |reason: String| CallError::Broken { service: service.to_owned(), reason };
        let exchange = self.exchange(sidecar, service, path);
        let (status, body) = tokio::time::timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| broken(format!("no answer within {} s", CALL_TIMEOUT.as_secs())))?
            .map_err(|error| broken(error.to_string()))?;
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(CallError::Refused { service: service.to_owned(), status, body });
        }
        serde_json::from_slice(&body).map_err(|error| broken(format!("its page is not JSON: {error}")))
    }

    async fn exchange(&self, sidecar: SocketAddr, service: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(sidecar).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::task::spawn_local(connection);
        let mut request = Request::get(path).header(HOST, format!("{service}:{}", self.port));
        for name in COPIED.map(HeaderName::from_static) {
            for value in self.serving.get_all(&name) {
                request = request.header(&name, value);
            }
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|e| anyhow::anyhow!(e))?;
        drop(sender);
        driver.abort();
        Ok((status, body.to_bytes()))
    }
}
