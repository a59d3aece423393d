//! Lines of text: a format with Envoy's operators, compiled when the process starts.
//!
//! # Why every value is escaped
//! See [`super::escape`]. A line has exactly one line break, at its end, whatever is in a request.

use std::fmt::Write as _;
use std::io::Write as _;

use tidegate_traffic::format::grammar::{Named, Piece, pieces};

use super::entry::Entry;
use super::escape;
use super::field::{Field, VALUE_BYTES_MAX, Value};
use super::operator;
use super::redact::Redaction;
use super::time::iso;

/// Istio's format where nobody asks for another one.
pub(super) const ISTIO: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// A format is written by hand and read by people: nobody needs a longer one.
const FORMAT_BYTES_MAX: usize = 16 * 1024;

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Field { field: Field, bytes_max: usize, quoted: bool },
}

impl Pattern {
    /// `answers`: fields of answers that are wanted; those of this format are added.
    pub(super) fn compile(text: &str, answers: &mut Vec<Box<str>>) -> Result<Self, String> {
        if text.len() > FORMAT_BYTES_MAX {
            return Err(format!("a format may have {FORMAT_BYTES_MAX} bytes"));
        }
        // Each line ends anyway; in a shell a line break is written as it is in Envoy's configuration.
        let text = text.strip_suffix("\\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
        if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(format!("the character {c:?} cannot stand in the format of a line"));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut quoted = false;
        for piece in pieces(text)? {
            match piece {
                Piece::Literal(text) => {
                    quoted ^= text.bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
                    literal.push_str(text);
                }
                Piece::Operator(named) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                    }
                    parts.push(part(&named, quoted, answers)?);
                }
            }
        }
        literal.push('\n');
        parts.push(Part::Literal(literal.into()));
        Ok(Self(parts.into()))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, entry: &Entry<'_>, redaction: &Redaction) {
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field { field, bytes_max, quoted } => {
                    write(out, entry, &field.of(entry, redaction), *bytes_max, *quoted);
                }
            }
        }
    }
}

fn part(named: &Named<'_>, quoted: bool, answers: &mut Vec<Box<str>>) -> Result<Part, String> {
    let field = operator::parse(named, answers)?;
    let bytes_max = named.bytes_max.map_or(VALUE_BYTES_MAX, |max| max.min(VALUE_BYTES_MAX));
    Ok(Part::Field { field, bytes_max, quoted })
}

fn write(out: &mut Vec<u8>, entry: &Entry<'_>, value: &Value<'_>, bytes_max: usize, quoted: bool) {
    let start = out.len();
    let written = match value {
        Value::Bytes(bytes) if !bytes.is_empty() => {
            escape::text(out, cut(bytes, bytes_max), quoted);
            return;
        }
        Value::Absent | Value::Bytes(_) => write!(out, "-"),
        Value::Number(number) => write!(out, "{number}"),
        Value::Ip(ip) => write!(out, "{ip}"),
        Value::Address(address) => write!(out, "{address}"),
        Value::Time(at) => {
            iso(out, *at);
            Ok(())
        }
        Value::TimeAs(at, layout) => {
            layout.write(out, *at);
            Ok(())
        }
        Value::Words(words) => write!(out, "{}", joined(words.iter())),
        Value::Flags => write!(out, "{}", joined(entry.outcome.flags())),
        Value::Policies => {
            let policies = joined(entry.policies().map(|parts| parts.join(" ")));
            escape::text(out, cut(policies.as_bytes(), bytes_max), quoted);
            return;
        }
    };
    written.expect("writing to memory does not fail");
    let kept = out.get(start..).map_or(0, |written| cut(written, bytes_max).len());
    out.truncate(start + kept);
}

fn joined<T: std::fmt::Display>(parts: impl Iterator<Item = T>) -> String {
    let mut text = String::new();
    for part in parts {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{part}").expect("writing to memory does not fail");
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

/// At most so many bytes, and no half of a character that was whole.
pub(super) fn cut(bytes: &[u8], max: usize) -> &[u8] {
    let Some(head) = bytes.get(..max) else { return bytes };
    let continues = |byte: u8| byte & 0xc0 == 0x80;
    if !bytes.get(max).is_some_and(|byte| continues(*byte)) {
        return head;
    }
    // A character has at most three bytes behind its first.
    let back = head.iter().rev().take(3).position(|byte| !continues(*byte));
    back.map_or(head, |back| &head[..max - back - 1])
}
