//! What a policy is attached to.
//!
//! # Why the group may be left out
//! Every kind here has one home, so `group` says nothing that `kind` does not; when it is written it has to be right.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::ir::world::Labels;
use crate::schema::{Fields, choice, enumerate, labels, text, word};
use crate::source::{Span, Spanned};
use crate::tree::Node;

/// Most targets of one policy, as in Gateway API.
const TARGETS_MAX: usize = 16;

/// One target, not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where its name stands.
    pub(crate) span: Span,
    /// Another namespace than the policy's.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) kind: TargetKind,
}

/// What the target is.
#[derive(Clone, Debug)]
pub(crate) enum TargetKind {
    /// A Service or ServiceEntry, or a version of it.
    Service { kind: &'static str, name: Arc<str>, version: Option<Spanned<Arc<str>>> },
    /// A route, or the rule of it with this name.
    Route { kind: &'static str, name: Arc<str>, rule: Option<Spanned<Arc<str>>> },
    /// A gateway, or its listener of this name.
    Gateway { name: Arc<str>, listener: Option<Spanned<Arc<str>>> },
    /// Every service of a namespace.
    Namespace { name: Arc<str> },
    /// Workloads with these labels, in the namespace of the policy.
    Workloads(Labels),
    /// Every service.
    Mesh,
}

/// The kinds that a policy may be attached to, with their groups.
const KINDS: &[(&str, &str)] = &[
    ("Service", ""),
    ("ServiceEntry", "networking.istio.io"),
    ("HTTPRoute", "gateway.networking.k8s.io"),
    ("GRPCRoute", "gateway.networking.k8s.io"),
    ("VirtualService", "networking.istio.io"),
    ("Gateway", "gateway.networking.k8s.io"),
    ("Namespace", ""),
];

/// For kinds that act on requests wherever these are: at a service, a route or a gateway.
pub(super) const ANYWHERE: &[&str] =
    &["Service", "ServiceEntry", "HTTPRoute", "GRPCRoute", "VirtualService", "Gateway", "Namespace"];

/// For limits of what arrives at a workload, a route or a gateway. What is outside the mesh has nobody to count.
pub(super) const COUNTED: &[&str] = &["Service", "HTTPRoute", "GRPCRoute", "VirtualService", "Gateway", "Namespace"];

/// For what is about backends alone.
pub(super) const BACKENDS: &[&str] = &["Service", "ServiceEntry", "Namespace"];

/// `targetRefs`, of these kinds. An empty list is reported.
pub(super) fn read(fields: &mut Fields<'_>, kinds: &[&'static str], report: &mut Report) -> Vec<Target> {
    let targets = fields.entry("targetRefs");
    let Some(entry) = targets else {
        fields.missing("targetRefs", report);
        return Vec::new();
    };
    refs(&entry.value, entry.key_span, kinds, report)
}

/// `targetRefs`, or `selector: {matchLabels}` for workloads of the same namespace.
pub(super) fn read_with_selector(fields: &mut Fields<'_>, kinds: &[&'static str], report: &mut Report) -> Vec<Target> {
    let Some(entry) = fields.entry("selector") else { return read(fields, kinds, report) };
    if let Some(targets) = fields.entry("targetRefs") {
        report
            .add(Code::InvalidRule, entry.key_span, "only one of `targetRefs` and `selector` can be given")
            .also(targets.key_span, "the targets")
            .help("write a second object for the workloads");
        return Vec::new();
    }
    let Some(mut selector) = Fields::open(&entry.value, "the selector", report) else { return Vec::new() };
    let wanted = selector.require("matchLabels", report, labels);
    selector.finish(report);
    let Some(wanted) = wanted else { return Vec::new() };
    vec![Target { span: entry.key_span, namespace: None, kind: TargetKind::Workloads(wanted) }]
}

fn refs(node: &Node, span: Span, kinds: &[&'static str], report: &mut Report) -> Vec<Target> {
    let mut written = 0_usize;
    let targets = crate::schema::list_up_to(TARGETS_MAX, node, "targetRefs", report, |node, report| {
        written += 1;
        target(node, kinds, report)
    });
    if written == 0 && matches!(&node.content, crate::tree::Content::List(items) if items.is_empty()) {
        report
            .add(Code::MissingField, span, "`targetRefs` is empty, so the policy is for nothing")
            .help("name what it is for, e.g. - {kind: Service, name: reviews}");
    }
    targets
}

fn target(node: &Node, kinds: &[&'static str], report: &mut Report) -> Option<Target> {
    let mut fields = Fields::open(node, "the target", report)?;
    let group = fields.read("group", report, text);
    let kind = fields.require("kind", report, |node, report| choice_of(node, kinds, report));
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word);
    let section = fields.entry("sectionName");
    let version = fields.entry("version");
    fields.finish(report);
    let (kind, name) = (kind?, name?);
    let home = KINDS.iter().find(|(known, _)| *known == kind.value).map_or("", |(_, group)| *group);
    if let Some(group) = group.filter(|group| &*group.value != home) {
        report
            .add(Code::BadValue, group.span, format!("kind {} is not in that group", kind.value))
            .help(format!("write group: {}, or leave it out", if home.is_empty() { "\"\"" } else { home }));
        return None;
    }
    let is_service = matches!(kind.value, "Service" | "ServiceEntry");
    let has_sections = !is_service && kind.value != "Namespace";
    if let Some(entry) = section.filter(|_| !has_sections) {
        report
            .add(Code::InvalidRule, entry.key_span, format!("a {} has no sections", kind.value))
            .help(if is_service { "write `version` for a part of a service" } else { "remove `sectionName`" });
        return None;
    }
    if let Some(entry) = version.filter(|_| !is_service) {
        report
            .add(Code::InvalidRule, entry.key_span, format!("a {} has no versions", kind.value))
            .help(if has_sections { "write `sectionName` for a part of it" } else { "remove `version`" });
        return None;
    }
    let section = match section {
        Some(entry) => Some(word(&entry.value, report)?),
        None => None,
    };
    let version = match version {
        Some(entry) => Some(version_name(&entry.value, report)?),
        None => None,
    };
    let span = name.span;
    let name = name.value;
    let kind = match kind.value {
        "Gateway" => TargetKind::Gateway { name, listener: section },
        "Namespace" => TargetKind::Namespace { name },
        kind if is_service => TargetKind::Service { kind, name, version },
        kind => TargetKind::Route { kind, name, rule: section },
    };
    Some(Target { span, namespace: namespace.map(|namespace| namespace.value), kind })
}

/// A kind that exists, and that this policy may be attached to.
fn choice_of(node: &Node, kinds: &[&'static str], report: &mut Report) -> Option<Spanned<&'static str>> {
    let known = choice(node, ANYWHERE, report)?;
    if kinds.contains(&known.value) {
        return Some(known);
    }
    report
        .add(Code::InvalidRule, known.span, format!("this kind of policy cannot be attached to kind {}", known.value))
        .help(format!("attach it to one of {}", enumerate(kinds)));
    None
}

/// A version becomes a part of a cluster's name, whose parts are parted by `|`.
fn version_name(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let version = word(node, report)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if version.value.len() <= 63 && version.value.chars().all(good) {
        return Some(version);
    }
    let shown = crate::tree::shortened(&version.value);
    report
        .add(Code::BadName, version.span, format!("\"{shown}\" cannot be a version"))
        .help("it is the value of the label `version`: letters, digits, `-`, `_` and `.`, at most 63 characters");
    None
}
