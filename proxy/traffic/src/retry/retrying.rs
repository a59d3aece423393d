//! What follows an attempt.
//!
//! # In which order it is decided
//! 1. A failure of something that was never sent leads on at once, to a fresh connection or another endpoint, within
//!    the bounds of [`super::may_retry`]. No policy is asked and no budget: nothing reached an application, so no load
//!    is multiplied, and the first thing that a dying endpoint must not do is fail requests.
//! 2. Anything else needs the policy's word ([`super::policy`]).
//! 3. The request must be there to be sent again.
//! 4. There must be a retry left. A caller's `x-envoy-max-retries` replaces the policy's number. Retries of step 1 that
//!    the policy would have granted too are counted, so that a policy of two retries does not become five. Where the
//!    request was written before the connection broke, an application may have seen it: then the number is the limit.
//! 5. The cluster must have room for it. The retry counts as made before that is asked, as in Envoy.
//!
//! Then there is a pause: the one that the answer asks for, where the policy reads it, or the back-off.

use std::time::Duration;

use super::back_off::{BackOff, at_least};
use super::policy::{CompiledRetry, Conditions, Listed, Wishes};
use super::{Attempts, Failure, Phase, Reason, Verdict, is_idempotent};
use crate::request::{RequestView, ResponseView};

/// The headers by which a caller asks for retries. Read by [`Retrying::new`]; the proxy removes them from what it
/// forwards.
pub const HEADERS: [&str; 5] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];

/// The most that `x-envoy-max-retries` can ask for, unless the policy itself grants more: a header must not buy a
/// caller more load than the operator would. Envoy has no bound.
pub const RETRIES_ASKED_MAX: u32 = 10;

/// How many retries a caller gets that asks for a condition and no number, on a route without a policy. Envoy's.
const RETRIES_DEFAULT: u32 = 1;

/// The attempts of one request: what it may still do.
#[derive(Clone, Debug)]
pub struct Retrying<'p> {
    policy: Option<&'p CompiledRetry>,
    /// The policy's and the caller's; empty when the policy does not concern the request.
    conditions: Conditions,
    /// What the caller lists; nearly nobody does.
    listed: Option<Box<Listed>>,
    idempotent: bool,
    attempts: Attempts,
    remaining: u32,
    /// Retries with a pause so far.
    paused: u32,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt.
    Again {
        /// Where to.
        target: Target,
        /// After so long.
        pause: Duration,
    },
    /// The answer is passed on, or the failure is answered.
    GiveUp(Reason),
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the same endpoint, on a connection that never carried anything.
    FreshConnection,
    /// To an endpoint that was not tried; [`CompiledRetry::host_selection_attempts`] says how hard to look for one.
    OtherEndpoint,
    /// Wherever the balancer sends it.
    AnyEndpoint,
}

/// What differs from one decision to the next besides what happened.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// A draw for the pause.
    pub jitter: u64,
    /// The time of day, for answers that say when to come back.
    pub now_unix_s: u64,
}

impl<'p> Retrying<'p> {
    /// For a request on its route. `request` is the head as it was received.
    pub fn new(policy: Option<&'p CompiledRetry>, request: &impl RequestView) -> Self {
        let Wishes { conditions: wished, retries, listed } = Wishes::of(request);
        let granted = policy.map_or(RETRIES_DEFAULT, |policy| policy.num_retries);
        let mut conditions = policy.map(|policy| policy.conditions).unwrap_or_default().union(wished);
        // The gate closes on what the caller asks for, too.
        if policy.is_some_and(|policy| !policy.concerns(request)) {
            conditions = Conditions::default();
        }
        Self {
            policy,
            conditions,
            idempotent: is_idempotent(request.method()),
            attempts: Attempts::default(),
            remaining: retries.map_or(granted, |asked| asked.min(granted.max(RETRIES_ASKED_MAX))),
            paused: 0,
            listed,
        }
    }

