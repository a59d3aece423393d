//! Follows the framing of a body that is relayed raw.
//!
//! # Why raw
//! Decoding a chunked body and encoding it again copies every byte and loses the sender's chunk bounds. Here the bytes pass as they
//! are, and only their framing is read along, strictly: a chunk size that two recipients could read differently never gets past.
//!
//! # Trailers
//! Trailers may not pass unseen (RFC 9110 6.5.1), so the raw relay stops before them: [`Progress::relay`] says how far to copy, and
//! [`BodyReader::write_trailers`] writes the permitted ones when the body is done. Without trailers, the rule, everything is relayed.

use std::ops::Range;

use crate::line::{Line, field_line};
use crate::meaning::Framing;
use crate::octets::is_token_byte;
use crate::refusal::{HEAD_TOO_LARGE, Refusal, TOO_MANY_FIELDS, Torn};

const BAD_SIZE: Refusal = Refusal::bad("invalid chunk size", "RFC 9112 7.1");
const SIZE_OVERFLOW: Refusal = Refusal::bad("chunk size out of range", "RFC 9112 7.1");
const BAD_EXTENSION: Refusal = Refusal::bad("invalid chunk extension", "RFC 9112 7.1.1");
const EXTENSIONS_TOO_LARGE: Refusal = Refusal::bad("chunk extensions too large", "RFC 9112 7.1.1");
const BAD_LINE_END: Refusal = Refusal::bad("chunk line does not end with CRLF", "RFC 9112 7.1");
const BAD_CHUNK_END: Refusal = Refusal::bad("chunk longer than its size", "RFC 9112 7.1");

/// Sixteen digits hold every 64-bit number; more can only be padding that smuggles.
const SIZE_DIGITS_MAX: u8 = 16;
/// 16 KiB of extensions in one body, as hyper: nobody uses them, but each byte of them costs as much as a byte of payload.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;
const TRAILER_BYTES_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 100;

/// How far [`BodyReader::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that belong to this body.
    pub consumed: usize,
    /// Bytes to relay as they are: all consumed ones, but none of a trailer section.
    pub relay: usize,
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    /// `remaining` payload bytes, then the end.
    Counted,
    UntilClose,
    Size,
    /// Behind a semicolon: a name must begin.
    ExtensionNameStart,
    ExtensionName,
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscaped,
    ExtensionQuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    EndLf,
    Trailers,
}

