//! An authority made for one comparison, and the certificate that proxies and applications show.
//!
//! # One for all
//! All show the same certificate and key (P-256), so that no handshake costs more than another by what is signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;

use super::mesh::{HTTP1, HTTP2, HTTPS1, HTTPS2};

/// By what name applications are called under TLS.
pub(crate) const APPLICATION: &str = "application.bench";
/// By what name proxies are.
pub(crate) const PROXY: &str = "proxy.bench";

/// As texts, and as files for those that read files.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) roots: String,
    pub(crate) chain: String,
    pub(crate) key: String,
    folder: PathBuf,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of the bench");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new([APPLICATION, PROXY, HTTP1, HTTP2, HTTPS1, HTTPS2].map(str::to_owned))?;
        // Chains are found by names: a leaf that is called like its root would pass for one.
        params.distinguished_name.push(DnType::CommonName, PROXY);
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &authority)?.pem();
        let made = Self { roots: authority.pem(), chain, key: key.serialize_pem(), folder: folder.to_owned() };
        for (file, text) in [
            (made.roots_file(), made.roots.clone()),
            (made.chain_file(), made.chain.clone()),
            (made.key_file(), made.key.clone()),
            (made.both_file(), [&*made.chain, &made.key].concat()),
        ] {
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(made)
    }

    pub(crate) fn roots_file(&self) -> PathBuf {
        self.folder.join("roots.pem")
    }

    pub(crate) fn chain_file(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The chain and then the key, as HAProxy wants it.
    pub(crate) fn both_file(&self) -> PathBuf {
        self.folder.join("both.pem")
    }
}

/// What an application ends TLS 1.3 with. It speaks nothing older, so whoever reaches it speaks that.
pub(crate) fn server(chain: &Path, key: &Path, protocol: Option<&str>) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocol.into_iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
