//! How a process leaves: not ready any more, then accepting no more, then over.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Watch;
use crate::clock;
use crate::drain::{Phase, Timing};
use crate::worker::Order;

/// How often a closing process looks whether it may end, besides being told.
const CLOSING_TICK: Duration = Duration::from_millis(50);

/// When the next steps are due.
#[derive(Debug)]
pub(super) struct Leaving {
    closing_at: Instant,
    deadline: Instant,
}

impl Leaving {
    /// When to look again.
    pub(super) fn next(&self, closing: bool) -> Instant {
        if closing { self.deadline.min(clock::now() + CLOSING_TICK) } else { self.closing_at.min(self.deadline) }
    }
}

impl Watch {
    pub(super) fn begin_drain(&mut self, timing: Timing) {
        let now = clock::now();
        let deadline = now + timing.deadline.max(timing.leaving);
        let sooner = Leaving { closing_at: now + timing.leaving, deadline };
        match &mut self.leaving {
            // A second signal can only hasten the end.
            Some(leaving) => {
                leaving.closing_at = leaving.closing_at.min(sooner.closing_at);
                leaving.deadline = leaving.deadline.min(sooner.deadline);
            }
            None => {
                info!(seconds = timing.leaving.as_secs_f64(), "draining: not ready any more, still accepting");
                self.shared.drain.advance(Phase::Leaving);
                self.leaving = Some(sooner);
            }
        }
    }

    /// Takes the steps that are due. `true`: the process is done.
    pub(super) fn leave(&mut self, now: Instant) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        if leaving.closing_at <= now && !self.shared.drain.is_closing() {
            info!(connections = self.shared.registry.connections(), "draining: accepting no more");
            self.shared.drain.advance(Phase::Closing);
            self.handing.doors.close_upgrade();
            self.applier.sockets.close();
            self.shared.tell_all(|| Order::Drain);
        }
        let closed = self.shared.drain.is_closing() && self.applier.sockets.closed();
        if closed {
            self.handing.released();
        }
        let over = closed && self.shared.registry.connections() == 0;
        match over {
            true => info!("drained"),
            false if leaving.deadline <= now => {
                warn!(connections = self.shared.registry.connections(), "drained until the deadline; the rest is cut");
            }
            false => return false,
        }
        true
    }
}
