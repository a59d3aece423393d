//! Istio's networking kinds.
//!
//! # Texts
//! Where Istio refuses an object, the message contains Istio's own words, so that searches and tools that know them work.
//!
//! # What differs from Istio on purpose
//! Several VirtualServices of one host are merged; a subset that does not exist is refused instead of answered with 503; a
//! field that is not implemented is refused instead of ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::route::{HeaderChanges, StringMatch};
use crate::pattern::Patterns;
use crate::schema::{Fields, list, map, not_supported, text, word};
use crate::source::{Span, Spanned};
use crate::tree::Node;

pub(crate) mod destination_rule;
pub(crate) mod gateway;
pub(crate) mod service_entry;
pub(crate) mod virtual_service;
pub(crate) mod workload_entry;

/// A host as written: a short name, a qualified one, or a wildcard.
pub(crate) type Host = Spanned<Arc<str>>;

/// `exportTo` other than everyone is not implemented.
fn export_to(fields: &mut Fields<'_>, report: &mut Report) {
    for scope in fields.list("exportTo", report, text) {
        if &*scope.value != "*" {
            not_supported(
                scope.span,
                "`exportTo` other than `*`",
                "leave it out: every namespace may use the object",
                report,
            );
        }
    }
}

/// Whose clients an object is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody.
    Public,
    /// Clients of these namespaces.
    Namespaces(BTreeSet<Arc<str>>),
}

impl Audience {
    /// Whether clients of a namespace belong to it; `None`: clients outside every namespace.
    pub(crate) fn admits(&self, namespace: Option<&str>) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(namespaces) => namespace.is_some_and(|namespace| namespaces.contains(namespace)),
        }
    }
}

/// `exportTo` of an object in namespace `own`: `*`, or names of namespaces of which `.` is its own.
fn audience(own: &Arc<str>, fields: &mut Fields<'_>, report: &mut Report) -> Audience {
    let mut kept: BTreeMap<Arc<str>, Span> = BTreeMap::new();
    for scope in fields.list("exportTo", report, text) {
        let name = if &*scope.value == "." { Arc::clone(own) } else { Arc::clone(&scope.value) };
        if let Some(first) = kept.get(&name) {
            report
                .add(Code::InvalidRule, scope.span, format!("duplicate entries in exportTo for entry {name}"))
                .also(*first, "first here")
                .help("keep one; `.` is the object's own namespace");
            continue;
        }
        if &*name != "*" && !is_namespace(&name) {
            report
                .add(
                    Code::BadValue,
                    scope.span,
                    format!("\"{}\" is not a namespace to export to", crate::tree::shortened(&name)),
                )
                .help("write `*` for all, `.` for the object's own namespace, or the names of namespaces");
            continue;
        }
        kept.insert(name, scope.span);
    }
    let Some(public) = kept.get("*") else {
        return if kept.is_empty() { Audience::Public } else { Audience::Namespaces(kept.into_keys().collect()) };
    };
    if kept.len() > 1 {
        let message = "cannot have both public (*) and non-public (i.e. . or specific namespaces) exportTo values";
        report.add(Code::InvalidRule, *public, message).help("`*` is everybody already: leave the others out");
    }
    Audience::Public
}

