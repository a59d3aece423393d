//! The one place that writes heads.
//!
//! # Why one place
//! Response splitting is a CR or LF that reached the wire in a name or value. Everything written passes here: what was received is
//! known to be clean, what policy adds is checked, and nothing else can produce a head.
//!
//! # Why runs
//! Lines that are forwarded as received lie next to each other in the buffer, so they are copied as one run, often the whole head.

use crate::edits::{HeadEdits, is_method};
use crate::fields::{Field, Fields, Known, Span};
use crate::host::check_authority;
use crate::meaning::Framing;
use crate::octets::{is_token, is_value, trim_ows};
use crate::request::RequestHead;
use crate::response::{ResponseHead, is_bodiless};
use crate::target::{TargetForm, is_path_and_query};

/// A head that policy made invalid. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("an added field name is not a token")]
    Name,
    #[error("an added field value holds a control character or is padded with white space")]
    Value,
    #[error("the rewritten method is not a token")]
    Method,
    #[error("the rewritten path is not a path and query as RFC 3986 has them")]
    Target,
    #[error("the rewritten authority is not host[:port]")]
    Authority,
    #[error("a request body cannot end with its connection")]
    UntilCloseRequest,
    #[error("a chunked body cannot be sent to HTTP/1.0")]
    ChunkedToHttp10,
}

/// What a response says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionField {
    /// HTTP/1.1 stays open without a word.
    None,
    Close,
    /// HTTP/1.0 stays open only when told.
    KeepAlive10,
    /// A 101: the head's Upgrade is kept.
    Upgrade,
}

/// Answers `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends a request head: HTTP/1.1, origin-form (or as the method demands), Host from the authority, framing as given.
/// `upgrade` is the protocol to ask for; None strips the client's wish.
#[inline]
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    edits: &HeadEdits,
    framing: Framing,
    upgrade: Option<&str>,
) -> Result<(), Unwritable> {
    let start = out.len();
    let written = request(out, head, edits, framing, upgrade);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

#[inline]
fn request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    edits: &HeadEdits,
    framing: Framing,
    upgrade: Option<&str>,
) -> Result<(), Unwritable> {
    if head.0.fields.plain && framing == head.0.framing && upgrade.is_none() && edits.keeps_start(&head.0.fields) {
        return plain(out, &head.0.fields, head.0.line, edits);
    }
    let plan = Plan {
        authority: edits.new_authority(),
        framing: match framing {
            Framing::None => Announced::Nothing,
            Framing::Length(length) => Announced::Length(length),
            Framing::Chunked => Announced::Chunked,
            Framing::UntilClose => return Err(Unwritable::UntilCloseRequest),
        },
        connection: match (upgrade.is_some(), head.accepts_trailers()) {
            (true, true) => b"Upgrade, TE",
            (true, false) => b"Upgrade",
            // RFC 9110 10.1.4: whoever sends TE nominates it.
            (false, true) => b"TE",
            (false, false) => b"",
        },
        upgrade: upgrade.map(str::as_bytes),
        te: head.accepts_trailers(),
    };
    if plan.upgrade.is_some_and(|token| !is_value(token) || token.is_empty()) {
        return Err(Unwritable::Value);
    }
    if plan.authority.is_some_and(|a| check_authority(a) != Ok(a.len())) {
        return Err(Unwritable::Authority);
    }
    out.reserve(head.0.fields.buf.len() + 64);
    let rewritten = edits.new_method().is_some()
        || edits.new_path_and_query().is_some()
        || (plan.authority.is_some() && head.0.target.form == TargetForm::Authority);
    let run = match head.0.line {
        Some(line) if !rewritten => (line.start as usize, line.end as usize),
        _ => {
            request_line(out, head, edits)?;
            (0, 0)
        }
    };
    fields(out, &head.0.fields, edits, &plan, run)
}

