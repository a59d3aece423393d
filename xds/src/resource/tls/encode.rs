//! TLS to protobuf. Everything that has a default on the wire is written, so that Envoy does what our proxy does.

use super::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, SubjectNameKind, SubjectNameMatcher, TlsVersion,
    TlsVersions, TrustedRoots, UpstreamTls,
};
use crate::proto::tls::certificate_validation_context::SystemRootCerts;
use crate::proto::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use crate::proto::tls::downstream_tls_context::SessionTicketKeysType;
use crate::proto::{Any, core, tls};
use crate::resource::extension::pack;
use crate::resource::matcher::encode as matchers;
use crate::resource::scalar::{encode_ads, encode_bool};

/// The name by which Envoy knows its TLS; only logs show it.
const TRANSPORT_SOCKET: &str = "envoy.transport_sockets.tls";

pub(in crate::resource) fn downstream(value: &DownstreamTls) -> core::TransportSocket {
    let off = || SessionTicketKeysType::DisableStatelessSessionResumption(true);
    socket(pack(&tls::DownstreamTlsContext {
        common_tls_context: Some(common(
            Some(&value.certificate),
            value.validation.as_ref(),
            &value.alpn_protocols,
            value.versions,
        )),
        require_client_certificate: value.require_client_certificate.then(|| encode_bool(true)),
        require_sni: value.require_sni.then(|| encode_bool(true)),
        disable_stateful_session_resumption: !value.resumption,
        session_ticket_keys_type: (!value.resumption).then(off),
        ..Default::default()
    }))
}

pub(in crate::resource) fn upstream(value: &UpstreamTls) -> core::TransportSocket {
    let (certificate, validation) = (value.certificate.as_ref(), Some(&value.validation));
    socket(pack(&tls::UpstreamTlsContext {
        common_tls_context: Some(common(certificate, validation, &value.alpn_protocols, value.versions)),
        sni: value.sni.to_string(),
        auto_host_sni: value.auto_host_sni,
        auto_sni_san_validation: value.auto_sni_san_validation,
        ..Default::default()
    }))
}

fn socket(config: Any) -> core::TransportSocket {
    let config_type = Some(core::transport_socket::ConfigType::TypedConfig(config));
    core::TransportSocket { name: TRANSPORT_SOCKET.to_owned(), config_type }
}

fn common(
    certificate: Option<&CertificateSource>,
    validation: Option<&PeerValidation>,
    alpn_protocols: &[std::sync::Arc<str>],
    versions: TlsVersions,
) -> tls::CommonTlsContext {
    let mut context = tls::CommonTlsContext {
        tls_params: Some(tls::TlsParameters {
            tls_minimum_protocol_version: version(versions.min).into(),
            tls_maximum_protocol_version: version(versions.max).into(),
            ..Default::default()
        }),
        alpn_protocols: alpn_protocols.iter().map(ToString::to_string).collect(),
        validation_context_type: validation.map(validation_type),
        ..Default::default()
    };
    match certificate {
        None => {}
        Some(CertificateSource::Pem { chain, key }) => context.tls_certificates.push(tls::TlsCertificate {
            certificate_chain: Some(pem(chain)),
            private_key: Some(pem(key)),
            ..Default::default()
        }),
        Some(CertificateSource::Sds(name)) => context.tls_certificate_sds_secret_configs.push(sds(name)),
    }
    context
}

fn version(value: TlsVersion) -> tls::tls_parameters::TlsProtocol {
    match value {
        TlsVersion::V1_2 => tls::tls_parameters::TlsProtocol::TlSv12,
        TlsVersion::V1_3 => tls::tls_parameters::TlsProtocol::TlSv13,
    }
}

fn validation_type(value: &PeerValidation) -> ValidationContextType {
    let names = tls::CertificateValidationContext {
        match_typed_subject_alt_names: value.subject_names.iter().map(subject_name).collect(),
        ..Default::default()
    };
    match &value.roots {
        TrustedRoots::Pem(source) => ValidationContextType::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(pem(source)),
            ..names
        }),
        TrustedRoots::System => ValidationContextType::ValidationContext(tls::CertificateValidationContext {
            system_root_certs: Some(SystemRootCerts {}),
            ..names
        }),
        TrustedRoots::Sds(name) if value.subject_names.is_empty() => {
            ValidationContextType::ValidationContextSdsSecretConfig(sds(name))
        }
        TrustedRoots::Sds(name) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(names),
                validation_context_sds_secret_config: Some(sds(name)),
                ..Default::default()
            })
        }
    }
}

fn subject_name(value: &SubjectNameMatcher) -> tls::SubjectAltNameMatcher {
    use tls::subject_alt_name_matcher::SanType;
    let san_type = match value.kind {
        SubjectNameKind::Dns => SanType::Dns,
        SubjectNameKind::Uri => SanType::Uri,
    };
    tls::SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(matchers::string(&value.matcher)),
        oid: String::new(),
    }
}

fn sds(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: name.to_owned(), sds_config: Some(encode_ads()) }
}

fn pem(value: &PemSource) -> core::DataSource {
    let specifier = match value {
        PemSource::Inline(bytes) => core::data_source::Specifier::InlineBytes(bytes.to_vec()),
        PemSource::File(name) => core::data_source::Specifier::Filename(name.to_string()),
    };
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}
