//! The attempts of one request: what has been tried, and what a failure leads to.

use std::time::{Duration, SystemTime};

use tidegate_http1::ResponseHead;
use tidegate_report::ResponseFlag;
use tidegate_traffic::ResponseView;
use tidegate_traffic::fault::{Abort, Bandwidth};
use tidegate_traffic::retry::{Failure, Moment, Next as Decided, Phase, Reason, Retrying, Target};

use crate::balance::circuit_breaker::ActiveRetry;
use crate::clock;
use crate::config::snapshot::ActiveCluster;
use crate::http::exchange::{Late, Trouble};
use crate::http::head::{Request, Response};
use crate::http::rejection::Rejection;
use crate::router::Plan;
use crate::upstream::Fault;
use crate::worker::Worker;

/// How far an attempt got before its trouble.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) trouble: Trouble,
    pub(crate) endpoint: u64,
    /// The connection had carried an exchange before.
    pub(crate) reused: bool,
    /// Something of the request was written.
    pub(crate) sent: bool,
    /// The request can be sent again from its beginning.
    pub(crate) replayable: bool,
}

/// What follows.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another attempt, after this pause.
    Again(Duration),
    /// The caller sees a reset: a fault wants it so.
    Reset,
    /// `None`: nobody is left to be answered.
    GiveUp(Option<Rejection>),
}

/// The record of one request.
pub(crate) struct Record<'c> {
    worker: &'c Worker,
    cluster: &'c ActiveCluster,
    retrying: Retrying<'c>,
    pub(crate) count: u32,
    tried: Vec<u64>,
    may_reuse: bool,
    /// The speed of the answer, where a fault slows it down.
    pub(crate) bandwidth: Option<Bandwidth>,
    /// What an answer led to that was given up for another attempt.
    decided: Option<Decided>,
    /// The place of the current attempt among the cluster's retries.
    active: Option<ActiveRetry>,
}

impl<'c> Record<'c> {
    pub(crate) fn new(worker: &'c Worker, plan: &Plan<'c>, request: &Request<'_>) -> Self {
        Self {
            worker,
            cluster: plan.cluster,
            retrying: Retrying::new(plan.forward.retry.as_ref(), request),
            count: 0,
            tried: Vec::new(),
            may_reuse: true,
            bandwidth: None,
            decided: None,
            active: None,
        }
    }

    /// Endpoints not to be drawn again.
    pub(crate) fn tried(&self) -> &[u64] {
        &self.tried
    }

    /// Whether a policy may send the request more than once, so that its body is worth keeping.
    pub(crate) fn keeps_body(&self) -> bool {
        self.retrying.keeps_body()
    }

    /// Whether the next attempt may use an idle connection: not after one was found dead.
    pub(crate) fn may_reuse(&self) -> bool {
        self.may_reuse
    }

    /// Whether this answer shall not reach the caller, because the policy wants another.
    pub(crate) fn wants_another(&mut self, head: &ResponseHead, replayable: bool) -> bool {
        if !self.retrying.reads_answers() {
            return false;
        }
        // Nearly every answer is good, and this asks neither the time nor chance.
        if !self.retrying.is_wanted_after(head.status(), &Response(head)) {
            return false;
        }
        let decided = self.after_answer(head.status(), &Response(head), replayable);
        match decided {
            Decided::Again { .. } => self.decided = Some(decided),
            Decided::GiveUp(reason) => {
                if let Some(flag) = flag(reason) {
                    self.worker.cells().reject(flag);
                }
            }
        }
        matches!(decided, Decided::Again { .. })
    }

    /// What follows from an attempt that failed.
    pub(crate) fn after(&mut self, failed: &Failed) -> Next {
        match self.decide(failed) {
            Next::GiveUp(rejection) if self.count > 1 => Next::GiveUp(rejection.map(Rejection::after_retry)),
            next => next,
        }
    }

