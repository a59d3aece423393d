//! Encryption: what is written is read again, and what would be less than it looks like is refused with its path.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;

use super::{arc, assert_refused, decode, sample};
use crate::name::ResourceType;
use crate::proto::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use crate::proto::tls::downstream_tls_context::SessionTicketKeysType;
use crate::proto::{cluster, core, listener, matcher, tls};
use crate::resource::extension::pack;
use crate::resource::listener::ListenerKind;
use crate::resource::matcher::StringMatcher;
use crate::resource::tls::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, SubjectNameKind, SubjectNameMatcher, TlsVersion,
    TlsVersions, TrustedRoots, UpstreamTls,
};
use crate::resource::{Cluster, Listener, Resource, cluster::encode as clusters, listener::encode as listeners};

/// Where the listener's TLS stands.
const DOWN: &str = "filter_chains[0].transport_socket.typed_config";
/// Where the cluster's stands.
const UP: &str = "transport_socket.typed_config";

fn down(change: impl FnOnce(&mut tls::DownstreamTlsContext)) -> listener::Listener {
    let mut context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext { tls_certificates: vec![certificate()], ..Default::default() }),
        ..Default::default()
    };
    change(&mut context);
    let mut message = listeners::encode(&sample::listener());
    message.filter_chains[0].transport_socket =
        Some(socket(core::transport_socket::ConfigType::TypedConfig(pack(&context))));
    message
}

fn up(change: impl FnOnce(&mut tls::UpstreamTlsContext)) -> cluster::Cluster {
    let mut context = tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            validation_context_type: Some(validation(|_| ())),
            ..Default::default()
        }),
        ..Default::default()
    };
    change(&mut context);
    let mut message = clusters::encode(&sample::cluster());
    message.transport_socket = Some(socket(core::transport_socket::ConfigType::TypedConfig(pack(&context))));
    message
}

fn socket(config: core::transport_socket::ConfigType) -> core::TransportSocket {
    core::TransportSocket { name: "envoy.transport_sockets.tls".into(), config_type: Some(config) }
}

fn data(bytes: &[u8]) -> Option<core::DataSource> {
    let specifier = Some(core::data_source::Specifier::InlineBytes(bytes.to_vec()));
    Some(core::DataSource { specifier, ..Default::default() })
}

fn file(name: &str) -> Option<core::DataSource> {
    let specifier = Some(core::data_source::Specifier::Filename(name.into()));
    Some(core::DataSource { specifier, ..Default::default() })
}

fn certificate() -> tls::TlsCertificate {
    tls::TlsCertificate { certificate_chain: data(sample::CHAIN), private_key: data(sample::KEY), ..Default::default() }
}

fn validation(change: impl FnOnce(&mut tls::CertificateValidationContext)) -> ValidationContextType {
    let mut context = tls::CertificateValidationContext { trusted_ca: data(sample::CHAIN), ..Default::default() };
    change(&mut context);
    ValidationContextType::ValidationContext(context)
}

fn common(message: &mut Option<tls::CommonTlsContext>) -> &mut tls::CommonTlsContext {
    message.as_mut().expect("it was put there")
}

fn sds(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: name.into(), sds_config: Some(crate::resource::scalar::encode_ads()) }
}

fn terminated(message: &listener::Listener) -> DownstreamTls {
    let decoded = decode(ResourceType::Listener, message).expect("the listener should be accepted");
    let Resource::Listener(listener) = decoded.resource else { panic!("a listener") };
    let ListenerKind::Socket(socket) = &listener.kind else { panic!("a socket") };
    socket.filter_chains[0].tls.clone().expect("it is encrypted")
}

fn encrypted(message: &cluster::Cluster) -> UpstreamTls {
    let decoded = decode(ResourceType::Cluster, message).expect("the cluster should be accepted");
    let Resource::Cluster(cluster) = decoded.resource else { panic!("a cluster") };
    cluster.tls.clone().expect("it is encrypted")
}

fn refused_down(change: impl FnOnce(&mut tls::DownstreamTlsContext), path: &str, reason: &str) {
    assert_refused(ResourceType::Listener, &down(change), &format!("{DOWN}{path}"), reason);
}

fn refused_up(change: impl FnOnce(&mut tls::UpstreamTlsContext), path: &str, reason: &str) {
    assert_refused(ResourceType::Cluster, &up(change), &format!("{UP}{path}"), reason);
}

#[test]
fn what_is_not_said_has_the_documented_defaults() {
    let pem = |bytes: &[u8]| PemSource::Inline(bytes.into());
    let expected = DownstreamTls {
        certificate: CertificateSource::Pem { chain: pem(sample::CHAIN), key: pem(sample::KEY) },
        validation: None,
        require_client_certificate: false,
        require_sni: false,
        alpn_protocols: Vec::new(),
        versions: TlsVersions { min: TlsVersion::V1_3, max: TlsVersion::V1_3 },
        resumption: true,
    };
    assert_eq!(terminated(&down(|_| ())), expected);
    let expected = UpstreamTls {
        certificate: None,
        validation: PeerValidation { roots: TrustedRoots::Pem(pem(sample::CHAIN)), subject_names: Vec::new() },
        sni: arc(""),
        auto_host_sni: false,
        auto_sni_san_validation: false,
        alpn_protocols: Vec::new(),
        versions: TlsVersions::default(),
    };
    assert_eq!(encrypted(&up(|_| ())), expected);
}

