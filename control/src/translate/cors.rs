//! Cross-origin requests as the override of a filter.

use std::sync::Arc;

use tidegate_policies::ir::cors::Cors;
use tidegate_xds::resource::filter::{Cors as XdsCors, FilterConfig};
use tidegate_xds::resource::matcher::Fraction;

use super::matching::string_matcher;

/// What a route says to the filter.
pub(super) fn config(cors: &Cors) -> FilterConfig {
    let list = |items: &[Arc<str>]| -> Arc<str> { items.join(",").into() };
    FilterConfig::Cors(Some(Arc::new(XdsCors {
        allow_origins: cors.allow_origins.iter().map(string_matcher).collect(),
        allow_methods: list(&cors.allow_methods),
        allow_headers: list(&cors.allow_headers),
        expose_headers: list(&cors.expose_headers),
        max_age: cors.max_age.map(|age| age.as_secs().to_string()).unwrap_or_default().into(),
        allow_credentials: cors.allow_credentials,
        enabled: Fraction { numerator: 100, denominator: 100 },
        forward_not_matching_preflights: cors.forward_unmatched_preflights,
        allow_private_network_access: false,
    })))
}
