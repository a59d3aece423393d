//! The request target in its four forms (RFC 9112 3.2).
//!
//! Everything behind this module sees one shape: an authority, a canonical path and a query. Which form the client used matters only
//! to the authority: absolute-form overrules Host.

use std::borrow::Cow;

use crate::fields::Span;
use crate::host::check_authority;
use crate::limits::Limits;
use crate::path::{canonical_path, is_path_byte, is_query_byte};
use crate::refusal::Refusal;

const BAD_TARGET: Refusal = Refusal::bad("invalid request target", "RFC 9112 3.2");
const NOT_VISIBLE_ASCII: Refusal = Refusal::bad("byte outside visible ASCII in the request target", "RFC 9112 3.2");
const FRAGMENT: Refusal = Refusal::bad("fragment in the request target", "RFC 9112 3.2");
const ASTERISK: Refusal = Refusal::bad("asterisk-form is for OPTIONS alone", "RFC 9112 3.2.4");
const CONNECT_FORM: Refusal = Refusal::bad("CONNECT needs host and port as its target", "RFC 9112 3.2.3");
const BAD_QUERY: Refusal = Refusal::bad("byte not allowed in a query", "RFC 3986 3.4");
const SCHEME: Refusal = Refusal::bad("scheme is neither http nor https", "RFC 9110 4.2");

/// How the client named its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

pub(crate) struct Target<'a> {
    pub(crate) form: TargetForm,
    pub(crate) scheme: Option<&'static str>,
    /// Present in absolute-form and authority-form; positions in the buffer.
    pub(crate) authority: Option<Span>,
    /// Canonical; empty in authority-form. Borrowed only when it is the received text.
    pub(crate) path: Cow<'a, str>,
    /// Where the received path and query are; `query` is with its question mark, or empty.
    pub(crate) path_start: usize,
    pub(crate) query: &'a str,
}

/// What a byte of a target in origin-form calls for.
const SLOW: u8 = 0;
/// Nothing, in the path and in the query.
const PLAIN: u8 = 1;
/// Nothing, in the query.
const PLAIN_IN_QUERY: u8 = 2;
/// A look at the byte before it.
const AFTER_SLASH: u8 = 3;
const QUESTION: u8 = 4;

const fn class_table() -> [u8; 256] {
    let mut table = [SLOW; 256];
    let mut byte = 0x21;
    while byte <= 0x7e {
        table[byte] = match byte as u8 {
            b'/' | b'.' => AFTER_SLASH,
            b'?' => QUESTION,
            b'%' | b'\\' | b'`' => PLAIN_IN_QUERY,
            b'#' | b'<' | b'>' | b'"' => SLOW,
            _ => PLAIN,
        };
        byte += 1;
    }
    table
}

static CLASSES: [u8; 256] = class_table();

/// The length of the path of a target in origin-form that is canonical at first sight and has a well-formed query: nearly every
/// one. None says nothing: [`parse_target`] decides.
pub(crate) fn plain_path_len(raw: &[u8]) -> Option<usize> {
    let (b'/', rest) = raw.split_first()? else { return None };
    let mut previous = b'/';
    for (index, &byte) in rest.iter().enumerate() {
        match CLASSES[usize::from(byte)] {
            PLAIN => {}
            AFTER_SLASH if previous != b'/' => {}
            QUESTION => {
                let is_sound = rest.get(index..)?.iter().all(|&byte| CLASSES[usize::from(byte)] != SLOW);
                return is_sound.then_some(index + 1);
            }
            _ => return None,
        }
        previous = byte;
    }
    Some(raw.len())
}

