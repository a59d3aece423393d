//! Retry policies: the type, and protobuf to it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::proto::{previous_hosts, route};
use crate::resource::extension::{holds, unknown};
use crate::resource::header::header_name;
use crate::resource::json;
use crate::resource::matcher::{HeaderMatcher, decode as matcher};
use crate::resource::path::{At, Checked, each, refused};
use crate::resource::scalar::{limit, optional_duration, positive_duration};

/// `envoy.config.route.v3.RetryPolicy`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// Conditions, as Envoy spells them (`connect-failure`, `5xx`, `retriable-status-codes`, …).
    pub retry_on: Vec<RetryOn>,
    /// How many further attempts.
    pub num_retries: u32,
    /// Limit of each attempt.
    #[serde(serialize_with = "json::optional_duration")]
    pub per_try_timeout: Option<Duration>,
    /// Limit without a byte from the upstream, for each attempt.
    #[serde(serialize_with = "json::optional_duration")]
    pub per_try_idle_timeout: Option<Duration>,
    /// An answer with one of these is tried again ([`RetryOn::RetriableHeaders`]).
    pub retriable_headers: Vec<HeaderMatcher>,
    /// When not empty: only requests with one of these are tried again. (Our control plane says with it which methods
    /// may run twice.)
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// Back-off from an answer's header, when it says how long.
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// Statuses for [`RetryOn::RetriableStatusCodes`].
    pub status_codes: Vec<u16>,
    /// First pause of the exponential back-off; 25 ms when absent.
    #[serde(serialize_with = "json::duration")]
    pub back_off_base: Duration,
    /// Longest pause; ten times the base when absent.
    #[serde(serialize_with = "json::duration")]
    pub back_off_max: Duration,
    /// Avoid endpoints already tried.
    pub avoid_previous_hosts: bool,
    /// How often another endpoint is drawn before an already tried one is taken.
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    /// One further attempt, at once, on no condition: what Envoy does with an empty message.
    fn default() -> Self {
        Self {
            retry_on: Vec::new(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            rate_limited_back_off: None,
            status_codes: Vec::new(),
            back_off_base: Duration::from_millis(25),
            back_off_max: Duration::from_millis(250),
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
        }
    }
}

/// `RetryPolicy.RateLimitedRetryBackOff`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimitedBackOff {
    /// Asked in order; the first that is there and not longer than `max` counts.
    pub headers: Vec<ResetHeader>,
    /// Longest pause; 300 s when absent on the wire.
    #[serde(serialize_with = "json::duration")]
    pub max: Duration,
}

/// A header that says when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResetHeader {
    /// Lower-case name.
    pub name: Arc<str>,
    /// `true`: seconds since 1970. `false`: seconds from now.
    pub unix_timestamp: bool,
}

/// A condition for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// `5xx`
    FiveXx,
    /// `cancelled`
    Cancelled,
    /// `connect-failure`
    ConnectFailure,
    /// `deadline-exceeded`
    DeadlineExceeded,
    /// `gateway-error`
    GatewayError,
    /// `internal`
    Internal,
    /// `envoy-ratelimited`
    RateLimited,
    /// `refused-stream`
    RefusedStream,
    /// `reset`
    Reset,
    /// `reset-before-request`
    ResetBeforeRequest,
    /// `resource-exhausted`
    ResourceExhausted,
    /// `retriable-4xx`
    Retriable4xx,
    /// `retriable-headers`
    RetriableHeaders,
    /// `retriable-status-codes`
    RetriableStatusCodes,
    /// `unavailable`
    Unavailable,
}

/// First pause when the policy does not say; Envoy's default.
const BACK_OFF_BASE_DEFAULT: Duration = Duration::from_millis(25);
/// The longest pause is this many first ones when the policy does not say.
const BACK_OFF_MAX_FACTOR: u32 = 10;

/// The longest pause that an answer may ask for when the policy does not say; Envoy's default.
const RATE_LIMITED_MAX_DEFAULT: Duration = Duration::from_secs(300);

/// A condition that Envoy knows and that cannot hold here.
const WITHOUT_EFFECT: &str = "http3-post-connect-failure";

const SPELLING: [(RetryOn, &str); 15] = [
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
    (RetryOn::RetriableHeaders, "retriable-headers"),
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
    refused!(at; retry_priority, retry_options_predicates, refresh_cluster_on_retry);
    let (back_off_base, back_off_max) = back_off(at, retry_back_off)?;
    let attempts = u32::try_from(host_selection_retry_max_attempts).map_err(|_| {
        let at = at.field("host_selection_retry_max_attempts");
        at.error(format_args!("{host_selection_retry_max_attempts} is out of range"))
    })?;
    Ok(RetryPolicy {
        retry_on: conditions(at, &retry_on),
        num_retries: num_retries.map_or(1, |n| n.value),
        per_try_timeout: limit(at, "per_try_timeout", per_try_timeout, None)?,
        per_try_idle_timeout: limit(at, "per_try_idle_timeout", per_try_idle_timeout, None)?,
        retriable_headers: headers(at, "retriable_headers", retriable_headers)?,
        retriable_request_headers: headers(at, "retriable_request_headers", retriable_request_headers)?,
        rate_limited_back_off: rate_limited_retry_back_off
            .map(|message| rate_limited(&at.field("rate_limited_retry_back_off"), message))
            .transpose()?,
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
            None if word == WITHOUT_EFFECT => {}
            None => at.key("retry_on", word).ignore_here(),
        }
    }
    conditions
}

fn headers(at: &At<'_>, field: &str, messages: Vec<route::HeaderMatcher>) -> Checked<Vec<HeaderMatcher>> {
    each(at, field, messages, matcher::header)
}

fn rate_limited(at: &At<'_>, message: route::retry_policy::RateLimitedRetryBackOff) -> Checked<RateLimitedBackOff> {
    use route::retry_policy::{self, ResetHeaderFormat};
    let retry_policy::RateLimitedRetryBackOff { reset_headers, max_interval } = message;
    if reset_headers.is_empty() {
        return Err(at.field("reset_headers").missing());
    }
    let header = |(i, message): (usize, retry_policy::ResetHeader)| {
        let at = &at.item("reset_headers", i);
        let retry_policy::ResetHeader { name, format } = message;
        header_name(&at.field("name"), &name)?;
        let unix_timestamp = match ResetHeaderFormat::try_from(format) {
            Ok(ResetHeaderFormat::Seconds) => false,
            Ok(ResetHeaderFormat::UnixTimestamp) => true,
            Err(_) => return Err(at.field("format").error(format_args!("{format} is not known"))),
        };
        Ok(ResetHeader { name: name.to_ascii_lowercase().into(), unix_timestamp })
    };
    Ok(RateLimitedBackOff {
        headers: reset_headers.into_iter().enumerate().map(header).collect::<Checked<_>>()?,
        max: positive_duration(at, "max_interval", max_interval, RATE_LIMITED_MAX_DEFAULT)?,
    })
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
