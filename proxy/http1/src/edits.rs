//! Changes to a head, collected by policy and applied once, while the head is written.
//!
//! # Why not edit the head
//! The head lies in one buffer as it was received. Rules look at it, log it and may send it twice (retry, mirror); changing it in place
//! would make each of them ask which version it sees. Collected edits cost nothing when there are none.
//!
//! Fields the codec writes itself (framing, Connection and its kin) cannot be edited: that is decided by the framing the writer is
//! given. Setting `host` sets the authority.

use crate::fields::{Field, Fields, Known, Span, position};
use crate::octets::{is_token, is_value, trim_ows};
use crate::overwrite::Overwrite;
use crate::request::RequestHead;

/// What a proxy adds to most heads (an id, where the request came from) fits without growing.
const ADDED_USUALLY: usize = 4;
const TEXT_BYTES_USUALLY: usize = 160;

#[derive(Debug, Clone, Default)]
pub struct HeadEdits {
    /// Added lines as they are written, and names of removed fields.
    text: Vec<u8>,
    removed: Vec<Span>,
    added: Vec<Added>,
    /// The text is more than the added lines in their order, or one of these may not be written as it stands.
    scattered: bool,
    overwrite: Option<Overwrite>,
    rewrites: Option<Box<Rewrites>>,
}

/// An added line.
#[derive(Debug, Clone, Copy)]
struct Added {
    line: Span,
    name_len: u32,
}

impl Added {
    fn name(self, text: &[u8]) -> &[u8] {
        Span { start: self.line.start, end: self.line.start + self.name_len }.of(text)
    }

    fn value(self, text: &[u8]) -> &[u8] {
        Span { start: self.line.start + self.name_len + 2, end: self.line.end - 2 }.of(text)
    }
}

/// What is rare.
#[derive(Debug, Clone, Default)]
struct Rewrites {
    method: Option<String>,
    path_and_query: Option<String>,
    authority: Option<Vec<u8>>,
}

