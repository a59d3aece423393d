//! The keeper at work: streams, a clock, and a lock around the buckets.
//!
//! # The one wait
//! Who asks for each request waits for the store if it has said nothing of that bucket yet, [`FIRST_ANSWER_MAX`] at the
//! longest: the first caller of a key would else be let through or refused without being counted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_xds::rate_limit_service::rlqs::{RateLimitQuotaResponse, RateLimitQuotaUsageReports};
use tidegate_xds::rate_limit_service::rls::{RateLimitRequest, RateLimitResponse};
use tidegate_xds::transport::rate_limit::{Answer, RateLimits, Reports};
use tokio::sync::{Notify, mpsc, watch};
use tracing::debug;

use super::limits::Limits;
use super::together::{Keeping, Question, Reply};
use super::{Buckets, Name, ROUND, Words, wire};
use crate::world::World;

/// Half of what data planes are told to wait for an answer, and many times what a store nearby needs.
const FIRST_ANSWER_MAX: Duration = Duration::from_millis(50);

/// Keeps shared limits; answers both services.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    began: tokio::time::Instant,
    state: Mutex<State>,
    /// There is a bucket that the store should hear of.
    is_new: Notify,
    /// Counts answers of the store.
    answers: watch::Sender<u64>,
}

struct State {
    buckets: Buckets,
    streams: HashMap<u64, mpsc::Sender<RateLimitQuotaResponse>>,
    newest: u64,
}

impl Keeper {
    /// `has_past`: an earlier run of this control plane may have given out leases. `has_store`: others keep the limits too,
    /// and a store divides them; [`run`](super::run) must be given it.
    pub fn new(has_past: bool, has_store: bool) -> Self {
        let keeping = if has_store { Keeping::Together } else { Keeping::Alone };
        let state = State { buckets: Buckets::new(has_past, keeping), streams: HashMap::new(), newest: 0 };
        Self(Arc::new(Inner {
            began: tokio::time::Instant::now(),
            state: Mutex::new(state),
            is_new: Notify::new(),
            answers: watch::Sender::new(0),
        }))
    }

    /// Follows the worlds and the time, for ever.
    pub(super) async fn follow(self, mut worlds: watch::Receiver<Option<Arc<World>>>) {
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
                        self.set_world(&world);
                    }
                }
                _ = rounds.tick() => self.act(|state, now, words| state.buckets.tick(now, words)),
            }
        }
    }

    /// Keeps the limits of this world from now on, and no others.
    pub fn set_world(&self, world: &World) {
        let limits = Limits::of_policies(world.policies());
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
        if state.buckets.has_new() {
            self.0.is_new.notify_one();
        }
        result
    }

    /// What the store is to be asked now.
    pub(super) fn questions(&self) -> Vec<Question> {
        self.act(|state, now, _| state.buckets.questions(now))
    }

    /// What the store has answered.
    pub(super) fn obey(&self, replies: Vec<(Name, Reply)>) {
        self.act(|state, now, words| state.buckets.obey(replies, now, words));
        self.0.answers.send_modify(|answers| *answers += 1);
    }

    /// The store can be reached, or cannot.
    pub(super) fn set_reached(&self, is_reached: bool) {
        self.act(|state, now, _| state.buckets.set_reached(is_reached, now));
        self.0.answers.send_modify(|answers| *answers += 1);
    }

    /// Whether some process before this one may have used the store.
    pub(super) fn may_have_past(&self) -> bool {
        self.act(|state, now, _| state.buckets.may_have_past(now))
    }

    /// Resolves when there is a bucket that the store was not asked about.
    pub(super) async fn is_new(&self) {
        self.0.is_new.notified().await;
    }

    /// Waits until the store has said something of all these.
    async fn first_answers(&self, asked: &[(Name, u32)]) {
        let mut answers = self.0.answers.subscribe();
        while self.act(|state, now, _| state.buckets.awaits(asked, now)) {
            if answers.changed().await.is_err() {
                return;
            }
        }
    }

    fn verdict(&self, asked: &[Option<(Name, u32)>], known: &[(Name, u32)]) -> RateLimitResponse {
        let mut verdicts = self.act(|state, now, words| state.buckets.ask(known, now, words)).into_iter();
        let all: Vec<_> = asked.iter().map(|asked| asked.as_ref().and_then(|_| verdicts.next().flatten())).collect();
        wire::verdict(&all)
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
        if !self.act(|state, now, _| state.buckets.awaits(&known, now)) {
            return Box::pin(std::future::ready(self.verdict(&asked, &known)));
        }
        let keeper = self.clone();
        Box::pin(async move {
            if tokio::time::timeout(FIRST_ANSWER_MAX, keeper.first_answers(&known)).await.is_err() {
                debug!("the store has not answered in time; a request is not counted");
            }
            keeper.verdict(&asked, &known)
        })
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
