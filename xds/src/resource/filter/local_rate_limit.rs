//! Protobuf to local rate limit and back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{LocalDescriptor, LocalRateLimit, TokenBucket, VirtualHostLimits, actions};
use crate::proto::local_ratelimit;
use crate::proto::rate_limit_descriptor::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion, rate_limit_descriptor,
};
use crate::proto::types;
use crate::resource::header::{encode_list, list};
use crate::resource::matcher::Fraction;
use crate::resource::path::{At, Checked, each, refused};
use crate::resource::scalar::{
    encode_bool, encode_duration, encode_fraction, encode_u32, label, name, positive, runtime_fraction,
};

/// The answer to who is over a limit; Envoy's default.
pub(super) const STATUS_DEFAULT: u16 = 429;
/// Envoy refills no bucket more often.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Buckets of one wildcard descriptor when the filter does not say; Envoy's default.
const DYNAMIC_DESCRIPTORS_DEFAULT: u32 = 20;

pub(super) fn decode(at: &At<'_>, message: local_ratelimit::LocalRateLimit) -> Checked<LocalRateLimit> {
    let local_ratelimit::LocalRateLimit {
        stat_prefix,
        status,
        token_bucket,
        filter_enabled,
        filter_enforced,
        request_headers_to_add_when_not_enforced,
        response_headers_to_add,
        descriptors,
        stage,
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits,
        always_consume_default_token_bucket,
        rate_limited_as_resource_exhausted,
        rate_limits,
        max_dynamic_descriptors,
        enable_retry_after_header,
    } = message;
    refused!(at; local_cluster_rate_limit);
    // Absent means none: who writes a limit and forgets these two limits nothing, here as in Envoy.
    let share = |field: &str, value| match value {
        Some(fraction) => runtime_fraction(&at.field(field), fraction),
        None => Ok(Fraction::NONE),
    };
    let dynamic_descriptors_max = max_dynamic_descriptors.map_or(DYNAMIC_DESCRIPTORS_DEFAULT, |max| max.value);
    if dynamic_descriptors_max == 0 {
        return Err(at.field("max_dynamic_descriptors").error("must be at least 1"));
    }
    Ok(LocalRateLimit {
        stat_prefix: name(at, "stat_prefix", stat_prefix)?,
        status: self::status(at, "status", status, STATUS_DEFAULT)?,
        bucket: token_bucket.map(|bucket| self::bucket(&at.field("token_bucket"), bucket)).transpose()?,
        enabled: share("filter_enabled", filter_enabled)?,
        enforced: share("filter_enforced", filter_enforced)?,
        request_headers_when_not_enforced: list(
            at,
            "request_headers_to_add_when_not_enforced",
            request_headers_to_add_when_not_enforced,
        )?,
        response_headers: list(at, "response_headers_to_add", response_headers_to_add)?,
        descriptors: self::descriptors(at, descriptors)?,
        stage: actions::stage(at, stage)?,
        per_connection: local_rate_limit_per_downstream_connection,
        ratelimit_headers: match XRateLimitHeadersRfcVersion::try_from(enable_x_ratelimit_headers) {
            Ok(XRateLimitHeadersRfcVersion::Off) => false,
            Ok(XRateLimitHeadersRfcVersion::DraftVersion03) => true,
            Err(_) => return Err(at.field("enable_x_ratelimit_headers").error("is not known")),
        },
        always_consume_default: always_consume_default_token_bucket.is_none_or(|flag| flag.value),
        resource_exhausted: rate_limited_as_resource_exhausted,
        rate_limits: actions::decode(at, rate_limits)?,
        dynamic_descriptors_max,
        retry_after: enable_retry_after_header,
        virtual_host_limits: match VhRateLimitsOptions::try_from(vh_rate_limits) {
            Ok(VhRateLimitsOptions::Override) => VirtualHostLimits::Override,
            Ok(VhRateLimitsOptions::Include) => VirtualHostLimits::Include,
            Ok(VhRateLimitsOptions::Ignore) => VirtualHostLimits::Ignore,
            Err(_) => return Err(at.field("vh_rate_limits").error("is not known")),
        },
    })
}

/// The status of a refusal in `field`. One that is no error would tell a caller that all is well; as in Envoy, the
/// default stands for it.
pub(super) fn status(at: &At<'_>, field: &str, value: Option<types::HttpStatus>, default: u16) -> Checked<u16> {
    let Some(types::HttpStatus { code }) = value else { return Ok(default) };
    match u16::try_from(code) {
        Ok(status) if (400..600).contains(&status) => Ok(status),
        Ok(0..400) => Ok(default),
        _ => Err(at.field(field).error(format_args!("{code} is not a status up to 599"))),
    }
}

/// Written unless it is the default.
pub(super) fn encode_status(value: u16, default: u16) -> Option<types::HttpStatus> {
    (value != default).then(|| types::HttpStatus { code: i32::from(value) })
}

