//! The client of a case: says bytes, and reads answers to their end.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::case::find;

pub(crate) struct Client {
    stream: TcpStream,
    held: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("connects"), held: Vec::new() }
    }

    /// Says it. A proxy that has refused already may have closed: that is seen when the answer is read.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.stream.read_buf(&mut self.held).await, Ok(1..)) {}
        std::mem::take(&mut self.held)
    }

    /// The next bytes, so many of them unless the connection ends before.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count && matches!(self.stream.read_buf(&mut self.held).await, Ok(1..)) {}
        let rest = self.held.split_off(count.min(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// The head of the next answer; its body, if any, is left where it is.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(end) = find(&self.held, b"\r\n\r\n") {
                let rest = self.held.split_off(end + 4);
                let head = std::mem::replace(&mut self.held, rest);
                return answer_in(&head).ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.held).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first answer in these bytes.
pub(crate) fn answer_in(bytes: &[u8]) -> Option<Answer> {
    let head = String::from_utf8(bytes[..find(bytes, b"\r\n\r\n")? + 4].to_vec()).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, head })
}
