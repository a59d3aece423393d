//! The one canonical form of a path.
//!
//! # Why
//! A rule on `/admin` is worth nothing if `//admin`, `/x/../admin` or `/%61dmin` reach the same handler. So the path is brought to
//! one form before anything looks at it, and that form is what is matched, authorised, logged **and forwarded**: what was authorised
//! is what the upstream sees. A form on which servers are known to disagree is refused.
//!
//! # The form
//! Runs of slashes are one slash; dot segments are resolved (RFC 3986 5.2.4), escaped dots included; escapes of unreserved characters
//! are decoded and all others in upper case (RFC 3986 6.2.2). `;parameters` are kept; [`without_parameters`] gives what
//! rules are matched against. A path that is canonical already, nearly every one, costs one pass and no allocation.

use std::borrow::Cow;

use crate::limits::EscapedSlashes;
use crate::refusal::Refusal;

const NO_SLASH: Refusal = Refusal::bad("path does not begin with a slash", "RFC 9112 3.2.1");
const BAD_BYTE: Refusal = Refusal::bad("byte not allowed in a path", "RFC 3986 3.3");
const BACKSLASH: Refusal = Refusal::bad("backslash in the path", "RFC 3986 3.3");
const BAD_ESCAPE: Refusal = Refusal::bad("invalid percent-encoding in the path", "RFC 3986 2.1");
const ESCAPED_SLASH: Refusal = Refusal::bad("escaped slash or backslash in the path", "RFC 3986 2.2");
const ESCAPED_NUL: Refusal = Refusal::bad("escaped NUL in the path", "RFC 3986 7.3");
const DOT_PARAMETER: Refusal = Refusal::bad("dot segment with parameters in the path", "RFC 3986 3.3");

/// The canonical form of an absolute path (without its query). Borrowed when the path is canonical already.
pub fn canonical_path(path: &str, escaped_slashes: EscapedSlashes) -> Result<Cow<'_, str>, Refusal> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(NO_SLASH);
    }
    let mut canonical = true;
    let mut previous = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' if previous == b'/' => canonical = false,
            // May be a dot segment; that is decided on the slow way.
            b'.' if previous == b'/' => canonical = false,
            b'%' => canonical &= check_escape(bytes.get(at + 1..at + 3), escaped_slashes)?,
            b'\\' => return Err(BACKSLASH),
            _ if !is_path_byte(byte) => return Err(BAD_BYTE),
            _ => {}
        }
        previous = byte;
    }
    if canonical {
        return Ok(Cow::Borrowed(path));
    }
    let resolved = resolve(path)?;
    Ok(if resolved == path { Cow::Borrowed(path) } else { Cow::Owned(resolved) })
}

/// What a path may hold: RFC 3986 3.3, and of the rest those bytes that every URI type in use takes, because clients do send them.
/// A path the HTTP/2 side could not hold would be the client's fault and our 5xx.
pub(crate) fn is_path_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'?' | b'<' | b'>' | b'`' | b'\\')
}

/// The same for a query (RFC 3986 3.4), with its question mark.
pub(crate) fn is_query_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>' | b'"')
}

/// Whether an escape may stay as it is written.
fn check_escape(digits: Option<&[u8]>, escaped_slashes: EscapedSlashes) -> Result<bool, Refusal> {
    let Some(&[high, low]) = digits else { return Err(BAD_ESCAPE) };
    let byte = decoded(high, low).ok_or(BAD_ESCAPE)?;
    match byte {
        0 => Err(ESCAPED_NUL),
        b'/' | b'\\' if escaped_slashes == EscapedSlashes::Refuse => Err(ESCAPED_SLASH),
        _ => Ok(!is_unreserved(byte) && !high.is_ascii_lowercase() && !low.is_ascii_lowercase()),
    }
}

fn decoded(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The slow way: rebuilds the path segment by segment. Its escapes are known to be well-formed.
fn resolve(path: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(path.len());
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        let segment = normal_escapes(segment);
        ends_in_directory = false;
        match segment.as_ref() {
            "" | "." => ends_in_directory = true,
            ".." => {
                out.truncate(out.rfind('/').unwrap_or(0));
                ends_in_directory = true;
            }
            // Some servers strip the parameters and then resolve, others never do: `/a/..;/b` is /b to one and /a/..;/b to another.
            // So it is with an escaped semicolon, which is in upper case by now.
            s if is_dot_with_parameter(s) => return Err(DOT_PARAMETER),
            s => {
                out.push('/');
                out.push_str(s);
            }
        }
    }
    if ends_in_directory || out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

fn is_dot_with_parameter(segment: &str) -> bool {
    let behind = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    behind.is_some_and(|rest| rest.starts_with(';') || rest.starts_with("%3B"))
}

fn normal_escapes(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (digits, after) = match (escape.get(1..3), escape.get(3..)) {
            (Some(digits), Some(after)) => (digits, after),
            _ => ("", ""),
        };
        match digits.as_bytes() {
            &[high, low] if decoded(high, low).is_some_and(is_unreserved) => {
                out.extend(decoded(high, low).map(char::from));
            }
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|c| c.to_ascii_uppercase()));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What rules are matched against: the path without `;parameters`, and with the slashes merged that removing them may leave.
pub fn without_parameters(path: &str) -> Cow<'_, str> {
    if !path.contains(';') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 && !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(segment.split(';').next().unwrap_or_default());
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
