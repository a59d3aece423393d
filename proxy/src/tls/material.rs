//! Keys and roots, and where they come from.
//!
//! # Why files are read again every second and not watched
//! Files of certificates are replaced in three ways: written over, renamed over, or reached through a link that is turned
//! elsewhere (what Kubernetes does). Notifications need a watch on each directory on the way and still miss one of the
//! three on some file systems. A handful of small files is read in microseconds, and the content tells what changed. A
//! file that is half written does not parse, so what was good stays until it does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use foldhash::HashMap;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_xds::resource::secret::{Secret, SecretKind};
use tidegate_xds::resource::tls::{CertificateSource, DownstreamTls, PemSource, TrustedRoots, UpstreamTls};
use tracing::warn;

use super::{names, provider, validity};
use crate::clock;
use crate::limits::PEM_FILE_BYTES_MAX;

/// Where systems keep the roots they trust; the first that exists is taken.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate chain with its key.
pub(crate) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// Of the leaf.
    pub(super) not_after: Option<SystemTime>,
    /// Its names, for logs.
    subject: String,
    /// It has been said that it expired.
    reported: AtomicBool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Roots to trust.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(super) store: Arc<RootCertStore>,
}

/// A secret in the form in which it is used.
#[derive(Clone, Debug)]
enum Held {
    Identity(Arc<Identity>),
    Roots(Arc<Roots>),
}

/// What a chain or a cluster shakes hands with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) roots: Option<Arc<Roots>>,
}

impl Parts {
    /// Whether both are the very same material.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.identity.as_ref().map(Arc::as_ptr) == other.identity.as_ref().map(Arc::as_ptr) && self.same_roots(other)
    }

    pub(super) fn same_roots(&self, other: &Self) -> bool {
        self.roots.as_ref().map(Arc::as_ptr) == other.roots.as_ref().map(Arc::as_ptr)
    }
}

/// A chain and its key as they were written.
type PemPair = (Arc<[u8]>, Arc<[u8]>);

/// All material of the process. Lives on the control thread.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    secrets: BTreeMap<Arc<str>, Held>,
    files: BTreeMap<Arc<str>, Content>,
    /// Made once of the same bytes, as long as somebody uses it.
    identities: HashMap<PemPair, Weak<Identity>>,
    roots: HashMap<Arc<[u8]>, Weak<Roots>>,
    /// Parsed pairs and roots of files that were good last: they stay when the file turns bad.
    good: BTreeMap<(Arc<str>, Arc<str>), Arc<Identity>>,
    good_roots: BTreeMap<Arc<str>, Arc<Roots>>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Arc<[u8]>),
    Unreadable(String),
}

impl Keyring {
    /// Takes a secret in, if it is good.
    pub(crate) fn accept(&mut self, secret: &Secret) -> Result<(), String> {
        let held = match &secret.kind {
            SecretKind::Certificate { chain_pem, key_pem } => Held::Identity(self.identity_of(chain_pem, key_pem)?),
            SecretKind::Validation { roots_pem } => Held::Roots(self.roots_of(roots_pem)?),
        };
        self.secrets.insert(Arc::clone(&secret.name), held);
        Ok(())
    }

