//! How long an exchange may take.
//!
//! # Which limit holds
//! - The route's timeout runs from the end of the request and covers all attempts. `max_stream_duration` replaces it
//!   and runs from the request's head, because a stream may never end its request.
//! - A gRPC caller's `grpc-timeout`, where the route honours it, replaces whichever of the two is in force, up to the
//!   route's bound. Over a plain timeout, a gRPC caller that sends none has asked for no limit and gets the bound; a
//!   stream's duration holds for it as for anyone.
//! - `x-envoy-upstream-rq-timeout-ms` may shorten the route's timeout. Envoy lets it lengthen it too; here a caller may
//!   always give up sooner, but how long the mesh works for it stays the operator's word.
//! - The retry policy's limit of one attempt, which `x-envoy-upstream-rq-per-try-timeout-ms` may shorten likewise,
//!   holds only while it is shorter than the total: one that is not could never be reached, as in Envoy.

use std::time::Duration;

use tidegate_xds::resource::route::Forward;

use crate::request::{RequestView, is_grpc};
use crate::retry::CompiledRetry;
use crate::split::CompiledForward;

/// A caller's wish in milliseconds. Read by [`deadlines`]; the proxy removes it from what it forwards.
pub const TIMEOUT_HEADER: &str = "x-envoy-upstream-rq-timeout-ms";

/// The same for one attempt.
pub const PER_TRY_TIMEOUT_HEADER: &str = "x-envoy-upstream-rq-per-try-timeout-ms";

/// The gRPC wire format allows eight digits.
const GRPC_TIMEOUT_DIGITS_MAX: usize = 8;

/// The limits of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the moment the request has been received to its end, all attempts included. `None` is no limit.
    pub total: Option<Duration>,
    /// From the moment the request's head has been received. `None` is no limit.
    pub stream: Option<Duration>,
    /// For one attempt, from the moment it has the whole request to its answer's head. Always shorter than `total`.
    pub per_try: Option<Duration>,
    /// For one attempt, without a byte from the upstream.
    pub per_try_idle: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: IdleLimit,
    /// Whether a gRPC answer (`grpc-status: 4`) is due when a limit is reached.
    pub grpc: bool,
}

/// A route's word on the idle timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleLimit {
    /// The connection manager's.
    Inherit,
    /// None.
    Off,
    /// This.
    After(Duration),
}

/// The limits of a route for a request that says nothing about them: nearly every one, so they are settled when it is compiled.
pub(crate) fn configured(forward: &Forward, retry: Option<&CompiledRetry>) -> Deadlines {
    let (total, stream) = match forward.max_stream_duration {
        None => (limit(forward.timeout), None),
        Some(duration) => (None, limit(Some(duration))),
    };
    Deadlines {
        total,
        stream,
        per_try: reachable(retry.and_then(|retry| limit(retry.per_try_timeout)), total),
        per_try_idle: retry.and_then(|retry| limit(retry.per_try_idle_timeout)),
        idle: match forward.idle_timeout {
            None => IdleLimit::Inherit,
            Some(Duration::ZERO) => IdleLimit::Off,
            Some(after) => IdleLimit::After(after),
        },
        grpc: false,
    }
}

/// The limits for a request on its route.
pub fn deadlines(forward: &CompiledForward, request: &impl RequestView) -> Deadlines {
    let grpc = is_grpc(request);
    if grpc || request.speaks_to_proxies() { wanted_deadlines(forward, request, grpc) } else { forward.deadlines }
}

fn wanted_deadlines(forward: &CompiledForward, request: &impl RequestView, grpc: bool) -> Deadlines {
    let configured = forward.deadlines;
    let bound = forward.grpc_timeout_max.filter(|_| grpc);
    let caller = bound.and_then(|max| {
        let wanted = parse_grpc_timeout(request.header("grpc-timeout").next()?)?;
        Some(limit(Some(max)).map_or(wanted, |max| max.min(wanted)))
    });
    let (total, stream) = match (forward.is_timed_as_stream, bound) {
        (false, None) => (configured.total, None),
        (false, Some(_)) => (caller.or_else(|| limit(bound)), None),
        (true, _) => (None, caller.or(configured.stream)),
    };
    let total = shorter(total, wanted(request, TIMEOUT_HEADER));
    let per_try = forward.retry.as_ref().and_then(|retry| limit(retry.per_try_timeout));
    let per_try = shorter(per_try, wanted(request, PER_TRY_TIMEOUT_HEADER));
    Deadlines { total, stream, per_try: reachable(per_try, total), grpc, ..configured }
}

/// The limit of one attempt, where it is shorter than that of all.
fn reachable(per_try: Option<Duration>, total: Option<Duration>) -> Option<Duration> {
    per_try.filter(|one| total.is_none_or(|all| *one < all))
}

/// Zero in a configured limit means none.
fn limit(configured: Option<Duration>) -> Option<Duration> {
    configured.filter(|d| !d.is_zero())
}

fn shorter(configured: Option<Duration>, wanted: Option<Duration>) -> Option<Duration> {
    [configured, wanted].into_iter().flatten().min()
}

/// What a caller asks for in milliseconds. Zero would lengthen, so it asks for nothing.
fn wanted(request: &impl RequestView, header: &str) -> Option<Duration> {
    if !request.speaks_to_proxies() {
        return None;
    }
    let text = std::str::from_utf8(request.header(header).next()?).ok()?;
    let millis: u64 = text.trim_ascii().parse().ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// The value of `grpc-timeout`: a positive number of at most eight digits, and a unit. Anything else is as if it were
/// not there.
fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > GRPC_TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0_u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    match unit {
        _ if n == 0 => None,
        b'H' => Some(Duration::from_secs(n * 3600)),
        b'M' => Some(Duration::from_secs(n * 60)),
        b'S' => Some(Duration::from_secs(n)),
        b'm' => Some(Duration::from_millis(n)),
        b'u' => Some(Duration::from_micros(n)),
        b'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
