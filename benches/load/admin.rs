//! The admin pages of proxies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// A dump of ten thousand routes takes Envoy a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether it says that it is ready.
pub(crate) fn is_ready(admin: SocketAddr) -> bool {
    page(admin, "/ready").is_ok()
}

/// The whole body of a page that is answered with 200.
pub(crate) fn page(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{admin}{path}: {head}");
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { whole(body) } else { Ok(body.to_owned()) }
}

/// A body that came in chunks.
fn whole(mut chunks: &str) -> anyhow::Result<String> {
    let mut body = String::with_capacity(chunks.len());
    loop {
        let (size, rest) = chunks.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size is no number")?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(rest.get(..size).context("a chunk is cut off")?);
        chunks = rest.get(size..).and_then(|rest| rest.strip_prefix("\r\n")).context("a chunk without an end")?;
    }
}
