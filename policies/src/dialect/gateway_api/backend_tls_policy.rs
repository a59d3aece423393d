//! BackendTLSPolicy: services that are called with TLS, and whom their callers believe.

use std::sync::Arc;

use super::certificate::{CertificateRef, ROOTS_MAX, reference};
use super::hostname;
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::schema::{Fields, choice, list_up_to, not_supported, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

/// Most names of one validation, as the API server has it.
const NAMES_MAX: usize = 5;

/// A policy, its services not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct BackendTlsPolicy {
    pub(crate) targets: Vec<Target>,
    pub(crate) validation: Validation,
}

/// A service, or one of its ports by name.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) section: Option<Spanned<Arc<str>>>,
}

/// Whom callers believe.
#[derive(Clone, Debug)]
pub(crate) struct Validation {
    pub(crate) span: Span,
    /// Empty: the roots that the machine trusts.
    pub(crate) roots: Vec<CertificateRef>,
    pub(crate) hostname: Arc<str>,
    /// In place of the hostname, where there are any.
    pub(crate) names: Vec<Arc<str>>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<BackendTlsPolicy> {
    let mut fields = spec(document, "a BackendTLSPolicy", cx)?;
    let report = &mut cx.report;
    let targets =
        fields.require("targetRefs", report, |node, report| Some(list_up_to(16, node, "targetRefs", report, target)));
    let validation = fields.require("validation", report, validation);
    fields.ignore(&["options"]);
    fields.finish(report);
    Some(BackendTlsPolicy { targets: targets?, validation: validation? })
}

fn target(node: &Node, report: &mut Report) -> Option<Target> {
    let mut fields = Fields::open(node, "the target", report)?;
    let group = fields.require("group", report, text);
    let kind = fields.require("kind", report, word);
    let name = fields.require("name", report, word);
    let section = fields.read("sectionName", report, word);
    fields.finish(report);
    let (group, kind, name) = (group?, kind?, name?);
    if !group.value.is_empty() || &*kind.value != "Service" {
        let what = format!("a target of kind `{}` in group \"{}\"", shortened(&kind.value), shortened(&group.value));
        not_supported(kind.span, &what, "write group: \"\" and kind: Service", report);
        return None;
    }
    Some(Target { name, section })
}

fn validation(node: &Node, report: &mut Report) -> Option<Validation> {
    let mut fields = Fields::open(node, "`validation`", report)?;
    let span = fields.span();
    let roots = fields.list_up_to(ROOTS_MAX, "caCertificateRefs", report, |node, report| reference(node, None, report));
    let written = fields.entry("caCertificateRefs").is_some();
    let system = fields.entry("wellKnownCACertificates");
    let known = system.and_then(|entry| choice(&entry.value, &["System"], report));
    let host = fields.require("hostname", report, hostname);
    let names = fields.list_up_to(NAMES_MAX, "subjectAltNames", report, alternative_name);
    fields.finish(report);
    match (written, system) {
        (true, Some(entry)) => {
            report
                .add(
                    Code::InvalidRule,
                    entry.key_span,
                    "must not contain both CACertificateRefs and WellKnownCACertificates",
                )
                .help("keep one: the roots of your own, or those that the machine trusts");
            return None;
        }
        (false, None) => {
            report
                .add(Code::InvalidRule, span, "must specify either CACertificateRefs or WellKnownCACertificates")
                .help("write wellKnownCACertificates: System, or the ConfigMap with your roots");
            return None;
        }
        (false, Some(_)) => {
            known?;
        }
        (true, None) if roots.is_empty() => return None,
        (true, None) => {}
    }
    Some(Validation { span, roots, hostname: host?.value, names })
}

/// `{type: Hostname | URI, hostname | uri: ...}`
fn alternative_name(node: &Node, report: &mut Report) -> Option<Arc<str>> {
    let mut fields = Fields::open(node, "the name", report)?;
    let kind = fields.require("type", report, |node, report| choice(node, &["Hostname", "URI"], report));
    let host = fields.read("hostname", report, hostname);
    let uri = fields.read("uri", report, word);
    let span = fields.span();
    fields.finish(report);
    let name = match kind?.value {
        "Hostname" => host,
        _ => uri,
    };
    if name.is_none() {
        report
            .add(Code::MissingField, span, "the name does not hold what its type says")
            .help("write `hostname` for type Hostname, `uri` for type URI");
    }
    Some(name?.value)
}
