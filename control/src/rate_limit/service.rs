//! The keeper at work: streams, a clock, and a lock around the buckets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_policies::ir::PolicySet;
use tidegate_xds::rate_limit_service::rlqs::{RateLimitQuotaResponse, RateLimitQuotaUsageReports};
use tidegate_xds::rate_limit_service::rls::RateLimitRequest;
use tidegate_xds::transport::rate_limit::{Answer, RateLimits, Reports};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::limits::Limits;
use super::{Buckets, ROUND, Words, wire};
use crate::world::World;

/// Keeps shared limits; answers both services.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    began: tokio::time::Instant,
    state: Mutex<State>,
}

struct State {
    buckets: Buckets,
    streams: HashMap<u64, mpsc::Sender<RateLimitQuotaResponse>>,
    newest: u64,
}

impl Keeper {
    /// `has_past`: an earlier run of this control plane may have given out leases.
    pub fn new(has_past: bool) -> Self {
        let state = State { buckets: Buckets::new(has_past), streams: HashMap::new(), newest: 0 };
        Self(Arc::new(Inner { began: tokio::time::Instant::now(), state: Mutex::new(state) }))
    }

    /// Follows the worlds and the time for ever.
    pub async fn run(self, mut worlds: watch::Receiver<Option<Arc<World>>>) {
        worlds.mark_changed();
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = worlds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let world = worlds.borrow_and_update().clone();
                    if let Some(world) = world {
                        self.set_policies(world.policies());
                    }
                }
                _ = rounds.tick() => self.act(|state, now, words| state.buckets.tick(now, words)),
            }
        }
    }

    fn set_policies(&self, policies: &PolicySet) {
        let limits = Limits::of_policies(policies);
        self.act(|state, now, words| state.buckets.set_limits(limits, now, words));
    }

    /// Changes something, and says to streams what follows from it.
    fn act<R>(&self, change: impl FnOnce(&mut State, Duration, &mut Words) -> R) -> R {
        let mut state = self.lock();
        let now = self.0.began.elapsed();
        let mut words = Words::new();
        let result = change(&mut state, now, &mut words);
        for (stream, words) in words {
            let Some(answers) = state.streams.get(&stream) else { continue };
            if answers.try_send(wire::answer(words)).is_err() {
                // Without a sender the stream ends, and its client comes again or is gone.
                debug!(stream, "a stream of reports does not read");
                state.streams.remove(&stream);
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers, whole between two statements.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RateLimits for Keeper {
    fn ask(&self, question: RateLimitRequest) -> Answer {
        let asked = wire::asked(question);
        let known: Vec<_> = asked.iter().flatten().cloned().collect();
        let mut verdicts = self.act(|state, now, words| state.buckets.ask(&known, now, words)).into_iter();
        let all: Vec<_> = asked.iter().map(|asked| asked.as_ref().and_then(|_| verdicts.next().flatten())).collect();
        Box::pin(std::future::ready(wire::verdict(&all)))
    }

    fn open(&self, peer: SocketAddr, answers: mpsc::Sender<RateLimitQuotaResponse>) -> Box<dyn Reports> {
        let mut state = self.lock();
        state.newest += 1;
        let stream = state.newest;
        state.streams.insert(stream, answers);
        debug!(stream, %peer, "stream of reports");
        Box::new(Session { keeper: self.clone(), stream })
    }
}

struct Session {
    keeper: Keeper,
    stream: u64,
}

impl Reports for Session {
    fn report(&mut self, reports: RateLimitQuotaUsageReports) {
        self.keeper.act(|state, now, words| {
            for report in wire::reports(reports) {
                state.buckets.report(self.stream, &report, now, words);
            }
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.act(|state, now, _| {
            state.streams.remove(&self.stream);
            state.buckets.leave(self.stream, now);
        });
    }
}

#[cfg(test)]
mod tests;