    /// Drops secrets that nothing names any more.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Arc<str>) -> bool) {
        self.secrets.retain(|name, _| keep(name));
    }

    /// The material of a chain, or what is missing.
    pub(crate) fn of_chain(&mut self, tls: &DownstreamTls) -> Result<Parts, String> {
        let identity = Some(self.identity(&tls.certificate)?);
        let roots = tls.validation.as_ref().map(|validation| self.trusted(&validation.roots)).transpose()?;
        Ok(Parts { identity, roots })
    }

    /// The material of a cluster, or what is missing.
    pub(crate) fn of_cluster(&mut self, tls: &UpstreamTls) -> Result<Parts, String> {
        let identity = tls.certificate.as_ref().map(|source| self.identity(source)).transpose()?;
        Ok(Parts { identity, roots: Some(self.trusted(&tls.validation.roots)?) })
    }

    /// Why a chain's material is not whole. Asks for nothing that was not asked for before.
    pub(crate) fn lacks_of_chain(&self, tls: &DownstreamTls) -> Option<String> {
        let roots = tls.validation.as_ref().and_then(|validation| self.lacks_roots(&validation.roots));
        self.lacks_identity(&tls.certificate).or(roots)
    }

    /// The same of a cluster's.
    pub(crate) fn lacks_of_cluster(&self, tls: &UpstreamTls) -> Option<String> {
        let identity = tls.certificate.as_ref().and_then(|source| self.lacks_identity(source));
        identity.or_else(|| self.lacks_roots(&tls.validation.roots))
    }

    fn lacks_identity(&self, source: &CertificateSource) -> Option<String> {
        match source {
            CertificateSource::Sds(name) => match self.secrets.get(name) {
                Some(Held::Identity(_)) => None,
                Some(Held::Roots(_)) => Some(format!("secret {name:?} holds no certificate")),
                None => Some(format!("secret {name:?} has not arrived")),
            },
            CertificateSource::Pem { chain, key } => {
                self.lacks_file(chain).or_else(|| self.lacks_file(key)).or_else(|| {
                    let (chain, key) = (self.known(chain)?, self.known(key)?);
                    parse_identity(&chain, &key).err()
                })
            }
        }
    }

    fn lacks_roots(&self, source: &TrustedRoots) -> Option<String> {
        match source {
            TrustedRoots::Sds(name) => match self.secrets.get(name) {
                Some(Held::Roots(_)) => None,
                Some(Held::Identity(_)) => Some(format!("secret {name:?} holds no roots")),
                None => Some(format!("secret {name:?} has not arrived")),
            },
            TrustedRoots::Pem(source) => self.lacks_file(source).or_else(|| parse_roots(&self.known(source)?).err()),
            TrustedRoots::System => None,
        }
    }

    fn lacks_file(&self, source: &PemSource) -> Option<String> {
        let PemSource::File(name) = source else { return None };
        match self.files.get(name) {
            Some(Content::Bytes(_)) => None,
            Some(Content::Unreadable(reason)) => Some(format!("file {name:?} {reason}")),
            None => Some(format!("file {name:?} has not been read")),
        }
    }

    fn known(&self, source: &PemSource) -> Option<Arc<[u8]>> {
        match source {
            PemSource::Inline(bytes) => Some(Arc::clone(bytes)),
            PemSource::File(name) => match self.files.get(name) {
                Some(Content::Bytes(bytes)) => Some(Arc::clone(bytes)),
                Some(Content::Unreadable(_)) | None => None,
            },
        }
    }

    /// Reads files again. `true`: one has changed.
    pub(crate) fn look(&mut self) -> bool {
        let mut changed = false;
        for (name, content) in &mut self.files {
            let now = read(name);
            if now != *content {
                *content = now;
                changed = true;
            }
        }
        changed
    }

    /// Whether there is anything to look at.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.files.is_empty() || self.identities.values().any(|known| known.strong_count() > 0)
    }

    /// Says once of each certificate in use that it has expired.
    pub(crate) fn report_expired(&self) {
        let now = clock::wall();
        for identity in self.identities.values().filter_map(Weak::upgrade) {
            let expired = identity.not_after.is_some_and(|until| until <= now);
            if expired && !identity.reported.swap(true, Ordering::Relaxed) {
                warn!(subject = %identity.subject, "a certificate in use has expired: whoever checks it turns away");
            }
        }
    }

    /// Forgets files, so that those that are still named are read when they are asked for.
    pub(crate) fn forget_files(&mut self, named: impl Fn(&str) -> bool) {
        let system = |name: &str| SYSTEM_ROOTS.contains(&name);
        let named = |name: &str| named(name) || system(name);
        self.files.retain(|name, _| named(name));
        self.good.retain(|(chain, key), _| named(chain) && named(key));
        self.good_roots.retain(|name, _| named(name));
    }

    fn identity(&mut self, source: &CertificateSource) -> Result<Arc<Identity>, String> {
        match source {
            CertificateSource::Sds(name) => match self.secrets.get(name) {
                Some(Held::Identity(identity)) => Ok(Arc::clone(identity)),
                Some(Held::Roots(_)) => Err(format!("secret {name:?} holds no certificate")),
                None => Err(format!("secret {name:?} has not arrived")),
            },
            CertificateSource::Pem { chain: PemSource::File(chain), key: PemSource::File(key) } => {
                let pair = (Arc::clone(chain), Arc::clone(key));
                let made = match (self.file(chain), self.file(key)) {
                    (Ok(chain_pem), Ok(key_pem)) => self.identity_of(&chain_pem, &key_pem),
                    (Err(reason), _) | (_, Err(reason)) => Err(reason),
                };
                or_last_good(made, self.good.get(&pair), chain)
                    .inspect(|good| drop(self.good.insert(pair, Arc::clone(good))))
            }
            CertificateSource::Pem { chain, key } => {
                let (chain_pem, key_pem) = (self.pem(chain)?, self.pem(key)?);
                self.identity_of(&chain_pem, &key_pem)
            }
        }
    }

    fn trusted(&mut self, source: &TrustedRoots) -> Result<Arc<Roots>, String> {
        match source {
            TrustedRoots::Sds(name) => match self.secrets.get(name) {
                Some(Held::Roots(roots)) => Ok(Arc::clone(roots)),
                Some(Held::Identity(_)) => Err(format!("secret {name:?} holds no roots")),
                None => Err(format!("secret {name:?} has not arrived")),
            },
            TrustedRoots::Pem(PemSource::Inline(bytes)) => self.roots_of(bytes),
            TrustedRoots::Pem(PemSource::File(name)) => self.roots_in(name),
            TrustedRoots::System => {
                let name = SYSTEM_ROOTS.iter().find(|name| std::path::Path::new(name).exists());
                let name = name.ok_or_else(|| format!("this machine has no roots in any of {SYSTEM_ROOTS:?}"))?;
                self.roots_in(&Arc::from(*name))
            }
        }
    }

    fn roots_in(&mut self, name: &Arc<str>) -> Result<Arc<Roots>, String> {
        let made = self.file(name).and_then(|bytes| self.roots_of(&bytes).map_err(|why| format!("{name}: {why}")));
        or_last_good(made, self.good_roots.get(name), name)
            .inspect(|good| drop(self.good_roots.insert(Arc::clone(name), Arc::clone(good))))
    }

    fn pem(&mut self, source: &PemSource) -> Result<Arc<[u8]>, String> {
        match source {
            PemSource::Inline(bytes) => Ok(Arc::clone(bytes)),
            PemSource::File(name) => self.file(name),
        }
    }

    fn file(&mut self, name: &Arc<str>) -> Result<Arc<[u8]>, String> {
        match self.files.entry(Arc::clone(name)).or_insert_with(|| read(name)) {
            Content::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Content::Unreadable(reason) => Err(format!("file {name:?} {reason}")),
        }
    }

    fn identity_of(&mut self, chain: &Arc<[u8]>, key: &Arc<[u8]>) -> Result<Arc<Identity>, String> {
        let bytes = (Arc::clone(chain), Arc::clone(key));
        if let Some(known) = self.identities.get(&bytes).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let identity = Arc::new(parse_identity(chain, key)?);
        self.identities.retain(|_, known| known.strong_count() > 0);
        self.identities.insert(bytes, Arc::downgrade(&identity));
        Ok(identity)
    }

    fn roots_of(&mut self, pem: &Arc<[u8]>) -> Result<Arc<Roots>, String> {
        if let Some(known) = self.roots.get(pem).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let roots = Arc::new(parse_roots(pem)?);
        self.roots.retain(|_, known| known.strong_count() > 0);
        self.roots.insert(Arc::clone(pem), Arc::downgrade(&roots));
        Ok(roots)
    }
}

