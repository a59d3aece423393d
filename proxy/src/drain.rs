//! Leaving without losing a request.
//!
//! # The order
//! Readiness goes first, while everything else stays as it was: whoever balances load needs a moment to look elsewhere,
//! and connections that arrive in that moment are served. Only then are the listening sockets closed (after their queues
//! are emptied), HTTP/1 answers carry `connection: close`, HTTP/2 connections get GOAWAY, idle connections are let go.
//! The process ends when nothing is open any more, or at the deadline.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not at all.
    Serving = 0,
    /// Not ready any more, but new connections are served.
    Leaving = 1,
    /// No new connections; every connection ends with its exchange.
    Closing = 2,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// New connections are served for this long after readiness went.
    pub leaving: Duration,
    /// Everything is cut at this moment, counted from the beginning.
    pub deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        // A kubelet gives 30 s; 25 leave room for the exit itself. 5 s is what endpoint removal takes to reach the callers.
        Self { leaving: Duration::from_secs(5), deadline: Duration::from_secs(25) }
    }
}

impl Timing {
    /// For an operator at the keyboard: no wait for load balancers.
    pub fn fast(self) -> Self {
        Self { leaving: Duration::ZERO, deadline: self.deadline.min(Duration::from_secs(5)) }
    }
}

/// The phase, readable on every request.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: AtomicU8,
    /// Rung by a worker whenever a connection ends while the process closes.
    pub(crate) connection_ended: Notify,
}

impl Drain {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            _ => Phase::Closing,
        }
    }

    /// Connections end with their current exchange.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= Phase::Closing as u8
    }

    /// Moves on; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_never_taken_back() {
        let drain = Drain::default();
        drain.advance(Phase::Closing);
        drain.advance(Phase::Leaving);

        assert_eq!(drain.phase(), Phase::Closing);
    }

    #[test]
    fn a_fast_drain_does_not_wait_for_load_balancers() {
        let fast = Timing::default().fast();

        assert_eq!(fast.leaving, Duration::ZERO);
        assert!(fast.deadline < Timing::default().deadline);
    }
}