/// Parses `raw`, which stands at `at` in the buffer.
pub(crate) fn parse_target<'a>(
    method: &[u8],
    raw: &'a [u8],
    at: usize,
    limits: &Limits,
) -> Result<Target<'a>, Refusal> {
    if let Some(&byte) = raw.iter().find(|b| !matches!(b, 0x21..=0x7e) || **b == b'#') {
        return Err(if byte == b'#' { FRAGMENT } else { NOT_VISIBLE_ASCII });
    }
    let text = std::str::from_utf8(raw).map_err(|_| NOT_VISIBLE_ASCII)?;
    if method == b"CONNECT" {
        return authority_form(text, at);
    }
    match raw.first() {
        Some(b'/') => {
            let (path, query) = checked_query(text)?;
            let path = canonical_path(path, limits.escaped_slashes)?;
            Ok(Target { form: TargetForm::Origin, scheme: None, authority: None, path, path_start: at, query })
        }
        Some(b'*') if raw.len() == 1 => {
            if method != b"OPTIONS" {
                return Err(ASTERISK);
            }
            let path = Cow::Borrowed(text);
            Ok(Target { form: TargetForm::Asterisk, scheme: None, authority: None, path, path_start: at, query: "" })
        }
        _ => absolute_form(method, text, at, limits),
    }
}

fn authority_form(text: &str, at: usize) -> Result<Target<'_>, Refusal> {
    let len = check_authority(text.as_bytes())?;
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    if len != text.len() || !has_port {
        return Err(CONNECT_FORM);
    }
    Ok(Target {
        form: TargetForm::Authority,
        scheme: None,
        authority: Some(Span::new(at, at + len)),
        path: Cow::Borrowed(""),
        path_start: at,
        query: "",
    })
}

fn absolute_form<'a>(method: &[u8], text: &'a str, at: usize, limits: &Limits) -> Result<Target<'a>, Refusal> {
    let (scheme, rest) = text.split_once("://").ok_or(BAD_TARGET)?;
    let scheme = known_scheme(scheme).ok_or(SCHEME)?;
    let authority_at = at + text.len() - rest.len();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    let authority_len = check_authority(authority.as_bytes())?;
    let (path, query) = checked_query(path_and_query)?;
    let mut form = TargetForm::Absolute;
    let path = if !path.is_empty() {
        canonical_path(path, limits.escaped_slashes)?
    } else if method == b"OPTIONS" && query.is_empty() {
        // 3.2.4: the last proxy turns an OPTIONS with nothing after the authority into asterisk-form.
        form = TargetForm::Asterisk;
        Cow::Borrowed("*")
    } else {
        Cow::Borrowed("/")
    };
    Ok(Target {
        form,
        scheme: Some(scheme),
        authority: Some(Span::new(authority_at, authority_at + authority_len)),
        path,
        path_start: authority_at + authority.len(),
        query,
    })
}

pub(crate) fn known_scheme(scheme: &str) -> Option<&'static str> {
    if scheme.eq_ignore_ascii_case("http") {
        Some("http")
    } else if scheme.eq_ignore_ascii_case("https") {
        Some("https")
    } else {
        None
    }
}

/// Path, and query with its question mark.
fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

fn checked_query(text: &str) -> Result<(&str, &str), Refusal> {
    let (path, query) = split_query(text);
    if query.bytes().all(is_query_byte) { Ok((path, query)) } else { Err(BAD_QUERY) }
}

/// Whether a rewritten path and query can be written.
pub(crate) fn is_path_and_query(text: &str) -> bool {
    let (path, query) = split_query(text);
    path.starts_with('/') && path.bytes().all(is_path_byte) && query.bytes().all(is_query_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_at_first_sight_is_what_the_slow_way_leaves_as_it_is() {
        let limits = Limits::default();
        let mut plain = 0;
        for first in 0..=255_u8 {
            for second in (0..=255_u8).chain([b'/'; 1]) {
                for raw in [[b'/', first, second, b'a'], [b'/', b'?', first, second], [b'/', b'a', first, second]] {
                    let slow = parse_target(b"GET", &raw, 0, &limits);
                    let kept = slow.ok().filter(|target| matches!(target.path, Cow::Borrowed(_)));
                    if let Some(len) = plain_path_len(&raw) {
                        plain += 1;
                        let target = kept.expect("accepted and canonical");
                        assert_eq!((target.path.len(), target.path_start), (len, 0), "{raw:?}");
                        assert_eq!(target.query.as_bytes(), &raw[len..], "{raw:?}");
                    }
                }
            }
        }
        assert!(plain > 10_000, "{plain}");
    }
}
