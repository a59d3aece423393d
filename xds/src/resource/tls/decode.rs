//! Protobuf to TLS. No error quotes what it read of a certificate or a key.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;

use super::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, SubjectNameKind, SubjectNameMatcher, TlsVersion,
    TlsVersions, TrustedRoots, UpstreamTls,
};
use crate::proto::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use crate::proto::{Any, core, raw_buffer, tls};
use crate::resource::extension::{holds, message, unknown};
use crate::resource::matcher::decode as matchers;
use crate::resource::path::{At, Checked, IsSet as _, ignored, refused};
use crate::resource::scalar::{if_true, inline_data, name, over_ads};
use crate::resource::secret::decode::{CERTIFICATE, PRIVATE_KEY, pem};

/// The longest name of a protocol that fits the one byte which TLS has for its length.
const ALPN_BYTES_MAX: usize = 255;

/// `FilterChain.transport_socket`; `None` is plaintext.
pub(in crate::resource) fn downstream(
    at: &At<'_>,
    socket: Option<core::TransportSocket>,
) -> Checked<Option<DownstreamTls>> {
    let Some(any) = configuration(at, socket)? else { return Ok(None) };
    let at = &at.field("transport_socket");
    let at = &at.field("typed_config");
    if !holds::<tls::DownstreamTlsContext>(&any) {
        return Err(unknown(at, &any));
    }
    let tls::DownstreamTlsContext {
        common_tls_context,
        require_client_certificate,
        require_sni,
        disable_stateful_session_resumption,
        session_timeout,
        ocsp_staple_policy,
        full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers,
        session_ticket_keys_type,
    } = message(at, &any.value)?;
    // There is one certificate, so there is nothing to scan, and nothing to staple to it.
    ignored!(at; session_timeout, full_scan_certs_on_sni_mismatch, prefer_client_ciphers);
    refused!(at; ocsp_staple_policy);
    use tls::downstream_tls_context::SessionTicketKeysType as Tickets;
    let stateless = match session_ticket_keys_type {
        None => true,
        Some(Tickets::DisableStatelessSessionResumption(disabled)) => !disabled,
        Some(Tickets::SessionTicketKeys(_)) => return Err(at.field("session_ticket_keys").unsupported()),
        Some(Tickets::SessionTicketKeysSdsSecretConfig(_)) => {
            return Err(at.field("session_ticket_keys_sds_secret_config").unsupported());
        }
    };
    let common = common(at, common_tls_context)?;
    let at = &at.field("common_tls_context");
    let require_client_certificate = if_true(require_client_certificate).is_some();
    if require_client_certificate && common.validation.is_none() {
        return Err(at.field("validation_context_type").error("is required to tell whose certificates are accepted"));
    }
    Ok(Some(DownstreamTls {
        certificate: common.certificate.ok_or_else(|| at.field("tls_certificates").missing())?,
        validation: common.validation,
        require_client_certificate,
        require_sni: if_true(require_sni).is_some(),
        alpn_protocols: common.alpn_protocols,
        versions: common.versions,
        resumption: stateless && !disable_stateful_session_resumption,
    }))
}

