//! An authority of the tests, what it signs, and callers that check it with a library of their own settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tidegate_xds::resource::secret::SecretKind;
use tidegate_xds::resource::tls::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, TlsVersions, TrustedRoots, UpstreamTls,
};
use tidegate_xds::resource::{Resource, Secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whoever signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a host name, or for a URI.
    pub(crate) fn signs(&self, name: &str) -> Pair {
        self.signs_with(name, |_| ())
    }

    pub(crate) fn signs_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let mut params = CertificateParams::new(Vec::new()).expect("no names yet");
        let text = name.try_into().expect("ASCII");
        params.subject_alt_names = vec![if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) }];
        params.serial_number = Some(SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed)));
        // Chains are found by names: a leaf that is called like its root would pass for one.
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn roots(&self) -> TrustedRoots {
        TrustedRoots::Pem(PemSource::Inline(self.pem().as_bytes().into()))
    }

    pub(crate) fn trusts(&self) -> PeerValidation {
        PeerValidation { roots: self.roots(), subject_names: Vec::new() }
    }

    /// A caller that trusts this authority, and shows `own` where it is asked.
    pub(crate) fn caller(&self, own: Option<&Pair>, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            Some(pair) => config.with_client_auth_cert(pair.certificates(), pair.private_key()).expect("a pair"),
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// A date that has passed.
pub(crate) fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
}

impl Pair {
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM")
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM")
    }

    pub(crate) fn inline(&self) -> CertificateSource {
        let inline = |text: &str| PemSource::Inline(text.as_bytes().into());
        CertificateSource::Pem { chain: inline(&self.chain), key: inline(&self.key) }
    }

    pub(crate) fn secret(&self, name: &str) -> Resource {
        let bytes = |text: &str| text.as_bytes().into();
        let kind = SecretKind::Certificate { chain_pem: bytes(&self.chain), key_pem: bytes(&self.key) };
        Resource::Secret(Arc::new(Secret { name: name.into(), kind }))
    }
}

/// Terminates with this certificate and asks callers for nothing.
pub(crate) fn terminated(certificate: CertificateSource) -> DownstreamTls {
    DownstreamTls {
        certificate,
        validation: None,
        require_client_certificate: false,
        require_sni: false,
        alpn_protocols: vec!["h2".into(), "http/1.1".into()],
        versions: TlsVersions::default(),
        resumption: true,
    }
}

/// Encrypts towards `name` alone.
pub(crate) fn towards(name: &str, validation: PeerValidation, certificate: Option<CertificateSource>) -> UpstreamTls {
    UpstreamTls {
        certificate,
        validation,
        sni: name.into(),
        auto_host_sni: false,
        auto_sni_san_validation: true,
        alpn_protocols: Vec::new(),
        versions: TlsVersions::default(),
    }
}

/// Shakes hands.
pub(crate) async fn shake(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(name).expect("a name"), stream).await
}

/// One request on a connection that ends with it; everything that came back. A caller that is turned away notices it here
/// at the latest: under TLS 1.3 its own handshake is over before the server has seen its certificate.
pub(crate) async fn ask(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &'static str,
) -> std::io::Result<String> {
    let mut stream = shake(config, address, name).await?;
    let request = format!("GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
