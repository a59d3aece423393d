//! Strategies for encryption.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{CHAIN, KEY, name, string_matcher, text};
use crate::resource::tls::{
    CertificateSource, DownstreamTls, PeerValidation, PemSource, SubjectNameKind, SubjectNameMatcher, TlsVersion,
    TlsVersions, TrustedRoots, UpstreamTls,
};

fn pem(inline: &'static [u8]) -> BoxedStrategy<PemSource> {
    prop_oneof![Just(PemSource::Inline(inline.into())), text("/[a-z/]{1,9}").prop_map(PemSource::File)].boxed()
}

fn certificate() -> BoxedStrategy<CertificateSource> {
    prop_oneof![
        (pem(CHAIN), pem(KEY)).prop_map(|(chain, key)| CertificateSource::Pem { chain, key }),
        name().prop_map(CertificateSource::Sds),
    ]
    .boxed()
}

fn validation() -> BoxedStrategy<PeerValidation> {
    let roots = prop_oneof![
        pem(CHAIN).prop_map(TrustedRoots::Pem),
        name().prop_map(TrustedRoots::Sds),
        Just(TrustedRoots::System),
    ];
    let kind = select(vec![SubjectNameKind::Dns, SubjectNameKind::Uri]);
    let subject = (kind, string_matcher()).prop_map(|(kind, matcher)| SubjectNameMatcher { kind, matcher });
    (roots, vec(subject, 0..3)).prop_map(|(roots, subject_names)| PeerValidation { roots, subject_names }).boxed()
}

fn versions() -> BoxedStrategy<TlsVersions> {
    let of = |min, max| TlsVersions { min, max };
    use TlsVersion::{V1_2, V1_3};
    select(vec![of(V1_2, V1_2), of(V1_2, V1_3), of(V1_3, V1_3)]).boxed()
}

pub(in crate::resource::tests) fn downstream() -> BoxedStrategy<DownstreamTls> {
    let alpn = vec(text("h2|http/1\\.1"), 0..3);
    (certificate(), of(validation()), any::<[bool; 3]>(), alpn, versions())
        .prop_map(|(certificate, validation, [require, require_sni, resumption], alpn_protocols, versions)| {
            DownstreamTls {
                certificate,
                // Only whose certificates can be compared with something can be required.
                require_client_certificate: require && validation.is_some(),
                validation,
                require_sni,
                alpn_protocols,
                versions,
                resumption,
            }
        })
        .boxed()
}

pub(in crate::resource::tests) fn upstream() -> BoxedStrategy<UpstreamTls> {
    let alpn = vec(text("h2|http/1\\.1"), 0..3);
    (of(certificate()), validation(), text("[a-z]{1,5}\\.test"), any::<[bool; 2]>(), alpn, versions())
        .prop_map(|(certificate, validation, sni, [auto_host_sni, by_sni], alpn_protocols, versions)| {
            let open = validation.roots == TrustedRoots::System && validation.subject_names.is_empty();
            UpstreamTls {
                certificate,
                validation,
                sni,
                auto_host_sni,
                auto_sni_san_validation: by_sni || open,
                alpn_protocols,
                versions,
            }
        })
        .boxed()
}
