//! Heads that were not parsed from HTTP/1: those of HTTP/2 streams, and the proxy's own answers.
//!
//! The builder lays the head out as HTTP/1.1 text, so that writing it is the same run copy as for a received one, and it runs the
//! same checks as the parser: no other way leads to a head.

use crate::fields::{Field, FieldList, Fields, Known, Span};
use crate::head::{Head, RequestLine, StatusLine};
use crate::host::check_authority;
use crate::limits::Limits;
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

/// Field lines being laid out.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    fields: Vec<(Span, Span)>,
    /// The first fault; reported when the head is built.
    fault: Option<Refusal>,
}

impl Lines {
    fn push(&mut self, name: &[u8], value: &[u8]) {
        if !is_token(name) {
            self.fault.get_or_insert(BAD_NAME);
            return;
        }
        if !is_value(value) || trim_ows(value) != (0, value.len()) {
            self.fault.get_or_insert(BAD_VALUE);
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        let value_start = start + name.len() + 2;
        self.fields.push((Span::new(start, start + name.len()), Span::new(value_start, value_start + value.len())));
    }

    /// Appends the lines to a start line; gives the buffer and the positions in it.
    fn behind(self, start_line: Vec<u8>, limits: &Limits) -> Result<(Vec<u8>, FieldList), Refusal> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.fields.len() > limits.fields_max {
            return Err(TOO_MANY_FIELDS);
        }
        let moved = start_line.len() as isize;
        let mut buf = start_line;
        buf.extend_from_slice(&self.text);
        if buf.len() > limits.head_bytes_max {
            return Err(HEAD_TOO_LARGE);
        }
        let mut list = FieldList::default();
        for (name, value) in self.fields {
            let (name, value) = (name.shifted(moved), value.shifted(moved));
            list.push(Field::new(&buf, name, value).ok_or(HEAD_TOO_LARGE)?, name.of(&buf));
        }
        Ok((buf, list))
    }
}

/// Builds a [`RequestHead`] from the parts of an HTTP/2 request.
#[derive(Debug)]
pub struct HeadBuilder {
    method: String,
    scheme: Option<String>,
    authority: Option<String>,
    path_and_query: String,
    version: Version,
    framing: Option<Framing>,
    lines: Lines,
    host: Option<Vec<u8>>,
    cookies: Vec<u8>,
}

