//! Taking typed fields from a tree, each with its own finding.
//!
//! # How a struct is read
//! [`Fields`] hands out the fields of a map by name. Whatever nobody asked for when it is finished is unknown and reported
//! with its nearest neighbour, so a field that is read is a field that is known, and the two lists cannot drift apart.
//! `null` counts as absent, as in Kubernetes.

mod leaf;
mod number;
pub(crate) mod quantity;

use std::sync::Arc;

pub(crate) use leaf::*;
pub(crate) use number::*;
pub(crate) use quantity::*;

use crate::diagnostic::{Code, Report};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node, shortened};

/// The fields of a map that is being read.
pub(crate) struct Fields<'n> {
    entries: Vec<(&'n Entry, bool)>,
    known: Vec<&'static str>,
    span: Span,
    /// What the map is, for messages: `the destination`.
    what: &'static str,
}

impl<'n> Fields<'n> {
    /// `None` when the node is not a map, which is reported.
    pub(crate) fn open(node: &'n Node, what: &'static str, report: &mut Report) -> Option<Self> {
        match &node.content {
            Content::Map(entries) => Some(Self {
                entries: entries.iter().map(|entry| (entry, false)).collect(),
                known: Vec::new(),
                span: node.span,
                what,
            }),
            Content::Null | Content::Scalar(_) | Content::List(_) => {
                report
                    .add(
                        Code::WrongType,
                        node.span,
                        format!("{what} must be a map of fields, found {}", node.describe()),
                    )
                    .help("write its fields below, one `name: value` a line, indented further than the line above");
                None
            }
        }
    }

    /// Where the map is.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The field, with the place of its name.
    pub(crate) fn entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.known.push(name);
        let (entry, used) = self.entries.iter_mut().find(|(entry, _)| &*entry.key == name)?;
        *used = true;
        (!entry.value.is_null()).then_some(*entry)
    }

    /// The field.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The field, read.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        report: &mut Report,
        read: impl FnOnce(&'n Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        read(self.take(name)?, report)
    }

    /// The field, read, or a finding when it is missing.
    pub(crate) fn require<T>(
        &mut self,
        name: &'static str,
        report: &mut Report,
        read: impl FnOnce(&'n Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.take(name) {
            Some(node) => read(node, report),
            None => {
                self.missing(name, report);
                None
            }
        }
    }

    pub(crate) fn missing(&self, name: &'static str, report: &mut Report) {
        // An empty `name:` is pointed at itself.
        let span =
            self.entries.iter().find(|(entry, _)| &*entry.key == name).map_or(self.span, |(entry, _)| entry.key_span);
        report
            .add(Code::MissingField, span, format!("{} needs `{name}`", self.what))
            .help(format!("add `{name}: ...`"));
    }

    /// A list, each item read; absent is empty.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        report: &mut Report,
        read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
    ) -> Vec<T> {
        self.take(name).map_or_else(Vec::new, |node| list(node, name, report, read))
    }

    /// As [`Fields::list`], with the number of items that the API server would accept.
    pub(crate) fn list_up_to<T>(
        &mut self,
        max: usize,
        name: &'static str,
        report: &mut Report,
        read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
    ) -> Vec<T> {
        self.take(name).map_or_else(Vec::new, |node| list_up_to(max, node, name, report, read))
    }

    /// Fields that are known and accepted, and that do not matter here.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        for name in names {
            self.entry(name);
        }
    }

    /// Fields that are known and not implemented: an error each.
    pub(crate) fn unsupported(&mut self, names: &[&'static str], cure: &str, report: &mut Report) {
        for name in names {
            if let Some(entry) = self.entry(name) {
                not_supported(entry.key_span, &format!("`{name}` of {}", self.what), cure, report);
            }
        }
    }

    /// How many fields were written.
    pub(crate) fn written(&self) -> usize {
        self.entries.len()
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(self, report: &mut Report) {
        // More are not shown for a file, and looking for neighbours takes time.
        const SHOWN_MAX: usize = 200;
        for (entry, _) in self.entries.iter().filter(|(_, used)| !used).take(SHOWN_MAX) {
            let known = self.known.iter().copied();
            let finding = report.add(
                Code::UnknownField,
                entry.key_span,
                format!("{} has no field `{}`", self.what, shortened(&entry.key)),
            );
            match crate::spelling::nearest(&entry.key, known) {
                Some(near) => finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
                None => finding.help(format!("it has {}", enumerate(&self.known))),
            };
        }
    }
}

/// Reports something that is known and not implemented.
pub(crate) fn not_supported(span: Span, what: &str, cure: &str, report: &mut Report) {
    report.add(Code::FieldNotSupported, span, format!("{what} is not yet supported")).help(if cure.is_empty() {
        "remove it; it would not be enforced"
    } else {
        cure
    });
}

/// `a, b and c`, the first dozen.
pub(crate) fn enumerate(words: &[&str]) -> String {
    const SHOWN_MAX: usize = 24;
    let mut text = String::new();
    for (index, word) in words.iter().take(SHOWN_MAX).enumerate() {
        if index > 0 {
            text.push_str(if index + 1 == words.len() { " and " } else { ", " });
        }
        text.push('`');
        text.push_str(word);
        text.push('`');
    }
    if words.len() > SHOWN_MAX {
        text.push_str(" and others");
    }
    text
}

/// The items of a list; those that cannot be read are reported and left out.
pub(crate) fn list<'n, T>(
    node: &'n Node,
    name: &str,
    report: &mut Report,
    mut read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
) -> Vec<T> {
    match &node.content {
        Content::List(items) => items.iter().filter_map(|item| read(item, report)).collect(),
        Content::Null => Vec::new(),
        Content::Scalar(_) | Content::Map(_) => {
            report
                .add(Code::WrongType, node.span, format!("`{name}` must be a list, found {}", node.describe()))
                .help("begin each item with `- `");
            Vec::new()
        }
    }
}

/// As [`list`]; a list that is too long is reported and not read.
pub(crate) fn list_up_to<'n, T>(
    max: usize,
    node: &'n Node,
    name: &str,
    report: &mut Report,
    read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
) -> Vec<T> {
    match &node.content {
        Content::List(items) if items.len() > max => {
            report
                .add(
                    Code::BadValue,
                    node.span,
                    format!("{name}: Too many: {}: must have at most {max} items", items.len()),
                )
                .help("write a second object for the rest");
            Vec::new()
        }
        Content::Null | Content::Scalar(_) | Content::List(_) | Content::Map(_) => list(node, name, report, read),
    }
}

/// A map from names to something.
pub(crate) fn map<'n, T>(
    node: &'n Node,
    name: &str,
    report: &mut Report,
    mut read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
) -> Vec<(Spanned<Arc<str>>, T)> {
    match &node.content {
        Content::Map(entries) => entries
            .iter()
            .filter_map(|entry| {
                let value = read(&entry.value, report)?;
                Some((Spanned { value: Arc::clone(&entry.key), span: entry.key_span }, value))
            })
            .collect(),
        Content::Null => Vec::new(),
        Content::Scalar(_) | Content::List(_) => {
            report
                .add(Code::WrongType, node.span, format!("`{name}` must be a map, found {}", node.describe()))
                .help("write `name: value` lines below it");
            Vec::new()
        }
    }
}