impl HeadEdits {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.overwrite.is_none() && self.rewrites.is_none()
    }

    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.removed.clear();
        self.added.clear();
        self.scattered = false;
        self.overwrite = None;
        self.rewrites = None;
    }

    /// How much memory is held.
    pub fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.removed.capacity() * size_of::<Span>() + self.added.capacity() * size_of::<Added>()
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
        self.scattered = true;
        self.added.retain(|added| !added.name(text).eq_ignore_ascii_case(name));
        if !self.removed.iter().any(|r| r.of(text).eq_ignore_ascii_case(name)) {
            let start = self.text.len();
            self.text.extend_from_slice(name);
            self.removed.push(Span::new(start, self.text.len()));
        }
    }

    /// Replaces all values of a field by one, which goes to the end of the head.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        if Known::of(name.as_bytes()) == Known::Host {
            self.rewrites().authority = Some(value.to_vec());
            return;
        }
        self.remove(name);
        self.append(name, value);
    }

    /// Replaces the one value of a field of this head where it stands, by another one of the same length, which costs less than
    /// [`Self::set`]. `false`: nothing is done, as the field is not there just once, is changed already, has another length, or is
    /// the codec's; or as another value is replaced in this way.
    #[inline]
    pub fn overwrite(&mut self, head: &RequestHead, lower_name: &str, value: &[u8]) -> bool {
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(lower_name.as_bytes());
        let is_free = self.overwrite.is_none()
            && !self.removed.iter().any(|removed| is_it(removed.of(&self.text)))
            && !self.added.iter().any(|added| is_it(added.name(&self.text)));
        if is_free {
            self.overwrite = Overwrite::of(&head.0.fields, lower_name, value);
        }
        is_free && self.overwrite.is_some()
    }

    /// Adds a field line to the end of the head.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        self.scattered |= !is_writable(name.as_bytes(), value);
        self.add(name.as_bytes(), value);
    }

    /// The same for a line that is well-formed whatever is configured: a name of the program's own and a value that it wrote
    /// itself.
    #[inline]
    pub fn append_own(&mut self, name: &'static str, value: &[u8]) {
        debug_assert!(is_writable(name.as_bytes(), value), "{name} is not written as it stands");
        self.add(name.as_bytes(), value);
    }

    /// The same for a line that lies there as it is written, `name: value CRLF`.
    #[inline]
    pub fn append_own_line(&mut self, name: &'static str, line: &[u8]) {
        debug_assert!(is_line_of(name, line), "{name} is not written as it stands");
        let start = self.text.len();
        if self.text.capacity() - start < line.len() {
            self.grow(line.len());
        }
        self.text.extend_from_slice(line);
        self.added.push(Added { line: Span::new(start, start + line.len()), name_len: position(name.len()) });
    }

    #[inline]
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let (start, len) = (self.text.len(), name.len() + value.len() + 4);
        if self.text.capacity() - start < len {
            self.grow(len);
        }
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        self.text.extend_from_slice(b"\r\n");
        self.added.push(Added { line: Span::new(start, start + len), name_len: position(name.len()) });
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        if self.added.capacity() == 0 {
            self.added.reserve_exact(ADDED_USUALLY);
        }
        self.text.reserve(if self.text.capacity() == 0 { TEXT_BYTES_USUALLY.max(len) } else { len });
    }

    fn rewrites(&mut self) -> &mut Rewrites {
        self.rewrites.get_or_insert_default()
    }

    pub fn path_and_query(&mut self, path_and_query: impl Into<String>) {
        self.rewrites().path_and_query = Some(path_and_query.into());
    }

    pub fn authority(&mut self, authority: impl Into<String>) {
        self.rewrites().authority = Some(authority.into().into_bytes());
    }

    pub fn method(&mut self, method: impl Into<String>) {
        self.rewrites().method = Some(method.into());
    }

    pub(crate) fn new_method(&self) -> Option<&str> {
        self.rewrites.as_ref()?.method.as_deref()
    }

    pub(crate) fn new_path_and_query(&self) -> Option<&str> {
        self.rewrites.as_ref()?.path_and_query.as_deref()
    }

    pub(crate) fn new_authority(&self) -> Option<&[u8]> {
        self.rewrites.as_ref()?.authority.as_deref()
    }

    /// The method that will be written.
    pub fn method_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        self.new_method().unwrap_or_else(|| head.method())
    }

    /// The path and query that will be written.
    pub fn path_and_query_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        self.new_path_and_query().unwrap_or_else(|| head.path_and_query())
    }

    /// The authority that will be written.
    pub fn authority_of<'a>(&'a self, head: &'a RequestHead) -> &'a str {
        match self.new_authority() {
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

    /// Whether no field of a head is taken away.
    pub(crate) fn removes_none_of(&self, fields: &Fields) -> bool {
        !self.removed.iter().any(|removed| fields.list.may_hold(removed.of(&self.text)))
    }

    /// Whether the start line and all fields of a head stay as they were received.
    pub(crate) fn keeps_start(&self, fields: &Fields) -> bool {
        self.rewrites.is_none() && self.removes_none_of(fields)
    }

    pub(crate) fn overwritten(&self) -> Option<&Overwrite> {
        self.overwrite.as_ref()
    }

    /// About how many bytes are added.
    pub(crate) fn added_bytes(&self) -> usize {
        self.text.len()
    }

    /// All added lines in one piece, where they lie so.
    pub(crate) fn added_block(&self) -> Option<&[u8]> {
        (!self.scattered).then_some(&self.text)
    }

    /// Added lines that are ours to write.
    pub(crate) fn additions(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.added
            .iter()
            .map(|added| (added.name(&self.text), added.value(&self.text)))
            .filter(|(name, _)| !Known::of(name).is_written_by_codec())
    }
}

/// Whether a line may be written as it stands.
fn is_writable(name: &[u8], value: &[u8]) -> bool {
    is_token(name) && is_value(value) && trim_ows(value) == (0, value.len()) && !Known::of(name).is_written_by_codec()
}

fn is_line_of(name: &str, line: &[u8]) -> bool {
    let value = line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b": "));
    value.and_then(|value| value.strip_suffix(b"\r\n")).is_some_and(|value| is_writable(name.as_bytes(), value))
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
            .filter(move |f| !f.is_stripped() && f.known != Known::Host && !edits.removes(fields, f))
            .map(move |f| (f.name_span().of(&fields.buf), value(f, &fields.buf, edits)));
        let te: Option<(&[u8], &[u8])> = accepts_trailers.then_some((b"te", b"trailers"));
        received.chain(te).chain(edits.additions())
    }

    /// At most so many lines, with so many bytes in all.
    pub fn bounds(&self) -> (usize, usize) {
        let Self { fields, edits, .. } = self;
        (fields.len() + 1 + edits.added.len(), fields.buf.len() + edits.added_bytes())
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
fn value<'b>(field: &Field, buf: &'b [u8], edits: &'b HeadEdits) -> &'b [u8] {
    let ours = edits.overwritten().and_then(|overwrite| overwrite.value_of(field));
    let value = ours.unwrap_or_else(|| field.value_span().of(buf));
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
