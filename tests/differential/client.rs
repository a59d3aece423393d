//! A client that writes bytes and reads bytes, so that no library hides what a proxy did; for HTTP/2 it leaves frames and
//! header compression to a library and looks at the fields.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::ID;
use super::requests::Request;

/// An answer that takes longer is lost, and that is a difference.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status; 0 when the connection ended without one.
    pub(super) status: u16,
    /// In order.
    pub(super) headers: Vec<(String, String)>,
    /// The body.
    pub(super) body: Vec<u8>,
    /// What followed it.
    pub(super) trailers: Vec<(String, String)>,
}

impl Answer {
    fn none() -> Self {
        Self { status: 0, headers: Vec::new(), body: Vec::new(), trailers: Vec::new() }
    }

    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A keep-alive connection to a proxy for each version of HTTP, opened when it is needed.
pub(super) struct Client {
    proxy: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    http2: Option<SendRequest<Bytes>>,
}

impl Client {
    pub(super) fn new(proxy: SocketAddr) -> Self {
        Self { proxy, stream: None, buffer: Vec::new(), http2: None }
    }

    /// Sends a request in its version of HTTP and reads its answer.
    pub(super) async fn ask(&mut self, request: &Request) -> Answer {
        if !request.http2 {
            return self.send(&request.encode(), request.method == "HEAD").await;
        }
        let answer = within(self.exchange_http2(request)).await;
        if answer.status == 0 {
            self.http2 = None;
        }
        answer
    }

    async fn exchange_http2(&mut self, request: &Request) -> Option<Answer> {
        if self.http2.is_none() {
            let stream = TcpStream::connect(self.proxy).await.ok()?;
            stream.set_nodelay(true).ok();
            let (sender, connection) = h2::client::handshake(stream).await.ok()?;
            // It ends with its last handle.
            tokio::spawn(connection);
            self.http2 = Some(sender);
        }
        let mut sender = self.http2.as_ref()?.clone().ready().await.ok()?;
        let mut head = http::Request::builder()
            .method(request.method)
            .uri(format!("http://{}{}", request.host, request.target))
            .header(ID, &request.id);
        for (name, value) in &request.headers {
            head = head.header(*name, value);
        }
        let head = head.body(()).expect("a generated request is valid");
        let (answer, mut body) = sender.send_request(head, request.body.is_empty()).ok()?;
        if !request.body.is_empty() {
            // Whoever answers before it read the body may stop reading it.
            body.send_data(request.body.clone().into(), true).ok();
        }
        let (head, mut body) = answer.await.ok()?.into_parts();
        let mut read = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            body.flow_control().release_capacity(data.len()).ok()?;
            read.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.ok()?.unwrap_or_default();
        Some(Answer {
            status: head.status.as_u16(),
            headers: list(&head.headers),
            body: read,
            trailers: list(&trailers),
        })
    }

    /// Sends bytes of HTTP/1.1 and reads the answer. `head` tells that it has no body.
    pub(super) async fn send(&mut self, request: &[u8], head: bool) -> Answer {
        let answer = within(self.exchange(request, head)).await;
        let closes = |a: &Answer| a.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        // What Envoy announces of a 204's body must not be taken for the next answer.
        let announces =
            |a: &Answer| matches!(a.status, 204 | 304) && a.header("content-length").is_some_and(|l| l != "0");
        if answer.status == 0 || closes(&answer) || announces(&answer) {
            self.hang_up();
        }
        answer
    }

    fn hang_up(&mut self) {
        self.stream = None;
        self.buffer.clear();
    }

    async fn exchange(&mut self, request: &[u8], head: bool) -> Option<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.proxy).await.ok()?;
            stream.set_nodelay(true).ok();
            self.stream = Some(stream);
            self.buffer.clear();
        }
        let stream = self.stream.as_mut()?;
        stream.write_all(request).await.ok()?;
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            (stream.read_buf(&mut self.buffer).await.ok()? > 0).then_some(())?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
        let mut answer = Answer { status, headers: headers.collect(), ..Answer::none() };
        if !head && status >= 200 && status != 204 && status != 304 {
            answer.body = self.body(&answer).await?;
        }
        Some(answer)
    }

    async fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if answer.header("transfer-encoding").is_none() {
            let length = answer.header("content-length")?.parse().ok()?;
            self.fill(length).await?;
            return Some(self.buffer.drain(..length).collect());
        }
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break end;
                }
                let wanted = self.buffer.len() + 1;
                self.fill(wanted).await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).ok()?, 16).ok()?;
            self.fill(end + 2 + size + 2).await?;
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            self.buffer.drain(..end + 2 + size + 2);
            if size == 0 {
                return Some(body);
            }
        }
    }

    async fn fill(&mut self, length: usize) -> Option<()> {
        let stream = self.stream.as_mut()?;
        while self.buffer.len() < length {
            (stream.read_buf(&mut self.buffer).await.ok()? > 0).then_some(())?;
        }
        Some(())
    }
}

/// What came in time. What did not says why in place of a body.
async fn within(exchange: impl Future<Output = Option<Answer>>) -> Answer {
    let why = match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
        Ok(Some(answer)) => return answer,
        Ok(None) => "the connection ended",
        Err(_) => "nothing came in time",
    };
    Answer { body: why.into(), ..Answer::none() }
}

fn list(fields: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
