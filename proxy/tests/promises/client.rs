//! A client that speaks bytes, and reads answers strictly.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// A connection to the proxy.
pub(crate) struct Client {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("connects"), held: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("writes");
    }

    pub(crate) async fn shutdown(&mut self) {
        self.stream.shutdown().await.expect("shuts down");
    }

    async fn more(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.held)).await;
        // A reset is an end like any other here.
        read.expect("the proxy does not hang").unwrap_or(0)
    }

    /// Exactly these bytes come next.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        while self.held.len() < bytes.len() {
            assert_ne!(self.more().await, 0, "closed after {:?}", String::from_utf8_lossy(&self.held));
        }
        let rest = self.held.split_off(bytes.len());
        assert_eq!(String::from_utf8_lossy(&self.held), String::from_utf8_lossy(bytes));
        self.held = rest;
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.held)
    }

    /// One whole answer, or what there is until the connection ends.
    pub(crate) async fn rest_or_answer(&mut self) -> Vec<u8> {
        while self.length_of_answer().is_none_or(|length| self.held.len() < length) && self.more().await > 0 {}
        std::mem::take(&mut self.held)
    }

    /// What there is of an answer that ends with its connection before its own end; none if it is whole.
    pub(crate) async fn peek_answer(&mut self) -> Option<String> {
        let all = self.rest_or_answer().await;
        self.held = all;
        let whole = self.length_of_answer().is_some_and(|length| self.held.len() >= length);
        (!whole).then(|| String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned())
    }

    /// How long the answer in hand is, once its head says so. A chunked one has its length when its end is there.
    fn length_of_answer(&self) -> Option<usize> {
        let head = self.held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&self.held[..head]).to_ascii_lowercase();
        if text.contains("transfer-encoding: chunked") {
            return self.held.ends_with(b"0\r\n\r\n").then_some(self.held.len());
        }
        let length = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
        Some(head + length)
    }

    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.held.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.held.split_off(end + 4);
                let head = std::mem::replace(&mut self.held, rest);
                return String::from_utf8(head).expect("text");
            }
            assert_ne!(self.more().await, 0, "no head: {:?}", String::from_utf8_lossy(&self.held));
        }
    }

    /// The next answer, to a request of any method but HEAD.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head().await;
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: Vec::new() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return answer;
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await;
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().expect("a length");
            while self.held.len() < length {
                assert_ne!(self.more().await, 0, "torn");
            }
            let rest = self.held.split_off(length);
            answer.body = std::mem::replace(&mut self.held, rest);
        } else {
            answer.body = self.rest().await;
        }
        answer
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.held.windows(2).position(|window| window == b"\r\n") {
                let rest = self.held.split_off(end + 2);
                let line = std::mem::replace(&mut self.held, rest);
                return String::from_utf8(line).expect("text").trim_end().to_owned();
            }
            assert_ne!(self.more().await, 0, "torn in a chunk's line");
        }
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line().await, 16).expect("a size");
            if size == 0 {
                while !self.line().await.is_empty() {}
                return body;
            }
            while self.held.len() < size + 2 {
                assert_ne!(self.more().await, 0, "torn in a chunk");
            }
            let rest = self.held.split_off(size + 2);
            let chunk = std::mem::replace(&mut self.held, rest);
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// For so long the connection stays open, and nothing comes.
    pub(crate) async fn quiet_for(&mut self, time: Duration) {
        let read = tokio::time::timeout(time, self.stream.read_buf(&mut self.held)).await;
        assert!(read.is_err(), "{read:?}: {:?}", String::from_utf8_lossy(&self.held));
    }

    /// The connection ends without another byte.
    pub(crate) async fn closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: example\r\n\r\n")).await;
        self.answer().await
    }
}

/// One request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}

/// Waits until the page of clusters has a line that begins so, and gives it back.
pub(crate) async fn seen(proxy: &Proxy, line: &str) -> String {
    let admin = proxy.admin_address().expect("admin");
    let looking = async {
        loop {
            let page = get(admin, "/clusters").await;
            if let Some(found) = page.text().lines().find(|known| known.starts_with(line)) {
                return found.to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect(line)
}