impl HeadBuilder {
    pub(crate) fn new() -> Self {
        Self {
            method: "GET".to_owned(),
            scheme: None,
            authority: None,
            path_and_query: "/".to_owned(),
            version: Version::Http2,
            framing: None,
            lines: Lines::default(),
            host: None,
            cookies: Vec::new(),
        }
    }

    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = Some(scheme.to_owned());
        self
    }

    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    pub fn path_and_query(mut self, path_and_query: &str) -> Self {
        path_and_query.clone_into(&mut self.path_and_query);
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

    pub fn field(mut self, name: &str, value: &[u8]) -> Self {
        let known = Known::of(name.as_bytes());
        if known == Known::Host {
            if self.host.replace(value.to_vec()).is_some() {
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

    pub fn build(mut self, limits: &Limits) -> Result<RequestHead, Refusal> {
        if !self.cookies.is_empty() {
            self.lines.push(b"cookie", &self.cookies);
        }
        let scheme = match &self.scheme {
            Some(scheme) => Some(known_scheme(scheme).ok_or(BAD_SCHEME)?),
            None => None,
        };
        check_method(self.method.as_bytes(), limits)?;
        if self.path_and_query.len() > limits.target_bytes_max {
            return Err(TARGET_TOO_LONG);
        }
        let authority = self.settled_authority()?;
        let raw_target = if self.method == "CONNECT" { authority.as_slice() } else { self.path_and_query.as_bytes() };
        let target = parse_target(self.method.as_bytes(), raw_target, 0, limits)?;
        if target.form == TargetForm::Absolute || target.scheme.is_some() {
            return Err(BAD_REQUEST_FORM);
        }

        let mut text = Vec::with_capacity(self.lines.text.len() + raw_target.len() + authority.len() + 64);
        text.extend_from_slice(self.method.as_bytes());
        text.push(b' ');
        let path_at = text.len();
        match target.form {
            TargetForm::Authority => text.extend_from_slice(&authority),
            TargetForm::Origin | TargetForm::Absolute | TargetForm::Asterisk => {
                text.extend_from_slice(target.path.as_bytes());
                text.extend_from_slice(target.query.as_bytes());
            }
        }
        text.extend_from_slice(b" HTTP/1.1\r\n");
        let line = Span::new(0, text.len());
        let host_name = Span::new(text.len(), text.len() + "host".len());
        text.extend_from_slice(b"host: ");
        let host_value = Span::new(text.len(), text.len() + authority.len());
        text.extend_from_slice(&authority);
        text.extend_from_slice(b"\r\n");

        let path = Span::new(path_at, path_at + target.path.len());
        let query = Span::new(path.end as usize, path.end as usize + target.query.len());
        let form = target.form;
        let (buf, received) = self.lines.behind(text, limits)?;
        let mut list = FieldList::default();
        list.push(Field::new(&buf, host_name, host_value).ok_or(HEAD_TOO_LARGE)?, b"host");
        for field in received.as_slice() {
            let name = field.name_span().of(&buf);
            if !crate::line::is_dropped(name, limits)? {
                list.push(*field, name);
            }
        }
        let mut meaning = Meaning::default();
        meaning::read(&mut meaning, &buf, &mut list, self.version, Sender::Client)?;
        let framing = settled_framing(self.framing, &meaning)?;
        let method = Method::of(self.method.as_bytes(), Span::new(0, self.method.len()));
        Ok(RequestHead(Box::new(Head {
            fields: Fields { buf, list, plain: false },
            line: Some(line),
            version: self.version,
            framing,
            meaning,
            target: RequestLine { method, path, query, authority: host_value, scheme, form },
            status: StatusLine::default(),
        })))
    }

    fn settled_authority(&self) -> Result<Vec<u8>, Refusal> {
        let authority = match (&self.authority, &self.host) {
            (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host) => {
                return Err(HOST_DIFFERS);
            }
            (Some(authority), _) => authority.as_bytes(),
            (None, Some(host)) => host.as_slice(),
            (None, None) => return Err(NO_AUTHORITY),
        };
        let len = check_authority(authority)?;
        Ok(authority.get(..len).unwrap_or_default().to_vec())
    }
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
pub struct ResponseBuilder {
    status: u16,
    reason: Option<Vec<u8>>,
    version: Version,
    framing: Option<Framing>,
    request_method: String,
    lines: Lines,
}

impl ResponseBuilder {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            reason: None,
            version: Version::Http2,
            framing: None,
            request_method: "GET".to_owned(),
            lines: Lines::default(),
        }
    }

    /// The registered phrase unless said otherwise.
    pub fn reason(mut self, reason: &[u8]) -> Self {
        self.reason = Some(reason.to_vec());
        self
    }

    /// HTTP/2 unless said otherwise.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The method that is answered: HEAD and CONNECT have no body. GET unless said otherwise.
    pub fn request_method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.request_method);
        self
    }

    /// How the body will come; by default as Content-Length says, and `Length(0)` without one.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    pub fn field(mut self, name: &str, value: &[u8]) -> Self {
        let known = Known::of(name.as_bytes());
        if is_connection_specific(known, value) {
            self.lines.fault.get_or_insert(CONNECTION_SPECIFIC);
        } else {
            self.lines.push(name.as_bytes(), value);
        }
        self
    }

    pub fn build(self) -> Result<ResponseHead, Refusal> {
        if !(100..1000).contains(&self.status) {
            return Err(BAD_STATUS.by_upstream());
        }
        let phrase = self.reason.as_deref().unwrap_or_else(|| registered_reason(self.status).as_bytes());
        if !is_value(phrase) {
            return Err(BAD_REASON.by_upstream());
        }
        let mut text = Vec::with_capacity(self.lines.text.len() + phrase.len() + 32);
        text.extend_from_slice(b"HTTP/1.1 ");
        text.extend_from_slice(self.status.to_string().as_bytes());
        text.push(b' ');
        let reason = Span::new(text.len(), text.len() + phrase.len());
        text.extend_from_slice(phrase);
        text.extend_from_slice(b"\r\n");
        let line = Span::new(0, text.len());
        let (buf, mut list) = self.lines.behind(text, &Limits::default()).map_err(Refusal::by_upstream)?;
        let mut meaning = Meaning::default();
        let read = meaning::read(&mut meaning, &buf, &mut list, self.version, Sender::Server);
        read.map_err(Refusal::by_upstream)?;
        let framing = match response_framing(self.status, &self.request_method, &meaning) {
            Framing::None => Framing::None,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                let settled = settled_framing(self.framing, &meaning).map_err(Refusal::by_upstream)?;
                if settled == Framing::None { Framing::Length(0) } else { settled }
            }
        };
        Ok(ResponseHead(Box::new(Head {
            fields: Fields { buf, list, plain: false },
            line: Some(line),
            version: self.version,
            framing,
            meaning,
            target: RequestLine::default(),
            status: StatusLine { status: self.status, reason },
        })))
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
