//! What the fields of a head say about the message itself: where its body ends, whether the connection lives on, what it asks for.
//!
//! # Why everything is decided here, once
//! Request smuggling is two recipients answering these questions differently. There is one answer, found before anything else looks
//! at the head; wherever the RFCs let a recipient choose between repairing and refusing, this refuses.

use crate::fields::{Field, FieldList, Known};
use crate::octets::{decimal, is_token, trim_ows};
use crate::refusal::Refusal;

const DUPLICATE_LENGTH: Refusal = Refusal::bad("more than one Content-Length", "RFC 9112 6.3");
const BAD_LENGTH: Refusal = Refusal::bad("invalid Content-Length", "RFC 9110 8.6");
const LENGTH_AND_CODING: Refusal = Refusal::bad("Content-Length beside Transfer-Encoding", "RFC 9112 6.1");
const DUPLICATE_CODING: Refusal = Refusal::bad("more than one Transfer-Encoding", "RFC 9112 6.1");
const CODING_ON_HTTP10: Refusal = Refusal::bad("Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1");
const CODING_NOT_FINAL: Refusal = Refusal::bad("chunked is not the one final transfer coding", "RFC 9112 6.3");
const UNKNOWN_CODING: Refusal = Refusal::new(501, "transfer coding other than chunked", "RFC 9112 6.1");
const DUPLICATE_HOST: Refusal = Refusal::bad("more than one Host", "RFC 9112 3.2");
const BAD_OPTION: Refusal = Refusal::bad("invalid connection option", "RFC 9110 7.6.1");
const NOMINATED: Refusal = Refusal::bad("Connection nominates a field meant for every recipient", "RFC 9110 7.6.1");
const BAD_EXPECT: Refusal = Refusal::new(417, "expectation other than 100-continue", "RFC 9110 10.1.1");

/// Where the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body: none announced, or none possible (answers to HEAD, 1xx, 204, 304, tunnels).
    None,
    Length(u64),
    Chunked,
    /// Ends when the connection does; responses only.
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// Which side sent the head: a few faults of clients are habits of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Meaning {
    pub(crate) content_length: Option<u64>,
    /// It has leading zeros.
    pub(crate) length_is_padded: bool,
    pub(crate) chunked: bool,
    /// Index of the one Host field.
    pub(crate) host: Option<usize>,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// Lower-case; set only when it is a single token that Connection announces, and the message is HTTP/1.1.
    pub(crate) upgrade: Option<Box<str>>,
    pub(crate) expects_continue: bool,
    pub(crate) accepts_trailers: bool,
    /// Whose fields it was read from, and in which version: from the same ones it would be read again.
    read_of: Option<(Sender, Version)>,
}

impl Meaning {
    fn host_at(&mut self, index: usize) -> Result<(), Refusal> {
        if self.host.replace(index).is_some() { Err(DUPLICATE_HOST) } else { Ok(()) }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = decimal(value).ok_or(BAD_LENGTH)?;
        self.length_is_padded = matches!(value, [b'0', _, ..]);
        if self.content_length.replace(length).is_some() { Err(DUPLICATE_LENGTH) } else { Ok(()) }
    }
}

/// Reads and checks the fields; marks those that are not to be forwarded. What `meaning` was before is forgotten, unless the fields are
/// `repeated`: the ones that it was read from.
#[inline]
pub(crate) fn read(
    meaning: &mut Meaning,
    buf: &[u8],
    list: &mut FieldList,
    version: Version,
    sender: Sender,
    repeated: bool,
) -> Result<(), Refusal> {
    if repeated && meaning.read_of == Some((sender, version)) {
        return Ok(());
    }
    *meaning = Meaning { read_of: Some((sender, version)), ..Meaning::default() };
    if !list.says_little() {
        return read_all(meaning, buf, list.as_mut_slice(), version, sender);
    }
    // Nearly every head: nothing but the authority and the length is said of the message.
    for (index, field) in list.as_slice().iter().enumerate() {
        match field.known {
            Known::Host if sender == Sender::Client => meaning.host_at(index)?,
            Known::ContentLength => meaning.length(field.value_span().of(buf))?,
            _ => {}
        }
    }
    Ok(())
}

