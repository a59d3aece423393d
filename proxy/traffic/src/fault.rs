//! Faults on purpose: a delay, then an abort, and a slow answer.
//!
//! # Independent dice
//! Whether a request is delayed, aborted and slowed down is decided by three draws, so that a tenth that is delayed and
//! a tenth that is aborted overlap in a hundredth. The delay comes first: a request may be both late and refused.
//!
//! # Where it acts
//! Once above retries and timeouts, as in Envoy, or (ours, [`CompiledFault::per_attempt`]) on each attempt below them,
//! so that retries and timeouts can be tried out against it. The caller asks at the place that the fault names.
//!
//! # Callers that choose their fault
//! Where configuration says so, a header of the request says how long, with what and for which share
//! (`x-envoy-fault-…`). Its share can only be smaller than the configured one, of the same denominator.

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::filter::{Fault, FaultAnswer};

use crate::error::CompileError;
use crate::matcher::{CompiledHeader, Share};
use crate::request::RequestView;

/// How long to wait, in milliseconds.
const DELAY_HEADER: &str = "x-envoy-fault-delay-request";
/// The share of requests that wait.
const DELAY_SHARE_HEADER: &str = "x-envoy-fault-delay-request-percentage";
/// The HTTP status to answer with.
const ABORT_HEADER: &str = "x-envoy-fault-abort-request";
/// The gRPC status to answer with.
const ABORT_GRPC_HEADER: &str = "x-envoy-fault-abort-grpc-request";
/// The share of requests that are answered so.
const ABORT_SHARE_HEADER: &str = "x-envoy-fault-abort-request-percentage";
/// KiB per second of the answer.
const THROUGHPUT_HEADER: &str = "x-envoy-fault-throughput-response";
/// The share of answers that are slow.
const THROUGHPUT_SHARE_HEADER: &str = "x-envoy-fault-throughput-response-percentage";
/// Which node a caller is.
const NODE_HEADER: &str = "x-envoy-downstream-service-node";

/// The body of an abort, as Envoy writes it.
pub const ABORT_BODY: &str = "fault filter abort";

/// A slowed answer is paced in pieces of this length, so that it flows instead of arriving once a second. Envoy's, too.
const PACE: Duration = Duration::from_millis(63);

/// A fault, compiled.
#[derive(Clone, Debug)]
pub struct CompiledFault {
    delay: Option<(Option<Duration>, Share)>,
    abort: Option<(FaultAnswer, Share)>,
    bandwidth: Option<(Option<u64>, Share)>,
    headers: Box<[CompiledHeader]>,
    upstream_cluster: Option<Arc<str>>,
    downstream_nodes: Box<[Arc<str>]>,
    active_max: Option<u32>,
    expires_at_unix_s: Option<u64>,
    per_attempt: bool,
}

/// One draw for each die.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    /// For the delay.
    pub delay: u64,
    /// For the abort.
    pub abort: u64,
    /// For the answer's speed.
    pub bandwidth: u64,
}

/// What happens to a request: first the delay, then the abort; without an abort the answer may be slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Wait so long. It does not count towards the route's timeout when the fault acts above it.
    pub delay: Option<Duration>,
    /// Then end it so.
    pub abort: Option<Abort>,
    /// Bytes of the answer's body flow at this speed.
    pub bandwidth: Option<Bandwidth>,
}

impl FaultPlan {
    /// Whether nothing happens. Only a plan that is not empty counts as an active fault.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a request is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// With this status and [`ABORT_BODY`].
    Http(u16),
    /// With status 200, this `grpc-status` and [`ABORT_BODY`] as `grpc-message`.
    Grpc(u32),
    /// The connection (or stream) is reset without an answer.
    Reset,
}

impl CompiledFault {
    pub(crate) fn compile(fault: &Fault) -> Result<Self, CompileError> {
        let share = |fraction, field: &str| Share::compile(fraction).map_err(|e| e.under(field));
        let delay = fault.delay.as_ref().map(|d| Ok((d.fixed, share(d.percentage, "delay.percentage")?)));
        let abort = fault.abort.as_ref().map(|a| Ok((a.with, share(a.percentage, "abort.percentage")?)));
        let bandwidth = fault.bandwidth.as_ref().map(|b| {
            if b.kib_per_second == Some(0) {
                return Err(CompileError::new("response_rate_limit.fixed_limit.limit_kbps", "zero never ends"));
            }
            Ok((b.kib_per_second, share(b.percentage, "response_rate_limit.percentage")?))
        });
        Ok(Self {
            delay: delay.transpose()?,
            abort: abort.transpose()?,
            bandwidth: bandwidth.transpose()?,
            headers: CompiledHeader::compile_all(&fault.headers, "headers")?,
            upstream_cluster: fault.upstream_cluster.clone(),
            downstream_nodes: fault.downstream_nodes.as_slice().into(),
            active_max: fault.active_max,
            expires_at_unix_s: fault.expires_at_unix_s,
            per_attempt: fault.per_attempt,
        })
    }

