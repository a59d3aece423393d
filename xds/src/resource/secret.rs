//! Secrets: certificates and what they are checked against. Never printed.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// What stands for the contents wherever a secret is shown.
pub(super) const REDACTED: &str = "[redacted]";

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Clone, PartialEq)]
pub struct Secret {
    /// The name by which it is subscribed to.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: SecretKind,
}

/// What a secret holds.
#[derive(Clone, PartialEq)]
pub enum SecretKind {
    /// A certificate chain and its private key, PEM.
    Certificate { chain_pem: Arc<[u8]>, key_pem: Arc<[u8]> },
    /// Roots that a peer's certificate must lead to, PEM.
    Validation { roots_pem: Arc<[u8]> },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SecretKind::Certificate { .. } => "certificate",
            SecretKind::Validation { .. } => "validation",
        };
        f.debug_struct("Secret").field("name", &self.name).field("kind", &kind).finish_non_exhaustive()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut secret = serializer.serialize_struct("Secret", 2)?;
        secret.serialize_field("name", &self.name)?;
        match &self.kind {
            SecretKind::Certificate { .. } => secret.serialize_field("certificate", REDACTED)?,
            SecretKind::Validation { .. } => secret.serialize_field("validation", REDACTED)?,
        }
        secret.end()
    }
}
