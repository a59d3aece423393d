//! Protobuf to secret. No error quotes what it read: errors are logged and sent back.

use std::sync::Arc;

use super::{Secret, SecretKind};
use crate::proto::tls;
use crate::resource::path::{At, Checked};
use crate::resource::scalar::{inline_data, name, not_inline};
use crate::resource::tls::decode::{certificate_parts, validation_parts};
use crate::resource::tls::{PemSource, TrustedRoots};

/// How the first line of a certificate ends.
pub(in crate::resource) const CERTIFICATE: &str = "CERTIFICATE-----";
/// How the first line of a private key ends, of whatever kind.
pub(in crate::resource) const PRIVATE_KEY: &str = "PRIVATE KEY-----";

pub(in crate::resource) fn decode(at: &At<'_>, message: tls::Secret) -> Checked<Secret> {
    let tls::Secret { name: secret_name, r#type } = message;
    let name = name(at, "name", secret_name)?;
    let kind = match r#type {
        Some(tls::secret::Type::TlsCertificate(message)) => certificate(&at.field("tls_certificate"), message)?,
        Some(tls::secret::Type::ValidationContext(message)) => validation(&at.field("validation_context"), message)?,
        Some(tls::secret::Type::SessionTicketKeys(_)) => return Err(at.field("session_ticket_keys").unsupported()),
        Some(tls::secret::Type::GenericSecret(_)) => return Err(at.field("generic_secret").unsupported()),
        None => return Err(at.error("holds nothing")),
    };
    Ok(Secret { name, kind })
}

fn certificate(at: &At<'_>, message: tls::TlsCertificate) -> Checked<SecretKind> {
    let (chain, key) = certificate_parts(at, message)?;
    let chain_pem = pem(at, "certificate_chain", inline_data(at, "certificate_chain", chain)?, CERTIFICATE)?;
    let key_pem = pem(at, "private_key", inline_data(at, "private_key", key)?, PRIVATE_KEY)?;
    Ok(SecretKind::Certificate { chain_pem, key_pem })
}

fn validation(at: &At<'_>, message: tls::CertificateValidationContext) -> Checked<SecretKind> {
    if !message.match_typed_subject_alt_names.is_empty() {
        // Names stand with those who trust, in the listener or the cluster, where a change of roots cannot lose them.
        return Err(at.field("match_typed_subject_alt_names").unsupported());
    }
    let (roots, _) = validation_parts(at, message)?;
    match roots {
        Some(TrustedRoots::Pem(PemSource::Inline(roots_pem))) => Ok(SecretKind::Validation { roots_pem }),
        Some(TrustedRoots::Pem(PemSource::File(_))) => Err(not_inline(&at.field("trusted_ca").field("filename"))),
        Some(TrustedRoots::System | TrustedRoots::Sds(_)) => Err(at.field("system_root_certs").unsupported()),
        None => Err(at.field("trusted_ca").missing()),
    }
}

/// A cheap look that catches swapped fields and DER; the certificates themselves are read by the TLS library.
pub(in crate::resource) fn pem(at: &At<'_>, field: &str, bytes: Arc<[u8]>, label: &str) -> Checked<Arc<[u8]>> {
    let found = |needle: &str| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
    if found("-----BEGIN ") && found(label) {
        return Ok(bytes);
    }
    Err(at.field(field).error(format_args!("is not PEM with a block that ends its first line in {label:?}")))
}
