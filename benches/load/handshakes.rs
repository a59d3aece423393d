//! Connections that are opened for one request each: what a TLS handshake costs.
//!
//! # What is the same for all
//! No session is taken up again, X25519 is the only key agreement that is offered (OpenSSL's and BoringSSL's servers would
//! otherwise agree on something else than ours), and the certificate is not checked, which would cost the load more than
//! the handshake costs the proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::certificates::PROXY;
use super::load::{Served, ask};
use super::meter;

/// At once: enough that the proxy never waits for the load.
const LOOPS: u8 = 32;
/// For one connection and its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens, asks and closes for `time`.
pub(crate) async fn run(target: SocketAddr, host: &'static str, time: Duration) -> anyhow::Result<Served> {
    let connector = TlsConnector::from(Arc::new(config()?));
    let mut loops = JoinSet::new();
    for number in 0..LOOPS {
        // Closed connections keep their port for a minute: each loop has the ports of an address of its own.
        let from = SocketAddr::from((Ipv4Addr::new(127, 91, 0, number + 1), 0));
        let connector = connector.clone();
        loops.spawn(async move {
            let start = meter::now();
            let mut requests = 0;
            while start.elapsed() < time {
                let asked = one(&connector, from, target, host);
                tokio::time::timeout(PATIENCE, asked).await.context("no answer")??;
                requests += 1;
            }
            anyhow::Ok(requests)
        });
    }
    let mut requests: u64 = 0;
    while let Some(done) = loops.join_next().await {
        requests += done.context("a loop panicked")??;
    }
    Ok(Served { requests, median: None })
}

async fn one(connector: &TlsConnector, from: SocketAddr, target: SocketAddr, host: &str) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from)?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(ServerName::try_from(PROXY)?, stream).await?;
    ask(&mut stream, host, "/").await?;
    // The caller hangs up, so that none of the proxies waits for it in a way of its own.
    stream.shutdown().await?;
    Ok(())
}

fn config() -> anyhow::Result<ClientConfig> {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Believes everybody: the certificate was made a moment ago by this very program.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
