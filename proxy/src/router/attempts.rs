//! The attempts of one request: what has been tried, and what a failure leads to.

use tidegate_traffic::retry::{Attempts, Failure, Phase, Verdict, is_idempotent};

use crate::http::exchange::Trouble;
use crate::http::rejection::Rejection;
use crate::upstream::Fault;

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
    Again,
    /// `None`: nobody is left to be answered.
    GiveUp(Option<Rejection>),
}

/// The record of one request.
#[derive(Debug, Default)]
pub(crate) struct Record {
    attempts: Attempts,
    pub(crate) count: u32,
    tried: Vec<u64>,
}

impl Record {
    /// Endpoints not to be drawn again.
    pub(crate) fn tried(&self) -> &[u64] {
        &self.tried
    }

    pub(crate) fn after(&mut self, failed: &Failed, method: &str) -> Next {
        let Trouble::Upstream(fault) = &failed.trouble else {
            return Next::GiveUp(Rejection::of(&failed.trouble));
        };
        let (phase, answer_seen) = match fault {
            Fault::Connect(_) | Fault::ConnectTimeout => (Phase::Connecting, false),
            Fault::Unprocessed => (Phase::NotSent, false),
            Fault::Closed { seen } => (if failed.sent { Phase::Sent } else { Phase::NotSent }, *seen),
            Fault::Reset(_) => (Phase::Sent, false),
            Fault::Protocol(_) | Fault::Unexpected(_) => (Phase::Sent, true),
        };
        let failure = Failure { phase, reused_connection: failed.reused, answer_seen, replayable: failed.replayable };
        match self.attempts.after(failure, is_idempotent(method)) {
            Verdict::FreshConnection => Next::Again,
            Verdict::OtherEndpoint => {
                self.tried.push(failed.endpoint);
                Next::Again
            }
            Verdict::GiveUp(_) => Next::GiveUp(Rejection::of(&failed.trouble)),
        }
    }

    /// Whether the next attempt may use an idle connection: not after one was found dead.
    pub(crate) fn may_reuse(&self) -> bool {
        self.attempts.free_retries == 0
    }
}