fn request_line(out: &mut Vec<u8>, head: &RequestHead, edits: &HeadEdits) -> Result<(), Unwritable> {
    let method = edits.method_of(head);
    if !is_method(method) {
        return Err(Unwritable::Method);
    }
    let target = match (edits.new_path_and_query(), head.0.target.form) {
        (_, TargetForm::Authority) => edits.authority_of(head),
        (Some(rewritten), _) => {
            if !is_path_and_query(rewritten) {
                return Err(Unwritable::Target);
            }
            rewritten
        }
        (None, _) => head.path_and_query(),
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// Appends a response head. With [`Framing::None`] the message has no body by its status or by the request's method (HEAD), and the
/// framing fields of the head are kept where they may stand; an empty body in a message that could have one is `Length(0)`.
#[inline]
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    edits: &HeadEdits,
    framing: Framing,
    connection: ConnectionField,
    to_http10: bool,
) -> Result<(), Unwritable> {
    let start = out.len();
    let written = response(out, head, edits, framing, connection, to_http10);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

#[inline]
fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    edits: &HeadEdits,
    framing: Framing,
    connection: ConnectionField,
    to_http10: bool,
) -> Result<(), Unwritable> {
    let unsaid = connection == ConnectionField::None && !to_http10 && !is_bodiless(head.0.status.status);
    if head.0.fields.plain && framing == head.0.framing && unsaid && edits.removes_none_of(&head.0.fields) {
        return plain(out, &head.0.fields, head.0.line, edits);
    }
    let plan = Plan {
        authority: None,
        framing: match framing {
            // 9112 6.1 and 6.2: neither field in 1xx and 204.
            _ if is_bodiless(head.0.status.status) && head.0.status.status != 304 => Announced::Nothing,
            Framing::None if to_http10 => Announced::LengthAsReceived,
            Framing::None => Announced::AsReceived,
            Framing::Length(length) => Announced::Length(length),
            Framing::Chunked if to_http10 => return Err(Unwritable::ChunkedToHttp10),
            Framing::Chunked => Announced::Chunked,
            Framing::UntilClose => Announced::Nothing,
        },
        connection: match connection {
            ConnectionField::None => b"",
            ConnectionField::Close => b"close",
            ConnectionField::KeepAlive10 => b"keep-alive",
            ConnectionField::Upgrade => b"Upgrade",
        },
        upgrade: head.upgrade().filter(|_| connection == ConnectionField::Upgrade).map(str::as_bytes),
        te: false,
    };
    out.reserve(head.0.fields.buf.len() + 64);
    let run = match head.0.line {
        Some(line) if !to_http10 => (line.start as usize, line.end as usize),
        _ => {
            out.extend_from_slice(if to_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
            out.extend_from_slice(Decimal::of(u64::from(head.0.status.status)).as_bytes());
            out.push(b' ');
            out.extend_from_slice(head.reason());
            out.extend_from_slice(b"\r\n");
            (0, 0)
        }
    };
    fields(out, &head.0.fields, edits, &plan, run)
}

/// Writes a head whose received lines all stay as they are: one run, nearly always.
#[inline]
fn plain(out: &mut Vec<u8>, fields: &Fields, line: Option<Span>, edits: &HeadEdits) -> Result<(), Unwritable> {
    const EMPTY_LINE: &[u8] = b"\r\n";
    let start = line.map_or(0, |line| line.start as usize);
    let received = fields.buf.get(start..).unwrap_or_default();
    let lines = received.strip_suffix(EMPTY_LINE).unwrap_or_default();
    out.reserve(received.len() + edits.added_bytes());
    let copied = out.len();
    out.extend_from_slice(lines);
    if let Some(overwrite) = edits.overwritten() {
        overwrite.write(fields, out.get_mut(copied..).unwrap_or_default(), start);
    }
    additions(out, edits)?;
    out.extend_from_slice(EMPTY_LINE);
    Ok(())
}

/// What the codec writes on its own account.
struct Plan<'a> {
    /// Set only when it differs from what Host says.
    authority: Option<&'a [u8]>,
    framing: Announced,
    connection: &'static [u8],
    upgrade: Option<&'a [u8]>,
    te: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Announced {
    Nothing,
    Length(u64),
    Chunked,
    /// Answers to HEAD, and 304: the fields tell of a body that is not sent.
    AsReceived,
    LengthAsReceived,
}

enum Fate<'a> {
    Drop,
    Copy,
    /// The received name, with this value.
    Write(&'a [u8]),
}

/// The codec's own lines still to be written. Each goes where the first received one stood, or else to the end.
struct Due<'a> {
    /// The value of the framing field.
    framing: Option<&'a [u8]>,
    connection: Option<&'a [u8]>,
    upgrade: Option<&'a [u8]>,
    te: Option<&'a [u8]>,
}

fn fields(
    out: &mut Vec<u8>,
    fields: &Fields,
    edits: &HeadEdits,
    plan: &Plan<'_>,
    mut run: (usize, usize),
) -> Result<(), Unwritable> {
    let length = match plan.framing {
        Announced::Length(length) => Decimal::of(length),
        Announced::Nothing | Announced::Chunked | Announced::AsReceived | Announced::LengthAsReceived => Decimal::of(0),
    };
    let mut due = Due {
        framing: match plan.framing {
            Announced::Length(_) => Some(length.as_bytes()),
            Announced::Chunked => Some(b"chunked"),
            Announced::Nothing | Announced::AsReceived | Announced::LengthAsReceived => None,
        },
        connection: Some(plan.connection).filter(|options| !options.is_empty()),
        upgrade: plan.upgrade,
        te: plan.te.then_some(b"trailers"),
    };
    let buf = fields.buf.as_slice();
    for field in fields.list.as_slice() {
        let value = field.value_span().of(buf);
        let fate = match due.fate(field, value, plan) {
            Fate::Copy if edits.removes(fields, field) && !field.known.is_written_by_codec() => Fate::Drop,
            Fate::Copy => edits.overwritten().and_then(|new| new.value_of(field)).map_or(Fate::Copy, Fate::Write),
            fate @ (Fate::Drop | Fate::Write(_)) => fate,
        };
        match (fate, field.copyable_line(buf)) {
            (Fate::Drop, _) => {}
            (Fate::Copy, Some(line)) if line.0 == run.1 => run.1 = line.1,
            (Fate::Copy, Some(line)) => {
                flush(out, buf, run);
                run = line;
            }
            (Fate::Copy, None) => rewrite(out, buf, &mut run, field, value),
            (Fate::Write(new), _) => rewrite(out, buf, &mut run, field, new),
        }
    }
    flush(out, buf, run);
    due.write_rest(out, plan);
    additions(out, edits)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

impl<'a> Due<'a> {
    fn fate(&mut self, field: &Field, value: &[u8], plan: &Plan<'a>) -> Fate<'a> {
        match field.known {
            Known::Host => plan.authority.map_or(Fate::Copy, Fate::Write),
            Known::ContentLength => match plan.framing {
                Announced::Length(_) => copy_or_write(value, self.framing.take()),
                Announced::AsReceived | Announced::LengthAsReceived => Fate::Copy,
                Announced::Nothing | Announced::Chunked => Fate::Drop,
            },
            Known::TransferEncoding => match plan.framing {
                Announced::Chunked => copy_or_write(value, self.framing.take()),
                Announced::AsReceived => copy_or_write(value, Some(b"chunked")),
                Announced::Nothing | Announced::Length(_) | Announced::LengthAsReceived => Fate::Drop,
            },
            Known::Connection => copy_or_write_in_any_case(value, self.connection.take()),
            Known::Upgrade => copy_or_write_in_any_case(value, self.upgrade.take()),
            Known::Te => copy_or_write(value, self.te.take()),
            Known::Other
            | Known::Cookie
            | Known::Expect
            | Known::Http2Settings
            | Known::KeepAlive
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::ProxyConnection => {
                if field.is_stripped() {
                    Fate::Drop
                } else {
                    Fate::Copy
                }
            }
        }
    }

    fn write_rest(self, out: &mut Vec<u8>, plan: &Plan<'_>) {
        if let Some(value) = self.framing {
            let chunked = plan.framing == Announced::Chunked;
            line(out, if chunked { b"Transfer-Encoding" } else { b"Content-Length" }, value);
        }
        if let Some(options) = self.connection {
            line(out, b"Connection", options);
        }
        if let Some(protocol) = self.upgrade {
            line(out, b"Upgrade", protocol);
        }
        if let Some(codings) = self.te {
            line(out, b"TE", codings);
        }
    }
}

#[inline]
fn additions(out: &mut Vec<u8>, edits: &HeadEdits) -> Result<(), Unwritable> {
    if let Some(block) = edits.added_block() {
        out.extend_from_slice(block);
        return Ok(());
    }
    for (name, value) in edits.additions() {
        if !is_token(name) {
            return Err(Unwritable::Name);
        }
        if !is_value(value) || trim_ows(value) != (0, value.len()) {
            return Err(Unwritable::Value);
        }
        line(out, name, value);
    }
    Ok(())
}

/// Ours is written once; the received line will do where it says the same.
fn copy_or_write<'a>(received: &[u8], ours: Option<&'a [u8]>) -> Fate<'a> {
    match ours {
        Some(ours) if received == ours => Fate::Copy,
        Some(ours) => Fate::Write(ours),
        None => Fate::Drop,
    }
}

/// For values that are tokens, whose case the sender chose.
fn copy_or_write_in_any_case<'a>(received: &[u8], ours: Option<&'a [u8]>) -> Fate<'a> {
    match ours {
        Some(ours) if received.eq_ignore_ascii_case(ours) => Fate::Copy,
        ours => copy_or_write(received, ours),
    }
}

fn flush(out: &mut Vec<u8>, buf: &[u8], run: (usize, usize)) {
    out.extend_from_slice(buf.get(run.0..run.1).unwrap_or_default());
}

fn rewrite(out: &mut Vec<u8>, buf: &[u8], run: &mut (usize, usize), field: &Field, value: &[u8]) {
    flush(out, buf, *run);
    *run = (0, 0);
    line(out, field.name_span().of(buf), value);
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number as text, without an allocation.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Opens a chunk of `len` bytes; the caller appends them and [`CHUNK_END`]. A chunk of no bytes would end the body, so nothing is
/// written for one: bodies end with [`write_last_chunk`].
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|digit| HEX[len >> (4 * digit) & 0xf]));
    out.extend_from_slice(b"\r\n");
}

/// Closes a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body. Trailers that are malformed or may not be forwarded are left out.
pub fn write_last_chunk<'a>(out: &mut Vec<u8>, trailers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if is_token(name) && is_value(value) && crate::body::is_forwardable_trailer(name) {
            line(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
