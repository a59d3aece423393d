//! TLS: which certificate is shown to whom, and whom we believe.
//!
//! # Where keys are
//! What is secret stands in one place, [`PolicySet::credentials`](super::PolicySet), and everything else refers to it by
//! name. So a new certificate is a change of one thing, and who needs none never has one.

use std::fmt;
use std::sync::Arc;

use super::Origin;

/// The name of a credential, the same all the way: `secret|shop/front`, `configmap|shop/ca`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialName(pub Arc<str>);

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// PEM. Never shown: not by `Debug`, and there is no other way to print it.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// A certificate with those that lead to its root, and its key.
    Certificate {
        /// The certificate first.
        chain: Arc<[u8]>,
        /// Its private key.
        key: Arc<[u8]>,
    },
    /// Roots that a certificate must lead to.
    Roots(Arc<[u8]>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate([redacted])",
            Self::Roots(_) => "Roots([redacted])",
        })
    }
}

/// What a gateway's listener does with TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// Where it was written.
    pub origin: Origin,
    /// What is done.
    pub mode: TlsMode,
}

/// Who ends a caller's TLS.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsMode {
    /// The gateway.
    Terminate(Termination),
    /// Whoever the connection is for; the gateway reads the server's name and nothing else.
    Passthrough,
}

/// How a gateway ends TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// Shown to callers; at least one.
    pub certificates: Vec<CredentialName>,
    /// Callers must show a certificate that leads to these roots.
    pub clients: Option<CredentialName>,
    /// The oldest version that is spoken; `None`: the proxy's default.
    pub version_min: Option<TlsVersion>,
}

/// Versions of TLS that are spoken at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// How connections to a service's endpoints are protected.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendTls {
    /// Not at all, whatever is said of the service as a whole.
    Plain,
    /// By TLS, and the endpoint's certificate is always verified.
    Originate(Origination),
}

/// How TLS to an endpoint begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Origination {
    /// The server's name as it is asked for; `None`: the host that the request is for.
    pub sni: Option<Arc<str>>,
    /// The certificate must be for one of these; empty: for the name that is asked for.
    pub names: Vec<Arc<str>>,
    /// Whom we believe.
    pub roots: Roots,
    /// What we show.
    pub client: Option<ClientCertificate>,
}

/// Roots that an endpoint's certificate must lead to.
#[derive(Clone, Debug, PartialEq)]
pub enum Roots {
    /// Those that the machine of the proxy trusts.
    System,
    /// Those in a Secret or ConfigMap.
    Credential(CredentialName),
    /// Those in a file beside the proxy.
    File(Arc<str>),
}

/// A certificate that is shown to endpoints.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientCertificate {
    /// From files beside the proxy.
    Files {
        /// The chain.
        chain: Arc<str>,
        /// The private key.
        key: Arc<str>,
    },
}
