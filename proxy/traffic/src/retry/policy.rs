//! What a route asks to be tried again, beyond what was never sent.
//!
//! # After an answer
//! Asked in this order, the first that speaks decides:
//! 1. `x-envoy-ratelimited` in the answer: only `envoy-ratelimited` tries again, whatever the status. Somebody said
//!    that there is too much already.
//! 2. `5xx`: any status from 500. `gateway-error`: 502, 503, 504. `retriable-4xx`: 409. `retriable-status-codes`: those
//!    that are listed. `retriable-headers`: any of the listed conditions holds for the answer's head.
//! 3. `cancelled` (1), `deadline-exceeded` (4), `resource-exhausted` (8), `internal` (13), `unavailable` (14): a
//!    `grpc-status` in the answer's *head*. One that comes in trailers comes too late.
//!
//! # After a failure
//!
//! |                      | connecting | nothing written | refused | sent, then reset | limit of one attempt |
//! |----------------------|------------|-----------------|---------|------------------|----------------------|
//! | `connect-failure`    | yes        |                 |         |                  |                      |
//! | `reset-before-request` | yes      | yes             |         |                  |                      |
//! | `refused-stream`     |            |                 | yes     |                  |                      |
//! | `reset`, `5xx`, `gateway-error` | yes | yes         | yes     | yes              | yes                  |
//!
//! That is Envoy's table: a reset would be answered with a 5xx, so the two conditions on statuses include it; and an
//! attempt that ran into its own limit is a reset that this side made. A circuit breaker's refusal is no failure of an
//! attempt and is never tried again; the caller does not ask.
//!
//! A policy may run a request twice. Whoever does not want that says so in `retriable_request_headers`: with a
//! condition on `:method`, only requests that fulfil it are tried again.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::route::{ResetHeader, RetryOn, RetryPolicy};

use super::Phase;
use super::back_off::BackOff;
use crate::error::CompileError;
use crate::matcher::CompiledHeader;
use crate::request::{RequestView, ResponseView};

/// Present on the refusal of a rate limit.
const RATELIMITED_HEADER: &str = "x-envoy-ratelimited";

/// A retry policy, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRetry {
    /// How many further attempts, unless the request says otherwise.
    pub num_retries: u32,
    /// Endpoints that were tried are avoided.
    pub avoid_previous_hosts: bool,
    /// How often another endpoint is drawn before one that was tried is taken after all.
    pub host_selection_attempts: u32,
    pub(crate) per_try_timeout: Option<Duration>,
    pub(crate) per_try_idle_timeout: Option<Duration>,
    pub(super) conditions: Conditions,
    pub(super) status_codes: Box<[u16]>,
    pub(super) back_off: BackOff,
    pub(super) rate_limited: Option<RateLimited>,
    retriable_headers: Box<[CompiledHeader]>,
    request_headers: Box<[CompiledHeader]>,
    /// What these say of each of [`METHODS`], where they ask for nothing but the method.
    methods: Option<[bool; METHODS.len()]>,
}

/// The methods that nearly every request has.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH"];

/// Decided once for each method, because these are asked for each request.
fn settle_methods(conditions: &[CompiledHeader]) -> Option<[bool; METHODS.len()]> {
    let mut settled = [false; METHODS.len()];
    for (method, any) in METHODS.iter().zip(&mut settled) {
        for condition in conditions {
            *any |= condition.matches_method(method)?;
        }
    }
    Some(settled)
}

/// Headers of answers that say when to come back.
#[derive(Clone, Debug)]
pub(super) struct RateLimited {
    headers: Box<[ResetHeader]>,
    max: Duration,
}

impl CompiledRetry {
    pub(crate) fn compile(policy: &RetryPolicy) -> Result<Self, CompileError> {
        let rate_limited = policy.rate_limited_back_off.as_ref();
        let request_headers =
            CompiledHeader::compile_all(&policy.retriable_request_headers, "retriable_request_headers")?;
        Ok(Self {
            methods: settle_methods(&request_headers),
            num_retries: policy.num_retries,
            avoid_previous_hosts: policy.avoid_previous_hosts,
            host_selection_attempts: policy.host_selection_attempts,
            per_try_timeout: policy.per_try_timeout,
            per_try_idle_timeout: policy.per_try_idle_timeout,
            conditions: policy.retry_on.iter().fold(Conditions::default(), |all, one| all.with(*one)),
            status_codes: policy.status_codes.as_slice().into(),
            back_off: BackOff::new(policy.back_off_base, policy.back_off_max),
            rate_limited: rate_limited.map(|b| RateLimited { headers: b.headers.as_slice().into(), max: b.max }),
            retriable_headers: CompiledHeader::compile_all(&policy.retriable_headers, "retriable_headers")?,
            request_headers,
        })
    }

