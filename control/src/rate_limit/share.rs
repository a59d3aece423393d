//! How one limit is divided among those who use it: arithmetic only, time is given.
//!
//! # What is divided
//! A limit is a token bucket: a rate and a capacity. Each member (a proxy, or the control plane itself for those who ask
//! request by request) holds a [`Grant`], a smaller token bucket, and takes from it without asking. If all grants
//! together have no more rate and no more capacity than the limit, then between any two moments no more than
//! `capacity + rate * time` tokens can be taken, wherever they are taken.
//!
//! # Why the sum never exceeds the limit
//! - *Decreases first.* What a member holds counts as the larger of what it was last told and what it last said it has.
//!   It says so in each report, so a message that is under way is never mistaken for one that has arrived. Only what is
//!   left over by that count is given to others.
//! - *One change at a time.* A member is told nothing new before it confirmed the last change.
//! - *Who leaves keeps its share* until its lease ends: it may be alive behind a broken connection.
//!
//! # Who gets how much
//! Each member's weight is its demand (requests, passed or refused, per second) plus an equal part of what nobody demands
//! and of a floor of [`FLOOR`] of the rate, so that who is idle can begin. While demand is below the limit everyone has
//! more than it asks for; above it, shares are proportional to demand, which is what one bucket would do. At most the
//! floor is left unused. Decreases of less than [`SLACK`] are not worth a message.
//!
//! # How the burst is handed out once
//! Tokens are either at a member (in its bucket, as far as its reports tell) or in the `pool` here. A grant whose capacity
//! grows brings so many tokens with it, and they come out of the pool; one that shrinks gives back to the pool what does
//! not fit any more. Into the pool goes what members could not hold because they were full, and the rate that nobody
//! holds: so after a pause the whole burst is there again, and not before. A bucket that was in use when this process
//! began starts with an empty pool.
//! The one exception: a member without any capacity could not use its rate at all, so it gets the first [`CREDIT`] on credit.
//! The pool is then in debt, and rates are cut by [`REPAYMENT`] until it is paid.
//!
//! # When the limit is itself a part of a larger one
//! Several control planes may keep a limit together. Then what is divided here is what this one holds of it, by the same
//! rules one storey up (`store/divide.lua`, which uses these numbers too); [`part`] has what that takes.

mod part;

use std::collections::BTreeMap;
use std::time::Duration;

/// The part of the rate that is divided among all members whatever they demand.
pub(super) const FLOOR: f64 = 0.02;
/// A smaller decrease than this part of a share is left alone.
pub(super) const SLACK: f64 = 0.1;
/// A smaller change than this part of the limit is left alone.
pub(super) const NOISE: f64 = 0.002;
/// Tokens that a member without capacity gets although the pool has none. With a single one it would lose what flows in
/// between the moment its bucket is full and the next request.
pub(super) const CREDIT: u32 = 2;
/// The part of the rate that is held back while the pool is in debt.
pub(super) const REPAYMENT: f64 = 0.02;
/// Over how long demand is averaged: long enough to smooth over bursts of some requests, short enough to follow a change.
const AVERAGING: Duration = Duration::from_millis(500);
/// A member that says nothing for this long demands nothing.
const SILENCE: Duration = Duration::from_millis(250);
/// How long a grant holds without being renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// When it is renewed: twice before it ends, so that one message may be lost in a reconnect.
const RENEWAL: Duration = Duration::from_secs(2);
/// An assignment that is not confirmed is said again.
const REPEAT: Duration = Duration::from_millis(500);
/// Demand below this is none.
pub(super) const DEMAND_MIN: f64 = 0.01;

/// What is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) per_second: f64,
    pub(crate) capacity: u32,
}

/// What one member may take: a token bucket as it is said on the wire, so that both sides mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) capacity: u32,
    pub(crate) refill: u32,
    pub(crate) interval_nanos: u64,
}

impl Grant {
    /// Slower than a token in 30 years is said as that; faster than a token a nanosecond nobody can ask.
    fn new(capacity: u32, per_second: f64) -> Self {
        let rate = per_second.clamp(1e-9, 1e9);
        // One token at a time, or as many as keep the interval at a millisecond.
        let refill = (rate / 1e3).ceil().max(1.0);
        Self { capacity, refill: refill as u32, interval_nanos: (refill / rate * 1e9).ceil() as u64 }
    }

    pub(crate) fn per_second(&self) -> f64 {
        if self.interval_nanos == 0 {
            return 0.0;
        }
        f64::from(self.refill) * 1e9 / self.interval_nanos as f64
    }
}

