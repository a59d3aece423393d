//! Limits that several control planes keep together: this one's part of each, and what happens while the store that
//! divides them is gone.
//!
//! # What a part is
//! What a grant is to a proxy: a rate and a capacity that this control plane may divide among its own without asking. The
//! store is asked about a bucket when it is new, each [`ROUND`] while anybody uses it, and else now and then, so that its
//! lease does not end. So no request of traffic waits for the store.
//!
//! # Without the store
//! A limit's own word holds (`onStoreUnavailable`). Where it says that each goes on by itself, that is this control plane
//! with its part, or with the whole limit if it never had a part: its proxies stay together. Otherwise its proxies are
//! told that nobody keeps the limit, and who asks here is answered by the word.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::rate_limit::OnStoreUnavailable;

use super::limits::SharedLimit;
use super::share::{DEMAND_MIN, Limit, SharedBucket};
use super::{Buckets, Kept, LEARNING, Name, ROUND, Verdict, Words, is_one_of_many, speak};

/// Questions in one exchange with the store. At some 300 bytes each this is 300 kB, and some 50 ms of the store's time;
/// what is left goes in the next exchange, which then follows at once.
pub(crate) const QUESTIONS_MAX: usize = 1_000;
/// Before there is a part, this part of the limit may be used.
const ALLOWANCE: u32 = 10;
/// A bucket that nobody uses, and that stands in the configuration: there are few, and all of the limit is to be where
/// traffic begins.
const IDLE: Duration = Duration::from_millis(500);
/// A bucket for a value of a request that nobody uses: well before its lease ends.
const IDLE_VALUE: Duration = Duration::from_secs(2);

/// With whom limits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// There is no store: whole limits are kept here.
    Alone,
    /// The store divides them.
    Together,
    /// It should, and cannot be reached.
    Lost,
}

/// What is done about one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    Divides,
    /// It is not known yet how much is to be divided.
    Waits,
    /// The limit's own word holds.
    GivenUp,
}

/// This control plane's part of a bucket.
#[derive(Debug, Default)]
pub(super) struct Part {
    given: Option<Limit>,
    /// The number of the store's answer that said so.
    answer: u64,
    is_answered: bool,
    due: Duration,
    /// Others wait for what members here have not given back yet.
    owes: bool,
    /// Tokens that were taken before anything was given.
    borrowed: u32,
}

impl Part {
    /// The store is to be asked by then.
    pub(super) fn hasten(&mut self, due: Duration) {
        self.due = self.due.min(due);
    }
}

/// What the store is asked, or rather told: this much is held and used here. How much is ours?
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) limit: Limit,
    /// `None`: nothing ever was.
    pub(crate) held: Option<Limit>,
    /// The last answer that arrived.
    pub(crate) answer: u64,
    /// What is held is no more than that answer said.
    pub(crate) fits: bool,
    pub(crate) demand: f64,
    pub(crate) returned: f64,
    /// Proxies may hold more than they have said yet.
    pub(crate) is_learning: bool,
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) answer: u64,
    pub(crate) part: Limit,
    /// Others use it now.
    pub(crate) is_in_demand: bool,
}

impl Kept {
    pub(super) fn new(limit: Arc<SharedLimit>, keeping: Keeping, is_fresh: bool, now: Duration) -> Self {
        let mut kept = Self {
            bucket: SharedBucket::new(Limit { per_second: 0.0, capacity: 0 }, false, now),
            limit,
            due: now,
            part: Part { due: now, ..Part::default() },
        };
        match keeping {
            Keeping::Alone => kept.bucket = SharedBucket::new(kept.limit.limit, is_fresh, now),
            Keeping::Together => {}
            Keeping::Lost => kept.go_alone(now),
        }
        kept
    }

    pub(super) fn stance(&self, keeping: Keeping) -> Stance {
        match (keeping, self.limit.on_unavailable) {
            (Keeping::Alone, _) | (Keeping::Lost, OnStoreUnavailable::FallbackPerProxy) => Stance::Divides,
            (Keeping::Together, _) if self.part.given.is_some() => Stance::Divides,
            (Keeping::Together, _) => Stance::Waits,
            (Keeping::Lost, OnStoreUnavailable::Allow | OnStoreUnavailable::Deny) => Stance::GivenUp,
        }
    }

    /// What is said to who asks for each request before there is a part: some tokens on account, as proxies have an
    /// allowance before their first lease. The part will have them the fewer.
    pub(super) fn on_account(&self) -> Verdict {
        let allowance = (self.limit.limit.capacity / ALLOWANCE).max(1).min(self.limit.limit.capacity);
        let remaining = allowance.saturating_sub(self.part.borrowed);
        Verdict { limit: self.limit.clone(), is_within: true, remaining }
    }

    pub(super) fn borrow(&mut self, tokens: u32) {
        self.part.borrowed = self.part.borrowed.saturating_add(tokens);
        self.bucket.borrow(tokens);
    }

    /// Whether the store is to hear now that members have given back what they had to.
    pub(super) fn hand_over(&mut self, now: Duration) -> bool {
        let is_given_back = self.part.owes && self.bucket.fits();
        if is_given_back {
            self.part.owes = false;
            self.part.due = now;
        }
        is_given_back
    }

