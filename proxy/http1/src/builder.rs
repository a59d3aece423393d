//! Heads that were not parsed from HTTP/1: those of HTTP/2 streams, and the proxy's own answers.
//!
//! The builder lays the head out as HTTP/1.1 text, so that writing it is the same run copy as for a received one, and it runs the
//! same checks as the parser: no other way leads to a head.

use crate::fields::{FIELDS_USUALLY, Field, FieldList, Fields, Known, Span};
use crate::head::{Head, HeadMemory, RequestLine, StatusLine};
use crate::host::check_authority;
use crate::limits::Limits;
use crate::line::is_dropped;
use crate::meaning::{self, Framing, Meaning, Sender, Version};
use crate::octets::{is_token, is_value, trim_ows};
use crate::refusal::{HEAD_TOO_LARGE, Refusal, TARGET_TOO_LONG, TOO_MANY_FIELDS};
use crate::request::{Method, RequestHead, check_method};
use crate::response::{ResponseHead, response_framing};
use crate::target::{TargetForm, known_scheme, parse_target};

const BAD_NAME: Refusal = Refusal::bad("invalid header field name", "RFC 9110 5.1");
const BAD_VALUE: Refusal = Refusal::bad("control character or padding in a header field value", "RFC 9113 8.2.1");
const CONNECTION_SPECIFIC: Refusal = Refusal::bad("connection-specific header field", "RFC 9113 8.2.2");
const HOST_DIFFERS: Refusal = Refusal::bad(":authority and host differ", "RFC 9113 8.3.1");
const DUPLICATE_HOST: Refusal = Refusal::bad("more than one Host", "RFC 9112 3.2");
const NO_AUTHORITY: Refusal = Refusal::bad("neither :authority nor host", "RFC 9113 8.3.1");
const BAD_SCHEME: Refusal = Refusal::bad("scheme is neither http nor https", "RFC 9110 4.2");
const BAD_REQUEST_FORM: Refusal = Refusal::bad("path is not in origin-form", "RFC 9113 8.3.1");
const LENGTH_DIFFERS: Refusal = Refusal::bad("Content-Length differs from the framing", "RFC 9113 8.1.1");
const BAD_STATUS: Refusal = Refusal::bad("invalid status code", "RFC 9110 15");
const BAD_REASON: Refusal = Refusal::bad("control character in the reason phrase", "RFC 9112 4");

/// Field lines to be laid out.
#[derive(Debug, Default)]
struct Lines<'a> {
    /// Name and value.
    lines: Vec<(&'a [u8], &'a [u8])>,
    /// Of all names and values.
    bytes: usize,
    /// The first fault; reported when the head is built.
    fault: Option<Refusal>,
}

impl<'a> Lines<'a> {
    fn push(&mut self, name: &'a [u8], value: &'a [u8]) {
        if self.lines.capacity() == 0 {
            self.lines.reserve_exact(FIELDS_USUALLY);
        }
        self.bytes += name.len() + value.len();
        self.lines.push((name, value));
    }

    /// How much they take of a head.
    fn text_bytes(&self) -> usize {
        self.bytes + self.lines.len() * ": \r\n".len()
    }

    /// Nothing of it is copied before the whole is known to be sound and small enough.
    fn check(&self, start_bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        for (name, value) in &self.lines {
            if !is_token(name) {
                return Err(BAD_NAME);
            }
            if !is_value(value) || trim_ows(value) != (0, value.len()) {
                return Err(BAD_VALUE);
            }
        }
        if self.lines.len() > limits.fields_max {
            return Err(TOO_MANY_FIELDS);
        }
        if start_bytes + self.text_bytes() > limits.head_bytes_max {
            return Err(HEAD_TOO_LARGE);
        }
        Ok(())
    }

    /// Appends them to what is there of a head, and their positions to the list: of a request, of those that `limits` let through.
    fn lay_out(&self, buf: &mut Vec<u8>, list: &mut FieldList, limits: Option<&Limits>) -> Result<(), Refusal> {
        for (name, value) in &self.lines {
            let name_at = Span::new(buf.len(), buf.len() + name.len());
            buf.extend_from_slice(name);
            buf.extend_from_slice(b": ");
            let value_at = Span::new(buf.len(), buf.len() + value.len());
            buf.extend_from_slice(value);
            buf.extend_from_slice(b"\r\n");
            if let Some(limits) = limits
                && is_dropped(name, limits)?
            {
                continue;
            }
            list.push(Field::new(buf, name_at, value_at).ok_or(HEAD_TOO_LARGE)?, name);
        }
        Ok(())
    }
}

/// Empties a buffer, and makes room.
fn begin(buf: &mut Vec<u8>, bytes: usize) {
    buf.clear();
    buf.reserve_exact(bytes);
}

/// Builds a [`RequestHead`] from the parts of an HTTP/2 request.
#[derive(Debug)]
pub struct HeadBuilder<'a> {
    method: &'a str,
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path_and_query: &'a str,
    version: Version,
    framing: Option<Framing>,
    lines: Lines<'a>,
    host: Option<&'a [u8]>,
    cookies: Vec<u8>,
}

