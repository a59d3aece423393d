//! Protobuf to CORS policy and back.

use std::sync::Arc;

use super::Cors;
use crate::proto::cors;
use crate::resource::header::header_value;
use crate::resource::matcher::{Fraction, decode as matcher, encode as encode_matcher};
use crate::resource::path::{At, Checked, ignored};
use crate::resource::scalar::{encode_bool, encode_fraction, runtime_fraction};

pub(super) fn decode(at: &At<'_>, message: cors::CorsPolicy) -> Checked<Cors> {
    let cors::CorsPolicy {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    } = message;
    // A rehearsal that only counts.
    ignored!(at; shadow_enabled);
    let origins = allow_origin_string_match.into_iter().enumerate();
    let origins = origins.map(|(i, origin)| matcher::string(&at.item("allow_origin_string_match", i), origin));
    let text = |field: &str, value: String| -> Checked<Arc<str>> {
        header_value(&at.field(field), &value)?;
        Ok(value.into())
    };
    Ok(Cors {
        allow_origins: origins.collect::<Checked<_>>()?,
        allow_methods: text("allow_methods", allow_methods)?,
        allow_headers: text("allow_headers", allow_headers)?,
        expose_headers: text("expose_headers", expose_headers)?,
        max_age: text("max_age", max_age)?,
        allow_credentials: allow_credentials.is_some_and(|flag| flag.value),
        enabled: match filter_enabled {
            Some(fraction) => runtime_fraction(&at.field("filter_enabled"), fraction)?,
            None => Fraction::ALL,
        },
        forward_not_matching_preflights: forward_not_matching_preflights.is_none_or(|flag| flag.value),
        allow_private_network_access: allow_private_network_access.is_some_and(|flag| flag.value),
    })
}

pub(super) fn encode(value: &Cors) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: value.allow_origins.iter().map(encode_matcher::string).collect(),
        allow_methods: value.allow_methods.to_string(),
        allow_headers: value.allow_headers.to_string(),
        expose_headers: value.expose_headers.to_string(),
        max_age: value.max_age.to_string(),
        allow_credentials: value.allow_credentials.then(|| encode_bool(true)),
        filter_enabled: (value.enabled != Fraction::ALL).then(|| encode_fraction(value.enabled)),
        allow_private_network_access: value.allow_private_network_access.then(|| encode_bool(true)),
        forward_not_matching_preflights: (!value.forward_not_matching_preflights).then(|| encode_bool(false)),
        ..Default::default()
    }
}
