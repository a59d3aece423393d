//! A backend that writes down every byte it receives, and answers what it takes for a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::case::find;

/// What was received, over all connections, and how many of them have ended.
#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    open: usize,
}

/// The record of a backend.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    changed: Arc<Notify>,
}

impl Recording {
    /// Answers each request with a 204, so that no answer has a body to be mistaken in.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let this = Self { address, log: Arc::default(), changed: Arc::default() };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        this
    }

    async fn serve(self, mut stream: TcpStream) {
        self.change(|log| log.open += 1);
        let mut held = Vec::new();
        loop {
            let before = held.len();
            if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
                break;
            }
            self.change(|log| log.bytes.extend_from_slice(&held[before..]));
            while let Some(length) = first_request(&held) {
                held.drain(..length);
                if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                    break;
                }
            }
        }
        self.change(|log| log.open -= 1);
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// What was received since this was last asked.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }

    /// Waits until so many bytes are there, or a connection is gone, and takes them.
    pub(crate) async fn wait_for(&self, count: usize) {
        self.until(|log| log.bytes.len() >= count).await;
    }

    /// Waits until all connections have ended.
    pub(crate) async fn wait_for_end(&self) {
        self.until(|log| log.open == 0).await;
    }

    async fn until(&self, done: impl Fn(&Log) -> bool) {
        loop {
            if done(&self.log.lock().unwrap_or_else(PoisonError::into_inner)) {
                return;
            }
            self.changed.notified().await;
        }
    }
}

/// The length of the first request, as an ordinary server reads it; `None` while it is not complete.
fn first_request(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    if value("transfer-encoding:").is_some() {
        let mut at = head;
        loop {
            let line = find(&bytes[at..], b"\r\n")?;
            let digits = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
            let size = usize::from_str_radix(digits.split(';').next()?, 16).ok()?;
            at += line + 2;
            if size == 0 {
                break;
            }
            at += size + 2;
            bytes.get(..at)?;
        }
        // Trailers end with an empty line, and so does their absence.
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"\r\n") { 2 } else { find(rest, b"\r\n\r\n")? + 4 };
        return Some(at + end);
    }
    let length = value("content-length:").map_or(Some(0), |length| length.parse().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}
