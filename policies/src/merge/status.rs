//! What became of each object, told from the findings about it.
//!
//! # Why from the findings
//! A person who reads the findings and a program that reads the conditions must never be told different things. So nothing
//! else decides: a finding is about the object that it stands in, and its code says which condition it touches.
//!
//! # What is told once for several parents
//! Gateway API tells a route's state for each parent. Here an object has one list: one parent that does not accept a route is
//! enough for `Accepted` to be false, because nobody looks at the one that does.

use std::collections::HashMap;

use crate::Source;
use crate::diagnostic::{Code, Finding, Report, Severity};
use crate::dialect::{Context, Written};
use crate::ir::Origin;
use crate::ir::status::{Condition, ConditionKind, ObjectStatus};
use crate::source::{self, Span};
use crate::tree::{Content, Node};

/// Which condition a finding touches.
enum Bearing {
    /// `Accepted` is false, for this reason.
    NotAccepted(&'static str),
    /// `ResolvedRefs` is false, for this reason.
    Unresolved(&'static str),
    /// A field cannot act.
    Ineffective,
    /// It is advice.
    None,
}

fn bearing(code: Code) -> Bearing {
    match code {
        Code::UnknownParent | Code::TargetNotFound => Bearing::NotAccepted("TargetNotFound"),
        Code::ConflictingSettings | Code::PolicyConflict => Bearing::NotAccepted("Conflicted"),
        Code::ListenerNotTaken | Code::NotAttached | Code::TargetNotGranted => Bearing::NotAccepted("NotPermitted"),
        Code::UnresolvedBackend => Bearing::Unresolved("BackendNotFound"),
        Code::UnresolvedCertificate => Bearing::Unresolved("InvalidCertificateRef"),
        Code::NotGranted | Code::CertificateNotGranted => Bearing::Unresolved("RefNotPermitted"),
        Code::CertificateExpired
        | Code::CertificateOfAnother
        | Code::DelegateConflict
        | Code::DelegateUnused
        | Code::FieldWithoutEffect
        | Code::FaultExpired
        | Code::FaultNever
        | Code::IdentityUnproven
        | Code::LimitShadowed
        | Code::ListenerNotServed
        | Code::NeverFires
        | Code::NoClients
        | Code::NobodyCounts
        | Code::NotHttp
        | Code::PerTryWithoutEffect
        | Code::RetriesTwice
        | Code::SingleEndpoint
        | Code::StanzaNotApplicable
        | Code::UnreachableRule
        | Code::VersionNotRouted => Bearing::Ineffective,
        code if code.severity() == Severity::Error => Bearing::NotAccepted("Invalid"),
        _ => Bearing::None,
    }
}

/// The statuses of everything that routes or governs.
pub(crate) fn statuses(sources: &[Source], cx: &Context<'_>) -> Vec<ObjectStatus> {
    let mut objects: Vec<&Written> = cx.written.iter().collect();
    objects.sort_by_key(|written| written.extent);
    let mut concerned: HashMap<Span, Vec<&Finding>> = HashMap::new();
    let mut findings: Vec<&Finding> = cx.report.findings().collect();
    findings.sort_by_key(|finding| finding.span());
    for finding in findings {
        let span = finding.span();
        let after =
            objects.partition_point(|written| (written.extent.file, written.extent.start) <= (span.file, span.start));
        let Some(object) = after.checked_sub(1).and_then(|at| objects.get(at)) else { continue };
        if object.extent.file == span.file && span.start <= object.extent.end {
            concerned.entry(object.extent).or_default().push(finding);
        }
    }
    let mut trees = Trees { sources, files: HashMap::new() };
    objects
        .into_iter()
        .filter(|written| written.kind.has_status())
        .map(|written| {
            let findings = concerned.get(&written.extent).map_or(&[][..], Vec::as_slice);
            let origin = Origin {
                kind: written.kind.as_str(),
                object: written.name.clone(),
                file: cx.map.path(written.span.file),
                line: cx.map.line(written.span),
            };
            ObjectStatus { origin, conditions: conditions(written, findings, &mut trees) }
        })
        .collect()
}

fn conditions(written: &Written, findings: &[&Finding], trees: &mut Trees<'_>) -> Vec<Condition> {
    let mut accepted: Option<(&'static str, &Finding)> = None;
    let mut resolved: Option<(&'static str, &Finding)> = None;
    let mut ineffective = Vec::new();
    for finding in findings {
        match bearing(finding.code()) {
            // What is invalid is not looked at further, whatever else is said about it.
            Bearing::NotAccepted(reason)
                if accepted.is_none_or(|(known, _)| known != "Invalid" && reason == "Invalid") =>
            {
                accepted = Some((reason, finding));
            }
            Bearing::Unresolved(reason) if resolved.is_none() => resolved = Some((reason, finding)),
            Bearing::Ineffective => {
                let path = trees.path(written.extent, finding.span());
                cannot_act(&mut ineffective, path, finding.message());
            }
            Bearing::NotAccepted(_) | Bearing::Unresolved(_) | Bearing::None => {}
        }
    }
    let condition = |kind, good: &'static str, bad: Option<(&'static str, &Finding)>| Condition {
        kind,
        holds: bad.is_none(),
        reason: bad.map_or(good, |(reason, _)| reason),
        message: bad.map_or_else(String::new, |(_, finding)| finding.message().to_owned()),
        path: None,
    };
    let mut conditions = vec![
        condition(ConditionKind::Accepted, "Accepted", accepted),
        condition(ConditionKind::ResolvedRefs, "ResolvedRefs", resolved),
    ];
    conditions.append(&mut ineffective);
    conditions
}

/// One condition for each field, whatever the number of its reasons.
fn cannot_act(conditions: &mut Vec<Condition>, path: Option<String>, message: &str) {
    if let Some(known) = conditions.iter_mut().find(|known| known.path == path) {
        known.message.push_str("; ");
        known.message.push_str(message);
        return;
    }
    let kind = ConditionKind::Ineffective;
    conditions.push(Condition { kind, holds: true, reason: "CannotAct", message: message.to_owned(), path });
}

/// Documents, read a second time: fields that cannot act are rare, and keeping every tree for them is not.
struct Trees<'a> {
    sources: &'a [Source],
    files: HashMap<u32, Vec<Node>>,
}

impl Trees<'_> {
    /// The path of the field at `span` in the object.
    fn path(&mut self, object: Span, span: Span) -> Option<String> {
        let sources = self.sources;
        let documents = self.files.entry(object.file).or_insert_with(|| {
            // Whatever is wrong with the file was reported the first time.
            let mut report = Report::default();
            let source = usize::try_from(object.file).ok().and_then(|file| sources.get(file));
            let text = source.and_then(|source| source::text(source, object.file, &mut report));
            text.map_or_else(Vec::new, |(text, offset)| crate::document::parse(text, offset, object.file, &mut report))
        });
        let at = documents.partition_point(|node| node.span.start <= object.start);
        let document = documents.get(at.checked_sub(1)?)?;
        let mut path = String::new();
        find(object_within(document, object)?, span, &mut path).then_some(path)
    }
}

/// The object itself, or the item of a list of objects.
fn object_within(node: &Node, object: Span) -> Option<&Node> {
    // A block list begins where its first item does, but an object is a map.
    if matches!(node.content, Content::Map(_)) && node.span.start == object.start && node.extent() == object {
        return Some(node);
    }
    match &node.content {
        Content::Null | Content::Scalar(_) => None,
        Content::List(items) => items.iter().find_map(|item| object_within(item, object)),
        Content::Map(entries) => entries.iter().find_map(|entry| object_within(&entry.value, object)),
    }
}

/// Extends `path` to the field whose name or value is at `span`. Documents are not nested deeply, hence the recursion.
fn find(node: &Node, span: Span, path: &mut String) -> bool {
    let length = path.len();
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&entry.key);
                if entry.key_span == span || find(&entry.value, span, path) {
                    return true;
                }
                path.truncate(length);
            }
        }
        Content::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                // A block map is pointed at by its first key. Among several fields the item is meant, not that one.
                let alone = matches!(&item.content, Content::Map(entries) if entries.len() == 1);
                if (item.span == span && !alone) || find(item, span, path) {
                    return true;
                }
                path.truncate(length);
            }
        }
        Content::Null | Content::Scalar(_) => {}
    }
    node.span == span && !path.is_empty()
}