impl<'a> HeadBuilder<'a> {
    pub(crate) fn new() -> Self {
        Self {
            method: "GET",
            scheme: None,
            authority: None,
            path_and_query: "/",
            version: Version::Http2,
            framing: None,
            lines: Lines::default(),
            host: None,
            cookies: Vec::new(),
        }
    }

    pub fn method(mut self, method: &'a str) -> Self {
        self.method = method;
        self
    }

    pub fn scheme(mut self, scheme: &'a str) -> Self {
        self.scheme = Some(scheme);
        self
    }

    pub fn authority(mut self, authority: &'a str) -> Self {
        self.authority = Some(authority);
        self
    }

    pub fn path_and_query(mut self, path_and_query: &'a str) -> Self {
        self.path_and_query = path_and_query;
        self
    }

    /// HTTP/2 unless said otherwise.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// How the body will come. Without this it follows from Content-Length, and there is none without that. `Chunked` is a body of
    /// unknown length; a Content-Length makes it known.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    pub fn field(mut self, name: &'a str, value: &'a [u8]) -> Self {
        let known = Known::of(name.as_bytes());
        if known == Known::Host {
            if self.host.replace(value).is_some() {
                self.lines.fault.get_or_insert(DUPLICATE_HOST);
            }
        } else if known == Known::Cookie && self.version == Version::Http2 {
            // 9113 8.2.3: HTTP/2 may send cookies in crumbs; HTTP/1 knows one field.
            if !self.cookies.is_empty() {
                self.cookies.extend_from_slice(b"; ");
            }
            self.cookies.extend_from_slice(value);
        } else if is_connection_specific(known, value) {
            self.lines.fault.get_or_insert(CONNECTION_SPECIFIC);
        } else {
            self.lines.push(name.as_bytes(), value);
        }
        self
    }

    pub fn build(self, limits: &Limits) -> Result<RequestHead, Refusal> {
        self.build_in(&mut HeadMemory::default(), limits)
    }

    /// The same in memory of a head that is over.
    pub fn build_in(self, memory: &mut HeadMemory, limits: &Limits) -> Result<RequestHead, Refusal> {
        memory.build(|head| self.write(head, limits)).map(RequestHead)
    }

    fn write(self, head: &mut Head, limits: &Limits) -> Result<(), Refusal> {
        let cookies = self.cookies;
        let mut lines: Lines<'_> = self.lines;
        if !cookies.is_empty() {
            lines.push(b"cookie", &cookies);
        }
        let scheme = match self.scheme {
            Some(scheme) => Some(known_scheme(scheme).ok_or(BAD_SCHEME)?),
            None => None,
        };
        check_method(self.method.as_bytes(), limits)?;
        if self.path_and_query.len() > limits.target_bytes_max {
            return Err(TARGET_TOO_LONG);
        }
        let authority = settled_authority(self.authority, self.host)?;
        let raw_target = if self.method == "CONNECT" { authority } else { self.path_and_query.as_bytes() };
        let target = parse_target(self.method.as_bytes(), raw_target, 0, limits)?;
        if target.form == TargetForm::Absolute || target.scheme.is_some() {
            return Err(BAD_REQUEST_FORM);
        }

        let start_bytes = self.method.len() + raw_target.len() + authority.len() + "  HTTP/1.1\r\nhost: \r\n".len();
        lines.check(start_bytes, limits)?;
        let Fields { buf, list, plain } = &mut head.fields;
        begin(buf, start_bytes + lines.text_bytes());
        buf.extend_from_slice(self.method.as_bytes());
        buf.push(b' ');
        let path_at = buf.len();
        match target.form {
            TargetForm::Authority => buf.extend_from_slice(authority),
            TargetForm::Origin | TargetForm::Absolute | TargetForm::Asterisk => {
                buf.extend_from_slice(target.path.as_bytes());
                buf.extend_from_slice(target.query.as_bytes());
            }
        }
        buf.extend_from_slice(b" HTTP/1.1\r\n");
        let line = Span::new(0, buf.len());
        let host_name = Span::new(buf.len(), buf.len() + "host".len());
        buf.extend_from_slice(b"host: ");
        let host_value = Span::new(buf.len(), buf.len() + authority.len());
        buf.extend_from_slice(authority);
        buf.extend_from_slice(b"\r\n");

        let path = Span::new(path_at, path_at + target.path.len());
        let query = Span::new(path.end as usize, path.end as usize + target.query.len());
        let form = target.form;
        list.end(0, false);
        list.begin();
        list.push(Field::new(buf, host_name, host_value).ok_or(HEAD_TOO_LARGE)?, b"host");
        lines.lay_out(buf, list, Some(limits))?;
        *plain = false;
        meaning::read(&mut head.meaning, buf, list, self.version, Sender::Client, false)?;
        head.framing = settled_framing(self.framing, &head.meaning)?;
        head.line = Some(line);
        head.version = self.version;
        let method = Method::of(self.method.as_bytes(), Span::new(0, self.method.len()));
        head.target = RequestLine { method, path, query, authority: host_value, scheme, form };
        Ok(())
    }
}