    /// It acts on each attempt, below retries and timeouts.
    pub fn per_attempt(&self) -> bool {
        self.per_attempt
    }

    /// Whether it could concern a request at all. [`Self::decide`] asks the same; this needs neither the time nor dice.
    pub fn concerns(&self, request: &impl RequestView, cluster: &str) -> bool {
        let is_listed = |node: &[u8]| self.downstream_nodes.iter().any(|listed| listed.as_bytes() == node);
        self.upstream_cluster.as_deref().is_none_or(|only| only == cluster)
            && (self.downstream_nodes.is_empty() || request.header(NODE_HEADER).next().is_some_and(is_listed))
            && self.headers.iter().all(|header| header.matches(request))
    }

    /// What happens to a request that goes to `cluster`, while `active` others are under this fault.
    pub fn decide(
        &self,
        request: &impl RequestView,
        cluster: &str,
        dice: Dice,
        now_unix_s: u64,
        active: u32,
    ) -> FaultPlan {
        let spent = self.expires_at_unix_s.is_some_and(|end| now_unix_s >= end);
        let crowded = self.active_max.is_some_and(|max| active >= max);
        if spent || crowded || !self.concerns(request, cluster) {
            return FaultPlan::default();
        }
        let abort = self.abort(request, dice.abort);
        FaultPlan {
            delay: self.delay(request, dice.delay),
            abort,
            bandwidth: if abort.is_some() { None } else { self.bandwidth(request, dice.bandwidth) },
        }
    }

    fn delay(&self, request: &impl RequestView, draw: u64) -> Option<Duration> {
        let (fixed, share) = self.delay?;
        let (wait, share) = match fixed {
            Some(fixed) => (fixed, share),
            None => {
                (Duration::from_millis(number(request, DELAY_HEADER)?), asked_share(share, request, DELAY_SHARE_HEADER))
            }
        };
        (share.takes(draw) && !wait.is_zero()).then_some(wait)
    }

    fn abort(&self, request: &impl RequestView, draw: u64) -> Option<Abort> {
        let (answer, share) = self.abort?;
        let (abort, share) = match answer {
            FaultAnswer::Http(status) => (Abort::Http(status), share),
            FaultAnswer::Grpc(status) => (Abort::Grpc(status), share),
            FaultAnswer::Reset => (Abort::Reset, share),
            FaultAnswer::Header => (asked_abort(request)?, asked_share(share, request, ABORT_SHARE_HEADER)),
        };
        share.takes(draw).then_some(abort)
    }

    fn bandwidth(&self, request: &impl RequestView, draw: u64) -> Option<Bandwidth> {
        let (fixed, share) = self.bandwidth?;
        let (kib_per_second, share) = match fixed {
            Some(fixed) => (fixed, share),
            None => (
                number(request, THROUGHPUT_HEADER).filter(|kib| *kib > 0)?,
                asked_share(share, request, THROUGHPUT_SHARE_HEADER),
            ),
        };
        share.takes(draw).then_some(Bandwidth { kib_per_second })
    }
}

/// The abort that a caller asks for: a status of HTTP, else one of gRPC. A number that is neither asks for nothing.
fn asked_abort(request: &impl RequestView) -> Option<Abort> {
    let http = number(request, ABORT_HEADER).and_then(|n| u16::try_from(n).ok()).filter(|n| (200..600).contains(n));
    let grpc = || number(request, ABORT_GRPC_HEADER).and_then(|n| u32::try_from(n).ok());
    http.map(Abort::Http).or_else(|| grpc().map(Abort::Grpc))
}

fn asked_share(configured: Share, request: &impl RequestView, header: &str) -> Share {
    number(request, header).map_or(configured, |numerator| configured.capped(numerator))
}

fn number(request: &impl RequestView, header: &str) -> Option<u64> {
    std::str::from_utf8(request.header(header).next()?).ok()?.trim_ascii().parse().ok()
}

/// The speed of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Not zero.
    pub kib_per_second: u64,
}

impl Bandwidth {
    /// How many bytes of the body may have been sent when this much time has passed since its first byte was due. One
    /// piece is free at the start and the rest follows piece by piece, so a reader sees a flow.
    pub fn bytes_allowed(self, elapsed: Duration) -> u64 {
        let pieces = elapsed.as_nanos() / PACE.as_nanos() + 1;
        let bytes_times_second = (pieces * PACE.as_nanos()).saturating_mul(u128::from(self.kib_per_second) * 1024);
        let bytes = bytes_times_second / NANOS_PER_SECOND;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
    }

    /// When, since its first byte was due, the body may have `bytes` sent.
    pub fn due(self, bytes: u64) -> Duration {
        if bytes <= self.bytes_allowed(Duration::ZERO) {
            return Duration::ZERO;
        }
        let per_piece_times_second = PACE.as_nanos() * u128::from(self.kib_per_second.max(1)) * 1024;
        let pieces = (u128::from(bytes) * NANOS_PER_SECOND).div_ceil(per_piece_times_second) - 1;
        Duration::from_nanos(u64::try_from(pieces * PACE.as_nanos()).unwrap_or(u64::MAX))
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests;
