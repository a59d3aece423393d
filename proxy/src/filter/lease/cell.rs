//! One description's tokens, as its lease says.
//!
//! # How tokens survive a change of the lease
//! What was used is one word that only grows, in parts of a token; what was gained until a change is a number of the lease.
//! The difference, and the capacity, are the tokens that are there. So a change needs no lock and loses nothing that is
//! taken meanwhile: it only sets how much was gained. A larger capacity brings its tokens with it, because whoever gave it
//! counted them; a smaller one drops what does not fit any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_xds::resource::filter::{Lease, OnUnavailable, TokenBucket};

/// A token is 2 to this power parts: changes round by less than one, and a million tokens a second fill the word in nine
/// years.
const PART_BITS: u32 = 16;
/// Until the first lease arrives, this part of the limit is allowed.
const ALLOWANCE: u32 = 10;

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) capacity: u32,
    pub(crate) refill: u32,
    pub(crate) interval_nanos: u64,
}

impl Grant {
    fn whole(limit: &TokenBucket) -> Self {
        let interval_nanos = u64::try_from(limit.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { capacity: limit.capacity, refill: limit.refill.get(), interval_nanos }
    }

    fn allowance(limit: &TokenBucket) -> Self {
        let whole = Self::whole(limit);
        let capacity = (whole.capacity / ALLOWANCE).max(1).min(whole.capacity);
        Self { capacity, interval_nanos: whole.interval_nanos.saturating_mul(ALLOWANCE.into()), ..whole }
    }
}

#[derive(Debug)]
struct Running {
    grant: Grant,
    /// Parts gained until `since`.
    base: u64,
    since: u64,
}

impl Running {
    fn gained(&self, now: u64) -> u64 {
        let elapsed = u128::from(now.saturating_sub(self.since));
        let gained =
            elapsed * (u128::from(self.grant.refill) << PART_BITS) / u128::from(self.grant.interval_nanos.max(1));
        self.base.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX))
    }

    fn brim(&self) -> u64 {
        u64::from(self.grant.capacity) << PART_BITS
    }
}

/// What a cell says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Within,
    Over,
    /// Nobody keeps the limit, and then everything passes.
    NotKept,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cell {
    entries: Box<[(Box<str>, Box<str>)]>,
    limit: ArcSwap<Lease>,
    running: ArcSwap<Running>,
    used: AtomicU64,
    /// When the lease ends, in nanoseconds of the process; 0: there is none.
    ends: AtomicU64,
    /// What is running was given, or is the whole limit: not just an allowance.
    has_history: AtomicBool,
    pub(super) allowed: AtomicU64,
    pub(super) denied: AtomicU64,
    retired: AtomicBool,
}

impl Cell {
    pub(super) fn new<'e>(entries: impl Iterator<Item = (&'e str, &'e str)>, lease: &Arc<Lease>, now: u64) -> Self {
        let running = Running { grant: Grant::allowance(&lease.limit), base: 0, since: now };
        Self {
            entries: entries.map(|(key, value)| (key.into(), value.into())).collect(),
            limit: ArcSwap::new(Arc::clone(lease)),
            running: ArcSwap::from_pointee(running),
            used: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            has_history: AtomicBool::new(false),
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.entries.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether so many tokens are there, without taking them.
    pub(crate) fn look(&self, on_unavailable: OnUnavailable, is_away: bool, tokens: u32, now: u64) -> Word {
        let is_kept = match self.ends.load(Ordering::Relaxed) {
            0 => !is_away,
            ends => now <= ends,
        };
        match (is_kept, on_unavailable) {
            (false, OnUnavailable::Allow) => return Word::NotKept,
            (false, OnUnavailable::Deny) => return Word::Over,
            (true, _) | (false, OnUnavailable::FallbackPerProxy) => {}
        }
        let running = self.running.load();
        if self.level(&running, now) >= u64::from(tokens) << PART_BITS { Word::Within } else { Word::Over }
    }

    /// Takes tokens if they are all there.
    pub(crate) fn try_take(&self, tokens: u32, now: u64) -> bool {
        let running = self.running.load();
        let gained = running.gained(now);
        let brim = gained.saturating_add(running.brim());
        let tokens = u64::from(tokens) << PART_BITS;
        let take = |used: u64| Some(used.max(gained).saturating_add(tokens)).filter(|after| *after <= brim);
        // Relaxed: the word guards nothing but itself.
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Counts tokens, taken or refused, for the next report.
    pub(crate) fn count(&self, passed: bool, tokens: u32) {
        let counter = if passed { &self.allowed } else { &self.denied };
        counter.fetch_add(tokens.into(), Ordering::Relaxed);
    }

    /// How long until so many tokens are there if nobody takes any and the lease stays as it is.
    pub(crate) fn wait(&self, tokens: u32, now: u64) -> Duration {
        let running = self.running.load();
        let lacking = (u64::from(tokens) << PART_BITS).saturating_sub(self.level(&running, now));
        let parts = (u128::from(running.grant.refill) << PART_BITS).max(1);
        let nanos = (u128::from(lacking) * u128::from(running.grant.interval_nanos)).div_ceil(parts);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn level(&self, running: &Running, now: u64) -> u64 {
        let gained = running.gained(now);
        let used = self.used.load(Ordering::Relaxed).max(gained);
        gained.saturating_add(running.brim()).saturating_sub(used)
    }

    /// What is running, unless that is only an allowance.
    pub(super) fn held(&self) -> Option<Grant> {
        self.has_history.load(Ordering::Relaxed).then(|| self.running.load().grant)
    }

    /// A lease arrived. Only the control thread changes what is running.
    pub(super) fn assign(&self, grant: Grant, time_to_live: Duration, now: u64) {
        self.run(grant, now);
        let ends = now.saturating_add(u64::try_from(time_to_live.as_nanos()).unwrap_or(u64::MAX)).max(1);
        self.ends.store(ends, Ordering::Relaxed);
    }

    /// Nobody keeps the limit, and there never was a lease: the whole limit is kept here.
    pub(super) fn go_alone(&self, now: u64) {
        if self.limit.load().on_unavailable == OnUnavailable::FallbackPerProxy && self.held().is_none() {
            self.run(Grant::whole(&self.limit.load().limit), now);
        }
    }

    /// The control plane does not know it any more.
    pub(super) fn abandon(&self, now: u64) {
        self.run(Grant::allowance(&self.limit.load().limit), now);
        self.has_history.store(false, Ordering::Relaxed);
        self.ends.store(0, Ordering::Relaxed);
    }

    fn run(&self, grant: Grant, now: u64) {
        let before = self.running.load();
        self.has_history.store(true, Ordering::Relaxed);
        if before.grant == grant {
            return;
        }
        let gained = before.gained(now);
        let used = self.used.load(Ordering::Relaxed).max(gained);
        let brim = u64::from(grant.capacity) << PART_BITS;
        let base = if grant.capacity >= before.grant.capacity {
            gained
        } else {
            // As many tokens as before, or as fit: `used` counts from a full bucket.
            let level = gained.saturating_add(before.brim()).saturating_sub(used).min(brim);
            used.saturating_add(level).saturating_sub(brim)
        };
        self.running.store(Arc::new(Running { grant, base, since: now }));
    }

    pub(super) fn set_limit(&self, lease: &Arc<Lease>) {
        self.limit.store(Arc::clone(lease));
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