/// `Cluster.transport_socket`; `None` is plaintext.
pub(in crate::resource) fn upstream(
    at: &At<'_>,
    socket: Option<core::TransportSocket>,
) -> Checked<Option<UpstreamTls>> {
    let Some(any) = configuration(at, socket)? else { return Ok(None) };
    let at = &at.field("transport_socket");
    let at = &at.field("typed_config");
    if !holds::<tls::UpstreamTlsContext>(&any) {
        return Err(unknown(at, &any));
    }
    let tls::UpstreamTlsContext {
        common_tls_context,
        sni,
        auto_host_sni,
        auto_sni_san_validation,
        allow_renegotiation,
        max_session_keys,
        enforce_rsa_key_usage,
    } = message(at, &any.value)?;
    refused!(at; allow_renegotiation);
    // No session is taken up again, so none is kept.
    ignored!(at; max_session_keys, enforce_rsa_key_usage);
    if sni.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"-._".contains(&b))) {
        return Err(at.field("sni").error(format_args!("{sni:?} is not a host name")));
    }
    if auto_sni_san_validation && sni.is_empty() && !auto_host_sni {
        return Err(at.field("auto_sni_san_validation").error("needs sni or auto_host_sni to compare with"));
    }
    let common = common(at, common_tls_context)?;
    let at = &at.field("common_tls_context");
    let validation_at = at.field("validation_context_type");
    let validation = common
        .validation
        .ok_or_else(|| validation_at.error("is required: encryption towards a server that nobody checks is none"))?;
    if validation.roots == TrustedRoots::System && validation.subject_names.is_empty() && !auto_sni_san_validation {
        return Err(validation_at.error(
            "trusts every server of the internet: name those that are meant in match_typed_subject_alt_names, or set \
             auto_sni_san_validation",
        ));
    }
    Ok(Some(UpstreamTls {
        certificate: common.certificate,
        validation,
        sni: sni.into(),
        auto_host_sni,
        auto_sni_san_validation,
        alpn_protocols: common.alpn_protocols,
        versions: common.versions,
    }))
}

/// The configuration of a transport socket that is not plaintext.
fn configuration(at: &At<'_>, socket: Option<core::TransportSocket>) -> Checked<Option<Any>> {
    let Some(core::TransportSocket { name: _, config_type }) = socket else { return Ok(None) };
    let at = &at.field("transport_socket");
    match config_type {
        Some(core::transport_socket::ConfigType::TypedConfig(any)) => {
            Ok(Some(any).filter(|any| !holds::<raw_buffer::RawBuffer>(any)))
        }
        None => Err(at.field("typed_config").missing()),
    }
}

/// What both directions share.
struct Common {
    certificate: Option<CertificateSource>,
    validation: Option<PeerValidation>,
    alpn_protocols: Vec<Arc<str>>,
    versions: TlsVersions,
}

fn common(at: &At<'_>, context: Option<tls::CommonTlsContext>) -> Checked<Common> {
    let at = &at.field("common_tls_context");
    let tls::CommonTlsContext {
        tls_params,
        tls_certificates,
        tls_certificate_sds_secret_configs,
        tls_certificate_provider_instance,
        custom_tls_certificate_selector,
        tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance,
        alpn_protocols,
        custom_handshaker,
        key_log,
        validation_context_type,
    } = context.ok_or_else(|| at.missing())?;
    refused!(at;
        tls_certificate_provider_instance, custom_tls_certificate_selector, tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance, custom_handshaker, key_log
    );
    let alpn = alpn_protocols.into_iter().enumerate();
    Ok(Common {
        certificate: certificate(at, tls_certificates, tls_certificate_sds_secret_configs)?,
        validation: validation_context_type.map(|context| validation_type(at, context)).transpose()?,
        alpn_protocols: alpn.map(|(i, p)| protocol(&at.item("alpn_protocols", i), p)).collect::<Checked<_>>()?,
        versions: versions(at, tls_params)?,
    })
}

fn protocol(at: &At<'_>, name: String) -> Checked<Arc<str>> {
    if name.is_empty() || name.len() > ALPN_BYTES_MAX {
        return Err(at.error(format_args!("the name of a protocol has 1 to {ALPN_BYTES_MAX} bytes")));
    }
    Ok(name.into())
}

fn certificate(
    at: &At<'_>,
    mut written: Vec<tls::TlsCertificate>,
    mut named: Vec<tls::SdsSecretConfig>,
) -> Checked<Option<CertificateSource>> {
    match (written.len(), named.len()) {
        (0, 0) => Ok(None),
        (1, 0) => written.pop().map(|message| pem_certificate(&at.item("tls_certificates", 0), message)).transpose(),
        (0, 1) => {
            let at = &at.item("tls_certificate_sds_secret_configs", 0);
            named.pop().map(|config| Ok(CertificateSource::Sds(sds(at, config)?))).transpose()
        }
        (0, _) => Err(at.field("tls_certificate_sds_secret_configs").error("more than one is not supported yet")),
        (_, 0) => Err(at.field("tls_certificates").error("more than one is not supported yet")),
        _ => Err(at.field("tls_certificate_sds_secret_configs").error("stands beside tls_certificates")),
    }
}

