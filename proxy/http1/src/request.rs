//! Request heads: parsing, and the questions asked of them.
//!
//! A head that exists has passed the gate: there is one authority, a canonical path, one framing. Heads of HTTP/2 requests are of the
//! same type (see [`crate::HeadBuilder`]), so that nothing behind this crate asks which protocol it serves.

use std::borrow::Cow;

use crate::builder::HeadBuilder;
use crate::edits::{EditedFields, HeadEdits};
use crate::fields::{Field, FieldList, Names, Span};
use crate::head::{Head, HeadMemory, RequestLine};
use crate::host::check_authority;
use crate::limits::Limits;
use crate::line::{Section, field_section, head_bytes_max, line_end, surely_partial, window};
use crate::meaning::{self, Framing, Meaning, Sender, Version};
use crate::octets::token_len;
use crate::path::without_parameters;
use crate::refusal::{HEAD_TOO_LARGE, Refusal, TARGET_TOO_LONG};
use crate::target::{Target, TargetForm, parse_target, plain_path_len};

const BAD_METHOD: Refusal = Refusal::bad("invalid method", "RFC 9110 9.1");
const BAD_LINE: Refusal = Refusal::bad("invalid request line", "RFC 9112 3");
const BAD_VERSION: Refusal = Refusal::bad("invalid HTTP version", "RFC 9112 2.3");
const OTHER_VERSION: Refusal = Refusal::new(505, "HTTP version other than 1.0 and 1.1", "RFC 9110 15.6.6");
const NO_HOST: Refusal = Refusal::bad("no Host", "RFC 9112 3.2");
const CONNECT: Refusal = Refusal::new(405, "CONNECT is not allowed here", "RFC 9110 9.3.6");
const TRACE: Refusal = Refusal::new(405, "TRACE is not allowed here", "RFC 9110 9.3.8");
const TRACE_WITH_BODY: Refusal = Refusal::bad("TRACE with a body", "RFC 9110 9.3.8");

/// The longest registered method has 17 letters.
const METHOD_BYTES_MAX: usize = 32;

/// What became of a buffer that may hold a head.
#[derive(Debug)]
pub enum Parsed<T> {
    /// Not refused so far, and not complete.
    Partial,
    Complete {
        head: T,
        /// Bytes of the buffer that belong to the head.
        consumed: usize,
    },
}

/// As large as a pointer: it may be handed on freely.
#[derive(Debug, Clone)]
pub struct RequestHead(pub(crate) Box<Head>);

/// The methods that nearly every request has are known by name; others are read from the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Known(&'static str),
    Other(Span),
}

impl Method {
    pub(crate) fn of(method: &[u8], span: Span) -> Self {
        Self::Known(match method {
            b"GET" => "GET",
            b"PUT" => "PUT",
            b"HEAD" => "HEAD",
            b"POST" => "POST",
            b"PATCH" => "PATCH",
            b"TRACE" => "TRACE",
            b"DELETE" => "DELETE",
            b"CONNECT" => "CONNECT",
            b"OPTIONS" => "OPTIONS",
            _ => return Self::Other(span),
        })
    }
}

/// Parses a request head and copies it into a buffer of its own: the way for a read buffer shared between connections.
pub fn parse_request(buf: &[u8], limits: &Limits) -> Result<Parsed<RequestHead>, Refusal> {
    parse_request_in(&mut HeadMemory::default(), buf, limits)
}

/// The same in the memory of a head that is over ([`RequestHead::into_memory`]). What is not used stays in `memory`.
pub fn parse_request_in(memory: &mut HeadMemory, buf: &[u8], limits: &Limits) -> Result<Parsed<RequestHead>, Refusal> {
    let buf = window(buf, limits);
    Ok(match memory.parse(|head| read(buf, head, limits))? {
        Some((head, consumed)) => Parsed::Complete { head: RequestHead(head), consumed },
        None => Parsed::Partial,
    })
}

