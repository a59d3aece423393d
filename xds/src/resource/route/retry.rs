//! Protobuf to retry policy.

use std::time::Duration;

use super::{RetryOn, RetryPolicy};
use crate::proto::{previous_hosts, route};
use crate::resource::extension::{holds, unknown};
use crate::resource::path::{At, Checked, refused};
use crate::resource::scalar::{limit, optional_duration, positive_duration, unless_zero};

/// First pause when the policy does not say; Envoy's default.
const BACK_OFF_BASE_DEFAULT: Duration = Duration::from_millis(25);
/// The longest pause is this many first ones when the policy does not say.
const BACK_OFF_MAX_FACTOR: u32 = 10;

/// Conditions that Envoy knows and that cannot hold here: those of HTTP/3, and those that need a list of headers,
/// which is refused when it is there.
const WITHOUT_EFFECT: [&str; 2] = ["retriable-headers", "http3-post-connect-failure"];

const SPELLING: [(RetryOn, &str); 14] = [
    (RetryOn::FiveXx, "5xx"),
    (RetryOn::Cancelled, "cancelled"),
    (RetryOn::ConnectFailure, "connect-failure"),
    (RetryOn::DeadlineExceeded, "deadline-exceeded"),
    (RetryOn::GatewayError, "gateway-error"),
    (RetryOn::Internal, "internal"),
    (RetryOn::RateLimited, "envoy-ratelimited"),
    (RetryOn::RefusedStream, "refused-stream"),
    (RetryOn::Reset, "reset"),
    (RetryOn::ResetBeforeRequest, "reset-before-request"),
    (RetryOn::ResourceExhausted, "resource-exhausted"),
    (RetryOn::Retriable4xx, "retriable-4xx"),
    (RetryOn::RetriableStatusCodes, "retriable-status-codes"),
    (RetryOn::Unavailable, "unavailable"),
];

impl RetryOn {
    /// As Envoy spells it.
    pub fn as_str(self) -> &'static str {
        // Every variant is in the table; a test holds it to that.
        SPELLING.iter().find(|(known, _)| *known == self).map_or("", |(_, text)| text)
    }

    /// The condition that Envoy spells so.
    pub fn from_spelling(text: &str) -> Option<Self> {
        SPELLING.iter().find(|(_, known)| *known == text).map(|(condition, _)| *condition)
    }
}

pub(super) fn decode(at: &At<'_>, policy: route::RetryPolicy) -> Checked<RetryPolicy> {
    let route::RetryPolicy {
        retry_on,
        num_retries,
        per_try_timeout,
        per_try_idle_timeout,
        retry_priority,
        retry_host_predicate,
        retry_options_predicates,
        host_selection_retry_max_attempts,
        retriable_status_codes,
        retry_back_off,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        refresh_cluster_on_retry,
    } = policy;
    let per_try_idle_timeout = unless_zero(per_try_idle_timeout);
    refused!(at;
        per_try_idle_timeout, retry_priority, retry_options_predicates, rate_limited_retry_back_off,
        retriable_headers, retriable_request_headers, refresh_cluster_on_retry
    );
    let (back_off_base, back_off_max) = back_off(at, retry_back_off)?;
    let attempts = u32::try_from(host_selection_retry_max_attempts).map_err(|_| {
        let at = at.field("host_selection_retry_max_attempts");
        at.error(format_args!("{host_selection_retry_max_attempts} is out of range"))
    })?;
    Ok(RetryPolicy {
        retry_on: conditions(at, &retry_on),
        num_retries: num_retries.map_or(1, |n| n.value),
        per_try_timeout: limit(at, "per_try_timeout", per_try_timeout, None)?,
        status_codes: status_codes(at, &retriable_status_codes)?,
        back_off_base,
        back_off_max,
        avoid_previous_hosts: previous_hosts(at, retry_host_predicate)?,
        host_selection_attempts: attempts.max(1),
    })
}

/// As Envoy does, words that are not conditions are passed over; ours are noted.
fn conditions(at: &At<'_>, text: &str) -> Vec<RetryOn> {
    let mut conditions = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match RetryOn::from_spelling(word) {
            Some(condition) if !conditions.contains(&condition) => conditions.push(condition),
            Some(_) => {}
            None if WITHOUT_EFFECT.contains(&word) => {}
            None => at.key("retry_on", word).ignore_here(),
        }
    }
    conditions
}

fn status_codes(at: &At<'_>, codes: &[u32]) -> Checked<Vec<u16>> {
    let codes = codes.iter().enumerate();
    let check = |(i, code): (usize, &u32)| {
        u16::try_from(*code).ok().filter(|c| (100..600).contains(c)).ok_or_else(|| {
            at.item("retriable_status_codes", i).error(format_args!("{code} is not a status from 100 to 599"))
        })
    };
    codes.map(check).collect()
}

fn back_off(at: &At<'_>, message: Option<route::retry_policy::RetryBackOff>) -> Checked<(Duration, Duration)> {
    let default = (BACK_OFF_BASE_DEFAULT, BACK_OFF_BASE_DEFAULT * BACK_OFF_MAX_FACTOR);
    let Some(route::retry_policy::RetryBackOff { base_interval, max_interval }) = message else { return Ok(default) };
    let at = &at.field("retry_back_off");
    if base_interval.is_none() {
        return Err(at.field("base_interval").missing());
    }
    let base = positive_duration(at, "base_interval", base_interval, BACK_OFF_BASE_DEFAULT)?;
    let max = match optional_duration(at, "max_interval", max_interval)? {
        Some(max) => max,
        None => base.saturating_mul(BACK_OFF_MAX_FACTOR),
    };
    if max < base {
        return Err(at.field("max_interval").error("is shorter than base_interval"));
    }
    Ok((base, max))
}

fn previous_hosts(at: &At<'_>, predicates: Vec<route::retry_policy::RetryHostPredicate>) -> Checked<bool> {
    use route::retry_policy::retry_host_predicate::ConfigType;
    let mut avoid = false;
    for (i, predicate) in predicates.into_iter().enumerate() {
        let at = &at.item("retry_host_predicate", i);
        let route::retry_policy::RetryHostPredicate { name: _, config_type } = predicate;
        match config_type {
            Some(ConfigType::TypedConfig(any)) if holds::<previous_hosts::PreviousHostsPredicate>(&any) => avoid = true,
            Some(ConfigType::TypedConfig(any)) => return Err(unknown(&at.field("typed_config"), &any)),
            None => return Err(at.field("typed_config").missing()),
        }
    }
    Ok(avoid)
}
