//! A YAML document as a tree in which everything knows where it was written.
//!
//! # Why not straight into structs
//! Deserializing into a struct stops at the first mistake. An operator who repairs one field only to be shown the next one is
//! not served, so a document is read into this tree first and every field is then taken from it with its own finding.

use std::sync::Arc;

use crate::source::Span;

/// A value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// Text. What it means is decided by whoever reads the field.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: Arc<str>,
    /// Without quotes, so that `5` may be a number and `true` a truth value.
    pub(crate) plain: bool,
}

/// A field of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// From its first character to the last of what is in it.
    pub(crate) fn extent(&self) -> Span {
        let mut extent = self.span;
        let mut last = Some(self);
        // Values are written one after the other, so the end is that of the last value in the last value.
        while let Some(node) = last {
            extent.end = extent.end.max(node.span.end);
            last = match &node.content {
                Content::Null | Content::Scalar(_) => None,
                Content::List(items) => items.last(),
                Content::Map(entries) => entries.last().map(|entry| {
                    extent.end = extent.end.max(entry.key_span.end);
                    &entry.value
                }),
            };
        }
        extent
    }

    /// What it is, for "found ...".
    pub(crate) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
            Content::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Number => format!("the number {}", shortened(&scalar.text)),
                ScalarKind::Truth => format!("the truth value {}", scalar.text),
                ScalarKind::Text => format!("the text \"{}\"", shortened(&scalar.text)),
            },
        }
    }
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Number,
    Text,
    Truth,
}

impl Scalar {
    pub(crate) fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        match &*self.text {
            "true" | "false" | "True" | "False" | "TRUE" | "FALSE" => ScalarKind::Truth,
            text if is_number(text) => ScalarKind::Number,
            _ => ScalarKind::Text,
        }
    }
}

/// YAML's core schema: decimal, hexadecimal, octal, floating point.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(rest) = digits.strip_prefix("0x") {
        return !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(rest) = digits.strip_prefix("0o") {
        return !rest.is_empty() && rest.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let starts = digits.strip_prefix('.').unwrap_or(digits).starts_with(|c: char| c.is_ascii_digit());
    starts && digits.parse::<f64>().is_ok()
}

/// At most forty characters, for messages.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 {
        return text.escape_debug().to_string();
    }
    let mut short: String = text.chars().take(37).collect::<String>().escape_debug().to_string();
    short.push_str("...");
    short
}
