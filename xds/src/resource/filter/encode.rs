//! Filters to protobuf, for the two places where they are written.

use std::collections::HashMap;

use super::{
    FilterConfig, FilterOverrides, HttpFilter, cors as cors_filter, fault, local_rate_limit, rate_limit, session,
};
use crate::proto::{Any, cors, hcm, route};
use crate::resource::extension::pack;

/// An entry of a listener's list.
pub(in crate::resource) fn listed(filter: &HttpFilter) -> hcm::HttpFilter {
    let config = match &filter.config {
        // A listener cannot carry a policy: Envoy reads one from routes only.
        FilterConfig::Cors(_) => pack(&cors::Cors {}),
        FilterConfig::Fault(config) => pack(&fault::encode(config)),
        FilterConfig::LocalRateLimit(config) => pack(&local_rate_limit::encode(config)),
        FilterConfig::RateLimit(config) => pack(&rate_limit::encode(config)),
        FilterConfig::RateLimitPerRoute(config) => pack(&rate_limit::encode_override(config)),
        FilterConfig::StatefulSession(config) => pack(&session::encode(config.as_deref())),
    };
    hcm::HttpFilter {
        name: filter.name.to_string(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        disabled: filter.disabled,
        ..Default::default()
    }
}

/// `typed_per_filter_config`.
pub(in crate::resource) fn overrides(overrides: &FilterOverrides) -> HashMap<String, Any> {
    let one = |config: &FilterConfig| match config {
        FilterConfig::Cors(config) => pack(&config.as_deref().map(cors_filter::encode).unwrap_or_default()),
        FilterConfig::Fault(config) => pack(&fault::encode(config)),
        FilterConfig::LocalRateLimit(config) => pack(&local_rate_limit::encode(config)),
        FilterConfig::RateLimit(config) => pack(&rate_limit::encode(config)),
        FilterConfig::RateLimitPerRoute(config) => pack(&rate_limit::encode_override(config)),
        FilterConfig::StatefulSession(config) => pack(&session::encode_override(config.as_deref())),
    };
    let entry = |disabled: bool, config: Option<&FilterConfig>| match (disabled, config) {
        (false, Some(config)) => one(config),
        (disabled, _) => pack(&route::FilterConfig { disabled, ..Default::default() }),
    };
    overrides.iter().map(|(name, value)| (name.to_string(), entry(value.disabled, value.config.as_ref()))).collect()
}