#[test]
fn secrets_and_names_as_control_planes_send_them() {
    let message = up(|m| {
        let common = common(&mut m.common_tls_context);
        common.tls_certificate_sds_secret_configs.push(sds("default"));
        let exact = matcher::string_matcher::MatchPattern::Exact("spiffe://cluster.local/ns/a/sa/b".into());
        let name = tls::SubjectAltNameMatcher {
            san_type: tls::subject_alt_name_matcher::SanType::Uri.into(),
            matcher: Some(matcher::StringMatcher { match_pattern: Some(exact), ignore_case: false }),
            oid: String::new(),
        };
        common.validation_context_type =
            Some(ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(tls::CertificateValidationContext {
                    match_typed_subject_alt_names: vec![name],
                    ..Default::default()
                }),
                validation_context_sds_secret_config: Some(sds("ROOTCA")),
                ..Default::default()
            }));
        m.sni = "outbound_.80_._.reviews".into();
    });

    let tls = encrypted(&message);

    assert_eq!(tls.certificate, Some(CertificateSource::Sds(arc("default"))));
    assert_eq!(tls.validation.roots, TrustedRoots::Sds(arc("ROOTCA")));
    let matcher = StringMatcher::Exact { value: arc("spiffe://cluster.local/ns/a/sa/b"), ignore_case: false };
    assert_eq!(tls.validation.subject_names, [SubjectNameMatcher { kind: SubjectNameKind::Uri, matcher }]);
    assert_eq!(tls.secrets().map(|name| &**name).collect::<Vec<_>>(), ["default", "ROOTCA"]);
    assert_eq!(&*tls.sni, "outbound_.80_._.reviews");
}

#[test]
fn files_are_names_and_are_not_read_here() {
    let tls = terminated(&down(|m| {
        let certificate = &mut common(&mut m.common_tls_context).tls_certificates[0];
        (certificate.certificate_chain, certificate.private_key) = (file("/tls/chain.pem"), file("/tls/key.pem"));
    }));

    let named = |name: &str| PemSource::File(arc(name));
    let expected = CertificateSource::Pem { chain: named("/tls/chain.pem"), key: named("/tls/key.pem") };
    assert_eq!(tls.certificate, expected);
    refused_down(
        |m| common(&mut m.common_tls_context).tls_certificates[0].private_key = file(""),
        ".common_tls_context.tls_certificates[0].private_key.filename",
        "is required",
    );
}

#[test]
fn a_listener_tells_which_secrets_it_needs() {
    let message = down(|m| {
        let common = common(&mut m.common_tls_context);
        common.tls_certificates.clear();
        common.tls_certificate_sds_secret_configs.push(sds("shop"));
        common.validation_context_type = Some(ValidationContextType::ValidationContextSdsSecretConfig(sds("roots")));
        m.require_client_certificate = Some(crate::proto::BoolValue { value: true });
    });
    let decoded = decode(ResourceType::Listener, &message).expect("the listener should be accepted");
    let Resource::Listener(listener) = decoded.resource else { panic!("a listener") };

    let secrets: Vec<_> = Listener::secrets(&listener).map(|name| &**name).collect();

    assert_eq!(secrets, ["shop", "roots"]);
    let Resource::Cluster(plain) = Resource::Cluster(Arc::new(sample::cluster())) else { panic!("a cluster") };
    assert!(Cluster::clone(&plain).tls.is_none());
}

#[test]
fn a_socket_of_another_kind_or_direction() {
    let mut message = down(|_| ());
    let config = core::transport_socket::ConfigType::TypedConfig(pack(&tls::UpstreamTlsContext::default()));
    message.filter_chains[0].transport_socket = Some(socket(config));
    assert_refused(ResourceType::Listener, &message, DOWN, "UpstreamTlsContext");
    let mut message = up(|_| ());
    let config = core::transport_socket::ConfigType::TypedConfig(pack(&tls::DownstreamTlsContext::default()));
    message.transport_socket = Some(socket(config));
    assert_refused(ResourceType::Cluster, &message, UP, "DownstreamTlsContext");
}

#[test]
fn a_terminated_chain_without_a_certificate_or_with_two() {
    let at = ".common_tls_context.tls_certificates";
    refused_down(|m| m.common_tls_context = None, ".common_tls_context", "is required");
    refused_down(|m| common(&mut m.common_tls_context).tls_certificates.clear(), at, "is required");
    refused_down(|m| common(&mut m.common_tls_context).tls_certificates.push(certificate()), at, "more than one");
    refused_down(
        |m| common(&mut m.common_tls_context).tls_certificate_sds_secret_configs.push(sds("a")),
        ".common_tls_context.tls_certificate_sds_secret_configs",
        "beside",
    );
    refused_down(
        |m| common(&mut m.common_tls_context).tls_certificates[0].private_key = data(sample::CHAIN),
        ".common_tls_context.tls_certificates[0].private_key",
        "is not PEM",
    );
}