/// What a member reports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// What it has; `None`: it was never told.
    pub(crate) held: Option<Grant>,
    /// Since its last report, or since it last looked and there was nothing to report.
    pub(crate) elapsed: Duration,
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
}

#[derive(Debug)]
struct Member {
    /// What it last said it has.
    confirmed: Grant,
    /// What it was last told.
    assigned: Grant,
    /// When that was; `None`: not yet by this process.
    told: Option<Duration>,
    /// Tokens in its bucket, as far as is known.
    level: f64,
    /// Requests per second.
    demand: f64,
    reported: Duration,
    /// It has left, and what it held is free from then on.
    until: Option<Duration>,
}

impl Member {
    fn rate(&self) -> f64 {
        self.confirmed.per_second().max(self.assigned.per_second())
    }

    fn capacity(&self) -> u32 {
        self.confirmed.capacity.max(self.assigned.capacity)
    }

    fn is_settled(&self) -> bool {
        self.confirmed == self.assigned
    }

    /// It has this now. Gives what did not fit any more.
    fn confirm(&mut self, held: Grant) -> f64 {
        self.level += (f64::from(held.capacity) - f64::from(self.confirmed.capacity)).max(0.0);
        let surplus = (self.level - f64::from(held.capacity)).max(0.0);
        self.level -= surplus;
        self.confirmed = held;
        surplus
    }

    fn count(&mut self, requests: f64, elapsed: f64) {
        let averaging = AVERAGING.as_secs_f64();
        self.demand = self.demand * (-elapsed / averaging).exp() + requests / averaging.max(elapsed);
    }
}

/// A limit and its members.
#[derive(Debug)]
pub(crate) struct SharedBucket {
    limit: Limit,
    pool: f64,
    /// Tokens that nobody here had room for.
    spilled: f64,
    now: Duration,
    members: BTreeMap<u64, Member>,
}

impl SharedBucket {
    /// `is_fresh`: nobody has used it before, so that its tokens are all there.
    pub(crate) fn new(limit: Limit, is_fresh: bool, now: Duration) -> Self {
        let pool = if is_fresh { f64::from(limit.capacity) } else { 0.0 };
        Self { limit, pool, spilled: 0.0, now, members: BTreeMap::new() }
    }

    /// The limit was edited. Nobody is given tokens for that; they come with time.
    pub(crate) fn set_limit(&mut self, limit: Limit, now: Duration) {
        self.advance(now);
        self.limit = limit;
        self.advance(now);
    }

    /// Takes note of a report. `true`: something follows from it that should not wait.
    pub(crate) fn report(&mut self, member: u64, usage: &Usage, now: Duration) -> bool {
        self.advance(now);
        let is_new = !self.members.contains_key(&member);
        if is_new {
            let joined = self.joined(usage);
            self.members.insert(member, joined);
        }
        let Some(known) = self.members.get_mut(&member) else { return false };
        known.level -= usage.allowed as f64;
        known.count((usage.allowed + usage.denied) as f64, usage.elapsed.as_secs_f64());
        known.reported = now;
        let held = usage.held.unwrap_or_default();
        let is_change = held != known.confirmed;
        if is_change {
            self.pool += known.confirm(held);
        }
        is_new || is_change
    }

    /// A member with what it says it has. One that comes back over another stream is the one that left.
    fn joined(&mut self, usage: &Usage) -> Member {
        let held = usage.held.unwrap_or_default();
        let is_same = |m: &Member| usage.held.is_some() && (m.confirmed == held || m.assigned == held);
        let left = self.members.iter().find(|(_, m)| m.until.is_some() && is_same(m)).map(|(id, _)| *id);
        // What a bucket holds that was given by somebody else is not known: nothing, so that it is not given again.
        let level = left.and_then(|id| self.members.remove(&id)).map_or(0.0, |m| m.level);
        Member { confirmed: held, assigned: held, told: None, level, demand: 0.0, reported: self.now, until: None }
    }

    /// A member's stream has ended.
    pub(crate) fn leave(&mut self, member: u64, now: Duration) {
        if let Some(known) = self.members.get_mut(&member) {
            known.until = Some(now + LEASE);
        }
    }

    /// Takes tokens for a member that lives here and therefore knows its level. It joins by that.
    pub(crate) fn take_here(&mut self, member: u64, tokens: u32, now: Duration) -> bool {
        let elapsed = self.members.get(&member).map_or(Duration::ZERO, |m| now.saturating_sub(m.reported));
        let held = self.members.get(&member).map(|m| m.assigned);
        self.report(member, &Usage { held, elapsed, ..Usage::default() }, now);
        let Some(known) = self.members.get_mut(&member) else { return false };
        known.count(f64::from(tokens), 0.0);
        let is_there = known.level >= f64::from(tokens);
        if is_there {
            known.level -= f64::from(tokens);
        }
        is_there
    }

