//! Changes to a head, collected by policy and applied once, while the head is written.
//!
//! # Why not edit the head
//! The head lies in one buffer as it was received. Rules look at it, log it and may send it twice (retry, mirror); changing it in place
//! would make each of them ask which version it sees. Collected edits cost nothing when there are none.
//!
//! Fields the codec writes itself (framing, Connection and its kin) cannot be edited: that is decided by the framing the writer is
//! given. Setting `host` sets the authority.

use crate::fields::{Field, Fields, Known, Span};
use crate::octets::is_token;
use crate::request::RequestHead;

/// What a proxy adds to most heads (an id, where the request came from) fits without growing.
const ADDED_USUALLY: usize = 4;
const TEXT_BYTES_USUALLY: usize = 160;

#[derive(Debug, Clone, Default)]
pub struct HeadEdits {
    text: Vec<u8>,
    removed: Vec<Span>,
    added: Vec<(Span, Span)>,
    pub(crate) method: Option<String>,
    pub(crate) path_and_query: Option<String>,
    pub(crate) authority: Option<Vec<u8>>,
}

impl HeadEdits {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.changes_no_field() && self.method.is_none() && self.path_and_query.is_none() && self.authority.is_none()
    }

    pub(crate) fn changes_no_field(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Whether the codec writes this field itself, so that edits of it have no effect. Configuration that asks for one can be refused
    /// early with this.
    pub fn is_out_of_reach(name: &str) -> bool {
        let known = Known::of(name.as_bytes());
        known.is_written_by_codec() && known != Known::Host
    }

    /// Takes a field away, received or added, with all its values.
    pub fn remove(&mut self, lower_name: &str) {
        let name = lower_name.as_bytes();
        let text = &self.text;
        self.added.retain(|(added, _)| !added.of(text).eq_ignore_ascii_case(name));
        if !self.removed.iter().any(|r| r.of(text).eq_ignore_ascii_case(name)) {
            let name = self.keep(name);
            self.removed.push(name);
        }
    }

    /// Replaces all values of a field by one, which goes to the end of the head.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        if Known::of(name.as_bytes()) == Known::Host {
            self.authority = Some(value.to_vec());
            return;
        }
        self.remove(name);
        self.append(name, value);
    }

    /// Adds a field line to the end of the head.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        if self.added.capacity() == 0 {
            self.added.reserve(ADDED_USUALLY);
        }
        let name = self.keep(name.as_bytes());
        let value = self.keep(value);
        self.added.push((name, value));
    }

    fn keep(&mut self, text: &[u8]) -> Span {
        if self.text.capacity() == 0 {
            self.text.reserve(TEXT_BYTES_USUALLY.max(text.len()));
        }
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span::new(start, self.text.len())
    }

    pub fn path_and_query(&mut self, path_and_query: impl Into<String>) {
        self.path_and_query = Some(path_and_query.into());
    }

    pub fn authority(&mut self, authority: impl Into<String>) {
        self.authority = Some(authority.into().into_bytes());
    }

    pub fn method(&mut self, method: impl Into<String>) {
        self.method = Some(method.into());
    }

    /// The method that will be written.
    pub fn method_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        self.method.as_deref().unwrap_or_else(|| head.method())
    }

    /// The path and query that will be written.
    pub fn path_and_query_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        self.path_and_query.as_deref().unwrap_or_else(|| head.path_and_query())
    }

    /// The authority that will be written.
    pub fn authority_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        match &self.authority {
            Some(edited) => std::str::from_utf8(edited).unwrap_or_default(),
            None => head.authority(),
        }
    }

    pub(crate) fn removes(&self, fields: &Fields, field: &Field) -> bool {
        !self.removed.is_empty() && {
            let name = field.name_span().of(&fields.buf);
            self.removed.iter().any(|removed| removed.of(&self.text).eq_ignore_ascii_case(name))
        }
    }

    /// Added lines that are ours to write.
    pub(crate) fn additions(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.added
            .iter()
            .map(|(name, value)| (name.of(&self.text), value.of(&self.text)))
            .filter(|(name, _)| !Known::of(name).is_written_by_codec())
    }
}

/// What is forwarded of a head: end-to-end fields after edits, in order. Without the authority (Host) and all that concerns one
/// connection; with `te: trailers` where the client sent it, and Content-Length without leading zeros. This is the view for HTTP/2 and for
/// rules that match after edits.
#[derive(Debug, Clone, Copy)]
pub struct EditedFields<'a> {
    fields: &'a Fields,
    edits: &'a HeadEdits,
    accepts_trailers: bool,
}

impl<'a> EditedFields<'a> {
    pub(crate) fn new(fields: &'a Fields, edits: &'a HeadEdits, accepts_trailers: bool) -> Self {
        Self { fields, edits, accepts_trailers }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let Self { fields, edits, accepts_trailers } = *self;
        let received = fields
            .list
            .as_slice()
            .iter()
            .filter(move |f| !f.stripped && f.known != Known::Host && !edits.removes(fields, f))
            .map(move |f| (f.name_span().of(&fields.buf), value(f, &fields.buf)));
        let te: Option<(&[u8], &[u8])> = accepts_trailers.then_some((b"te", b"trailers"));
        received.chain(te).chain(edits.additions())
    }

    pub fn get(&self, lower_name: &str) -> Option<&'a [u8]> {
        self.get_all(lower_name).next()
    }

    pub fn get_all<'n>(&self, lower_name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = lower_name.as_bytes();
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The value of a field; a length without its leading zeros, as the writer of HTTP/1 has it (RFC 9110 8.6: some readers take them
/// for an octal number).
fn value<'b>(field: &Field, buf: &'b [u8]) -> &'b [u8] {
    let value = field.value_span().of(buf);
    match (field.known, value.iter().position(|digit| *digit != b'0')) {
        (Known::ContentLength, Some(first)) => value.get(first..).unwrap_or(value),
        (Known::ContentLength, None) => value.get(..1).unwrap_or(value),
        _ => value,
    }
}

/// Whether a method can be written.
pub(crate) fn is_method(method: &str) -> bool {
    is_token(method.as_bytes())
}

#[cfg(test)]
mod tests;
