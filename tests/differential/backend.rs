//! Applications that remember the bytes they were sent, and answer as the request itself says.
//!
//! # Why the request decides
//! Two proxies are compared by what comes out of them. An application with a will of its own would add differences that
//! are not theirs. So a request carries a script: which statuses its attempts get (`x-answers`; `reset` hangs up), how
//! long an answer takes (`x-delay-ms`), which headers it has (`x-answer-headers`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::wait;

/// A head larger than this is not one of ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The header by which a request is known, through all proxies.
pub(super) const ID: &str = "x-request-number";

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Which application.
    pub(super) backend: Arc<str>,
    /// Method and target.
    pub(super) line: String,
    /// Names as they came, values, in order.
    pub(super) headers: Vec<(String, String)>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Arrived {
    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// What all applications of one proxy were sent, by request.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Arc<Mutex<BTreeMap<String, Vec<Arrived>>>>);

impl Journal {
    fn add(&self, arrived: Arrived) -> usize {
        let id = arrived.header(ID).unwrap_or("?").to_owned();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_request = all.entry(id).or_default();
        // Copies are not attempts.
        let attempts = of_request.iter().filter(|a| a.backend == arrived.backend).count();
        of_request.push(arrived);
        attempts
    }

    /// Everything that arrived for a request so far.
    pub(super) fn of(&self, id: &str) -> Vec<Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    /// Forgets a request.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// A running application.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(super) async fn start(address: SocketAddr, name: &str, journal: &Journal) -> Self {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("backend on {address}: {e}"));
        let (name, journal): (Arc<str>, _) = (name.into(), journal.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                // A proxy that hangs up ends the conversation; there is nothing to report.
                tokio::spawn(talk(stream, Arc::clone(&name), journal.clone()));
            }
        });
        Self { address, task }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(mut stream: TcpStream, name: Arc<str>, journal: Journal) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let arrived = read(&mut stream, &mut buffer, &name).await?;
        let attempt = journal.add(arrived.clone());
        if let Some(delay) = arrived.header("x-delay-ms").and_then(|v| v.parse().ok()) {
            wait::pass(Duration::from_millis(delay)).await;
        }
        stream.write_all(&answer(&arrived, attempt)?).await.ok()?;
    }
}

/// One request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>, name: &Arc<str>) -> Option<Arrived> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(buffer).await.ok()? > 0 && buffer.len() < HEAD_BYTES_MAX).then_some(())?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let headers: Vec<(String, String)> = fields
        .lines()
        .filter_map(|field| field.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut arrived = Arrived { backend: Arc::clone(name), line: line.to_owned(), headers, body: Vec::new() };
    if arrived.header("transfer-encoding").is_some() {
        arrived.body = read_chunks(stream, buffer).await?;
    } else {
        let length = arrived.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        fill(stream, buffer, length).await?;
        arrived.body = buffer.drain(..length).collect();
    }
    Some(arrived)
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Option<()> {
    while buffer.len() < length {
        (stream.read_buf(buffer).await.ok()? > 0).then_some(())?;
    }
    Some(())
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") {
                break end;
            }
            (stream.read_buf(buffer).await.ok()? > 0).then_some(())?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).ok()?, 16).ok()?;
        buffer.drain(..end + 2);
        fill(stream, buffer, size + 2).await?;
        body.extend(buffer.drain(..size));
        buffer.drain(..2);
        if size == 0 {
            return Some(body);
        }
    }
}

/// What the request's script wants for this attempt; 200 when it wants nothing. `None`: no answer at all.
fn answer(arrived: &Arrived, attempt: usize) -> Option<Vec<u8>> {
    let scripted = arrived.header("x-answers").unwrap_or("200");
    let statuses: Vec<&str> = scripted.split(',').collect();
    let status = statuses.get(attempt).or_else(|| statuses.last()).unwrap_or(&"200");
    if *status == "reset" {
        return None;
    }
    let mut head = format!("HTTP/1.1 {status} As-Scripted\r\nx-backend: {}\r\n", arrived.backend);
    for field in arrived.header("x-answer-headers").unwrap_or_default().split(';').filter(|f| !f.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body =
        if arrived.line.starts_with("HEAD ") || *status == "204" || *status == "304" { "" } else { "as scripted" };
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    Some(head.into_bytes())
}