fn read_all(
    meaning: &mut Meaning,
    buf: &[u8],
    fields: &mut [Field],
    version: Version,
    sender: Sender,
) -> Result<(), Refusal> {
    let mut options = Options::default();
    let (mut codings, mut expectations) = (0, 0);
    let (mut upgrade, mut upgrades) = (None, 0);
    for (index, field) in fields.iter_mut().enumerate().filter(|(_, field)| field.known != Known::Other) {
        let value = field.value_span().of(buf);
        field.strip(field.known.is_hop_by_hop());
        match field.known {
            Known::Host if sender == Sender::Client => meaning.host_at(index)?,
            Known::Connection => options.read(value, sender)?,
            Known::ContentLength => meaning.length(value)?,
            Known::TransferEncoding => {
                codings += 1;
                if codings > 1 {
                    return Err(DUPLICATE_CODING);
                }
                check_coding(value)?;
                meaning.chunked = true;
            }
            Known::Upgrade => {
                upgrades += 1;
                upgrade = Some(value);
            }
            Known::Expect if sender == Sender::Client => {
                expectations += 1;
                if expectations > 1 || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(BAD_EXPECT);
                }
                // 10.1.1: from an HTTP/1.0 client it is to be ignored, so it is not passed on either.
                meaning.expects_continue = version != Version::Http10;
                field.strip(version == Version::Http10);
            }
            Known::Te => meaning.accepts_trailers |= elements(value).any(|t| t.eq_ignore_ascii_case(b"trailers")),
            Known::Other
            | Known::Cookie
            | Known::Expect
            | Known::Host
            | Known::Http2Settings
            | Known::KeepAlive
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::ProxyConnection => {}
        }
    }
    if meaning.chunked && version == Version::Http10 {
        return Err(CODING_ON_HTTP10);
    }
    if meaning.chunked && meaning.content_length.is_some() {
        return Err(LENGTH_AND_CODING);
    }
    if options.nominates {
        strip_nominated(buf, fields);
    }
    meaning.close = options.close;
    meaning.keep_alive = options.keep_alive;
    if options.upgrade && upgrades == 1 && version == Version::Http11 {
        meaning.upgrade = upgrade.and_then(protocol);
    }
    Ok(())
}

/// A protocol name, alone: lists ask for a choice that is the upstream's to make, and are treated as no request to upgrade.
fn protocol(value: &[u8]) -> Option<Box<str>> {
    let (name, version) = match value.iter().position(|&b| b == b'/') {
        Some(at) => (value.get(..at)?, value.get(at + 1..)),
        None => (value, None),
    };
    let valid = is_token(name) && version.is_none_or(is_token);
    let text = std::str::from_utf8(value).ok().filter(|_| valid)?;
    Some(text.to_ascii_lowercase().into_boxed_str())
}

/// Exactly `chunked`, in any case.
fn check_coding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut others = 0;
    let mut last = None;
    for coding in value.split(|&b| b == b',') {
        let (start, end) = trim_ows(coding);
        let coding = coding.get(start..end).unwrap_or_default();
        // Chunked twice, chunked before another coding, or an empty element: nobody's honest message.
        if !is_token(coding) || last.is_some_and(is_chunked) {
            return Err(CODING_NOT_FINAL);
        }
        others += usize::from(!is_chunked(coding));
        last = Some(coding);
    }
    Err(if others > 0 && last.is_some_and(is_chunked) { UNKNOWN_CODING } else { CODING_NOT_FINAL })
}

/// The elements of a comma-separated list, without the empty ones (RFC 9110 5.6.1).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').filter_map(|element| {
        let (start, end) = trim_ows(element);
        element.get(start..end).filter(|e| !e.is_empty())
    })
}

#[derive(Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    nominates: bool,
}

impl Options {
    fn read(&mut self, value: &[u8], sender: Sender) -> Result<(), Refusal> {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !is_token(option) {
                return Err(BAD_OPTION);
            } else if sender == Sender::Client && is_end_to_end_by_rule(option) {
                return Err(NOMINATED);
            } else {
                self.nominates = true;
            }
        }
        Ok(())
    }
}

/// Fields whose removal would change where the message goes, where it ends or who is taken for its sender. Only requests are
/// refused for nominating them: servers do send `Connection: Transfer-Encoding`, and mean no harm.
fn is_end_to_end_by_rule(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    let forwarded = name.get(..FORWARDED.len()).is_some_and(|p| p.eq_ignore_ascii_case(FORWARDED));
    forwarded || matches!(Known::of(name), Known::Host | Known::ContentLength | Known::TransferEncoding)
}

/// The second look, only for heads whose Connection names other fields.
fn strip_nominated(buf: &[u8], fields: &mut [Field]) {
    for index in 0..fields.len() {
        let Some(connection) = fields.get(index).filter(|f| f.known == Known::Connection) else { continue };
        for option in elements(connection.value_span().of(buf)) {
            for field in fields.iter_mut() {
                // A server's nomination of its own framing is ignored: framing is ours to write.
                let framing = matches!(field.known, Known::ContentLength | Known::Host);
                if !framing && field.name_span().of(buf).eq_ignore_ascii_case(option) {
                    field.strip(true);
                }
            }
        }
    }
}