    /// Whether an answer could lead to another attempt, so that its head must be shown to [`Self::after_answer`] before
    /// any of it is passed on.
    pub fn reads_answers(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Whether the policy wants another attempt after this answer. [`Self::after_answer`] says the same and more; this asks
    /// neither the time nor chance.
    pub fn is_wanted_after(&self, status: u16, answer: &impl ResponseView) -> bool {
        let is_listed = || {
            let listed = self.policy.map(|policy| &*policy.status_codes).unwrap_or_default();
            listed.contains(&status) || self.listed.as_ref().is_some_and(|own| own.status_codes.contains(&status))
        };
        let has_header = || {
            self.policy.is_some_and(|policy| policy.has_retriable_header(answer))
                || self.listed.iter().flat_map(|own| &own.header_names).any(|name| answer.header(name).next().is_some())
        };
        self.conditions.hold_for(status, answer, is_listed, has_header)
    }

    /// Whether another attempt could follow at all, so that the request's body is worth keeping.
    pub fn keeps_body(&self) -> bool {
        !self.conditions.is_empty() || self.idempotent
    }

    /// After an attempt that failed. `has_room` asks the cluster's circuit breaker for a retry, and is asked last.
    pub fn after_failure(&mut self, failure: Failure, moment: Moment, has_room: impl FnOnce() -> bool) -> Next {
        let is_wanted = self.conditions.hold_after(failure.phase);
        match self.attempts.after(failure, self.idempotent) {
            Verdict::FreshConnection if is_wanted && failure.phase == Phase::Sent => {
                match self.remaining.checked_sub(1) {
                    None => Next::GiveUp(Reason::RetriesSpent),
                    Some(remaining) => {
                        self.remaining = remaining;
                        at_once(Target::FreshConnection)
                    }
                }
            }
            Verdict::FreshConnection => at_once(Target::FreshConnection),
            Verdict::OtherEndpoint => {
                self.remaining = self.remaining.saturating_sub(u32::from(is_wanted));
                at_once(Target::OtherEndpoint)
            }
            Verdict::GiveUp(reason) if !is_wanted => Next::GiveUp(reason),
            Verdict::GiveUp(_) => self.spend(failure.replayable, None, moment, has_room),
        }
    }

    /// After the head of a final answer, of which nothing was passed on yet. `replayable` as in [`Failure`].
    pub fn after_answer(
        &mut self,
        status: u16,
        answer: &impl ResponseView,
        replayable: bool,
        moment: Moment,
        has_room: impl FnOnce() -> bool,
    ) -> Next {
        if !self.is_wanted_after(status, answer) {
            return Next::GiveUp(Reason::NotRetriable);
        }
        let rate_limited = self.policy.and_then(|policy| policy.rate_limited.as_ref());
        let asked = rate_limited.and_then(|headers| headers.wait(answer, moment.now_unix_s));
        self.spend(replayable, asked, moment, has_room)
    }

    /// Steps 3 to 5.
    fn spend(
        &mut self,
        replayable: bool,
        asked: Option<Duration>,
        moment: Moment,
        has_room: impl FnOnce() -> bool,
    ) -> Next {
        if !replayable {
            return Next::GiveUp(Reason::BodyConsumed);
        }
        let Some(remaining) = self.remaining.checked_sub(1) else { return Next::GiveUp(Reason::RetriesSpent) };
        self.remaining = remaining;
        if !has_room() {
            return Next::GiveUp(Reason::Overflow);
        }
        self.paused += 1;
        let back_off = self.policy.map_or_else(BackOff::default, |policy| policy.back_off);
        let avoids = self.policy.is_some_and(|policy| policy.avoid_previous_hosts);
        Next::Again {
            target: if avoids { Target::OtherEndpoint } else { Target::AnyEndpoint },
            pause: match asked {
                Some(wait) => at_least(wait, moment.jitter),
                None => back_off.pause(self.paused, moment.jitter),
            },
        }
    }
}

fn at_once(target: Target) -> Next {
    Next::Again { target, pause: Duration::ZERO }
}

#[cfg(test)]
mod tests;