#[test]
fn a_certificate_that_is_asked_for_and_compared_with_nothing() {
    refused_down(
        |m| m.require_client_certificate = Some(crate::proto::BoolValue { value: true }),
        ".common_tls_context.validation_context_type",
        "whose certificates are accepted",
    );
    let at = ".common_tls_context.validation_context_type";
    refused_up(|m| common(&mut m.common_tls_context).validation_context_type = None, at, "nobody checks");
    let open = |context: &mut tls::CertificateValidationContext| {
        context.trusted_ca = None;
        context.system_root_certs = Some(Default::default());
    };
    refused_up(
        |m| common(&mut m.common_tls_context).validation_context_type = Some(validation(open)),
        at,
        "every server of the internet",
    );
    let tls = encrypted(&up(|m| {
        common(&mut m.common_tls_context).validation_context_type = Some(validation(open));
        (m.sni, m.auto_sni_san_validation) = ("example.org".into(), true);
    }));
    assert_eq!(tls.validation.roots, TrustedRoots::System);
}

#[test]
fn a_rule_about_whom_to_trust_is_never_left_out() {
    let at = ".common_tls_context.validation_context";
    let trust = |change: fn(&mut tls::CertificateValidationContext)| {
        move |m: &mut tls::UpstreamTlsContext| {
            common(&mut m.common_tls_context).validation_context_type = Some(validation(change));
        }
    };
    let no = "not supported yet";
    refused_up(trust(|c| c.crl = data(b"x")), &format!("{at}.crl"), no);
    refused_up(trust(|c| c.allow_expired_certificate = true), &format!("{at}.allow_expired_certificate"), no);
    refused_up(trust(|c| c.trust_chain_verification = 1), &format!("{at}.trust_chain_verification"), no);
    refused_up(trust(|c| c.verify_certificate_hash.push("x".into())), &format!("{at}.verify_certificate_hash"), no);
    refused_up(trust(|c| c.trusted_ca = None), &format!("{at}.trusted_ca"), "is required");
    refused_up(
        trust(|c| {
            let san_type = tls::subject_alt_name_matcher::SanType::IpAddress.into();
            c.match_typed_subject_alt_names.push(tls::SubjectAltNameMatcher { san_type, ..Default::default() });
        }),
        &format!("{at}.match_typed_subject_alt_names[0].san_type"),
        "IP_ADDRESS is not supported yet",
    );
}

#[test]
fn versions_that_are_broken_or_the_wrong_way_round() {
    let params = |min, max| {
        move |m: &mut tls::DownstreamTlsContext| {
            common(&mut m.common_tls_context).tls_params = Some(tls::TlsParameters {
                tls_minimum_protocol_version: min,
                tls_maximum_protocol_version: max,
                ..Default::default()
            });
        }
    };
    let at = ".common_tls_context.tls_params.tls_minimum_protocol_version";
    refused_down(params(2, 4), at, "before TLS 1.2");
    refused_down(params(4, 3), at, "above the maximum");
    refused_down(params(9, 4), at, "is not known");
    let both = TlsVersions { min: TlsVersion::V1_2, max: TlsVersion::V1_3 };
    assert_eq!(terminated(&down(params(3, 0))).versions, both);
    let old = TlsVersions { min: TlsVersion::V1_2, max: TlsVersion::V1_2 };
    assert_eq!(terminated(&down(params(0, 3))).versions, old);
}

#[test]
fn wishes_about_ciphers_sessions_and_names() {
    refused_down(
        |m| {
            let params = tls::TlsParameters { cipher_suites: vec!["AES128-SHA".into()], ..Default::default() };
            common(&mut m.common_tls_context).tls_params = Some(params);
        },
        ".common_tls_context.tls_params.cipher_suites",
        "not supported yet",
    );
    refused_down(
        |m| m.session_ticket_keys_type = Some(SessionTicketKeysType::SessionTicketKeys(Default::default())),
        ".session_ticket_keys",
        "not supported yet",
    );
    assert!(!terminated(&down(|m| m.disable_stateful_session_resumption = true)).resumption);
    refused_up(|m| m.sni = "a b".into(), ".sni", "is not a host name");
    refused_up(|m| m.auto_sni_san_validation = true, ".auto_sni_san_validation", "needs sni");
    refused_up(
        |m| common(&mut m.common_tls_context).alpn_protocols.push(String::new()),
        ".common_tls_context.alpn_protocols[0]",
        "1 to 255 bytes",
    );
    let mut message = up(|_| ());
    message.upstream_http_protocol_options =
        Some(core::UpstreamHttpProtocolOptions { auto_sni: true, ..Default::default() });
    assert_refused(ResourceType::Cluster, &message, "upstream_http_protocol_options.auto_sni", "not supported yet");
}

#[test]
fn keys_are_never_shown() {
    let tls = terminated(&down(|_| ()));
    let json = serde_json::to_string(&tls).expect("JSON");

    for shown in [json, format!("{tls:?}")] {
        assert!(shown.contains("[redacted]") && !shown.contains("BEGIN"), "{shown}");
    }
}
