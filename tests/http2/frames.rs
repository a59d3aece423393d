//! HTTP/2 frames, written and read by hand: what no library would send.
//!
//! Header blocks are HPACK literals without indexing and without Huffman coding (RFC 7541 6.2.2).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const UNKNOWN: u8 = 0xee;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const CANCEL: &[u8] = &8_u32.to_be_bytes();
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(super) type Field<'a> = (&'a str, &'a str);

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A list of fields, as literals that change no table.
pub(super) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A string literal; its length is an integer with a prefix of seven bits (RFC 7541 5.1).
pub(super) fn text(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short) if short < 127 => bytes.push(short),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).expect("below 128") | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("below 128"));
        }
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// What a peer has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The error of its GOAWAY. Zero is the polite one.
    pub(super) goaway: Option<u32>,
    /// Streams that it reset.
    pub(super) resets: u32,
    /// Heads that it sent.
    pub(super) heads: u32,
    /// The connection is closed.
    pub(super) closed: bool,
}

/// A connection to somebody who is told whatever the test likes.
pub(super) struct Connection {
    writing: OwnedWriteHalf,
    heard: watch::Receiver<Heard>,
    reader: JoinHandle<()>,
}

impl Connection {
    /// `first` is said at once; then everything that comes is read.
    pub(super) async fn over(stream: TcpStream, first: &[u8]) -> Self {
        stream.set_nodelay(true).expect("a fresh socket takes options");
        let (reading, writing) = stream.into_split();
        let (told, heard) = watch::channel(Heard::default());
        let reader = tokio::spawn(listen(reading, told));
        let mut connection = Self { writing, heard, reader };
        connection.say(first).await;
        connection
    }

    /// `false`: the peer takes no more.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> bool {
        !self.heard.borrow().closed && self.writing.write_all(bytes).await.is_ok()
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Whether the peer ends the connection within the limit.
    pub(super) async fn ends(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.heard.wait_for(|heard| heard.closed)).await.is_ok()
    }

    /// Waits for something that it says, or for its end. `false`: neither came.
    pub(super) async fn hears(&mut self, limit: Duration, what: impl FnMut(&Heard) -> bool) -> bool {
        tokio::time::timeout(limit, self.heard.wait_for(what)).await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn listen(mut reading: OwnedReadHalf, told: watch::Sender<Heard>) {
    let mut header = [0; 9];
    while reading.read_exact(&mut header).await.is_ok() {
        let [high, middle, low, kind, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        if reading.read_exact(&mut payload).await.is_err() {
            break;
        }
        told.send_modify(|heard| match kind {
            HEADERS => heard.heads += 1,
            RST_STREAM => heard.resets += 1,
            GOAWAY => heard.goaway = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes),
            _ => {}
        });
    }
    told.send_modify(|heard| heard.closed = true);
}
