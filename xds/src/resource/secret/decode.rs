//! Protobuf to secret. No error quotes what it read: errors are logged and sent back.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;

use super::{Secret, SecretKind};
use crate::proto::tls;
use crate::resource::path::{At, Checked, ignored, refused};
use crate::resource::scalar::{if_true, inline_data, name};

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
    let tls::TlsCertificate {
        certificate_chain,
        private_key,
        pkcs12,
        watched_directory,
        private_key_provider,
        password,
        ocsp_staple,
        signed_certificate_timestamp,
        tls_params,
    } = message;
    refused!(at; pkcs12, private_key_provider, password, ocsp_staple, tls_params);
    ignored!(at; watched_directory, signed_certificate_timestamp);
    let chain = certificate_chain.ok_or_else(|| at.field("certificate_chain").missing())?;
    let chain_pem = pem(at, "certificate_chain", inline_data(at, "certificate_chain", chain)?, "CERTIFICATE-----")?;
    let key = private_key.ok_or_else(|| at.field("private_key").missing())?;
    let key_pem = pem(at, "private_key", inline_data(at, "private_key", key)?, "PRIVATE KEY-----")?;
    Ok(SecretKind::Certificate { chain_pem, key_pem })
}

fn validation(at: &At<'_>, message: tls::CertificateValidationContext) -> Checked<SecretKind> {
    let tls::CertificateValidationContext {
        trusted_ca,
        ca_certificate_provider_instance,
        system_root_certs,
        watched_directory,
        verify_certificate_spki,
        verify_certificate_hash,
        match_typed_subject_alt_names,
        match_subject_alt_names,
        require_signed_certificate_timestamp,
        crl,
        allow_expired_certificate,
        trust_chain_verification,
        custom_validator_config,
        only_verify_leaf_cert_crl,
        max_verify_depth,
        suppress_client_ca_list,
    } = message;
    let require_signed_certificate_timestamp = if_true(require_signed_certificate_timestamp);
    // Each of these narrows or widens who is trusted: never dropped in silence.
    refused!(at;
        ca_certificate_provider_instance, system_root_certs, verify_certificate_spki, verify_certificate_hash,
        match_typed_subject_alt_names, match_subject_alt_names, require_signed_certificate_timestamp, crl,
        allow_expired_certificate, trust_chain_verification, custom_validator_config, only_verify_leaf_cert_crl,
        max_verify_depth
    );
    ignored!(at; watched_directory, suppress_client_ca_list);
    let roots = trusted_ca.ok_or_else(|| at.field("trusted_ca").missing())?;
    let roots_pem = pem(at, "trusted_ca", inline_data(at, "trusted_ca", roots)?, "CERTIFICATE-----")?;
    Ok(SecretKind::Validation { roots_pem })
}

/// A cheap look that catches swapped fields and DER; the certificates themselves are read by the TLS library.
fn pem(at: &At<'_>, field: &str, bytes: Arc<[u8]>, label: &str) -> Checked<Arc<[u8]>> {
    let found = |needle: &str| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
    if found("-----BEGIN ") && found(label) {
        return Ok(bytes);
    }
    Err(at.field(field).error(format_args!("is not PEM with a block that ends its first line in {label:?}")))
}