/// The name of a namespace is a label of a host name (RFC 1123).
fn is_namespace(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= 63 && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// `{exact | prefix | regex: ...}`. `None` within means `{}`: any value.
pub(crate) fn string_match(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Option<StringMatch>> {
    let mut fields = Fields::open(node, "the match", report)?;
    let exact = fields.read("exact", report, text);
    let prefix = fields.read("prefix", report, text);
    let regex = fields.read("regex", report, text);
    let span = fields.span();
    fields.finish(report);
    if [exact.is_some(), prefix.is_some(), regex.is_some()].iter().filter(|given| **given).count() > 1 {
        report
            .add(Code::InvalidRule, span, "only one of exact, prefix and regex can be given")
            .help("write a second match for the second condition");
        return None;
    }
    Some(match (exact, prefix, regex) {
        (Some(exact), _, _) => Some(StringMatch::Exact(exact.value)),
        (_, Some(prefix), _) => Some(StringMatch::Prefix(prefix.value)),
        (_, _, Some(regex)) => Some(StringMatch::Regex(patterns.check(&regex, report)?)),
        (None, None, None) => None,
    })
}

/// A string match that must say something.
fn required_match(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<StringMatch> {
    let found = string_match(node, patterns, report)?;
    if found.is_none() {
        report.add(Code::MissingField, node.span, "the match is empty").help("write `exact`, `prefix` or `regex`");
    }
    found
}

/// `{request: {...}, response: {...}}`
fn headers(node: &Node, report: &mut Report) -> Option<Headers> {
    let mut fields = Fields::open(node, "headers", report)?;
    let request = fields.read("request", report, header_operations).unwrap_or_default();
    let response = fields.read("response", report, header_operations).unwrap_or_default();
    fields.finish(report);
    let (request, host) = without_host(request, report);
    Some(Headers { request, response: response.into_iter().fold(HeaderChanges::default(), Change::apply), host })
}

/// Changes to both heads. A new `Host` is no header change but a host rewrite.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    pub(crate) request: HeaderChanges,
    pub(crate) response: HeaderChanges,
    pub(crate) host: Option<Arc<str>>,
}

/// One written change.
enum Change {
    Set(Host, Arc<str>),
    Add(Host, Arc<str>),
    Remove(Host),
}

impl Change {
    fn name(&self) -> &Host {
        match self {
            Change::Set(name, _) | Change::Add(name, _) | Change::Remove(name) => name,
        }
    }

    fn apply(mut changes: HeaderChanges, change: Change) -> HeaderChanges {
        match change {
            Change::Set(name, value) => changes.set.push((name.value, value)),
            Change::Add(name, value) => changes.add.push((name.value, value)),
            Change::Remove(name) => changes.remove.push(name.value),
        }
        changes
    }
}

fn header_operations(node: &Node, report: &mut Report) -> Option<Vec<Change>> {
    let mut fields = Fields::open(node, "the header changes", report)?;
    let mut changes = Vec::new();
    for (name, value) in
        fields.read("set", report, |node, report| Some(map(node, "set", report, text))).unwrap_or_default()
    {
        check_value(&value, report);
        changes.push(Change::Set(name, value.value));
    }
    for (name, value) in
        fields.read("add", report, |node, report| Some(map(node, "add", report, text))).unwrap_or_default()
    {
        check_value(&value, report);
        changes.push(Change::Add(name, value.value));
    }
    for name in
        fields.read("remove", report, |node, report| Some(list(node, "remove", report, word))).unwrap_or_default()
    {
        changes.push(Change::Remove(name));
    }
    fields.finish(report);
    changes.retain(|change| {
        let name = change.name();
        header_name(
            name.span,
            name.value.strip_prefix(':').filter(|rest| *rest == "authority").unwrap_or(&name.value),
            report,
        )
        .is_some()
    });
    Some(changes)
}

/// Splits a set `Host` (or `:authority`) off.
fn without_host(changes: Vec<Change>, report: &mut Report) -> (HeaderChanges, Option<Arc<str>>) {
    let mut kept = HeaderChanges::default();
    let mut host = None;
    for change in changes {
        let is_host = matches!(change.name().value.to_ascii_lowercase().as_str(), "host" | ":authority");
        match change {
            Change::Set(_, value) if is_host => host = Some(value),
            Change::Add(name, _) | Change::Remove(name) if is_host => {
                report
                    .add(
                        Code::InvalidRule,
                        name.span,
                        "the host of a request can be set, but neither added nor removed",
                    )
                    .help("write it below `set`");
            }
            change => kept = Change::apply(kept, change),
        }
    }
    (kept, host)
}

/// A field name in lower case (RFC 9110 §5.1), or a finding.
pub(crate) fn header_name(span: Span, name: &str, report: &mut Report) -> Option<Arc<str>> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.is_empty() && name.len() <= 256 && name.bytes().all(token) {
        return Some(Arc::from(name.to_ascii_lowercase()));
    }
    report
        .add(Code::BadValue, span, format!("\"{}\" is not the name of a header", crate::tree::shortened(name)))
        .help("names are letters, digits and `-`, at most 256 characters");
    None
}

/// A field value must not break the message it is written into (RFC 9110 §5.5).
pub(crate) fn check_value(value: &Spanned<Arc<str>>, report: &mut Report) {
    if value.value.len() > 4096 || value.value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        report
            .add(
                Code::BadValue,
                value.span,
                "the value of a header cannot have control characters or more than 4096 bytes",
            )
            .help("remove line breaks");
    }
}