fn bucket(at: &At<'_>, message: types::TokenBucket) -> Checked<TokenBucket> {
    let types::TokenBucket { max_tokens, tokens_per_fill, fill_interval } = message;
    let interval_at = &at.field("fill_interval");
    let interval = positive(interval_at, fill_interval.ok_or_else(|| interval_at.missing())?)?;
    if interval < INTERVAL_MIN {
        return Err(interval_at.error(format_args!("is shorter than {} ms", INTERVAL_MIN.as_millis())));
    }
    let refill = NonZeroU32::new(tokens_per_fill.map_or(1, |tokens| tokens.value))
        .ok_or_else(|| at.field("tokens_per_fill").error("must be at least 1"))?;
    Ok(TokenBucket { capacity: max_tokens, refill, interval })
}

fn encode_bucket(value: TokenBucket) -> types::TokenBucket {
    types::TokenBucket {
        max_tokens: value.capacity,
        tokens_per_fill: Some(encode_u32(value.refill.get())),
        fill_interval: Some(encode_duration(value.interval)),
    }
}

fn descriptors(at: &At<'_>, messages: Vec<LocalRateLimitDescriptor>) -> Checked<Vec<LocalDescriptor>> {
    let descriptors = each(at, "descriptors", messages, descriptor)?;
    // Which of two buckets counts would depend on their order.
    let mut seen = HashMap::new();
    for (i, descriptor) in descriptors.iter().enumerate() {
        match seen.entry(&descriptor.entries) {
            Entry::Occupied(first) => {
                let at = at.item("descriptors", i);
                return Err(at.error(format_args!("has the same entries as descriptors[{}]", first.get())));
            }
            Entry::Vacant(entry) => entry.insert(i),
        };
    }
    Ok(descriptors)
}

fn descriptor(at: &At<'_>, message: LocalRateLimitDescriptor) -> Checked<LocalDescriptor> {
    let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = message;
    refused!(at; shadow_mode);
    if entries.is_empty() {
        return Err(at.field("entries").missing());
    }
    let entry = |at: &At<'_>, entry: rate_limit_descriptor::Entry| -> Checked<(Arc<str>, Arc<str>)> {
        let rate_limit_descriptor::Entry { key, value } = entry;
        Ok((name(at, "key", key)?, label(at, "value", value)?))
    };
    let at_bucket = &at.field("token_bucket");
    Ok(LocalDescriptor {
        entries: each(at, "entries", entries, entry)?,
        bucket: bucket(at_bucket, token_bucket.ok_or_else(|| at_bucket.missing())?)?,
    })
}

pub(super) fn encode(value: &LocalRateLimit) -> local_ratelimit::LocalRateLimit {
    let headers = if value.ratelimit_headers {
        XRateLimitHeadersRfcVersion::DraftVersion03
    } else {
        XRateLimitHeadersRfcVersion::Off
    };
    let virtual_host = match value.virtual_host_limits {
        VirtualHostLimits::Override => VhRateLimitsOptions::Override,
        VirtualHostLimits::Include => VhRateLimitsOptions::Include,
        VirtualHostLimits::Ignore => VhRateLimitsOptions::Ignore,
    };
    let dynamic_max = value.dynamic_descriptors_max;
    local_ratelimit::LocalRateLimit {
        stat_prefix: value.stat_prefix.to_string(),
        status: encode_status(value.status, STATUS_DEFAULT),
        token_bucket: value.bucket.map(encode_bucket),
        filter_enabled: Some(encode_fraction(value.enabled)),
        filter_enforced: Some(encode_fraction(value.enforced)),
        request_headers_to_add_when_not_enforced: encode_list(&value.request_headers_when_not_enforced),
        response_headers_to_add: encode_list(&value.response_headers),
        descriptors: value.descriptors.iter().map(encode_descriptor).collect(),
        stage: value.stage,
        local_rate_limit_per_downstream_connection: value.per_connection,
        local_cluster_rate_limit: None,
        enable_x_ratelimit_headers: headers.into(),
        vh_rate_limits: virtual_host.into(),
        always_consume_default_token_bucket: (!value.always_consume_default).then(|| encode_bool(false)),
        rate_limited_as_resource_exhausted: value.resource_exhausted,
        rate_limits: actions::encode(&value.rate_limits),
        max_dynamic_descriptors: (dynamic_max != DYNAMIC_DESCRIPTORS_DEFAULT).then(|| encode_u32(dynamic_max)),
        enable_retry_after_header: value.retry_after,
    }
}

fn encode_descriptor(value: &LocalDescriptor) -> LocalRateLimitDescriptor {
    let entries = value.entries.iter();
    LocalRateLimitDescriptor {
        entries: entries
            .map(|(key, value)| rate_limit_descriptor::Entry { key: key.to_string(), value: value.to_string() })
            .collect(),
        token_bucket: Some(encode_bucket(value.bucket)),
        shadow_mode: false,
    }
}
