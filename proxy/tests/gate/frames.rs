//! HTTP/2 frames, written and read by hand: what no library would send.
//!
//! Header blocks are HPACK literals without indexing and without Huffman coding (RFC 7541 6.2.2), so that every byte of a field is on
//! the wire as the case has it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The stream that every case uses.
const STREAM: u32 = 1;

pub(crate) type Field<'a> = (&'a str, &'a [u8]);

/// The pseudo-fields of an orderly request.
pub(crate) const GET: [Field<'static>; 4] =
    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"a.test"), (":path", b"/")];

/// The preface, and settings that change nothing.
pub(crate) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name.as_bytes());
        text(&mut bytes, value);
    }
    bytes
}

/// A string literal; its length is an integer with a prefix of seven bits (RFC 7541 5.1).
fn text(bytes: &mut Vec<u8>, text: &[u8]) {
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
    bytes.extend_from_slice(text);
}

/// A request without a body: exactly these fields.
pub(crate) fn request(fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(fields))
}

/// An orderly request with these fields more.
pub(crate) fn with(fields: &[Field<'_>]) -> Vec<u8> {
    request(&[&GET[..], fields].concat())
}

/// An orderly request in which one pseudo-field has another value.
pub(crate) fn instead(name: &str, value: &[u8]) -> Vec<u8> {
    let fields: Vec<Field<'_>> =
        GET.iter().map(|field| if field.0 == name { (field.0, value) } else { *field }).collect();
    request(&fields)
}

/// The same without one of them, and with these fields more.
pub(crate) fn lacking(name: &str, more: &[Field<'_>]) -> Vec<u8> {
    let fields: Vec<Field<'_>> = GET.iter().filter(|field| field.0 != name).chain(more).copied().collect();
    request(&fields)
}

/// A request with a body: the fields more, the body, and trailers where there are any.
pub(crate) fn upload(fields: &[Field<'_>], body: &[u8], trailers: Option<&[Field<'_>]>) -> Vec<u8> {
    let mut all = GET;
    all[0] = (":method", b"POST");
    let mut bytes = frame(HEADERS, END_HEADERS, STREAM, &block(&[&all[..], fields].concat()));
    match trailers {
        None => bytes.extend(frame(DATA, END_STREAM, STREAM, body)),
        Some(trailers) => {
            bytes.extend(frame(DATA, 0, STREAM, body));
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, STREAM, &block(trailers)));
        }
    }
    bytes
}

/// A header block in the middle of a body, which is not the end of it.
pub(crate) fn unended_trailers() -> Vec<u8> {
    let mut bytes = upload(&[], b"hello", Some(&[]));
    let last = 9 + usize::from(bytes[bytes.len() - 9 + 2]);
    bytes.truncate(bytes.len() - last);
    bytes.extend(frame(HEADERS, END_HEADERS, STREAM, &block(&[("x", b"y")])));
    bytes
}

/// What became of the stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Answered(u16),
    /// By RST_STREAM, GOAWAY or the connection's end.
    Reset,
}

/// Says the preface and these frames, and waits for what becomes of the stream.
pub(crate) async fn exchange(address: SocketAddr, frames: &[u8]) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&[&preface(), frames].concat()).await?;
    let mut header = [0; 9];
    loop {
        if stream.read_exact(&mut header).await.is_err() {
            return Ok(Outcome::Reset);
        }
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        match header[3] {
            HEADERS => return status(&payload).map(Outcome::Answered).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            RST_STREAM | GOAWAY => return Ok(Outcome::Reset),
            _ => {}
        }
    }
}

/// The status that begins a header block: indexed, or a literal with the name's index 8 (RFC 7541 A).
fn status(block: &[u8]) -> Option<u16> {
    match block {
        [indexed @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        [0x48 | 0x08, length, rest @ ..] if length & 0x80 != 0 => huffman(rest.get(..usize::from(length & 0x7f))?),
        [0x48 | 0x08, length, rest @ ..] => std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?.parse().ok(),
        _ => None,
    }
}

/// Three digits in the code of RFC 7541 B: five bits for 0 to 2, six for the others.
fn huffman(coded: &[u8]) -> Option<u16> {
    let bits: Vec<u16> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let value = |at: usize, length: usize| Some(bits.get(at..at + length)?.iter().fold(0, |sum, bit| sum << 1 | bit));
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = value(at, 5)?;
        let (digit, length) = if short < 3 { (short, 5) } else { (value(at, 6)?.checked_sub(0x19)? + 3, 6) };
        number = number * 10 + digit;
        at += length;
    }
    Some(number)
}

#[test]
fn a_status_is_read_in_each_of_its_codings() {
    assert_eq!(status(&[0x8c]), Some(400));
    assert_eq!(status(&[0x48, 3, b'4', b'3', b'1']), Some(431));
    // 4 = 011010, 3 = 011001, 1 = 00001, then ones.
    assert_eq!(status(&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]), Some(431));
    assert_eq!(status(&[0x10]), None);
}
