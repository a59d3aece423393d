//! Protobuf to filters, in the two places where they are written: a listener's list and the maps of routes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    FilterConfig, FilterOverride, FilterOverrides, cors as cors_filter, fault as fault_filter, local_rate_limit,
    rate_limit, session,
};
use crate::proto::{Any, cors, fault, local_ratelimit, ratelimit, route, stateful_session};
use crate::resource::extension::{holds, message, unknown};
use crate::resource::path::{At, Checked};
use crate::resource::scalar::label;

/// A filter's configuration in a listener's list; `None` when we do not have that filter.
pub(in crate::resource) fn listed(at: &At<'_>, any: &Any) -> Checked<Option<FilterConfig>> {
    let config = if holds::<cors::Cors>(any) {
        let cors::Cors {} = message(at, &any.value)?;
        FilterConfig::Cors(None)
    } else if holds::<fault::HttpFault>(any) {
        FilterConfig::Fault(Arc::new(fault_filter::decode(at, message(at, &any.value)?)?))
    } else if holds::<local_ratelimit::LocalRateLimit>(any) {
        FilterConfig::LocalRateLimit(Arc::new(local_rate_limit::decode(at, message(at, &any.value)?)?))
    } else if holds::<ratelimit::RateLimit>(any) {
        FilterConfig::RateLimit(Arc::new(rate_limit::decode(at, message(at, &any.value)?)?))
    } else if holds::<stateful_session::StatefulSession>(any) {
        FilterConfig::StatefulSession(session::decode(at, message(at, &any.value)?)?)
    } else if is_override(any) {
        return Err(at.error(format_args!("{} is for routes, not for a listener", any.type_url)));
    } else {
        return Ok(None);
    };
    Ok(Some(config))
}

/// A filter's configuration in a route's map; `None` when we do not have that filter.
fn configured(at: &At<'_>, any: &Any) -> Checked<Option<FilterConfig>> {
    let config = if holds::<cors::CorsPolicy>(any) {
        FilterConfig::Cors(Some(Arc::new(cors_filter::decode(at, message(at, &any.value)?)?)))
    } else if holds::<fault::HttpFault>(any) {
        FilterConfig::Fault(Arc::new(fault_filter::decode(at, message(at, &any.value)?)?))
    } else if holds::<local_ratelimit::LocalRateLimit>(any) {
        FilterConfig::LocalRateLimit(Arc::new(local_rate_limit::decode(at, message(at, &any.value)?)?))
    } else if holds::<ratelimit::RateLimitPerRoute>(any) {
        FilterConfig::RateLimitPerRoute(Arc::new(rate_limit::decode_override(at, message(at, &any.value)?)?))
    } else if holds::<stateful_session::StatefulSessionPerRoute>(any) {
        FilterConfig::StatefulSession(session::decode_override(at, message(at, &any.value)?)?)
    } else if is_listed(any) {
        return Err(at.error(format_args!("{} is for a listener, not for routes", any.type_url)));
    } else {
        return Ok(None);
    };
    Ok(Some(config))
}

/// Configuration of filters of ours that has its place in routes only.
fn is_override(any: &Any) -> bool {
    holds::<cors::CorsPolicy>(any)
        || holds::<ratelimit::RateLimitPerRoute>(any)
        || holds::<stateful_session::StatefulSessionPerRoute>(any)
}

/// Configuration of filters of ours that has its place in a listener only.
fn is_listed(any: &Any) -> bool {
    holds::<cors::Cors>(any) || holds::<ratelimit::RateLimit>(any) || holds::<stateful_session::StatefulSession>(any)
}

/// `typed_per_filter_config` of the message here. A filter that we do not have is a rule that somebody believes to
/// hold: refused, unless it is optional or switched off.
pub(in crate::resource) fn overrides(at: &At<'_>, map: HashMap<String, Any>) -> Checked<FilterOverrides> {
    let mut entries: Vec<_> = map.into_iter().collect();
    // A hash map's order is random; errors and reports are not.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let mut overrides = FilterOverrides::new();
    for (name, any) in entries {
        let at_entry = &at.key("typed_per_filter_config", &name);
        let value = if holds::<route::FilterConfig>(&any) {
            wrapped(at_entry, message(at_entry, &any.value)?)?
        } else {
            let config = configured(at_entry, &any)?.ok_or_else(|| unknown(at_entry, &any))?;
            Some(FilterOverride { disabled: false, config: Some(config) })
        };
        match value {
            Some(value) => drop(overrides.insert(label(at, "typed_per_filter_config", name)?, value)),
            None => at_entry.ignore_here(),
        }
    }
    Ok(overrides)
}

/// The wrapper that can say more than a configuration; `None` when there is nothing in it for us.
fn wrapped(at: &At<'_>, message: route::FilterConfig) -> Checked<Option<FilterOverride>> {
    let route::FilterConfig { config, is_optional, disabled } = message;
    if disabled {
        // As Envoy does.
        if config.is_some() {
            at.ignore("config");
        }
        return Ok(Some(FilterOverride { disabled: true, config: None }));
    }
    // Without a configuration it switches on what the listener has switched off.
    let Some(any) = config else { return Ok(Some(FilterOverride { disabled: false, config: None })) };
    let at = &at.field("config");
    match configured(at, &any)? {
        Some(config) => Ok(Some(FilterOverride { disabled: false, config: Some(config) })),
        None if is_optional => Ok(None),
        None => Err(unknown(at, &any)),
    }
}
