//! TLS: who is shown which certificate, and whom proxies believe.
//!
//! # Secrets by name
//! A listener or a cluster names its certificates and roots; they travel as resources of their own, to proxies that have
//! such a listener or cluster. So a renewed certificate is one small resource, and no connection is closed for it.
//!
//! # The versions
//! Callers of a gateway, and servers outside the mesh, are not ours to choose, so TLS 1.2 is spoken as well as 1.3 unless
//! 1.3 is asked for. Nothing older is spoken at all.

use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::tls::{
    BackendTls, ClientCertificate, Credential, CredentialName, Origination, Roots, Termination, TlsMode,
    TlsVersion as Version,
};
use tidegate_xds::resource::matcher::StringMatcher;
use tidegate_xds::resource::secret::SecretKind;
use tidegate_xds::resource::tls::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, SubjectNameKind, SubjectNameMatcher, TlsVersion,
    TlsVersions, TrustedRoots, UpstreamTls,
};
use tidegate_xds::resource::{Resource, Secret};

use crate::world::Reader;

/// What a connection manager of ours speaks.
const HTTP_PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// How a gateway ends TLS in front of HTTP, or of bytes.
pub(super) fn downstream(termination: &Termination, speaks_http: bool) -> Option<DownstreamTls> {
    let Termination { certificates, clients, version_min } = termination;
    let certificate = CertificateSource::Sds(certificates.first()?.0.clone());
    let believed = |roots: &CredentialName| PeerValidation {
        roots: TrustedRoots::Sds(roots.0.clone()),
        // Whoever those roots vouch for may call.
        subject_names: Vec::new(),
    };
    let protocols: &[&str] = if speaks_http { &HTTP_PROTOCOLS } else { &[] };
    Some(DownstreamTls {
        certificate,
        validation: clients.as_ref().map(believed),
        require_client_certificate: clients.is_some(),
        require_sni: false,
        alpn_protocols: protocols.iter().map(|protocol| Arc::from(*protocol)).collect(),
        versions: versions(*version_min),
        resumption: true,
    })
}

/// How endpoints of `host` are called; `None`: plainly.
pub(super) fn upstream(tls: &BackendTls, host: &Arc<str>) -> Option<UpstreamTls> {
    let Origination { sni, names, roots, client } = match tls {
        BackendTls::Plain => return None,
        BackendTls::Originate(origination) => origination,
    };
    let roots = match roots {
        Roots::System => TrustedRoots::System,
        Roots::Credential(name) => TrustedRoots::Sds(name.0.clone()),
        Roots::File(name) => TrustedRoots::Pem(PemSource::File(name.clone())),
    };
    let certificate = client.as_ref().map(|ClientCertificate::Files { chain, key }| CertificateSource::Pem {
        chain: PemSource::File(chain.clone()),
        key: PemSource::File(key.clone()),
    });
    Some(UpstreamTls {
        certificate,
        validation: PeerValidation { roots, subject_names: names.iter().map(subject_name).collect() },
        sni: sni.clone().unwrap_or_else(|| host.clone()),
        auto_host_sni: false,
        // A certificate must always be for somebody: the names that are written, or else the one that is asked for.
        auto_sni_san_validation: names.is_empty(),
        alpn_protocols: Vec::new(),
        versions: versions(None),
    })
}

fn subject_name(name: &Arc<str>) -> SubjectNameMatcher {
    let kind = if name.contains("://") { SubjectNameKind::Uri } else { SubjectNameKind::Dns };
    SubjectNameMatcher { kind, matcher: StringMatcher::Exact { value: name.clone(), ignore_case: false } }
}

fn versions(min: Option<Version>) -> TlsVersions {
    let min = match min {
        None | Some(Version::V1_2) => TlsVersion::V1_2,
        Some(Version::V1_3) => TlsVersion::V1_3,
    };
    TlsVersions { min, max: TlsVersion::V1_3 }
}

/// The certificates of a gateway's listeners, and the roots of their callers.
pub fn of_gateway(name: &ObjectName, reader: &Reader<'_>) -> Vec<Resource> {
    let Some(gateway) = reader.gateway(name) else { return Vec::new() };
    let modes = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref()).map(|tls| &tls.mode);
    let names = modes.flat_map(|mode| match mode {
        TlsMode::Terminate(Termination { certificates, clients, .. }) => certificates.iter().take(1).chain(clients),
        TlsMode::Passthrough => [].iter().take(0).chain(&None),
    });
    secrets(names, reader)
}

/// The roots that callers of a service need. There is nothing secret about them.
pub fn of_service(name: &ObjectName, client: Option<&str>, reader: &Reader<'_>) -> Vec<Resource> {
    let Some(backend) = reader.backend(name, client) else { return Vec::new() };
    let subsets = backend.subsets.values().flat_map(|s| std::iter::once(&s.traffic).chain(s.ports.values()));
    let all = std::iter::once(&backend.traffic).chain(backend.ports.values()).chain(subsets);
    let stanzas = all.flat_map(|traffic| traffic.tls.iter().chain(traffic.tls_of_ports.values()));
    let names = stanzas.filter_map(|stated| match &*stated.value {
        BackendTls::Originate(Origination { roots: Roots::Credential(name), .. }) => Some(name),
        BackendTls::Originate(_) | BackendTls::Plain => None,
    });
    secrets(names, reader)
}

fn secrets<'n>(names: impl Iterator<Item = &'n CredentialName>, reader: &Reader<'_>) -> Vec<Resource> {
    let mut secrets: Vec<Resource> = Vec::new();
    for name in names {
        let Some(credential) = reader.credential(name) else { continue };
        let kind = match credential {
            Credential::Certificate { chain, key } => {
                SecretKind::Certificate { chain_pem: chain.clone(), key_pem: key.clone() }
            }
            Credential::Roots(roots) => SecretKind::Validation { roots_pem: roots.clone() },
        };
        if !secrets.iter().any(|known| *known.name() == name.0) {
            secrets.push(Resource::Secret(Arc::new(Secret { name: name.0.clone(), kind })));
        }
    }
    secrets
}
