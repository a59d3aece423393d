//! What may be tried again.
//!
//! # The two rules
//! This file holds the one that needs nobody's word: what was never sent is sent again. [`policy`] holds what a route
//! may ask for besides. [`Retrying`] puts them together and is what the proxy asks after every attempt.
//!
//! # The rule without a policy
//! A second attempt must not run a request twice. It may therefore follow only a failure after which the upstream
//! cannot have acted, or one after which acting twice does no harm, and only while nothing of an answer was seen and
//! the request can be sent again from its beginning.
//!
//! # Two budgets
//! A pooled connection may have been closed by its peer while it lay idle. That says nothing about the endpoint, so one
//! such failure is free: the same endpoint, a fresh connection, not counted (unless a policy grants the same retry: its
//! number is then the limit). A connection that could not be opened, or that refused its first request, does speak
//! against the endpoint: another one is tried, at most [`ENDPOINTS_MAX`].
//!
//! # What stays unanswered
//! A `POST` written to a pooled connection that then turns out dead is not repeated, for its peer may have read it just
//! before it closed (RFC 9110 §9.2.2). The pool keeps that window small by looking at a connection before it hands it
//! out.

mod back_off;
mod policy;
mod retrying;

pub use policy::CompiledRetry;
pub use retrying::{HEADERS, Moment, Next, RETRIES_ASKED_MAX, Retrying, Target};

/// How much of a request's body is kept so that it can be sent again. A request that grew past it is sent once; what a
/// connection may hold in memory is more important than its second chance. Envoy keeps up to its buffer limit, 1 MiB.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Endpoints tried for one request, the first included, while they take nothing. Three endpoints that refuse are not
/// bad luck any more, and every further attempt keeps a caller waiting and adds load to a cluster in trouble.
pub const ENDPOINTS_MAX: u32 = 3;

/// How often an idle connection found dead is replaced for one request. A fresh connection follows, so once is enough.
pub const FREE_RETRIES_MAX: u32 = 1;

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection could be opened: refused, timed out, failed its handshake.
    Connecting,
    /// There was a connection and nothing was written to it.
    NotSent,
    /// The peer refused the stream unprocessed (HTTP/2 `REFUSED_STREAM`, or above the last stream of a `GOAWAY`).
    Refused,
    /// Some or all of the request was written, and the connection or stream ended without a usable answer.
    Sent,
    /// The same, but it was this side that ended it: the limit of one attempt was reached.
    TimedOut,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How far it got.
    pub phase: Phase,
    /// The connection had carried an exchange before.
    pub reused_connection: bool,
    /// At least one byte of an answer arrived.
    pub answer_seen: bool,
    /// The request can be sent again from its beginning: no body, or none of it was taken from the caller yet, or all
    /// that was taken is kept.
    pub replayable: bool,
}

/// What has been tried for this request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Endpoints that took nothing: [`Verdict::OtherEndpoint`] was the answer.
    pub other_endpoints: u32,
    /// Dead idle connections replaced: [`Verdict::FreshConnection`] was the answer.
    pub free_retries: u32,
}

impl Attempts {
    /// Decides as [`may_retry`] and counts the attempt that follows, so that no caller can count it wrongly and try for
    /// ever.
    pub fn after(&mut self, failure: Failure, idempotent: bool) -> Verdict {
        let verdict = may_retry(failure, idempotent, *self);
        match verdict {
            Verdict::FreshConnection => self.free_retries += 1,
            Verdict::OtherEndpoint => self.other_endpoints += 1,
            Verdict::GiveUp(_) => {}
        }
        verdict
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same endpoint on a fresh connection, uncounted.
    FreshConnection,
    /// Another endpoint.
    OtherEndpoint,
    /// The failure is answered.
    GiveUp(Reason),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An answer had begun.
    AnswerBegun,
    /// Part of the request's body is gone.
    BodyConsumed,
    /// The upstream may have acted on a request that must not run twice.
    MayHaveRun,
    /// It could be tried again, but nobody has asked for that.
    NeedsPolicy,
    /// The bound on attempts without a policy is reached.
    AttemptsSpent,
    /// The answer is not one that the policy tries again.
    NotRetriable,
    /// The policy's number of retries is reached: the access log says `URX`.
    RetriesSpent,
    /// The cluster has no room for a further retry (`upstream_rq_retry_overflow`).
    Overflow,
}

/// Whether and how a request is tried again after a failure.
pub fn may_retry(failure: Failure, idempotent: bool, attempts: Attempts) -> Verdict {
    if failure.answer_seen {
        return Verdict::GiveUp(Reason::AnswerBegun);
    }
    if !failure.replayable {
        return Verdict::GiveUp(Reason::BodyConsumed);
    }
    match failure.phase {
        Phase::Sent | Phase::TimedOut if !idempotent => Verdict::GiveUp(Reason::MayHaveRun),
        // A fresh connection that broke says that the endpoint is in trouble; what to do then is a retry policy's word.
        Phase::Sent if !failure.reused_connection => Verdict::GiveUp(Reason::NeedsPolicy),
        Phase::TimedOut => Verdict::GiveUp(Reason::NeedsPolicy),
        Phase::Sent | Phase::NotSent | Phase::Refused if failure.reused_connection => {
            bounded(attempts.free_retries < FREE_RETRIES_MAX, Verdict::FreshConnection)
        }
        Phase::Sent | Phase::NotSent | Phase::Refused | Phase::Connecting => {
            bounded(attempts.other_endpoints + 1 < ENDPOINTS_MAX, Verdict::OtherEndpoint)
        }
    }
}

fn bounded(within: bool, verdict: Verdict) -> Verdict {
    if within { verdict } else { Verdict::GiveUp(Reason::AttemptsSpent) }
}

/// Whether a method may run twice by definition (RFC 9110 §9.2.2). Unknown methods may not.
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests;
