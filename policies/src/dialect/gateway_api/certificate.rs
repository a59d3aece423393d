//! What a listener says of TLS: who ends it, and with which certificates. What a gateway says of its callers' certificates.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::schema::{Fields, choice, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Entry, Node};

/// Most certificates of one listener, as the API server has it.
const CERTIFICATES_MAX: usize = 64;
/// Most objects with roots of one validation, likewise.
pub(super) const ROOTS_MAX: usize = 8;
/// Most ports with a validation of their own, likewise.
const PORTS_MAX: usize = 64;

/// A reference to a certificate, or to roots.
#[derive(Clone, Debug)]
pub(crate) struct CertificateRef {
    pub(crate) group: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
}

/// The `tls` of a listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerTlsShape {
    pub(crate) span: Span,
    pub(crate) passthrough: bool,
    pub(crate) certificates: Vec<CertificateRef>,
}

/// What a gateway asks of its callers, by port.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrontendShape {
    pub(crate) default: Vec<CertificateRef>,
    pub(crate) ports: Vec<(u16, Vec<CertificateRef>)>,
}

impl FrontendShape {
    /// Roots that callers of a port must lead to; empty: none are asked for.
    pub(crate) fn of(&self, port: u16) -> &[CertificateRef] {
        self.ports.iter().find(|(known, _)| *known == port).map_or(&self.default, |(_, roots)| roots)
    }
}

/// A listener's `tls`.
pub(super) fn of_listener(entry: &Entry, protocol: &str, report: &mut Report) -> Option<ListenerTlsShape> {
    let mut fields = Fields::open(&entry.value, "`tls`", report)?;
    let mode = fields.read("mode", report, |node, report| choice(node, &["Terminate", "Passthrough"], report));
    let certificates = fields.list_up_to(CERTIFICATES_MAX, "certificateRefs", report, |node, report| {
        reference(node, Some("Secret"), report)
    });
    let options = fields.entry("options");
    let own = fields.entry("frontendValidation");
    fields.finish(report);
    if let Some(own) = own {
        let cure = "write it below the Gateway's `spec.tls.frontend`, where the API has moved it";
        not_supported(own.key_span, "`frontendValidation` of a listener", cure, report);
    }
    let passthrough = mode.is_some_and(|mode| mode.value == "Passthrough");
    if let (true, "HTTPS", Some(mode)) = (passthrough, protocol, mode) {
        report.add(Code::InvalidRule, mode.span, "tls mode must be Terminate for protocol HTTPS").help(
            "where the gateway is not to read the requests, write protocol: TLS, and TLSRoutes in place of HTTPRoutes",
        );
        return None;
    }
    if !passthrough && certificates.is_empty() && options.is_none() {
        report
            .add(
                Code::InvalidRule,
                entry.key_span,
                "certificateRefs or options must be specified when mode is Terminate",
            )
            .help("add `certificateRefs: [{name: SECRET}]`");
        return None;
    }
    Some(ListenerTlsShape { span: entry.key_span, passthrough, certificates })
}

/// A gateway's `tls`.
pub(super) fn of_gateway(node: &Node, report: &mut Report) -> Option<FrontendShape> {
    let mut fields = Fields::open(node, "`tls`", report)?;
    let frontend = fields.read("frontend", report, |node, report| {
        let mut fields = Fields::open(node, "`frontend`", report)?;
        let default = fields.read("default", report, validation).unwrap_or_default();
        let ports = fields.list_up_to(PORTS_MAX, "perPort", report, |node, report| {
            let mut fields = Fields::open(node, "the entry of the port", report)?;
            let number = fields.require("port", report, port);
            let roots = fields.require("tls", report, validation);
            fields.finish(report);
            Some((number?.value, roots?))
        });
        fields.finish(report);
        Some(FrontendShape { default, ports })
    });
    fields.unsupported(&["backend"], "a certificate for backends is said in a DestinationRule", report);
    fields.finish(report);
    frontend
}

/// `{validation: {caCertificateRefs: [...]}}`
fn validation(node: &Node, report: &mut Report) -> Option<Vec<CertificateRef>> {
    let mut fields = Fields::open(node, "`tls`", report)?;
    let roots = fields.read("validation", report, |node, report| {
        let mut fields = Fields::open(node, "`validation`", report)?;
        let roots =
            fields.list_up_to(ROOTS_MAX, "caCertificateRefs", report, |node, report| reference(node, None, report));
        let mode = fields
            .read("mode", report, |node, report| choice(node, &["AllowValidOnly", "AllowInsecureFallback"], report));
        if roots.is_empty() {
            fields.missing("caCertificateRefs", report);
        }
        fields.finish(report);
        if let Some(mode) = mode.filter(|mode| mode.value == "AllowInsecureFallback") {
            let cure = "write AllowValidOnly: a caller whose certificate is not verified is not told from any other";
            not_supported(mode.span, "AllowInsecureFallback", cure, report);
        }
        Some(roots)
    });
    fields.finish(report);
    roots
}

/// A reference; `kind` is what it means when it does not say.
pub(super) fn reference(node: &Node, kind: Option<&str>, report: &mut Report) -> Option<CertificateRef> {
    let mut fields = Fields::open(node, "the reference", report)?;
    let group = fields.read("group", report, text).map_or_else(|| Arc::from(""), |group| group.value);
    let written = match kind {
        Some(_) => fields.read("kind", report, word),
        None => fields.require("kind", report, word),
    };
    let kind = written.map_or_else(|| Arc::from(kind.unwrap_or_default()), |kind| kind.value);
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word).map(|namespace| namespace.value);
    fields.finish(report);
    Some(CertificateRef { group, kind, name: name?, namespace })
}