/// A file that has turned bad does not take down what it was good for.
fn or_last_good<T>(made: Result<Arc<T>, String>, last: Option<&Arc<T>>, name: &str) -> Result<Arc<T>, String> {
    match (made, last) {
        (Err(reason), Some(last)) => {
            warn!(file = name, reason, "what was read before stays in use");
            Ok(Arc::clone(last))
        }
        (made, _) => made,
    }
}

fn read(name: &str) -> Content {
    let mut bytes = Vec::new();
    let limit = PEM_FILE_BYTES_MAX;
    match File::open(name).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(length) if length as u64 <= limit => Content::Bytes(bytes.into()),
        Ok(_) => Content::Unreadable(format!("is larger than {limit} bytes")),
        Err(error) => Content::Unreadable(format!("cannot be read: {}", error.kind())),
    }
}

fn parse_identity(chain: &[u8], key: &[u8]) -> Result<Identity, String> {
    let chain = certificates(chain, "certificate_chain")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "private_key: is not PEM with a private key")?;
    let not_after = chain.first().and_then(|leaf| validity::not_after(leaf));
    let key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "private_key: does not belong to the certificate".to_owned()
        }
        Error::InvalidCertificate(_) => "certificate_chain: the first certificate cannot be read".to_owned(),
        // The library's words for keys that it cannot read quote none of their bytes.
        error => format!("private_key: {error}"),
    })?;
    let subject = key.end_entity_cert().map(|leaf| names::of(leaf).join(", ")).unwrap_or_default();
    Ok(Identity { key: Arc::new(key), not_after, subject, reported: AtomicBool::new(false) })
}

fn parse_roots(pem: &[u8]) -> Result<Roots, String> {
    let mut store = RootCertStore::empty();
    let found = certificates(pem, "trusted_ca")?;
    let count = found.len();
    // A bundle of a system has odd ones that no library reads; a bundle of which nothing can be read is a mistake.
    let (added, _) = store.add_parsable_certificates(found);
    if added == 0 {
        return Err(format!("trusted_ca: none of its {count} certificates can be read"));
    }
    Ok(Roots { store: Arc::new(store) })
}

fn certificates(pem: &[u8], field: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| format!("{field}: is not PEM with certificates"))?;
    if found.is_empty() {
        return Err(format!("{field}: holds no certificate"));
    }
    Ok(found)
}
