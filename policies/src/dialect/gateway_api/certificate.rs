//! What a listener says of TLS: which certificates it refers to.
//!
//! Listeners with TLS are not opened yet. Their references are looked up all the same, because a certificate that cannot be
//! had is told before it is needed.

use std::sync::Arc;

use crate::diagnostic::Report;
use crate::schema::{Fields, choice, text, word};
use crate::source::Spanned;
use crate::tree::Node;

/// Most certificates of one listener, as the API server has it.
const CERTIFICATES_MAX: usize = 64;

/// A reference to a certificate.
#[derive(Clone, Debug)]
pub(crate) struct CertificateRef {
    pub(crate) group: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
}

/// The references of a listener's `tls`.
pub(super) fn references(tls: &Node, report: &mut Report) -> Vec<CertificateRef> {
    let Some(mut fields) = Fields::open(tls, "`tls`", report) else { return Vec::new() };
    fields.read("mode", report, |node, report| choice(node, &["Terminate", "Passthrough"], report));
    let references = fields.list_up_to(CERTIFICATES_MAX, "certificateRefs", report, reference);
    fields.ignore(&["frontendValidation", "options"]);
    fields.finish(report);
    references
}

fn reference(node: &Node, report: &mut Report) -> Option<CertificateRef> {
    let mut fields = Fields::open(node, "the reference", report)?;
    let group = fields.read("group", report, text).map_or_else(|| Arc::from(""), |group| group.value);
    let kind = fields.read("kind", report, word).map_or_else(|| Arc::from("Secret"), |kind| kind.value);
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word).map(|namespace| namespace.value);
    fields.finish(report);
    Some(CertificateRef { group, kind, name: name?, namespace })
}
