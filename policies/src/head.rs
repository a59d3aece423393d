//! What a document is: `apiVersion`, `kind` and `metadata`, read before anything else.
//!
//! The kind decides which fields exist, so it has to be known first; and an object with a bad field should still be counted
//! under its name.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::ObjectName;
use crate::ir::world::Labels;
use crate::schema::{Fields, labels, list, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

mod kind;

pub(crate) use kind::{Kind, Standing};

/// The namespace of objects that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// The head of an object.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) name: ObjectName,
    /// Where the name stands: what points at the object as a whole.
    pub(crate) span: Span,
    pub(crate) labels: Labels,
    /// RFC 3339; sorts as text.
    pub(crate) created: Option<Arc<str>>,
}

impl Head {
    /// For ordering: objects with a time come first, the oldest first; then by name.
    pub(crate) fn age(&self) -> (bool, Option<&str>, &ObjectName) {
        (self.created.is_none(), self.created.as_deref(), &self.name)
    }
}

/// What to do with a document.
pub(crate) enum Reading<'n> {
    Object(Head, &'n Node),
    /// `kind: List`: its items are documents themselves.
    Items(Vec<&'n Node>),
    /// Nothing more: it has been reported, or has no bearing.
    Done,
}

/// Reads the head of a document.
pub(crate) fn read<'n>(document: &'n Node, report: &mut Report) -> Reading<'n> {
    let Some(mut fields) = Fields::open(document, "an object", report) else { return Reading::Done };
    let api_version = fields.require("apiVersion", report, word);
    let kind = fields.require("kind", report, word);
    let (Some(api_version), Some(kind)) = (api_version, kind) else { return Reading::Done };
    if &*api_version.value == "v1" && &*kind.value == "List" {
        return Reading::Items(
            fields.take("items").map_or_else(Vec::new, |items| list(items, "items", report, |item, _| Some(item))),
        );
    }
    let Some(standing) = kind::find(&api_version, &kind, report) else { return Reading::Done };
    match standing {
        Standing::Read(kind) => match metadata(kind, &mut fields, report) {
            Some(head) => Reading::Object(head, document),
            None => Reading::Done,
        },
        Standing::Refused(cure) => {
            report
                .add(Code::KindNotSupported, kind.span, format!("kind `{}` is not yet supported", kind.value))
                .help(cure);
            Reading::Done
        }
        Standing::NoBearing => {
            report.add(Code::NoEffect, kind.span, format!("kind `{}` has no effect in a directory", kind.value));
            Reading::Done
        }
    }
}

fn metadata(kind: Kind, fields: &mut Fields<'_>, report: &mut Report) -> Option<Head> {
    let node = fields.require("metadata", report, |node, _| Some(node))?;
    let mut fields = Fields::open(node, "metadata", report)?;
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word);
    let labels = fields.read("labels", report, labels).unwrap_or_default();
    let created = fields.read("creationTimestamp", report, text);
    fields.ignore(&[
        "annotations",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]);
    fields.finish(report);
    let name = checked(name?, "name", 253, report)?;
    let namespace = match namespace {
        Some(namespace) => checked(namespace, "namespace", 63, report)?.value,
        None if kind.is_cluster_wide() => Arc::from(""),
        None => Arc::from(DEFAULT_NAMESPACE),
    };
    let namespace = if kind.is_cluster_wide() { Arc::from("") } else { namespace };
    Some(Head {
        kind,
        name: ObjectName { namespace, name: name.value },
        span: name.span,
        labels,
        created: created.map(|created| created.value),
    })
}

/// A name as Kubernetes takes it.
fn checked(name: Spanned<Arc<str>>, what: &str, bytes_max: usize, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let text = &*name.value;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = text.len() <= bytes_max
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
    if good {
        return Some(name);
    }
    report.add(Code::BadName, name.span, format!("\"{}\" cannot be a {what}", shortened(text))).help(format!(
        "use lower-case letters, digits, `-` and `.`, a letter or digit at both ends, at most {bytes_max} characters"
    ));
    None
}