    /// What is said to who asks for each request while it cannot be counted.
    pub(super) fn by_word(&self) -> Option<Verdict> {
        match self.limit.on_unavailable {
            OnStoreUnavailable::Allow | OnStoreUnavailable::FallbackPerProxy => None,
            OnStoreUnavailable::Deny => Some(Verdict { limit: self.limit.clone(), is_within: false, remaining: 0 }),
        }
    }

    /// The store is gone. Where there never was a part, the whole limit is kept here.
    fn go_alone(&mut self, now: Duration) {
        if self.limit.on_unavailable == OnStoreUnavailable::FallbackPerProxy && self.part.given.is_none() {
            self.set_part(self.limit.limit, now);
        }
    }

    fn set_part(&mut self, part: Limit, now: Duration) {
        self.bucket.set_part(part, now);
        self.part.given = Some(part);
    }

    /// The limit was edited. The store will say what that means; while it is gone, the same part of it is kept.
    pub(super) fn resize(&mut self, limit: Limit, keeping: Keeping, now: Duration) {
        let before = self.limit.limit;
        if let (Some(given), Keeping::Lost) = (self.part.given, keeping) {
            let capacity = f64::from(given.capacity) * f64::from(limit.capacity) / f64::from(before.capacity.max(1));
            let per_second = given.per_second * limit.per_second / before.per_second;
            // Nobody has tokens for a larger one.
            let capacity = (capacity as u32).min(given.capacity);
            self.set_part(Limit { per_second, capacity }, now);
        }
        self.part.due = now;
    }

    fn question(&mut self, name: &Name, is_learning: bool, now: Duration) -> Question {
        self.part.due = now + ROUND;
        let held = self.bucket.held();
        let has_history = self.part.given.is_some() || held.capacity > 0 || held.per_second > 0.0;
        Question {
            name: name.clone(),
            limit: self.limit.limit,
            held: has_history.then_some(held),
            answer: self.part.answer,
            fits: self.bucket.fits(),
            demand: self.bucket.demand(),
            returned: self.bucket.take_spilled(),
            is_learning,
        }
    }

    fn obey(&mut self, reply: Reply, is_value: bool, now: Duration) {
        let held = self.bucket.held();
        self.part.is_answered = true;
        let is_nothing = reply.part.capacity == 0 && reply.part.per_second == 0.0;
        if self.part.answer != reply.answer {
            self.part.answer = reply.answer;
            if !is_nothing {
                self.part.owes = reply.part.capacity < held.capacity || reply.part.per_second < held.per_second;
                self.set_part(reply.part, now);
            }
        }
        let is_idle = self.bucket.demand() < DEMAND_MIN && !reply.is_in_demand && self.bucket.fits() && !is_nothing;
        self.part.due = match (is_idle, is_value) {
            (false, _) => now + ROUND,
            (true, false) => now + IDLE,
            (true, true) => now + IDLE_VALUE,
        };
    }
}

impl Buckets {
    /// What the store is to be asked now, at most [`QUESTIONS_MAX`].
    pub(crate) fn questions(&mut self, now: Duration) -> Vec<Question> {
        self.has_new = false;
        let is_learning = now < self.learning_until;
        let due = self.kept.iter_mut().filter(|(_, kept)| kept.part.due <= now);
        due.take(QUESTIONS_MAX).map(|(name, kept)| kept.question(name, is_learning, now)).collect()
    }

    /// The store's answers.
    pub(crate) fn obey(&mut self, replies: Vec<(Name, Reply)>, now: Duration, words: &mut Words) {
        let (is_learning, keeping) = (now < self.learning_until, self.keeping);
        for (name, reply) in replies {
            let Some(kept) = self.kept.get_mut(&name) else { continue };
            kept.obey(reply, is_one_of_many(&name), now);
            speak(&name, kept, keeping, is_learning, now, words);
            self.has_new |= kept.hand_over(now);
        }
    }

    /// The store can be reached, or cannot.
    pub(crate) fn set_reached(&mut self, is_reached: bool, now: Duration) {
        self.keeping = if is_reached { Keeping::Together } else { Keeping::Lost };
        for kept in self.kept.values_mut() {
            if is_reached {
                // What was left over meanwhile may have been left over elsewhere too.
                kept.bucket.take_spilled();
            } else {
                kept.go_alone(now);
            }
            kept.bucket.say_again();
            kept.due = now;
            kept.part.due = now;
        }
    }

    /// Whether the store is to be asked before its time.
    pub(crate) fn has_new(&self) -> bool {
        self.has_new && self.keeping == Keeping::Together
    }

    /// Whether a question is about a bucket that the store has said nothing of yet.
    pub(crate) fn awaits(&mut self, asked: &[(Name, u32)], now: Duration) -> bool {
        if self.keeping != Keeping::Together {
            return false;
        }
        let mut awaits = false;
        for (name, _) in asked {
            awaits |= self.bucket(name, true, now).is_some_and(|kept| !kept.part.is_answered);
        }
        awaits
    }

    /// Whether the process is too old to be the first that ever used the store.
    pub(crate) fn may_have_past(&self, now: Duration) -> bool {
        self.learning_until > Duration::ZERO || now >= LEARNING
    }
}

#[cfg(test)]
mod tests;
