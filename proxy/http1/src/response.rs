//! Response heads.
//!
//! Upstreams are believed no more than clients: a response whose end is ambiguous would poison the next answer on the same
//! connection, so it is refused, and the caller answers 502.

use crate::builder::ResponseBuilder;
use crate::edits::{EditedFields, HeadEdits};
use crate::fields::Span;
use crate::head::{Head, HeadMemory, StatusLine};
use crate::limits::Limits;
use crate::line::{field_section, head_bytes_max, line_end, surely_partial, window};
use crate::meaning::{self, Framing, Meaning, Sender, Version};
use crate::octets::value_len;
use crate::refusal::{HEAD_TOO_LARGE, Refusal};
use crate::request::{Parsed, VERSION_LEN, is_plain, version};

const BAD_LINE: Refusal = Refusal::bad("invalid status line", "RFC 9112 4");
const BAD_REASON: Refusal = Refusal::bad("control character in the reason phrase", "RFC 9112 4");

/// As large as a pointer: it may be handed on freely.
#[derive(Debug, Clone)]
pub struct ResponseHead(pub(crate) Box<Head>);

/// Parses a response head and copies it into a buffer of its own. The request's method decides whether there can be a body.
pub fn parse_response(buf: &[u8], request_method: &str, limits: &Limits) -> Result<Parsed<ResponseHead>, Refusal> {
    parse_response_in(&mut HeadMemory::default(), buf, request_method, limits)
}

/// The same in the memory of a head that is over ([`ResponseHead::into_memory`]). What is not used stays in `memory`.
pub fn parse_response_in(
    memory: &mut HeadMemory,
    buf: &[u8],
    request_method: &str,
    limits: &Limits,
) -> Result<Parsed<ResponseHead>, Refusal> {
    let buf = window(buf, limits);
    let parsed = memory.parse(|head| read(buf, head, request_method, limits));
    Ok(match parsed.map_err(Refusal::by_upstream)? {
        Some((head, consumed)) => Parsed::Complete { head: ResponseHead(head), consumed },
        None => Parsed::Partial,
    })
}

/// Fills a head and says how long it is; None when more bytes are needed.
fn read(buf: &[u8], head: &mut Head, request_method: &str, limits: &Limits) -> Result<Option<usize>, Refusal> {
    let partial = || if buf.len() < head_bytes_max(limits) { Ok(None) } else { Err(HEAD_TOO_LARGE) };
    let Some(line) = status_line(buf)? else { return partial() };
    if surely_partial(buf, limits) {
        return Ok(None);
    }
    let Some(section) = field_section(buf, line.next, limits, &mut head.fields)? else { return partial() };
    let list = &mut head.fields.list;
    meaning::read(&mut head.meaning, buf, list, line.version, Sender::Server, section.repeated)?;
    head.fields.plain = section.tight && line.copyable && is_plain(&head.meaning, list, line.version);
    head.fields.buf.clear();
    head.fields.buf.extend_from_slice(buf.get(..section.end).unwrap_or_default());
    head.line = line.copyable.then_some(Span::new(0, line.next));
    head.status = StatusLine { status: line.status, reason: line.reason };
    head.version = line.version;
    head.framing = response_framing(line.status, request_method, &head.meaning);
    Ok(Some(section.end))
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    version: Version,
    status: u16,
    reason: Span,
    next: usize,
    copyable: bool,
}

/// The status line of nearly every answer.
const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\n";

fn status_line(buf: &[u8]) -> Result<Option<Line>, Refusal> {
    if buf.starts_with(USUAL) {
        let reason = Span { start: 13, end: 15 };
        return Ok(Some(Line { version: Version::Http11, status: 200, reason, next: USUAL.len(), copyable: true }));
    }
    any_status_line(buf)
}