/// Fills a head and says how long it is; None when more bytes are needed.
fn read(buf: &[u8], head: &mut Head, limits: &Limits) -> Result<Option<usize>, Refusal> {
    let partial = || if buf.len() < head_bytes_max(limits) { Ok(None) } else { Err(HEAD_TOO_LARGE) };
    let Some(line) = request_line(buf, limits)? else { return partial() };
    if surely_partial(buf, limits) {
        return Ok(None);
    }
    let Some(section) = field_section(buf, line.next, limits, &mut head.fields)? else { return partial() };
    match settle(buf, &line, &section, head, limits)? {
        Some(target) => head.lay_out_anew(buf, &line, section.end, &target),
        None => {
            head.fields.buf.clear();
            head.fields.buf.extend_from_slice(buf.get(..section.end).unwrap_or_default());
            head.line = (line.version == Version::Http11).then_some(Span::new(line.start, line.next));
        }
    }
    Ok(Some(section.end))
}

/// The request line, cut up.
struct Line {
    start: usize,
    method: Span,
    target: Span,
    version: Version,
    next: usize,
}

/// Everything that is asked of a head once it is there whole. Gives the target when the head cannot be kept as it was received.
fn settle<'a>(
    buf: &'a [u8],
    line: &Line,
    section: &Section,
    head: &mut Head,
    limits: &Limits,
) -> Result<Option<Target<'a>>, Refusal> {
    let method = line.method.of(buf);
    check_known_method(method, limits)?;
    let list = &mut head.fields.list;
    meaning::read(&mut head.meaning, buf, list, line.version, Sender::Client, section.repeated)?;
    head.framing = request_framing(&head.meaning);
    if method == b"TRACE" && head.framing != Framing::None {
        return Err(TRACE_WITH_BODY);
    }
    let host = head.meaning.host;
    head.version = line.version;
    head.target.method = Method::of(method, line.method);
    let (raw, at) = (line.target.of(buf), line.target.start as usize);
    if let Some(len) = plain_path_len(raw).filter(|_| method != b"CONNECT" && host.is_some()) {
        let (authority, kept) = settle_authority(buf, list, host, line, None)?;
        head.fields.plain = section.tight && kept && is_plain(&head.meaning, list, line.version);
        let (path, query) = (Span::new(at, at + len), Span::new(at + len, at + raw.len()));
        let method = head.target.method;
        head.target = RequestLine { method, path, query, authority, scheme: None, form: TargetForm::Origin };
        return Ok(None);
    }
    let target = parse_target(method, raw, at, limits)?;
    let (authority, _) = settle_authority(buf, list, host, line, target.authority)?;
    head.fields.plain = false;
    let path = Span::new(target.path_start, target.path_start + target.path.len());
    let query = Span::new(path.end as usize, path.end as usize + target.query.len());
    let (method, scheme, form) = (head.target.method, target.scheme, target.form);
    head.target = RequestLine { method, path, query, authority, scheme, form };
    let as_received =
        matches!(target.path, Cow::Borrowed(_)) && target.form != TargetForm::Absolute && target.scheme.is_none();
    Ok(Some(target).filter(|_| !as_received || host.is_none()))
}

/// Whether the lines of a head, which are tight, need nothing of the writer where framing and authority stay the same.
pub(crate) fn is_plain(meaning: &Meaning, list: &FieldList, version: Version) -> bool {
    version == Version::Http11 && list.says_little() && !meaning.length_is_padded
}

