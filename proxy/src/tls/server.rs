//! What a chain terminates connections with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tidegate_xds::resource::tls::DownstreamTls;
use tokio_rustls::TlsAcceptor;

use super::material::Parts;
use super::names::Names;
use super::stream::Encrypted;
use super::{provider, versions};
use crate::clock;
use crate::limits::TLS_SESSIONS_MAX;
use crate::wire::socket::{Rewound, Socket};

/// Counts the handles of the process, so that pools can tell them apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no other handle of the process has.
pub(super) fn next_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The handle of a chain.
#[derive(Debug)]
pub(crate) struct ServerTls {
    source: DownstreamTls,
    parts: Parts,
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Whether nobody comes in without a certificate.
    pub(crate) fn requires_client_certificate(&self) -> bool {
        self.source.require_client_certificate
    }

    pub(crate) fn new(source: &DownstreamTls, parts: Parts) -> Result<Self, String> {
        let identity = parts.identity.as_ref().ok_or("a chain needs a certificate")?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&versions(source.versions))
            .map_err(|error| error.to_string())?;
        let builder = match (&source.validation, &parts.roots) {
            (Some(validation), Some(roots)) => {
                let known =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.store), Arc::clone(provider()));
                let known = if source.require_client_certificate { known } else { known.allow_unauthenticated() };
                let chain = known.build().map_err(|error| error.to_string())?;
                let names = Names::compile(&validation.subject_names)?;
                builder.with_client_cert_verifier(Arc::new(Callers { chain, names }))
            }
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        let own = Own { key: Arc::clone(&identity.key), require_sni: source.require_sni };
        let mut config = builder.with_cert_resolver(Arc::new(own));
        config.alpn_protocols = source.alpn_protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // A session remembers that its caller was let in; under mutual TLS each connection shows its certificate anew.
        if source.resumption && source.validation.is_none() {
            let sessions = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
            config.session_storage = Arc::new(Sessions { sessions, until: identity.not_after });
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { source: source.clone(), parts, config: Arc::new(config) })
    }

    /// Whether it would be made again as it is.
    pub(crate) fn is_made_of(&self, source: &DownstreamTls, parts: &Parts) -> bool {
        self.source == *source && self.parts.same(parts)
    }

    /// Whether whoever this one let in may stay under `other`: the rules and the roots are the same. A new certificate
    /// changes nothing about callers.
    pub(crate) fn admits_like(&self, other: &Self) -> bool {
        let rules = |tls: &DownstreamTls| (tls.validation.clone(), tls.require_client_certificate, tls.versions);
        rules(&self.source) == rules(&other.source) && self.parts.same_roots(&other.parts)
    }

    /// Shakes hands on a connection whose first bytes have been read already.
    pub(crate) async fn accept(&self, first: Vec<u8>, socket: Socket) -> Result<Socket, Failure> {
        let stream = socket.into_plain().ok_or(Failure::Protocol)?;
        let handshake = TlsAcceptor::from(Arc::clone(&self.config)).accept(Rewound::new(first, stream));
        match handshake.await {
            Ok(stream) => Ok(Socket::encrypted(Encrypted::new(stream.into()))),
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

/// Why a caller's handshake failed: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The first bytes look like TLS and are none.
    Garbage,
    /// The first bytes are not TLS at all.
    Plaintext,
    /// The caller showed no certificate where one is required.
    NoCertificate,
    /// The caller's certificate is not for us: unknown root, expired, another name.
    BadCertificate,
    /// The caller turned our certificate or our offer down.
    Alert,
    /// Nothing that both speak: versions, ciphers, application protocols, a missing server name.
    NothingInCommon,
    /// The caller broke the protocol.
    Protocol,
    /// The caller hung up.
    Closed,
    /// The caller did not finish in time.
    Late,
}

impl Failure {
    pub(crate) const ALL: [Self; 9] = [
        Self::Garbage,
        Self::Plaintext,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Alert,
        Self::NothingInCommon,
        Self::Protocol,
        Self::Closed,
        Self::Late,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Plaintext => "plaintext",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Alert => "alert",
            Self::NothingInCommon => "nothing_in_common",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Late => "late",
        }
    }

    fn of(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Closed,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::AlertReceived(AlertDescription::CloseNotify)) => Self::Closed,
            Some(Error::AlertReceived(_)) => Self::Alert,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::NothingInCommon,
            // What the library says when no certificate is chosen: the caller named no server.
            Some(Error::General(_)) => Self::NothingInCommon,
            Some(_) => Self::Protocol,
        }
    }
}

/// Shows the one certificate there is.
struct Own {
    key: Arc<CertifiedKey>,
    require_sni: bool,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("require_sni", &self.require_sni).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (!self.require_sni || hello.server_name().is_some()).then(|| Arc::clone(&self.key))
    }
}

/// Sessions that end with the certificate they were begun under.
#[derive(Debug)]
struct Sessions {
    sessions: Arc<ServerSessionMemoryCache>,
    until: Option<SystemTime>,
}

impl Sessions {
    fn are_good(&self) -> bool {
        self.until.is_some_and(|until| clock::wall() < until)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.are_good() && self.sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.get(key).filter(|_| self.are_good())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.take(key).filter(|_| self.are_good())
    }

    fn can_cache(&self) -> bool {
        self.are_good()
    }
}

/// Checks callers: their chain first, then their names.
#[derive(Debug)]
struct Callers {
    chain: Arc<dyn ClientCertVerifier>,
    names: Names,
}

impl ClientCertVerifier for Callers {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        self.names.verify(end_entity).map_err(|_| CertificateError::NotValidForName)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
