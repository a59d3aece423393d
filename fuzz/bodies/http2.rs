//! Requests of HTTP/2, from a HEADERS frame to HTTP/1.1 text.
//!
//! The frame is written by hand, so that pseudo-headers may come twice, late or with any bytes in them; `h2` reads it as it
//! does in the proxy, and what it lets through meets our checks.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tidegate_proxy::fuzzing;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::written_and_read_again;
use super::hyper_reader;

/// More polls than this for one frame mean a loop.
const POLLS_MAX: usize = 1_000;
/// What a peer must take by default (RFC 9113 4.2).
const FRAME_BYTES_MAX: usize = 16_384;
/// What RFC 9113 8.2.2 forbids in HTTP/2, and HTTP/1.1 would obey. `te` may be there, for trailers.
const CONNECTION_SPECIFIC: [&str; 4] = ["keep-alive", "proxy-connection", "upgrade", "http2-settings"];

/// The first byte says whether a body follows; each line is `name: value`, pseudo-headers with their colon.
pub(crate) fn http2_head(bytes: &[u8]) {
    let Some((&choice, text)) = bytes.split_first() else { return };
    let ended = choice % 2 == 0;
    let Some(request) = received(&frames(text, ended)) else { return };
    let (parts, body) = request.into_parts();
    let Ok(head) = fuzzing::head_of_stream(&parts, body.is_end_stream()) else { return };

    let written = written_and_read_again(&head);
    let seen = hyper_reader::read(&written);
    let shown = || String::from_utf8_lossy(&written).into_owned();
    let [one] = seen.as_slice() else { panic!("{} requests in {:?}", seen.len(), shown()) };
    assert_eq!(one.method, parts.method.as_str());
    assert_eq!(one.target, head.path_and_query(), "{:?}", shown());
    assert_eq!(one.values("host"), [head.authority().as_bytes()], "{:?}", shown());
    if let Some(authority) = parts.uri.authority() {
        assert!(authority.as_str().trim_end_matches(':').eq_ignore_ascii_case(head.authority()), "{:?}", shown());
    }
    for name in CONNECTION_SPECIFIC {
        assert_eq!(one.values(name), [b""; 0], "{:?}", shown());
    }
    let lines = parts.headers.iter().filter(|(name, _)| *name != "cookie" && *name != "host").count();
    // At most one line more: Host, the joined cookies, and what announces the body and the trailers.
    assert!(one.fields.len() <= lines + 4, "a field became two: {:?}", shown());
}

/// The connection's beginning and one HEADERS frame, every field as a literal without index (RFC 7541 6.2.2).
fn frames(text: &[u8], ended: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let after_colon = line.iter().skip(1).position(|byte| *byte == b':').map(|at| at + 1);
        let Some(colon) = after_colon else { continue };
        let value = line[colon + 1..].strip_prefix(b" ").unwrap_or_else(|| &line[colon + 1..]);
        block.push(0);
        literal(&mut block, &line[..colon]);
        literal(&mut block, value);
    }
    block.truncate(FRAME_BYTES_MAX);
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let length = u32::try_from(block.len()).expect("a frame is short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[0x1, 0x4 | u8::from(ended), 0, 0, 0, 1]);
    out.extend_from_slice(&block);
    out
}

/// A string without Huffman coding (RFC 7541 5.2), its length with a prefix of seven bits (5.1).
fn literal(out: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(127) {
        None => out.extend(u8::try_from(text.len())),
        Some(mut rest) => {
            out.push(127);
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text);
}

/// The request that `h2` finds, if it finds one.
fn received(bytes: &[u8]) -> Option<http::Request<h2::RecvStream>> {
    let mut context = Context::from_waker(Waker::noop());
    let script = Script { bytes: bytes.to_vec(), at: 0 };
    let mut handshake = pin!(h2::server::Builder::new().handshake::<_, Bytes>(script));
    let connection = (0..POLLS_MAX).find_map(|_| match handshake.as_mut().poll(&mut context) {
        Poll::Ready(done) => Some(done.ok()),
        Poll::Pending => None,
    });
    let mut connection = connection.flatten()?;
    for _ in 0..POLLS_MAX {
        match connection.poll_accept(&mut context) {
            Poll::Ready(Some(Ok((request, _respond)))) => return Some(request),
            Poll::Ready(Some(Err(_)) | None) => return None,
            Poll::Pending => {}
        }
    }
    None
}

/// A peer that has said everything.
struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let end = self.bytes.len().min(self.at + into.remaining());
        into.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
