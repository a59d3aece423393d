//! Retries as the policy of a route.
//!
//! # What happens when nobody says anything
//! A request that was never sent is tried again by every proxy of ours, whatever stands here. Beyond that a failure of
//! the connection is tried again for requests that may run twice, elsewhere if there is an elsewhere; so a backend that
//! is killed costs nobody a `GET`. What an application answers is an answer, and no `POST` is ever sent twice.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::retry::Retry;
use tidegate_xds::resource::matcher::{HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::{RetryOn, RetryPolicy};

/// Further attempts when nobody says: one for the endpoint that died, one for a second that dies with it.
const ATTEMPTS: u32 = 2;
/// When they are made.
const CONDITIONS: [RetryOn; 4] =
    [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::ResetBeforeRequest];
/// Methods that may run twice (RFC 9110, 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
/// How often another endpoint is drawn before one is taken that was tried already. With half of the endpoints tried,
/// five draws miss once in 32.
const DRAWS: u32 = 5;
/// The longest pause is this many first ones when nobody says.
const BACK_OFF_FACTOR: u32 = 10;

/// What is tried again when nobody says anything.
pub(super) fn default_policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: CONDITIONS.to_vec(),
        num_retries: ATTEMPTS,
        retriable_request_headers: methods(IDEMPOTENT.map(Arc::from)),
        ..elsewhere(RetryPolicy::default())
    }
}

/// What a policy says; `None` when it switches retries off.
pub(super) fn policy(retry: &Retry) -> Option<RetryPolicy> {
    if retry.attempts == 0 {
        return None;
    }
    let mut retry_on: Vec<RetryOn> = retry.on.iter().filter_map(|word| RetryOn::from_spelling(word)).collect();
    if !retry.codes.is_empty() && !retry_on.contains(&RetryOn::RetriableStatusCodes) {
        retry_on.push(RetryOn::RetriableStatusCodes);
    }
    let defaults = RetryPolicy::default();
    let base = retry.backoff.filter(|pause| !pause.is_zero()).unwrap_or(defaults.back_off_base);
    let allowed = match &retry.methods {
        None => methods(IDEMPOTENT.map(Arc::from)),
        Some(named) => methods(named.iter().cloned()),
    };
    let policy = RetryPolicy {
        retry_on,
        num_retries: retry.attempts,
        per_try_timeout: retry.per_try.filter(|limit| !limit.is_zero()),
        retriable_request_headers: allowed,
        status_codes: retry.codes.clone(),
        back_off_base: base,
        back_off_max: retry.backoff_max.unwrap_or_else(|| base.saturating_mul(BACK_OFF_FACTOR)).max(base),
        ..defaults
    };
    Some(if retry.avoid_previous_hosts { elsewhere(policy) } else { policy })
}

/// The limit of each attempt, and what is left of it for the whole exchange: without retries there is one attempt, and
/// the limit of the attempt is a limit of the exchange.
pub(super) fn limit_attempts(
    retry: Option<RetryPolicy>,
    request: Option<Duration>,
    attempt: Option<Duration>,
) -> (Option<RetryPolicy>, Option<Duration>) {
    match (retry, attempt) {
        (retry, None) => (retry, request),
        (None, Some(attempt)) => (None, Some(request.map_or(attempt, |request| request.min(attempt)))),
        (Some(retry), Some(attempt)) => {
            // Who wrote the retries and who wrote the timeouts may be two people; the shorter limit keeps both words.
            let per_try = retry.per_try_timeout.map_or(attempt, |own| own.min(attempt));
            (Some(RetryPolicy { per_try_timeout: Some(per_try), ..retry }), request)
        }
    }
}

fn elsewhere(policy: RetryPolicy) -> RetryPolicy {
    RetryPolicy { avoid_previous_hosts: true, host_selection_attempts: DRAWS, ..policy }
}

fn methods(names: impl IntoIterator<Item = Arc<str>>) -> Vec<HeaderMatcher> {
    let matcher = |value| HeaderMatcher {
        name: ":method".into(),
        condition: HeaderCondition::Value(StringMatcher::Exact { value, ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    names.into_iter().map(matcher).collect()
}