#[derive(Clone, Debug, Default)]
struct TrailerSection {
    line: Vec<u8>,
    bytes: usize,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads along in a body; never copies payload. A copy of it can look ahead.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    size_digits: u8,
    extension_bytes: u32,
    remaining: u64,
    trailers: Option<Box<TrailerSection>>,
    /// A body once refused stays refused.
    refused: Option<&'static Refusal>,
}

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        let (state, remaining) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Counted, length),
            Framing::Chunked => (State::Size, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        Self { state, size_digits: 0, extension_bytes: 0, remaining, trailers: None, refused: None }
    }

    /// Looks at the next bytes of the connection. Payload, without chunk framing, is reported as ranges of `bytes`.
    pub fn advance(&mut self, bytes: &[u8], mut payload: impl FnMut(Range<usize>)) -> Result<Progress, Refusal> {
        if let Some(refusal) = self.refused {
            return Err(*refusal);
        }
        let mut at = 0;
        let mut relay = 0;
        while at < bytes.len() {
            match self.state {
                State::Counted | State::Data => {
                    let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                    let len = wanted.min(bytes.len() - at);
                    payload(at..at + len);
                    at += len;
                    self.remaining -= len as u64;
                    if self.remaining == 0 {
                        self.state = if self.state == State::Data { State::DataCr } else { State::Done };
                    }
                    relay = at;
                }
                State::UntilClose => {
                    payload(at..bytes.len());
                    at = bytes.len();
                    relay = at;
                }
                State::Done => break,
                State::Size
                | State::ExtensionNameStart
                | State::ExtensionName
                | State::ExtensionValueStart
                | State::ExtensionToken
                | State::ExtensionQuoted
                | State::ExtensionEscaped
                | State::ExtensionQuotedEnd
                | State::SizeLf
                | State::DataCr
                | State::DataLf
                | State::TrailerStart
                | State::EndLf
                | State::Trailers => {
                    let Some(&byte) = bytes.get(at) else { break };
                    let next =
                        self.framing_byte(byte).inspect_err(|refusal| self.refused = Some(refusal)).map_err(|r| *r)?;
                    at += 1;
                    // Once trailers have begun they are written anew, their end included.
                    if self.trailers.is_none() {
                        relay = at;
                    }
                    self.state = next;
                }
            }
        }
        Ok(Progress { consumed: at, relay, done: self.state == State::Done })
    }

    /// One byte of chunk framing; gives the next state.
    fn framing_byte(&mut self, byte: u8) -> Result<State, &'static Refusal> {
        match self.state {
            State::Size => self.size_byte(byte),
            State::ExtensionNameStart
            | State::ExtensionName
            | State::ExtensionValueStart
            | State::ExtensionToken
            | State::ExtensionQuoted
            | State::ExtensionEscaped
            | State::ExtensionQuotedEnd => {
                self.extension_bytes += 1;
                if self.extension_bytes > EXTENSION_BYTES_MAX {
                    return Err(&EXTENSIONS_TOO_LARGE);
                }
                extension_byte(self.state, byte)
            }
            State::SizeLf if byte != b'\n' => Err(&BAD_LINE_END),
            State::SizeLf => {
                self.size_digits = 0;
                Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::DataCr | State::DataLf => Err(&BAD_CHUNK_END),
            State::TrailerStart if byte == b'\r' => Ok(State::EndLf),
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::EndLf => Err(&BAD_LINE_END),
            State::TrailerStart | State::Trailers => self.trailer_byte(byte),
            State::Done | State::Counted | State::UntilClose | State::Data => Ok(self.state),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<State, &'static Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.size_digits > 0 => return Ok(State::SizeLf),
            b';' if self.size_digits > 0 => return Ok(State::ExtensionNameStart),
            _ => return Err(&BAD_SIZE),
        };
        self.size_digits += 1;
        self.remaining = self.remaining << 4 | u64::from(digit);
        // The bound is that of a signed number, which is how many next hops hold it.
        if self.size_digits > SIZE_DIGITS_MAX || self.remaining > i64::MAX as u64 {
            return Err(&SIZE_OVERFLOW);
        }
        Ok(State::Size)
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, &'static Refusal> {
        let section = self.trailers.get_or_insert_default();
        section.bytes += 1;
        if section.bytes > TRAILER_BYTES_MAX {
            return Err(&HEAD_TOO_LARGE);
        }
        section.line.push(byte);
        if byte != b'\n' {
            return Ok(State::Trailers);
        }
        match field_line(&section.line, 0).map_err(trailer_refusal)? {
            Line::Partial => Err(&BAD_TRAILER),
            Line::End(_) => Ok(State::Done),
            Line::Field { name, value, .. } => {
                if section.fields.len() == TRAILERS_MAX {
                    return Err(&TOO_MANY_FIELDS);
                }
                section.fields.push((name.of(&section.line).to_vec(), value.of(&section.line).to_vec()));
                section.line.clear();
                Ok(State::Trailers)
            }
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The peer closed its side: an end only where the framing says so.
    pub fn end_of_input(&self) -> Result<(), Torn> {
        let ended = matches!(self.state, State::Done | State::UntilClose) && self.refused.is_none();
        if ended { Ok(()) } else { Err(Torn) }
    }

    /// The trailers received so far, names as received, none left out.
    pub fn trailers(&self) -> &[(Vec<u8>, Vec<u8>)] {
        self.trailers.as_ref().map_or(&[], |section| section.fields.as_slice())
    }

    /// Ends the relayed body: to be called once it is done, when all of [`Progress::relay`] was written. Writes those trailers that may
    /// be forwarded ([`is_forwardable_trailer`]) and the end that the raw relay left out; nothing for a body without trailers.
    pub fn write_trailers(&self, out: &mut Vec<u8>) {
        if let Some(section) = self.trailers.as_ref().filter(|_| self.state == State::Done) {
            for (name, value) in section.fields.iter().filter(|(name, _)| is_forwardable_trailer(name)) {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Trailers are dropped unless known to be harmless: gRPC puts its status there.
pub fn is_forwardable_trailer(name: &[u8]) -> bool {
    name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"grpc-"))
}

const BAD_TRAILER: Refusal = Refusal::bad("invalid trailer field", "RFC 9112 7.1.2");

/// Whatever is wrong with a trailer line, it is the trailer that is named.
fn trailer_refusal(_: Refusal) -> &'static Refusal {
    &BAD_TRAILER
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the white space RFC 9112 7.1.1 tolerates but nobody sends.
fn extension_byte(state: State, byte: u8) -> Result<State, &'static Refusal> {
    match (state, byte) {
        (State::ExtensionNameStart | State::ExtensionName, b) if is_token_byte(b) => Ok(State::ExtensionName),
        (State::ExtensionValueStart | State::ExtensionToken, b) if is_token_byte(b) => Ok(State::ExtensionToken),
        (State::ExtensionName, b'=') => Ok(State::ExtensionValueStart),
        (State::ExtensionValueStart, b'"') => Ok(State::ExtensionQuoted),
        (State::ExtensionQuoted, b'"') => Ok(State::ExtensionQuotedEnd),
        (State::ExtensionQuoted, b'\\') => Ok(State::ExtensionEscaped),
        (State::ExtensionQuoted | State::ExtensionEscaped, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::ExtensionQuoted),
        (State::ExtensionName | State::ExtensionToken | State::ExtensionQuotedEnd, b';') => {
            Ok(State::ExtensionNameStart)
        }
        (State::ExtensionName | State::ExtensionToken | State::ExtensionQuotedEnd, b'\r') => Ok(State::SizeLf),
        _ => Err(&BAD_EXTENSION),
    }
}

#[cfg(test)]
mod tests;
