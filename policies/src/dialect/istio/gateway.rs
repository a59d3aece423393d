//! Istio's Gateway: servers at the edge of the mesh, to which VirtualServices bind.
//!
//! # Whose proxies
//! Istio chooses proxies by `selector`. Here a proxy says by its name which gateway it is for, as it does for Gateway API's.

use std::sync::Arc;

use super::Host;
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::tls::TlsVersion;
use crate::schema::{Fields, choice, labels, list_up_to, not_supported, port, text, truth, word};
use crate::source::{Span, Spanned};
use crate::tree::{Entry, Node, shortened};

/// Most servers of a gateway, and hosts of a server: each pair is a listener.
const SERVERS_MAX: usize = 64;
const HOSTS_MAX: usize = 64;

/// A gateway, its credentials not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct IstioGateway {
    pub(crate) servers: Vec<Server>,
}

/// A server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    pub(crate) port: Spanned<u16>,
    /// HTTP is spoken, in the clear or within TLS that ends here.
    pub(crate) speaks_http: bool,
    /// `*`, `*.example.com` or `example.com`, in lower case.
    pub(crate) hosts: Vec<Host>,
    pub(crate) tls: Option<ServerTls>,
    /// Every request is sent to `https`.
    pub(crate) redirects: bool,
}

/// The TLS of a server.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    pub(crate) span: Span,
    /// `None`: it goes through.
    pub(crate) credential: Option<Host>,
    /// Callers must show a certificate.
    pub(crate) mutual: bool,
    pub(crate) version_min: Option<TlsVersion>,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<IstioGateway> {
    let mut fields = spec(document, "a Gateway", cx)?;
    let report = &mut cx.report;
    let selector = fields.entry("selector");
    if let Some(entry) = selector {
        labels(&entry.value, report);
        report
            .add(Code::FieldWithoutEffect, entry.key_span, "`selector` has no effect: a proxy names the gateway it is for")
            .help("start the gateway's proxies with --node router~ADDRESS~GATEWAY.NAMESPACE~, or --node GATEWAY.NAMESPACE");
    }
    let servers_at = fields.entry("servers");
    let span = fields.span();
    fields.finish(report);
    let servers = servers_at.map(|entry| list_up_to(SERVERS_MAX, &entry.value, "servers", report, server));
    if servers_at.is_none() {
        report.add(Code::InvalidRule, span, "gateway must have at least one server").help("add `servers`");
    }
    Some(IstioGateway { servers: servers? })
}

fn server(node: &Node, report: &mut Report) -> Option<Server> {
    let mut fields = Fields::open(node, "the server", report)?;
    let span = fields.span();
    let port = fields.require("port", report, server_port);
    let hosts_at = fields.entry("hosts");
    let hosts = hosts_at.map_or_else(Vec::new, |entry| list_up_to(HOSTS_MAX, &entry.value, "hosts", report, host));
    let tls = fields.entry("tls");
    let name = fields.read("name", report, text).map(|name| name.value);
    fields.unsupported(&["bind"], "a gateway listens on the address of its proxy", report);
    fields.ignore(&["defaultEndpoint"]);
    fields.finish(report);
    if hosts_at.is_none() {
        report
            .add(Code::InvalidRule, span, "server config must contain at least one host")
            .help("add `hosts`, e.g. `hosts: [\"*\"]`");
    }
    let (port, protocol) = port?;
    let with_tls = matches!(protocol, "HTTPS" | "TLS");
    let (tls, redirects) = match tls {
        Some(entry) => self::tls(entry, with_tls, report)?,
        None => (None, false),
    };
    if with_tls && tls.is_none() {
        report
            .add(Code::InvalidRule, port.span, "server must have TLS settings for HTTPS/TLS protocols")
            .help("add `tls: {mode: SIMPLE, credentialName: SECRET}`");
        return None;
    }
    let goes_through = tls.as_ref().is_some_and(|tls| tls.credential.is_none());
    let speaks_http = matches!(protocol, "HTTP" | "HTTP2" | "GRPC") || (protocol == "HTTPS" && !goes_through);
    let name = name.unwrap_or_else(|| Arc::from(format!("{}-{}", protocol.to_lowercase(), port.value)));
    Some(Server { span, name, port, speaks_http, hosts, tls, redirects })
}