fn pem_certificate(at: &At<'_>, message: tls::TlsCertificate) -> Checked<CertificateSource> {
    let (chain, key) = certificate_parts(at, message)?;
    Ok(CertificateSource::Pem {
        chain: pem_source(at, "certificate_chain", chain, CERTIFICATE)?,
        key: pem_source(at, "private_key", key, PRIVATE_KEY)?,
    })
}

/// The two halves of a certificate, wherever it stands.
pub(in crate::resource) fn certificate_parts(
    at: &At<'_>,
    message: tls::TlsCertificate,
) -> Checked<(core::DataSource, core::DataSource)> {
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
    let key = private_key.ok_or_else(|| at.field("private_key").missing())?;
    Ok((chain, key))
}

fn pem_source(at: &At<'_>, field: &str, value: core::DataSource, label: &str) -> Checked<PemSource> {
    if let Some(core::data_source::Specifier::Filename(name)) = &value.specifier {
        if name.is_empty() {
            return Err(at.field(field).field("filename").missing());
        }
        let at = &at.field(field);
        let name = Arc::from(name.as_str());
        let core::DataSource { watched_directory, specifier: _ } = value;
        // The file is watched wherever it lies.
        ignored!(at; watched_directory);
        return Ok(PemSource::File(name));
    }
    Ok(PemSource::Inline(pem(at, field, inline_data(at, field, value)?, label)?))
}

fn sds(at: &At<'_>, config: tls::SdsSecretConfig) -> Checked<Arc<str>> {
    let tls::SdsSecretConfig { name: secret, sds_config } = config;
    over_ads(at, "sds_config", sds_config)?;
    name(at, "name", secret)
}

fn validation_type(at: &At<'_>, context: ValidationContextType) -> Checked<PeerValidation> {
    match context {
        ValidationContextType::ValidationContext(message) => {
            let at = &at.field("validation_context");
            let (roots, subject_names) = validation_parts(at, message)?;
            let roots = roots.ok_or_else(|| at.field("trusted_ca").missing())?;
            Ok(PeerValidation { roots, subject_names })
        }
        ValidationContextType::ValidationContextSdsSecretConfig(config) => {
            let roots = TrustedRoots::Sds(sds(&at.field("validation_context_sds_secret_config"), config)?);
            Ok(PeerValidation { roots, subject_names: Vec::new() })
        }
        ValidationContextType::CombinedValidationContext(message) => {
            let at = &at.field("combined_validation_context");
            combined(at, message)
        }
        ValidationContextType::ValidationContextCertificateProvider(_) => {
            Err(at.field("validation_context_certificate_provider").unsupported())
        }
        ValidationContextType::ValidationContextCertificateProviderInstance(_) => {
            Err(at.field("validation_context_certificate_provider_instance").unsupported())
        }
    }
}

/// Names from here, roots from a secret.
fn combined(at: &At<'_>, message: CombinedCertificateValidationContext) -> Checked<PeerValidation> {
    let CombinedCertificateValidationContext {
        default_validation_context,
        validation_context_sds_secret_config,
        validation_context_certificate_provider,
        validation_context_certificate_provider_instance,
    } = message;
    refused!(at; validation_context_certificate_provider, validation_context_certificate_provider_instance);
    let secret = validation_context_sds_secret_config
        .ok_or_else(|| at.field("validation_context_sds_secret_config").missing())?;
    let roots = TrustedRoots::Sds(sds(&at.field("validation_context_sds_secret_config"), secret)?);
    let at = &at.field("default_validation_context");
    let (default_roots, subject_names) = validation_parts(at, default_validation_context.unwrap_or_default())?;
    if default_roots.is_some() {
        return Err(at.error("may name no roots beside those of the secret"));
    }
    Ok(PeerValidation { roots, subject_names })
}

