//! The TLS stanza: whether endpoints are called with TLS, as whom, and whom we believe.
//!
//! # What differs from Istio on purpose
//! Where Istio is given no roots it believes everybody; here the roots that the machine trusts are asked. Where it is given no
//! `subjectAltNames`, any name will do for it; here the certificate must be for the name that is asked for. Nothing turns
//! verification off: a connection that anybody can read with a certificate of their own is no better than a plain one.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::Host;
use crate::ir::tls::{BackendTls, ClientCertificate, CredentialName, Origination, Roots};
use crate::schema::{Fields, choice, not_supported, text, truth, word};
use crate::source::{Span, Spanned};
use crate::tree::Entry;

/// The stanza as written.
#[derive(Clone, Debug)]
pub(crate) struct TlsShape {
    pub(crate) span: Span,
    tls: BackendTls,
    /// A Secret in the namespace of the object.
    pub(crate) credential: Option<Host>,
}

impl TlsShape {
    /// The stanza of an object in that namespace.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Spanned<BackendTls> {
        let mut value = self.tls.clone();
        if let (BackendTls::Originate(origination), Some(credential)) = (&mut value, &self.credential) {
            origination.roots = Roots::Credential(roots_of_secret(namespace, &credential.value));
        }
        Spanned { value, span: self.span }
    }
}

/// The name of the roots in a Secret.
pub(crate) fn roots_of_secret(namespace: &str, name: &str) -> CredentialName {
    CredentialName(format!("roots|secret|{namespace}/{name}").into())
}

pub(super) fn read(entry: &Entry, report: &mut Report) -> Option<TlsShape> {
    let mut fields = Fields::open(&entry.value, "`tls`", report)?;
    let span = entry.key_span;
    let mode = fields
        .read("mode", report, |node, report| choice(node, &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"], report));
    let certificate = fields.read("clientCertificate", report, word);
    let key = fields.read("privateKey", report, word);
    let roots = fields.read("caCertificates", report, word);
    let credential = fields.read("credentialName", report, word);
    let sni = fields.read("sni", report, word);
    let names: Vec<Arc<str>> =
        fields.list("subjectAltNames", report, text).into_iter().map(|name| name.value).collect();
    let skip = fields.entry("insecureSkipVerify");
    let revoked = fields.entry("caCrl");
    fields.finish(report);
    // As in Istio, what is not said is DISABLE.
    let mode = mode.map_or("DISABLE", |mode| mode.value);
    if mode == "DISABLE" {
        return Some(TlsShape { span, tls: BackendTls::Plain, credential: None });
    }
    if mode == "ISTIO_MUTUAL" {
        not_supported(span, "ISTIO_MUTUAL", "write MUTUAL with the files of a certificate, or remove `tls`", report);
        return None;
    }
    if let Some(entry) = skip.filter(|entry| truth(&entry.value, report) == Some(true)) {
        let cure = "name whom to believe: `caCertificates` or `credentialName`, and the server's name as `sni`";
        not_supported(entry.key_span, "`insecureSkipVerify`: certificates are always verified, so it", cure, report);
    }
    if let Some(entry) = revoked {
        not_supported(entry.key_span, "`caCrl`", "remove it; it would not be asked", report);
    }
    let files = [&certificate, &key, &roots].into_iter().flatten().next();
    if let (Some(credential), Some(file)) = (&credential, files) {
        report
            .add(
                Code::InvalidRule,
                credential.span,
                "cannot specify CA certificates, client certificate or private key when credentialName is set",
            )
            .also(file.span, "a file")
            .help("keep the files, or the Secret");
        return None;
    }
    let client = match mode {
        "MUTUAL" => Some(client(span, certificate, key, credential.as_ref(), report)?),
        _ => {
            for file in [certificate, key].into_iter().flatten() {
                report
                    .add(Code::InvalidRule, file.span, "a client's certificate is shown in mode MUTUAL only")
                    .help("write mode: MUTUAL, or remove it");
            }
            None
        }
    };
    let roots = roots.map_or(Roots::System, |file| Roots::File(file.value));
    let origination = Origination { sni: sni.map(|sni| sni.value), names, roots, client };
    Some(TlsShape { span, tls: BackendTls::Originate(origination), credential })
}

/// What we show: both files.
fn client(
    span: Span,
    certificate: Option<Host>,
    key: Option<Host>,
    credential: Option<&Host>,
    report: &mut Report,
) -> Option<ClientCertificate> {
    if let Some(credential) = credential {
        let cure = "put the files beside the proxies that call, and write `clientCertificate`, `privateKey` and \
                    `caCertificates`: clusters are the same for all proxies, and a private key is not given to all";
        not_supported(credential.span, "`credentialName` in mode MUTUAL", cure, report);
        return None;
    }
    let mut missing = |given: bool, message: &str, cure: &str| {
        if !given {
            report.add(Code::InvalidRule, span, message).help(cure);
        }
    };
    missing(
        certificate.is_some(),
        "client certificate required for mutual tls",
        "write `clientCertificate: /path/to/chain.pem`",
    );
    missing(key.is_some(), "private key required for mutual tls", "write `privateKey: /path/to/key.pem`");
    Some(ClientCertificate::Files { chain: certificate?.value, key: key?.value })
}
