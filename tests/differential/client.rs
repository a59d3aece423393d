//! A client that writes bytes and reads bytes, so that no library hides what a proxy did.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
}

impl Answer {
    fn none() -> Self {
        Self { status: 0, headers: Vec::new(), body: Vec::new() }
    }

    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A keep-alive connection to a proxy, opened when it is needed.
pub(super) struct Client {
    proxy: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn new(proxy: SocketAddr) -> Self {
        Self { proxy, stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads its answer. `head` tells that the answer has no body.
    pub(super) async fn send(&mut self, request: &[u8], head: bool) -> Answer {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.exchange(request, head)).await.ok().flatten();
        let closes = |a: &Answer| a.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        // What Envoy announces of a 204's body must not be taken for the next answer.
        let announces =
            |a: &Answer| matches!(a.status, 204 | 304) && a.header("content-length").is_some_and(|l| l != "0");
        if answer.as_ref().is_none_or(|a| closes(a) || announces(a)) {
            self.hang_up();
        }
        answer.unwrap_or_else(Answer::none)
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
        let mut answer = Answer { status, headers: headers.collect(), body: Vec::new() };
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