fn server_port(node: &Node, report: &mut Report) -> Option<(Spanned<u16>, &'static str)> {
    let mut fields = Fields::open(node, "the port", report)?;
    let number = fields.require("number", report, port);
    let protocol = fields.require("protocol", report, |node, report| {
        choice(node, &["HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "TCP"], report)
    });
    fields.ignore(&["name", "targetPort"]);
    fields.finish(report);
    Some((number?, protocol?.value))
}

/// `[NAMESPACE/]HOST`; only what every namespace may bind to is known here.
fn host(node: &Node, report: &mut Report) -> Option<Host> {
    let written = word(node, report)?;
    let host = match written.value.split_once('/') {
        None => &*written.value,
        Some(("*", host)) => host,
        Some((namespace, _)) => {
            let what = format!("a host for VirtualServices of namespace `{}` alone", shortened(namespace));
            not_supported(written.span, &what, "write the host without a namespace", report);
            return None;
        }
    };
    name(&host.to_ascii_lowercase(), written.span, report)
}

/// A host, or a star for the first of its labels or for all of it.
pub(super) fn name(host: &str, span: Span, report: &mut Report) -> Option<Host> {
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if host == "*" || (host.len() <= 253 && rest.split('.').all(label)) {
        return Some(Spanned { value: Arc::from(host), span });
    }
    report
        .add(Code::BadName, span, format!("\"{}\" is not a host", shortened(host)))
        .help("write a name such as www.example.com, *.example.com or *");
    None
}

fn tls(entry: &Entry, with_tls: bool, report: &mut Report) -> Option<(Option<ServerTls>, bool)> {
    let mut fields = Fields::open(&entry.value, "`tls`", report)?;
    let span = entry.key_span;
    let redirect = fields.entry("httpsRedirect");
    let redirects = redirect.and_then(|entry| truth(&entry.value, report)).unwrap_or(false);
    let mode = fields.read("mode", report, |node, report| {
        let modes = ["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"];
        choice(node, &modes, report)
    });
    let credential = fields.read("credentialName", report, word);
    let version = fields.read("minProtocolVersion", report, |node, report| {
        choice(node, &["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"], report)
    });
    fields.unsupported(
        &["serverCertificate", "privateKey", "caCertificates"],
        "put them into a Secret and write `credentialName`",
        report,
    );
    fields.unsupported(
        &["caCertCredentialName", "caCrl", "cipherSuites", "credentialNames", "maxProtocolVersion", "subjectAltNames"],
        "",
        report,
    );
    fields.unsupported(&["tlsCertificates", "verifyCertificateHash", "verifyCertificateSpki"], "", report);
    fields.finish(report);
    if !with_tls {
        return Some((None, redirects));
    }
    if let (true, Some(entry)) = (redirects, redirect) {
        report
            .add(Code::InvalidRule, entry.key_span, "`httpsRedirect` is for a server that speaks plain HTTP")
            .help("write it at the server of port 80");
    }
    let version_min = match version {
        Some(version) if matches!(version.value, "TLSV1_0" | "TLSV1_1") => {
            not_supported(version.span, "TLS older than 1.2", "write TLSV1_2: every caller of today speaks it", report);
            None
        }
        Some(version) if version.value == "TLSV1_3" => Some(TlsVersion::V1_3),
        _ => None,
    };
    let mode_span = mode.map_or(span, |mode| mode.span);
    let mutual = match mode.map_or("PASSTHROUGH", |mode| mode.value) {
        "PASSTHROUGH" => {
            return Some((Some(ServerTls { span, credential: None, mutual: false, version_min }), redirects));
        }
        "SIMPLE" => false,
        "MUTUAL" => true,
        other => {
            not_supported(mode_span, &format!("mode {other}"), "write SIMPLE, MUTUAL or PASSTHROUGH", report);
            return None;
        }
    };
    if credential.is_none() {
        report
            .add(Code::InvalidRule, mode_span, "either credentialName or the files of a certificate are required")
            .help("write `credentialName: SECRET`");
    }
    Some((Some(ServerTls { span, credential: Some(credential?), mutual, version_min }), redirects))
}
