//! TLS of a filter chain and of a cluster: who we are, whom we trust, what we speak.
//!
//! # Why less is accepted than Envoy accepts
//! Envoy encrypts towards a server that nobody checks when no validation context is written, and asks callers for
//! certificates that it compares with nothing. Both look like security and are none, so both are refused here, with the
//! path of the field that would make them real.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::matcher::StringMatcher;
use super::secret::REDACTED;

/// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`: how connections are terminated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DownstreamTls {
    /// Who we are.
    pub certificate: CertificateSource,
    /// Whom we trust among callers that show a certificate; `None`: callers are not asked for one.
    pub validation: Option<PeerValidation>,
    /// A caller without a certificate is turned away. Needs `validation`.
    pub require_client_certificate: bool,
    /// A caller that names no server is turned away.
    pub require_sni: bool,
    /// What may be spoken inside, most wanted first; empty: nothing is negotiated.
    pub alpn_protocols: Vec<Arc<str>>,
    /// The versions of TLS.
    pub versions: TlsVersions,
    /// Callers may take up an earlier session. On unless one of Envoy's two switches turns it off; never on beside
    /// `require_client_certificate`, whatever is said here.
    pub resumption: bool,
}

/// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`: how connections to endpoints are encrypted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamTls {
    /// Who we are, to servers that ask.
    pub certificate: Option<CertificateSource>,
    /// Whom we trust.
    pub validation: PeerValidation,
    /// The name that we ask for; empty: none.
    pub sni: Arc<str>,
    /// Ask for the endpoint's host name instead, where it has one.
    pub auto_host_sni: bool,
    /// The server's certificate must be for the name that we ask for, instead of fitting `subject_names`.
    pub auto_sni_san_validation: bool,
    /// What we offer to speak, most wanted first; empty: what the cluster's protocol says.
    pub alpn_protocols: Vec<Arc<str>>,
    /// The versions of TLS.
    pub versions: TlsVersions,
}

/// Where a certificate and its private key come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// Written here, or in files named here.
    Pem { chain: PemSource, key: PemSource },
    /// A [`super::Secret`] of this name, over ADS.
    Sds(Arc<str>),
}

/// Where PEM comes from. What is inline is never printed.
#[derive(Clone, PartialEq)]
pub enum PemSource {
    /// Written here.
    Inline(Arc<[u8]>),
    /// A file on the proxy's machine, read again whenever it changes.
    File(Arc<str>),
}

/// Whom we trust: `envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerValidation {
    /// What a peer's certificate must lead to.
    pub roots: TrustedRoots,
    /// Of the peer's subject alternative names one must fit one of these; empty: any name will do.
    pub subject_names: Vec<SubjectNameMatcher>,
}

/// Where the roots come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustedRoots {
    /// Written here, or in a file named here.
    Pem(PemSource),
    /// A [`super::Secret`] of this name, over ADS.
    Sds(Arc<str>),
    /// What the proxy's machine trusts.
    System,
}

/// A condition on one subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SubjectNameMatcher {
    /// Which kind of name is compared.
    pub kind: SubjectNameKind,
    /// How. A DNS name compared exactly may be covered by a certificate's wildcard.
    pub matcher: StringMatcher,
}

/// The kinds of subject alternative names that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectNameKind {
    /// A host name.
    Dns,
    /// A URI, such as a SPIFFE identity.
    Uri,
}

/// The lowest and the highest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TlsVersions {
    /// At least; TLS 1.3 when nothing is said, where Envoy takes 1.2.
    pub min: TlsVersion,
    /// At most; TLS 1.3 when nothing is said.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { min: TlsVersion::V1_3, max: TlsVersion::V1_3 }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2, with authenticated encryption and ephemeral keys only.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V1_3,
}

impl DownstreamTls {
    /// Whether everything it needs is written in it, so that there is nothing to wait for.
    pub fn is_inline(&self) -> bool {
        self.certificate.is_inline() && self.validation.as_ref().is_none_or(PeerValidation::is_inline)
    }

    /// The names of the files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificate.files().chain(self.validation.iter().filter_map(PeerValidation::file))
    }

    /// The names of the secrets that must be there first.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificate.secret().into_iter().chain(self.validation.iter().filter_map(PeerValidation::secret))
    }
}

impl UpstreamTls {
    /// Whether everything it needs is written in it, so that there is nothing to wait for.
    pub fn is_inline(&self) -> bool {
        self.certificate.as_ref().is_none_or(CertificateSource::is_inline) && self.validation.is_inline()
    }

    /// The names of the files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificate.iter().flat_map(CertificateSource::files).chain(self.validation.file())
    }

    /// The names of the secrets that must be there first.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificate.iter().filter_map(CertificateSource::secret).chain(self.validation.secret())
    }
}

impl CertificateSource {
    fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        let sources = match self {
            Self::Pem { chain, key } => [Some(chain), Some(key)],
            Self::Sds(_) => [None, None],
        };
        sources.into_iter().flatten().filter_map(PemSource::file)
    }

    fn is_inline(&self) -> bool {
        matches!(self, Self::Pem { chain: PemSource::Inline(_), key: PemSource::Inline(_) })
    }

    fn secret(&self) -> Option<&Arc<str>> {
        match self {
            Self::Sds(name) => Some(name),
            Self::Pem { .. } => None,
        }
    }
}

impl PeerValidation {
    fn file(&self) -> Option<&Arc<str>> {
        match &self.roots {
            TrustedRoots::Pem(source) => source.file(),
            TrustedRoots::Sds(_) | TrustedRoots::System => None,
        }
    }

    fn is_inline(&self) -> bool {
        matches!(self.roots, TrustedRoots::Pem(PemSource::Inline(_)) | TrustedRoots::System)
    }

    fn secret(&self) -> Option<&Arc<str>> {
        match &self.roots {
            TrustedRoots::Sds(name) => Some(name),
            TrustedRoots::Pem(_) | TrustedRoots::System => None,
        }
    }
}

impl PemSource {
    fn file(&self) -> Option<&Arc<str>> {
        match self {
            Self::File(name) => Some(name),
            Self::Inline(_) => None,
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str(REDACTED),
            Self::File(name) => f.debug_tuple("File").field(name).finish(),
        }
    }
}

impl Serialize for PemSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(_) => serializer.serialize_newtype_variant("PemSource", 0, "inline", REDACTED),
            Self::File(name) => serializer.serialize_newtype_variant("PemSource", 1, "file", name),
        }
    }
}
