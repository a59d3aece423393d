//! JSON by hand: fields in order, into the line that is sent.
//!
//! A value tree would be built only to be thrown away, and `serde` would escape less than a log needs (see [`super::escape`]).

use std::fmt::Display;
use std::io::Write as _;

use super::entry::Entry;
use super::escape;
use super::field::{VALUE_BYTES_MAX, Value};
use super::pattern::cut;
use super::time::iso;

/// An object that is being written.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    nested: bool,
    /// The objects in which the next field would be, outermost first.
    open: Vec<&'static str>,
}

impl<'o> Writer<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>, nested: bool) -> Self {
        out.push(b'{');
        Self { out, nested, open: Vec::new() }
    }

    pub(super) fn put(&mut self, name: &'static str, entry: &Entry<'_>, value: &Value<'_>) {
        self.name(name);
        match value {
            Value::Absent => self.out.extend_from_slice(b"null"),
            Value::Bytes(bytes) => self.text(bytes),
            Value::Number(number) => self.bare(number),
            Value::Ip(ip) => self.display(ip),
            Value::Address(address) => self.display(address),
            Value::Time(at) => {
                self.out.push(b'"');
                iso(self.out, *at);
                self.out.push(b'"');
            }
            Value::TimeAs(at, layout) => {
                let mut text = Vec::new();
                layout.write(&mut text, *at);
                self.text(&text);
            }
            Value::Words(words) => self.list(words.iter().copied()),
            Value::Flags => self.list(entry.outcome.flags()),
            Value::Policies => self.list(entry.policies().map(|[kind, object, place]| match place {
                "" => format!("{kind} {object}"),
                place => format!("{kind} {object} {place}"),
            })),
        }
    }

    pub(super) fn end(self) {
        self.out.extend(std::iter::repeat_n(b'}', self.open.len() + 1));
    }

    /// Closes and opens objects until the field has its place, and writes its name.
    fn name(&mut self, name: &'static str) {
        let (parent, name) = match name.rsplit_once('.') {
            Some((parent, name)) if self.nested => (parent, name),
            Some(_) | None => ("", name),
        };
        let mut path = parent.split('.').filter(|part| !part.is_empty());
        let mut shared = 0;
        let mut next = path.next();
        while next.is_some() && self.open.get(shared).copied() == next {
            shared += 1;
            next = path.next();
        }
        self.out.extend(std::iter::repeat_n(b'}', self.open.len() - shared));
        self.open.truncate(shared);
        self.comma();
        while let Some(object) = next {
            self.key(object);
            self.out.push(b'{');
            self.open.push(object);
            next = path.next();
        }
        self.key(name);
    }

    fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[') | None) {
            self.out.push(b',');
        }
    }

    /// Names are ours and need no escape.
    fn key(&mut self, name: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        escape::json(self.out, cut(bytes, VALUE_BYTES_MAX));
        self.out.push(b'"');
    }

    fn bare(&mut self, value: &impl Display) {
        write!(self.out, "{value}").expect("writing to memory does not fail");
    }

    fn display(&mut self, value: &impl Display) {
        write!(self.out, "\"{value}\"").expect("writing to memory does not fail");
    }

    fn list(&mut self, words: impl Iterator<Item = impl AsRef<str>>) {
        self.out.push(b'[');
        for word in words {
            self.comma();
            self.text(word.as_ref().as_bytes());
        }
        self.out.push(b']');
    }
}