/// The authority to be written: that of `:authority`, or of `host`.
fn settled_authority<'a>(authority: Option<&'a str>, host: Option<&'a [u8]>) -> Result<&'a [u8], Refusal> {
    let authority = match (authority, host) {
        (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host) => return Err(HOST_DIFFERS),
        (Some(authority), _) => authority.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => return Err(NO_AUTHORITY),
    };
    let len = check_authority(authority)?;
    Ok(authority.get(..len).unwrap_or_default())
}

/// What HTTP/2 may not carry (9113 8.2.2). Credentials for a proxy are of one hop too, but legal: they are stripped, not refused.
fn is_connection_specific(known: Known, value: &[u8]) -> bool {
    let legal = matches!(known, Known::ProxyAuthenticate | Known::ProxyAuthorization | Known::Http2Settings)
        || (known == Known::Te && value.eq_ignore_ascii_case(b"trailers"));
    known.is_hop_by_hop() && !legal
}

fn settled_framing(given: Option<Framing>, meaning: &Meaning) -> Result<Framing, Refusal> {
    match (given, meaning.content_length) {
        (None | Some(Framing::Chunked | Framing::UntilClose), Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::None),
        (Some(Framing::None), Some(0)) => Ok(Framing::Length(0)),
        (Some(Framing::None), Some(_)) => Err(LENGTH_DIFFERS),
        (Some(Framing::Length(given)), Some(length)) if given != length => Err(LENGTH_DIFFERS),
        (Some(framing), _) => Ok(framing),
    }
}

/// Builds a [`ResponseHead`]: from an HTTP/2 response, or an answer of our own.
#[derive(Debug)]
pub struct ResponseBuilder<'a> {
    status: u16,
    reason: Option<&'a [u8]>,
    version: Version,
    framing: Option<Framing>,
    request_method: &'a str,
    lines: Lines<'a>,
}

impl<'a> ResponseBuilder<'a> {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            reason: None,
            version: Version::Http2,
            framing: None,
            request_method: "GET",
            lines: Lines::default(),
        }
    }

    /// The registered phrase unless said otherwise.
    pub fn reason(mut self, reason: &'a [u8]) -> Self {
        self.reason = Some(reason);
        self
    }

    /// HTTP/2 unless said otherwise.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The method that is answered: HEAD and CONNECT have no body. GET unless said otherwise.
    pub fn request_method(mut self, method: &'a str) -> Self {
        self.request_method = method;
        self
    }

    /// How the body will come; by default as Content-Length says, and `Length(0)` without one.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    pub fn field(mut self, name: &'a str, value: &'a [u8]) -> Self {
        if is_connection_specific(Known::of(name.as_bytes()), value) {
            self.lines.fault.get_or_insert(CONNECTION_SPECIFIC);
        } else {
            self.lines.push(name.as_bytes(), value);
        }
        self
    }

    pub fn build(self) -> Result<ResponseHead, Refusal> {
        self.build_in(&mut HeadMemory::default())
    }

    /// The same in memory of a head that is over.
    pub fn build_in(self, memory: &mut HeadMemory) -> Result<ResponseHead, Refusal> {
        memory.build(|head| self.write(head)).map(ResponseHead).map_err(Refusal::by_upstream)
    }

    fn write(self, head: &mut Head) -> Result<(), Refusal> {
        if !(100..1000).contains(&self.status) {
            return Err(BAD_STATUS);
        }
        let phrase = self.reason.unwrap_or_else(|| registered_reason(self.status).as_bytes());
        if !is_value(phrase) {
            return Err(BAD_REASON);
        }
        let limits = Limits::default();
        let start_bytes = "HTTP/1.1 200 \r\n".len() + phrase.len();
        self.lines.check(start_bytes, &limits)?;
        let Fields { buf, list, plain } = &mut head.fields;
        begin(buf, start_bytes + self.lines.text_bytes());
        buf.extend_from_slice(b"HTTP/1.1 ");
        buf.extend([self.status / 100, self.status / 10 % 10, self.status % 10].map(|digit| b'0' + digit as u8));
        buf.push(b' ');
        let reason = Span::new(buf.len(), buf.len() + phrase.len());
        buf.extend_from_slice(phrase);
        buf.extend_from_slice(b"\r\n");
        let line = Span::new(0, buf.len());
        list.end(0, false);
        list.begin();
        self.lines.lay_out(buf, list, None)?;
        *plain = false;
        meaning::read(&mut head.meaning, buf, list, self.version, Sender::Server, false)?;
        head.framing = match response_framing(self.status, self.request_method, &head.meaning) {
            Framing::None => Framing::None,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                let settled = settled_framing(self.framing, &head.meaning)?;
                if settled == Framing::None { Framing::Length(0) } else { settled }
            }
        };
        head.line = Some(line);
        head.version = self.version;
        head.status = StatusLine { status: self.status, reason };
        Ok(())
    }
}

/// Phrases of RFC 9110 15 for what a mesh sends or carries; an unknown status has none, which is legal.
fn registered_reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
