//! What a cluster's connections are encrypted with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tidegate_xds::resource::endpoint::LocalityEndpoints;
use tidegate_xds::resource::tls::UpstreamTls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::material::{Parts, Roots};
use super::names::Names;
use super::server::next_id;
use super::stream::Encrypted;
use super::{provider, versions};
use crate::wire::socket::{Rewound, Socket};

/// What will be spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Http1,
    Http2,
    /// Whatever the two ends agree on.
    Bytes,
}

/// The handle of a cluster.
#[derive(Debug)]
pub(crate) struct ClientTls {
    /// Connections with another one are not used any more.
    pub(crate) id: u64,
    source: UpstreamTls,
    parts: Parts,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
    sni: Option<ServerName<'static>>,
    /// The names of endpoints, where they are asked for by their own.
    hosts: HashMap<SocketAddr, ServerName<'static>>,
}

impl ClientTls {
    /// `before` lends its number when only endpoints differ, so that its connections stay in use.
    pub(crate) fn new(
        source: &UpstreamTls,
        parts: Parts,
        localities: &[LocalityEndpoints],
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let roots = parts.roots.clone().ok_or("a cluster needs roots to trust")?;
        let sni = match &*source.sni {
            "" => None,
            name => Some(server_name(name)?),
        };
        let mut hosts = HashMap::new();
        if source.auto_host_sni {
            for endpoint in localities.iter().flat_map(|locality| &locality.endpoints) {
                if let Some(name) = endpoint.hostname.as_deref().and_then(|name| server_name(name).ok()) {
                    hosts.insert(endpoint.address, name);
                }
            }
        }
        let names = Names::compile(&source.validation.subject_names)?;
        let servers = Servers { roots, names, by_sni: source.auto_sni_san_validation };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&versions(source.versions))
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers));
        let mut config = match &parts.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Own(Arc::clone(&identity.key)))),
            None => builder.with_no_client_auth(),
        };
        // The pool keeps connections; a session would let a server in again whose certificate has run out meanwhile.
        config.resumption = Resumption::disabled();
        let offering = |default: &[&str]| {
            let mut config = config.clone();
            let written: Vec<&str> = source.alpn_protocols.iter().map(|name| &**name).collect();
            let offered = if written.is_empty() { default } else { &written };
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            Arc::new(config)
        };
        let id = match before {
            Some(before) if before.source == *source && before.parts.same(&parts) => before.id,
            Some(_) | None => next_id(),
        };
        let (http1, http2, bytes) = (offering(&["http/1.1"]), offering(&["h2"]), offering(&[]));
        Ok(Self { id, source: source.clone(), parts, http1, http2, bytes, sni, hosts })
    }

    /// Whether it would be made again as it is, endpoints aside.
    pub(crate) fn is_made_of(&self, source: &UpstreamTls, parts: &Parts) -> bool {
        self.source == *source && self.parts.same(parts)
    }

    /// Shakes hands with an endpoint; or says what was wrong.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        inside: Inside,
    ) -> Result<Socket, HandshakeFault> {
        let config = match inside {
            Inside::Http1 => &self.http1,
            Inside::Http2 => &self.http2,
            Inside::Bytes => &self.bytes,
        };
        // An address as the name is not sent to the server (RFC 6066 §3).
        let name = self.hosts.get(&address).or(self.sni.as_ref()).cloned();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(address.ip().to_canonical().into()));
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, Rewound::new(Vec::new(), stream));
        let stream = handshake.await.map_err(|error| {
            debug!(endpoint = %address, %error, "a handshake with an endpoint failed");
            HandshakeFault::of(&error)
        })?;
        let chosen = stream.get_ref().1.alpn_protocol();
        if let Some(chosen) = chosen
            && inside != Inside::Bytes
            && (chosen == b"h2") != (inside == Inside::Http2)
        {
            return Err(HandshakeFault::NothingInCommon);
        }
        Ok(Socket::encrypted(Encrypted::new(stream.into())))
    }
}

/// Why a handshake with an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// Its certificate leads to no root that we trust.
    UnknownIssuer,
    /// Its certificate is for somebody else.
    WrongName,
    /// Its certificate has run out, or is not good yet.
    OutOfDate,
    /// Its certificate is bad in another way.
    BadCertificate,
    /// It turned our certificate or our offer down.
    Alert,
    /// Nothing that both speak.
    NothingInCommon,
    /// It does not speak TLS, or not as it should.
    Protocol,
    /// It hung up.
    Closed,
}

impl HandshakeFault {
    /// For the response's details.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "upstream_tls{unknown_issuer}",
            Self::WrongName => "upstream_tls{wrong_name}",
            Self::OutOfDate => "upstream_tls{expired_or_not_yet_valid}",
            Self::BadCertificate => "upstream_tls{bad_certificate}",
            Self::Alert => "upstream_tls{alert}",
            Self::NothingInCommon => "upstream_tls{nothing_in_common}",
            Self::Protocol => "upstream_tls{protocol}",
            Self::Closed => "upstream_tls{closed}",
        }
    }

    fn of(error: &io::Error) -> Self {
        use CertificateError as Bad;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Closed,
            Some(Error::InvalidCertificate(bad)) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => Self::UnknownIssuer,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::WrongName,
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    Self::OutOfDate
                }
                _ => Self::BadCertificate,
            },
            Some(Error::AlertReceived(_)) => Self::Alert,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Self::NothingInCommon,
            Some(_) => Self::Protocol,
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("sni: {name:?} is not a host name"))
}

/// Shows the one certificate there is, to servers that ask.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Checks servers: their chain first, then their names.
#[derive(Debug)]
struct Servers {
    roots: Arc<Roots>,
    names: Names,
    by_sni: bool,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots.store, intermediates, now, algorithms)?;
        if self.by_sni {
            verify_server_name(&certificate, server_name)?;
        } else {
            self.names.verify(end_entity)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