fn request_line(buf: &[u8], limits: &Limits) -> Result<Option<Line>, Refusal> {
    // RFC 9112 2.2: one empty line before a request is ignored; some clients end a body with it.
    let start = match buf {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let rest = buf.get(start..).unwrap_or_default();
    let method_len = token_len(rest);
    if method_len > METHOD_BYTES_MAX {
        return Err(BAD_METHOD);
    }
    match rest.get(method_len) {
        None => return Ok(None),
        Some(b' ') if method_len > 0 => {}
        Some(_) => return Err(BAD_METHOD),
    }
    let target_at = start + method_len + 1;
    let rest = buf.get(target_at..).unwrap_or_default();
    let target_len = rest.iter().take(limits.target_bytes_max + 1).position(|&b| b <= b' ');
    let Some(target_len) = target_len else {
        return if rest.len() > limits.target_bytes_max { Err(TARGET_TOO_LONG) } else { Ok(None) };
    };
    if target_len == 0 || rest.get(target_len) != Some(&b' ') {
        return Err(BAD_LINE);
    }
    let version_at = target_at + target_len + 1;
    let Some(version) = version(buf, version_at)? else { return Ok(None) };
    let Some(next) = line_end(buf, version_at + VERSION_LEN, BAD_LINE)? else { return Ok(None) };
    Ok(Some(Line {
        start,
        method: Span::new(start, start + method_len),
        target: Span::new(target_at, target_at + target_len),
        version,
        next,
    }))
}

pub(crate) const VERSION_LEN: usize = "HTTP/1.1".len();

/// `HTTP/` digit `.` digit; None while it is incomplete.
pub(crate) fn version(buf: &[u8], at: usize) -> Result<Option<Version>, Refusal> {
    let text = buf.get(at..).unwrap_or_default();
    let text = text.get(..VERSION_LEN).unwrap_or(text);
    if text == b"HTTP/1.1" {
        return Ok(Some(Version::Http11));
    }
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    if !text.iter().zip(b"HTTP/0.0").all(fits) {
        return Err(BAD_VERSION);
    }
    match text {
        b"HTTP/1.0" => Ok(Some(Version::Http10)),
        _ if text.len() < VERSION_LEN => Ok(None),
        _ => Err(OTHER_VERSION),
    }
}

pub(crate) fn check_method(method: &[u8], limits: &Limits) -> Result<(), Refusal> {
    check_known_method(method, limits)?;
    let is_token = method.len() <= METHOD_BYTES_MAX && !method.is_empty() && token_len(method) == method.len();
    if is_token { Ok(()) } else { Err(BAD_METHOD) }
}

/// What limits say about methods that the codec knows.
fn check_known_method(method: &[u8], limits: &Limits) -> Result<(), Refusal> {
    match method {
        b"CONNECT" if !limits.connect_allowed => Err(CONNECT),
        b"TRACE" if !limits.trace_allowed => Err(TRACE),
        _ => Ok(()),
    }
}

fn request_framing(meaning: &Meaning) -> Framing {
    match (meaning.chunked, meaning.content_length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::None,
    }
}

/// Checks Host and lets the target's authority overrule it (RFC 9112 3.2.2). Also whether Host's line says just that.
fn settle_authority(
    buf: &[u8],
    list: &mut FieldList,
    host: Option<usize>,
    line: &Line,
    named_by_target: Option<Span>,
) -> Result<(Span, bool), Refusal> {
    let at_index = host.and_then(|index| Some((index, list.as_mut_slice().get_mut(index)?)));
    let Some((index, host)) = at_index else {
        // Only HTTP/1.0 may do without Host, and then only if its target says where to go.
        let authority = named_by_target.filter(|_| line.version == Version::Http10).ok_or(NO_HOST)?;
        return Ok((authority, false));
    };
    let received = host.value_span();
    let named_by_host = if host.is_authority() {
        received
    } else {
        let len = check_authority(received.of(buf))?;
        let named = Span::new(received.start as usize, received.start as usize + len);
        if named == received {
            host.has_authority();
        }
        named
    };
    let authority = named_by_target.unwrap_or(named_by_host);
    list.point_value_at(index, authority);
    Ok((authority, authority == received))
}

impl Head {
    /// Builds the buffer for a head that is not forwarded as received: canonical request line, the received fields, the authority.
    fn lay_out_anew(&mut self, buf: &[u8], line: &Line, consumed: usize, target: &Target<'_>) {
        let fields = buf.get(line.next..consumed).unwrap_or_default();
        let authority = self.target.authority.of(buf);
        let method = line.method.of(buf);
        let mut block = std::mem::take(&mut self.fields.buf);
        block.clear();
        block.reserve(consumed + 32);
        block.extend_from_slice(method);
        block.push(b' ');
        let path_at = block.len();
        block.extend_from_slice(target.path.as_bytes());
        block.extend_from_slice(target.query.as_bytes());
        block.extend_from_slice(b" HTTP/1.1\r\n");
        let fields_at = block.len();
        block.extend_from_slice(fields);
        let host_at = block.len();
        block.extend_from_slice(b"Host: ");
        let authority_at = block.len();
        block.extend_from_slice(authority);
        block.extend_from_slice(b"\r\n");

        let moved = fields_at as isize - line.next as isize;
        for field in self.fields.list.as_mut_slice() {
            field.shift(moved);
        }
        // In authority-form there is no path to lay out: the writer puts the line together.
        self.line = (self.target.form != TargetForm::Authority).then_some(Span::new(0, fields_at));
        self.target.method = Method::of(method, Span::new(0, method.len()));
        self.target.path = Span::new(path_at, path_at + target.path.len());
        self.target.query = Span::new(path_at + target.path.len(), path_at + target.path.len() + target.query.len());
        self.target.authority = Span::new(authority_at, authority_at + authority.len());
        match self.meaning.host {
            Some(host) => self.fields.list.point_value_at(host, self.target.authority),
            None => {
                let name = Span::new(host_at, host_at + "Host".len());
                if let Some(field) = Field::new(&block, name, self.target.authority) {
                    self.meaning.host = Some(self.fields.len());
                    self.fields.list.push(field, b"Host");
                }
            }
        }
        self.fields.buf = block;
    }
}

impl RequestHead {
    pub fn builder<'a>() -> HeadBuilder<'a> {
        HeadBuilder::new()
    }

    /// What the gate let pass is ASCII; the empty string cannot occur.
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.0.fields.buf)).unwrap_or_default()
    }

    #[inline]
    pub fn method(&self) -> &str {
        match self.0.target.method {
            Method::Known(name) => name,
            Method::Other(span) => self.text(span),
        }
    }

    /// Canonical, without the query; `*` in asterisk-form, empty for CONNECT.
    pub fn path(&self) -> &str {
        self.text(self.0.target.path)
    }

    /// The path as rules are matched against it: without `;parameters`.
    pub fn path_for_matching(&self) -> Cow<'_, str> {
        without_parameters(self.path())
    }

    /// Without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.text(self.0.target.query).strip_prefix('?')
    }

    pub fn path_and_query(&self) -> &str {
        self.text(Span { start: self.0.target.path.start, end: self.0.target.query.end })
    }

    /// `host[:port]`, in the case it was received.
    pub fn authority(&self) -> &str {
        self.text(self.0.target.authority)
    }

    /// The same as bytes, for those who ask no text.
    #[inline]
    pub fn authority_bytes(&self) -> &[u8] {
        self.0.target.authority.of(&self.0.fields.buf)
    }

    /// Known from absolute-form, HTTP/2 and encryption.
    #[inline]
    pub fn scheme(&self) -> Option<&str> {
        self.0.target.scheme
    }

    /// Says that the request came under encryption: what its target claims about that does not count.
    pub fn arrived_encrypted(&mut self) {
        self.0.target.scheme = Some("https");
    }

    pub fn target_form(&self) -> TargetForm {
        self.0.target.form
    }

    #[inline]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// All fields as received, with Host replaced by the authority.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.fields.iter()
    }

    /// `true`: no field has one of these names. `false` says nothing.
    #[inline]
    pub fn lacks(&self, names: Names) -> bool {
        self.0.fields.list.lacks(names)
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
        EditedFields::new(&self.0.fields, edits, self.0.meaning.accepts_trailers)
    }

    #[inline]
    pub fn framing(&self) -> Framing {
        self.0.framing
    }

    /// Whether the client lets the connection live on after the answer.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.0.meaning.lives_on(self.0.version)
    }

    /// The protocol asked for, in lower case: one token, announced by Connection, on HTTP/1.1, and with no body in between that
    /// could be taken for the new protocol.
    pub fn upgrade(&self) -> Option<&str> {
        match self.0.framing {
            Framing::None | Framing::Length(0) => self.0.meaning.upgrade.as_deref(),
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => None,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub fn expects_continue(&self) -> bool {
        self.0.meaning.expects_continue && !matches!(self.0.framing, Framing::None | Framing::Length(0))
    }

    /// The memory, for the next head.
    pub fn into_memory(self) -> HeadMemory {
        HeadMemory::of(self.0)
    }

    /// Whether the client takes trailers (`TE: trailers`).
    #[inline]
    pub fn accepts_trailers(&self) -> bool {
        self.0.meaning.accepts_trailers
    }
}

impl Meaning {
    pub(crate) fn lives_on(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 | Version::Http2 => !self.close,
        }
    }
}

#[cfg(test)]
mod tests;
