//! TLS on both hops.
//!
//! [`material`] turns PEM into keys and roots and watches files, [`server`] and [`client`] make of them what a chain and
//! a cluster shake hands with, [`hello`] reads what a caller says first, [`names`] compares certificates with names,
//! [`stream`] carries bytes afterwards.
//!
//! # How a certificate is exchanged
//! Everything that was made of a certificate lies behind one handle in the snapshot. A new certificate makes a new
//! handle: the next handshake uses it, connections that stand are not touched. Sessions belong to the handle, so none can
//! be taken up again under another certificate than the one it was made with.

pub(crate) mod client;
pub(crate) mod hello;
pub(crate) mod material;
mod names;
pub(crate) mod server;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod validity;

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use tidegate_xds::resource::tls::{TlsVersion, TlsVersions};

/// The cryptography of the process.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// What is spoken, the newest first.
fn versions(versions: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    let spoken = all.into_iter().filter(|(version, _)| (versions.min..=versions.max).contains(version));
    spoken.map(|(_, version)| version).collect()
}
