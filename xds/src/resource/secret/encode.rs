//! Secret to protobuf.

use super::{Secret, SecretKind};
use crate::proto::{core, tls};

pub(in crate::resource) fn encode(value: &Secret) -> tls::Secret {
    let kind = match &value.kind {
        SecretKind::Certificate { chain_pem, key_pem } => tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(chain_pem)),
            private_key: Some(inline(key_pem)),
            ..Default::default()
        }),
        SecretKind::Validation { roots_pem } => {
            tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
                trusted_ca: Some(inline(roots_pem)),
                ..Default::default()
            })
        }
    };
    tls::Secret { name: value.name.to_string(), r#type: Some(kind) }
}

fn inline(bytes: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