    /// Whether the policy concerns a request at all.
    pub(super) fn concerns(&self, request: &impl RequestView) -> bool {
        if self.request_headers.is_empty() {
            return true;
        }
        let known = || METHODS.iter().position(|method| *method == request.method());
        match self.methods.zip(known()) {
            Some((settled, method)) => settled[method],
            None => self.request_headers.iter().any(|header| header.matches(request)),
        }
    }

    pub(super) fn has_retriable_header(&self, answer: &impl ResponseView) -> bool {
        self.retriable_headers.iter().any(|header| header.matches_answer(answer))
    }
}

impl RateLimited {
    /// How long the answer says to stay away, by the first of the headers that says it within the bound.
    pub(super) fn wait(&self, answer: &impl ResponseView, now_unix_s: u64) -> Option<Duration> {
        self.headers.iter().find_map(|header| {
            let text = std::str::from_utf8(answer.header(&header.name).next()?).ok()?;
            let seconds: u64 = text.trim_ascii().parse().ok()?;
            let seconds = if header.unix_timestamp { seconds.checked_sub(now_unix_s)? } else { seconds };
            Some(Duration::from_secs(seconds)).filter(|wait| *wait <= self.max)
        })
    }
}

/// A set of [`RetryOn`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions(u16);

impl Conditions {
    /// Those on a `grpc-status`.
    const GRPC: u16 = Self::bit(RetryOn::Cancelled)
        | Self::bit(RetryOn::DeadlineExceeded)
        | Self::bit(RetryOn::Internal)
        | Self::bit(RetryOn::ResourceExhausted)
        | Self::bit(RetryOn::Unavailable);

    const fn bit(condition: RetryOn) -> u16 {
        1 << match condition {
            RetryOn::FiveXx => 0,
            RetryOn::Cancelled => 1,
            RetryOn::ConnectFailure => 2,
            RetryOn::DeadlineExceeded => 3,
            RetryOn::GatewayError => 4,
            RetryOn::Internal => 5,
            RetryOn::RateLimited => 6,
            RetryOn::RefusedStream => 7,
            RetryOn::Reset => 8,
            RetryOn::ResetBeforeRequest => 9,
            RetryOn::ResourceExhausted => 10,
            RetryOn::Retriable4xx => 11,
            RetryOn::RetriableHeaders => 12,
            RetryOn::RetriableStatusCodes => 13,
            RetryOn::Unavailable => 14,
        }
    }

    pub(super) fn with(self, condition: RetryOn) -> Self {
        Self(self.0 | Self::bit(condition))
    }