/// The roots, if any are named, and the names.
pub(in crate::resource) fn validation_parts(
    at: &At<'_>,
    message: tls::CertificateValidationContext,
) -> Checked<(Option<TrustedRoots>, Vec<SubjectNameMatcher>)> {
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
        ca_certificate_provider_instance, verify_certificate_spki, verify_certificate_hash, match_subject_alt_names,
        require_signed_certificate_timestamp, crl, allow_expired_certificate, trust_chain_verification,
        custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth
    );
    ignored!(at; watched_directory, suppress_client_ca_list);
    let roots = match (trusted_ca, system_root_certs) {
        (Some(_), Some(_)) => return Err(at.field("system_root_certs").error("stands beside trusted_ca")),
        (Some(source), None) => Some(TrustedRoots::Pem(pem_source(at, "trusted_ca", source, CERTIFICATE)?)),
        (None, Some(tls::certificate_validation_context::SystemRootCerts {})) => Some(TrustedRoots::System),
        (None, None) => None,
    };
    let names = match_typed_subject_alt_names.into_iter().enumerate();
    let names = names.map(|(i, m)| subject_name(&at.item("match_typed_subject_alt_names", i), m));
    Ok((roots, names.collect::<Checked<_>>()?))
}

fn subject_name(at: &At<'_>, message: tls::SubjectAltNameMatcher) -> Checked<SubjectNameMatcher> {
    use tls::subject_alt_name_matcher::SanType;
    let tls::SubjectAltNameMatcher { san_type, matcher, oid } = message;
    refused!(at; oid);
    let kind = match SanType::try_from(san_type) {
        Ok(SanType::Dns) => SubjectNameKind::Dns,
        Ok(SanType::Uri) => SubjectNameKind::Uri,
        Ok(other) => {
            return Err(at.field("san_type").error(format_args!("{} is not supported yet", other.as_str_name())));
        }
        Err(_) => return Err(at.field("san_type").error(format_args!("{san_type} is not known"))),
    };
    let at = &at.field("matcher");
    Ok(SubjectNameMatcher { kind, matcher: matchers::string(at, matcher.ok_or_else(|| at.missing())?)? })
}

fn versions(at: &At<'_>, params: Option<tls::TlsParameters>) -> Checked<TlsVersions> {
    let at = &at.field("tls_params");
    let tls::TlsParameters {
        tls_minimum_protocol_version,
        tls_maximum_protocol_version,
        cipher_suites,
        ecdh_curves,
        signature_algorithms,
        compliance_policies,
    } = params.unwrap_or_default();
    refused!(at; cipher_suites, ecdh_curves, signature_algorithms);
    if compliance_policies.is_set() {
        return Err(at.field("compliance_policies").unsupported());
    }
    let max = version(at, "tls_maximum_protocol_version", tls_maximum_protocol_version)?;
    let min = version(at, "tls_minimum_protocol_version", tls_minimum_protocol_version)?;
    let default = TlsVersions::default();
    let max = max.unwrap_or(default.max);
    // Who caps the version at 1.2 has said that 1.2 is spoken.
    let min = min.unwrap_or_else(|| default.min.min(max));
    if min > max {
        return Err(at.field("tls_minimum_protocol_version").error("is above the maximum"));
    }
    Ok(TlsVersions { min, max })
}

fn version(at: &At<'_>, field: &str, value: i32) -> Checked<Option<TlsVersion>> {
    use tls::tls_parameters::TlsProtocol;
    match TlsProtocol::try_from(value) {
        Ok(TlsProtocol::TlsAuto) => Ok(None),
        Ok(TlsProtocol::TlSv12) => Ok(Some(TlsVersion::V1_2)),
        Ok(TlsProtocol::TlSv13) => Ok(Some(TlsVersion::V1_3)),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            Err(at.field(field).error("versions before TLS 1.2 are broken and not spoken"))
        }
        Err(_) => Err(at.field(field).error(format_args!("{value} is not known"))),
    }
}