fn any_status_line(buf: &[u8]) -> Result<Option<Line>, Refusal> {
    let Some(version) = version(buf, 0)? else { return Ok(None) };
    let rest = buf.get(VERSION_LEN..).unwrap_or_default();
    let Some(([b' ', hundreds, tens, ones], rest)) = rest.split_first_chunk::<4>() else {
        let fits = |(at, byte): (usize, &u8)| if at == 0 { *byte == b' ' } else { byte.is_ascii_digit() };
        return if rest.len() < 4 && rest.iter().enumerate().all(fits) { Ok(None) } else { Err(BAD_LINE) };
    };
    if !matches!(hundreds, b'1'..=b'9') || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return Err(BAD_LINE);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    // A missing space before an empty reason is the one liberty taken: many servers take it, and nothing can be smuggled in it.
    let reason_at = match rest.first() {
        None => return Ok(None),
        Some(b' ') => VERSION_LEN + 5,
        Some(_) => VERSION_LEN + 4,
    };
    let reason_len = match reason_at == VERSION_LEN + 5 {
        true => value_len(buf.get(reason_at..).unwrap_or_default()),
        false => 0,
    };
    let otherwise = if reason_at == VERSION_LEN + 5 { BAD_REASON } else { BAD_LINE };
    let Some(next) = line_end(buf, reason_at + reason_len, otherwise)? else { return Ok(None) };
    let copyable = version == Version::Http11 && reason_at == VERSION_LEN + 5;
    Ok(Some(Line { version, status, reason: Span::new(reason_at, reason_at + reason_len), next, copyable }))
}

/// RFC 9112 6.3.
pub(crate) fn response_framing(status: u16, request_method: &str, meaning: &Meaning) -> Framing {
    let tunnel = request_method == "CONNECT" && (200..300).contains(&status);
    if request_method == "HEAD" || is_bodiless(status) || tunnel {
        return Framing::None;
    }
    match (meaning.chunked, meaning.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    }
}

pub(crate) fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

impl ResponseHead {
    pub fn builder<'a>(status: u16) -> ResponseBuilder<'a> {
        ResponseBuilder::new(status)
    }

    #[inline]
    pub fn status(&self) -> u16 {
        self.0.status.status
    }

    /// As received; obs-text is possible.
    pub fn reason(&self) -> &[u8] {
        self.0.status.reason.of(&self.0.fields.buf)
    }

    #[inline]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// All fields as received.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.fields.iter()
    }

    #[inline]
    pub fn field(&self, lower_name: &str) -> Option<&[u8]> {
        self.0.fields.get(lower_name)
    }

    #[inline]
    pub fn field_all<'a, 'n>(&'a self, lower_name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.0.fields.get_all(lower_name)
    }

    /// The fields to be forwarded, after `edits`.
    pub fn edited<'a>(&'a self, edits: &'a HeadEdits) -> EditedFields<'a> {
        EditedFields::new(&self.0.fields, edits, false)
    }

    #[inline]
    pub fn framing(&self) -> Framing {
        self.0.framing
    }

    /// Whether the upstream's connection can carry another exchange once this body was read to its end.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.0.framing != Framing::UntilClose
            && self.0.meaning.lives_on(self.0.version)
            && !self.announces_what_cannot_be()
    }

    /// A 204 has no body (RFC 9110 15.3.5), nor may it announce one (8.6; RFC 9112 6.1). A server that does may well send it, later,
    /// and it would be read as the next answer. Answers to HEAD and 304 announce bodies in good faith.
    fn announces_what_cannot_be(&self) -> bool {
        self.0.status.status == 204
            && (self.0.meaning.chunked || self.0.meaning.content_length.is_some_and(|length| length > 0))
    }

    /// The protocol the upstream switches to (101) or offers, in lower case.
    pub fn upgrade(&self) -> Option<&str> {
        self.0.meaning.upgrade.as_deref()
    }

    /// The memory, for the next head.
    pub fn into_memory(self) -> HeadMemory {
        HeadMemory::of(self.0)
    }

    /// An interim response, after which the real one is still to come. 101 is final for HTTP.
    #[inline]
    pub fn is_interim(&self) -> bool {
        self.0.status.status < 200 && self.0.status.status != 101
    }
}

#[cfg(test)]
mod tests;