    pub(super) fn has(self, condition: RetryOn) -> bool {
        self.0 & Self::bit(condition) != 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With those that a caller's list names. As in Envoy, a name that nobody knows is passed over.
    pub(super) fn with_named(self, list: &[u8]) -> Self {
        let names = std::str::from_utf8(list).unwrap_or_default().split(',');
        names.filter_map(|name| named(name.trim_ascii())).fold(self, Self::with)
    }

    /// The table above.
    pub(super) fn hold_after(self, phase: Phase) -> bool {
        let any_reset = self.has(RetryOn::Reset) || self.has(RetryOn::FiveXx) || self.has(RetryOn::GatewayError);
        any_reset
            || match phase {
                Phase::Connecting => self.has(RetryOn::ConnectFailure) || self.has(RetryOn::ResetBeforeRequest),
                Phase::NotSent => self.has(RetryOn::ResetBeforeRequest),
                Phase::Refused => self.has(RetryOn::RefusedStream),
                Phase::Sent | Phase::TimedOut => false,
            }
    }

    /// The list above. `is_listed`: the status is one of the policy's or the caller's. `has_header`: so is a header.
    pub(super) fn hold_for(
        self,
        status: u16,
        answer: &impl ResponseView,
        is_listed: impl FnOnce() -> bool,
        has_header: impl FnOnce() -> bool,
    ) -> bool {
        let is_rate_limited = || answer.header(RATELIMITED_HEADER).next().is_some();
        // Most answers are wanted by nobody, and then it does not matter who said so.
        match self.has(RetryOn::RateLimited) {
            true => is_rate_limited() || self.want(status, answer, is_listed, has_header),
            false => self.want(status, answer, is_listed, has_header) && !is_rate_limited(),
        }
    }

    /// The same of an answer that no rate limit gave.
    fn want(
        self,
        status: u16,
        answer: &impl ResponseView,
        is_listed: impl FnOnce() -> bool,
        has_header: impl FnOnce() -> bool,
    ) -> bool {
        (self.has(RetryOn::FiveXx) && (500..600).contains(&status))
            || (self.has(RetryOn::GatewayError) && (502..505).contains(&status))
            || (self.has(RetryOn::Retriable4xx) && status == 409)
            || (self.has(RetryOn::RetriableStatusCodes) && is_listed())
            || (self.has(RetryOn::RetriableHeaders) && has_header())
            || (self.0 & Self::GRPC != 0 && grpc_condition(answer).is_some_and(|condition| self.has(condition)))
    }
}

fn grpc_condition(answer: &impl ResponseView) -> Option<RetryOn> {
    match answer.header("grpc-status").next()? {
        b"1" => Some(RetryOn::Cancelled),
        b"4" => Some(RetryOn::DeadlineExceeded),
        b"8" => Some(RetryOn::ResourceExhausted),
        b"13" => Some(RetryOn::Internal),
        b"14" => Some(RetryOn::Unavailable),
        _ => None,
    }
}

/// A condition by the name that Envoy gives it.
fn named(name: &str) -> Option<RetryOn> {
    Some(match name {
        "5xx" => RetryOn::FiveXx,
        "cancelled" => RetryOn::Cancelled,
        "connect-failure" => RetryOn::ConnectFailure,
        "deadline-exceeded" => RetryOn::DeadlineExceeded,
        "gateway-error" => RetryOn::GatewayError,
        "internal" => RetryOn::Internal,
        "envoy-ratelimited" => RetryOn::RateLimited,
        "refused-stream" => RetryOn::RefusedStream,
        "reset" => RetryOn::Reset,
        "reset-before-request" => RetryOn::ResetBeforeRequest,
        "resource-exhausted" => RetryOn::ResourceExhausted,
        "retriable-4xx" => RetryOn::Retriable4xx,
        "retriable-headers" => RetryOn::RetriableHeaders,
        "retriable-status-codes" => RetryOn::RetriableStatusCodes,
        "unavailable" => RetryOn::Unavailable,
        _ => return None,
    })
}

/// What a caller's headers add to a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) conditions: Conditions,
    pub(super) retries: Option<u32>,
    /// Where anything is listed.
    pub(super) listed: Option<Box<Listed>>,
}

/// What a caller lists beyond conditions that have a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) status_codes: Vec<u16>,
    pub(super) header_names: Vec<Arc<str>>,
}

impl Wishes {
    /// Allocates nothing for a request without such headers.
    pub(super) fn of(request: &impl RequestView) -> Self {
        if !request.speaks_to_proxies() {
            return Self::default();
        }
        let first = |name| request.header(name).next();
        let text = |name| first(name).and_then(|value| std::str::from_utf8(value).ok());
        let list =
            |name| text(name).unwrap_or_default().split(',').map(str::trim_ascii).filter(|part| !part.is_empty());
        let conditions = ["x-envoy-retry-on", "x-envoy-retry-grpc-on"].into_iter().filter_map(first);
        let listed = Listed {
            status_codes: list("x-envoy-retriable-status-codes").filter_map(|code| code.parse().ok()).collect(),
            header_names: list("x-envoy-retriable-header-names").map(|n| n.to_ascii_lowercase().into()).collect(),
        };
        let is_empty = listed.status_codes.is_empty() && listed.header_names.is_empty();
        Self {
            conditions: conditions.fold(Conditions::default(), Conditions::with_named),
            retries: text("x-envoy-max-retries").and_then(|number| number.trim_ascii().parse().ok()),
            listed: (!is_empty).then(|| Box::new(listed)),
        }
    }
}