    fn decide(&mut self, failed: &Failed) -> Next {
        let decided = match &failed.trouble {
            Trouble::Answered(_) => self.decided.take(),
            Trouble::Injected(Abort::Http(status)) => {
                Some(self.after_answer(*status, &Injected(None), failed.replayable))
            }
            Trouble::Injected(Abort::Grpc(status)) => {
                Some(self.after_answer(200, &Injected(Some(status.to_string())), failed.replayable))
            }
            trouble => failure(trouble, failed).map(|failure| self.after_failure(failure)),
        };
        match decided {
            Some(Decided::Again { target, pause }) => {
                match target {
                    Target::FreshConnection => self.may_reuse = false,
                    Target::OtherEndpoint => self.tried.push(failed.endpoint),
                    Target::AnyEndpoint => {}
                }
                Next::Again(pause)
            }
            Some(Decided::GiveUp(reason)) => {
                if let Trouble::Injected(Abort::Reset) = failed.trouble {
                    return Next::Reset;
                }
                let rejection = Rejection::of(&failed.trouble);
                Next::GiveUp(rejection.map(|rejection| Rejection { also: flag(reason), ..rejection }))
            }
            None => Next::GiveUp(Rejection::of(&failed.trouble)),
        }
    }

    fn moment(&self) -> Moment {
        let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH);
        Moment { jitter: self.worker.random(), now_unix_s: since.map_or(0, |since| since.as_secs()) }
    }

    fn after_failure(&mut self, failure: Failure) -> Decided {
        let moment = self.moment();
        let Self { retrying, active, cluster, .. } = self;
        retrying.after_failure(failure, moment, || enter(active, cluster))
    }

    fn after_answer(&mut self, status: u16, answer: &impl ResponseView, replayable: bool) -> Decided {
        let moment = self.moment();
        let Self { retrying, active, cluster, .. } = self;
        retrying.after_answer(status, answer, replayable, moment, || enter(active, cluster))
    }
}

/// The retry of a retry takes the place of the one before.
fn enter(active: &mut Option<ActiveRetry>, cluster: &ActiveCluster) -> bool {
    *active = None;
    *active = ActiveRetry::enter(cluster);
    active.is_some()
}

/// What a trouble says about retries; `None`: there is nothing to try again.
fn failure(trouble: &Trouble, failed: &Failed) -> Option<Failure> {
    let (phase, answer_seen) = match trouble {
        Trouble::Upstream(fault) => match fault {
            Fault::Connect(_) | Fault::Handshake(_) | Fault::ConnectTimeout => (Phase::Connecting, false),
            Fault::Unprocessed => (Phase::Refused, false),
            Fault::Closed { seen } => (if failed.sent { Phase::Sent } else { Phase::NotSent }, *seen),
            Fault::Reset(_) => (Phase::Sent, false),
            Fault::Protocol(_) | Fault::Unexpected(_) => (Phase::Sent, true),
            Fault::Overflow(_) => return None,
        },
        Trouble::Late(Late::Attempt) => (Phase::TimedOut, false),
        Trouble::Injected(Abort::Reset) => (Phase::Sent, false),
        Trouble::Injected(Abort::Http(_) | Abort::Grpc(_))
        | Trouble::Answered(_)
        | Trouble::Caller(_)
        | Trouble::CallerGone
        | Trouble::Unwritable
        | Trouble::Late(_) => return None,
    };
    Some(Failure { phase, reused_connection: failed.reused, answer_seen, replayable: failed.replayable })
}

/// What operators shall see of a refused retry.
fn flag(reason: Reason) -> Option<ResponseFlag> {
    match reason {
        Reason::RetriesSpent => Some(ResponseFlag::RetryLimitExceeded),
        Reason::Overflow => Some(ResponseFlag::UpstreamOverflow),
        _ => None,
    }
}

/// The head of an answer that no endpoint gave.
struct Injected(Option<String>);

impl ResponseView for Injected {
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.iter().filter(move |_| name == "grpc-status").map(|status| status.as_bytes())
    }
}