    /// What a member that lives here was told, it has.
    pub(crate) fn confirm_here(&mut self, member: u64) {
        if let Some(known) = self.members.get_mut(&member) {
            self.pool += known.confirm(known.assigned);
        }
    }

    /// Whole tokens that a member has.
    pub(crate) fn level(&self, member: u64) -> u32 {
        self.members.get(&member).map_or(0, |m| m.level.max(0.0) as u32)
    }

    /// Brings all levels to a moment.
    fn advance(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.now).as_secs_f64();
        self.now = self.now.max(now);
        let held: f64 = self.members.values().map(Member::rate).sum();
        self.pool += (self.limit.per_second - held).max(0.0) * seconds;
        for member in self.members.values_mut() {
            let gain = member.confirmed.per_second() * seconds;
            let fits = gain.min((f64::from(member.confirmed.capacity) - member.level).max(0.0));
            member.level += fits;
            self.pool += gain - fits;
            if now.saturating_sub(member.reported) > SILENCE {
                member.count(0.0, seconds);
            }
        }
        let kept = self.pool.min(self.free_capacity().max(0.0));
        self.spilled += self.pool - kept;
        self.pool = kept;
    }

    fn free_capacity(&self) -> f64 {
        f64::from(self.limit.capacity) - self.members.values().map(|m| f64::from(m.capacity())).sum::<f64>()
    }

    fn free_rate(&self) -> f64 {
        let rate = if self.pool < 0.0 { self.limit.per_second * (1.0 - REPAYMENT) } else { self.limit.per_second };
        rate - self.members.values().map(Member::rate).sum::<f64>()
    }

    /// Whom to tell what. While `is_learning` nobody gets anything but what it has: others may be there that were not
    /// heard yet.
    pub(crate) fn assign(&mut self, is_learning: bool, now: Duration) -> Vec<(u64, Grant)> {
        self.advance(now);
        self.members.retain(|_, member| member.until.is_none_or(|until| until > now));
        if !is_learning {
            let targets = self.targets();
            self.decrease(&targets);
            self.increase(&targets);
        }
        let mut told = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.until.is_none()) {
            let again = if member.is_settled() { RENEWAL } else { REPEAT };
            let is_nothing = member.assigned == Grant::default();
            if !is_nothing && member.told.is_none_or(|at| now.saturating_sub(at) >= again) {
                member.told = Some(now);
                told.push((*id, member.assigned));
            }
        }
        told
    }

    /// When something will have to be said even if nobody reports.
    pub(crate) fn next(&self, round: Duration) -> Duration {
        let is_busy = |m: &Member| m.demand > DEMAND_MIN || !m.is_settled() || m.told.is_none() || m.until.is_some();
        let renewal = self.members.values().filter_map(|m| m.told).map(|told| told + RENEWAL).min();
        let soon = self.members.values().any(is_busy).then_some(self.now + round);
        [soon, renewal].into_iter().flatten().min().unwrap_or(self.now + LEASE)
    }

    /// Nobody has used it for so long, and its tokens are all back: forgetting it changes nothing.
    pub(crate) fn is_idle(&self, since: Duration, now: Duration) -> bool {
        let is_silent = |m: &Member| now.saturating_sub(m.reported) >= since;
        let tokens = self.pool + self.members.values().map(|m| m.level).sum::<f64>();
        self.members.values().all(is_silent) && tokens >= f64::from(self.limit.capacity) - 0.5
    }

    /// Whether a member has reported before.
    pub(crate) fn knows(&self, member: u64) -> bool {
        self.members.contains_key(&member)
    }

    /// Who is here.
    pub(crate) fn members(&self) -> impl Iterator<Item = u64> {
        self.members.iter().filter(|(_, m)| m.until.is_none()).map(|(id, _)| *id)
    }

    /// The share of each member who is here.
    fn targets(&self) -> BTreeMap<u64, (f64, u32)> {
        let here: Vec<(u64, f64)> =
            self.members.iter().filter(|(_, m)| m.until.is_none()).map(|(id, m)| (*id, m.demand)).collect();
        let demand: f64 = here.iter().map(|(_, demand)| demand).sum();
        let rate = self.limit.per_second;
        let equal = ((rate - demand).max(0.0) + FLOOR * rate) / here.len().max(1) as f64;
        let total = demand + equal * here.len() as f64;
        // A part of a larger limit may be nothing at all.
        let part = |demand: &f64| if total > 0.0 { (demand + equal) / total } else { 0.0 };
        let parts: Vec<(u64, f64)> = here.iter().map(|(id, demand)| (*id, part(demand))).collect();
        let repaying = if self.pool < 0.0 { 1.0 - REPAYMENT } else { 1.0 };
        let capacities = whole_shares(self.limit.capacity, &parts);
        parts.iter().zip(capacities).map(|((id, part), capacity)| (*id, (rate * repaying * part, capacity))).collect()
    }

    fn decrease(&mut self, targets: &BTreeMap<u64, (f64, u32)>) {
        let noise = self.limit.per_second * NOISE;
        // A limit that was made smaller holds at once, by whatever little.
        let (over_rate, over_capacity) = self.overdrawn();
        let starves = |(id, member): (&u64, &Member)| {
            member.capacity() == 0 && targets.get(id).is_some_and(|(_, capacity)| *capacity > 0)
        };
        let somebody_starves = self.members.iter().any(starves);
        for (id, member) in &mut self.members {
            let Some(&(rate, capacity)) = targets.get(id).filter(|_| member.is_settled()) else { continue };
            let (has_rate, has_capacity) = (member.assigned.per_second(), member.assigned.capacity);
            let less_rate = has_rate - rate > if over_rate { 0.0 } else { noise.max(has_rate * SLACK) };
            let less_capacity = has_capacity.saturating_sub(capacity);
            let less_capacity = less_capacity >= (has_capacity / 4).max(2)
                || ((somebody_starves || over_capacity) && less_capacity > 0);
            if less_rate || less_capacity {
                let rate = if less_rate { rate } else { has_rate };
                let capacity = if less_capacity { capacity } else { has_capacity };
                member.assigned = Grant::new(capacity, rate);
                member.told = None;
            }
        }
    }

    fn increase(&mut self, targets: &BTreeMap<u64, (f64, u32)>) {
        let noise = self.limit.per_second * NOISE;
        let free = self.free_rate();
        let lacks = |id: &u64, m: &Member| {
            let target = targets.get(id).filter(|_| m.is_settled());
            target.map_or(0.0, |(rate, _)| (rate - m.assigned.per_second()).max(0.0))
        };
        let lacking: f64 = self.members.iter().map(|(id, m)| lacks(id, m)).sum();
        let part = if lacking > 0.0 { (free / lacking).clamp(0.0, 1.0) } else { 0.0 };
        let mut free_capacity = self.free_capacity().max(0.0) as u32;
        let mut order: Vec<u64> = targets.keys().copied().collect();
        order.sort_by(|a, b| targets[b].0.total_cmp(&targets[a].0));
        for id in order {
            let wanted = targets[&id].1;
            let Some(member) = self.members.get_mut(&id).filter(|m| m.is_settled()) else { continue };
            let more_rate = lacks(&id, member) * part;
            let has = member.assigned.capacity;
            let from_pool = wanted.saturating_sub(has).min(self.pool.max(0.0) as u32);
            let on_credit = if has == 0 { wanted.min(CREDIT) } else { 0 };
            let more_capacity = from_pool.max(on_credit).min(free_capacity);
            if more_rate > noise || more_capacity > 0 {
                // A rounding up of the wire's interval errs on the side of the limit.
                let rate = member.assigned.per_second() + if more_rate > noise { more_rate } else { 0.0 };
                member.assigned = Grant::new(has + more_capacity, rate);
                member.told = None;
                free_capacity -= more_capacity;
                self.pool -= f64::from(more_capacity);
            }
        }
    }
}

/// Divides whole tokens by parts that add up to one. Where there is one for each, nobody gets none.
fn whole_shares(tokens: u32, parts: &[(u64, f64)]) -> Vec<u32> {
    let each = u32::from(tokens as usize >= parts.len());
    let spread = f64::from(tokens - each * parts.len() as u32);
    let mut shares: Vec<u32> = parts.iter().map(|(_, part)| each + (spread * part) as u32).collect();
    let mut left = tokens.saturating_sub(shares.iter().sum());
    let mut order: Vec<usize> = (0..parts.len()).collect();
    // Largest remainder first; equal ones in the order of members, so that nothing moves without a reason.
    order.sort_by(|a, b| (spread * parts[*b].1).fract().total_cmp(&(spread * parts[*a].1).fract()));
    for at in order.into_iter().cycle().take(tokens as usize) {
        if left == 0 {
            break;
        }
        shares[at] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
mod tests;
