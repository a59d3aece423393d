//! Clients in the mesh: they dial a sidecar's outbound listener or a gateway, as applications do.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Which version answered (the backends say so).
    pub(crate) fn version(&self) -> &str {
        self.headers.get("x-version").and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A keep-alive connection to a proxy. A broken one is opened anew with the next request; the request that met the
/// break is a failure and is not repeated.
pub(crate) struct Client {
    proxy: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client that dials `proxy`.
    pub(crate) fn new(proxy: SocketAddr) -> Self {
        Self { proxy, connection: None }
    }

    /// `GET http://HOST/PATH`.
    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Result<Answer, String> {
        self.send(Request::get(path).header("host", host)).await
    }

    /// Sends a request without a body.
    pub(crate) async fn send(&mut self, request: http::request::Builder) -> Result<Answer, String> {
        self.send_body(request, Bytes::new()).await
    }

    /// Sends a request with a body.
    pub(crate) async fn send_body(&mut self, request: http::request::Builder, body: Bytes) -> Result<Answer, String> {
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let result = self.exchange(request).await;
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    /// The next request uses a fresh connection.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let reusable = match self.connection.take() {
            Some(mut open) => open.ready().await.is_ok().then_some(open),
            None => None,
        };
        let mut open = match reusable {
            Some(open) => open,
            None => self.connect().await?,
        };
        let response =
            open.send_request(request).await.map_err(|e| format!("{e}: {:?}", std::error::Error::source(&e)))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("body: {e}"))?.to_bytes();
        self.connection = Some(open);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.proxy).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).ok();
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|e| format!("handshake: {e}"))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
