//! Keeps the limits that several proxies share.
//!
//! # Two ways to ask
//! Our proxies hold leases: they report what they used over a stream of quotas (`envoy.service.rate_limit_quota.v3`) and
//! are told their share of each limit, so no request waits for anybody. Others ask for each request
//! (`envoy.service.ratelimit.v3`). Both take from the same bucket: who asks is served from a share that this process
//! holds, as if it were one more proxy. How a limit is divided is in [`share`].
//!
//! # Which bucket
//! The limit is found by the first entry of a description, its rule's name; all entries together name the bucket. What no
//! policy limits is within its limits.
//!
//! # What a proxy holds is said in each report
//! The messages have no field for it, so it is one more entry of the bucket's name, [`wire::HELD`]. By it an answer that is still
//! under way is told from one that arrived, and a control plane that was restarted learns what is given out already: for
//! [`LEARNING`] after such a start nobody is given more than it has.
//!
//! # Several control planes
//! With a store they keep each limit together: what is divided here is then this one's part of it ([`together`], [`store`]).

pub(crate) mod limits;
mod service;
mod share;
pub mod store;
mod together;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::service::Keeper;

use self::limits::{Limits, SharedLimit};
use self::share::{Grant, SharedBucket};
use self::store::{Health, StoreAddress};
use self::together::{Keeping, Part, Stance};
use self::wire::Report;
use crate::translate::rate_limit::{MATCH, QUERY, RULE};
use crate::world::World;

/// How often shares are looked at again while somebody uses them.
pub(crate) const ROUND: Duration = Duration::from_millis(100);
/// Longer than proxies take to come back to a control plane that was restarted.
const LEARNING: Duration = Duration::from_secs(2);
/// Buckets of all limits together. At some 400 bytes and a member each this is 40 MB and more; beyond it, new ones are not
/// kept, and proxies go on as if nobody kept them.
const BUCKETS_MAX: usize = 100_000;
/// A bucket that is full and was not used for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Who asks request by request: no stream has this number.
const HERE: u64 = 0;

/// A bucket's name: the entries of a description, sorted, because the wire has them without order.
pub(crate) type Name = Arc<[(String, String)]>;

/// What is said to one stream about one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It may use this.
    Assigned(Grant),
    /// It is not kept any more.
    Abandoned,
    /// Nobody can keep it at present, and its own word for that case holds. This is what is had meanwhile.
    GivenUp(Grant),
}

/// The words for streams.
pub(crate) type Words = BTreeMap<u64, Vec<(Name, Said)>>;

/// Keeps limits as the worlds have them, together with others if there is a store, for ever.
pub async fn run(
    keeper: Keeper,
    worlds: watch::Receiver<Option<Arc<World>>>,
    store: Option<(StoreAddress, Arc<Health>)>,
) {
    let following = keeper.clone().follow(worlds);
    match store {
        None => following.await,
        Some((address, health)) => tokio::select! {
            () = following => {}
            () = store::run(keeper, address, &health) => {}
        },
    }
}

struct Kept {
    bucket: SharedBucket,
    limit: Arc<SharedLimit>,
    /// When it is to be looked at.
    due: Duration,
    /// What of it is kept here, if others keep it too.
    part: Part,
}

/// All buckets. Time is given, since the process began.
pub(crate) struct Buckets {
    /// `None`: what is in force is not known yet, and nobody is told anything.
    limits: Option<Limits>,
    kept: HashMap<Name, Kept>,
    learning_until: Duration,
    swept: Duration,
    keeping: Keeping,
    /// There is something that others wait for the store to hear.
    has_new: bool,
}

impl Buckets {
    /// `has_past`: an earlier run of this control plane may have given out leases.
    pub(crate) fn new(has_past: bool, keeping: Keeping) -> Self {
        let learning_until = if has_past { LEARNING } else { Duration::ZERO };
        Self { limits: None, kept: HashMap::new(), learning_until, swept: Duration::ZERO, keeping, has_new: false }
    }

    /// Other limits are in force.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: Duration, words: &mut Words) {
        let keeping = self.keeping;
        self.kept.retain(|name, kept| {
            let Some(limit) = limits.of(name) else {
                abandon(name, kept, words);
                return false;
            };
            if limit.limit != kept.limit.limit {
                match keeping {
                    Keeping::Alone => kept.bucket.set_limit(limit.limit, now),
                    Keeping::Together | Keeping::Lost => kept.resize(limit.limit, keeping, now),
                }
                kept.due = now;
            }
            kept.limit = limit;
            true
        });
        self.limits = Some(limits);
    }

    /// A stream reports.
    pub(crate) fn report(&mut self, stream: u64, report: &Report, now: Duration, words: &mut Words) {
        let has_history = report.usage.held.is_some();
        let is_known = self.kept.get(&report.name).is_some_and(|kept| kept.bucket.knows(stream));
        // What it confirms was given by this process.
        if has_history && !is_known && now < LEARNING {
            self.learning_until = LEARNING;
        }
        let (is_learning, keeping) = (now < self.learning_until, self.keeping);
        if self.limits.is_none() {
            return;
        }
        let Some(kept) = self.bucket(&report.name, !has_history, now) else {
            words.entry(stream).or_default().push((report.name.clone(), Said::Abandoned));
            return;
        };
        if kept.bucket.report(stream, &report.usage, now) {
            speak(&report.name, kept, keeping, is_learning, now, words);
        }
        kept.due = kept.due.min(now + ROUND);
        kept.part.hasten(now + ROUND);
        self.has_new |= kept.hand_over(now);
    }

    /// A stream has ended.
    pub(crate) fn leave(&mut self, stream: u64, now: Duration) {
        for kept in self.kept.values_mut() {
            kept.bucket.leave(stream, now);
            kept.due = kept.due.min(now + ROUND);
        }
    }

    /// What time brings.
    pub(crate) fn tick(&mut self, now: Duration, words: &mut Words) {
        let (is_learning, keeping) = (now < self.learning_until, self.keeping);
        for (name, kept) in &mut self.kept {
            if kept.due <= now {
                speak(name, kept, keeping, is_learning, now, words);
            }
        }
        if now.saturating_sub(self.swept) >= FORGOTTEN_AFTER / 4 {
            self.swept = now;
            self.kept.retain(|name, kept| {
                // Buckets without values of requests in their names are few, and who knows them waits for traffic.
                let is_in_use = !is_one_of_many(name) && kept.bucket.members().next().is_some();
                let is_idle = !is_in_use && kept.bucket.is_idle(FORGOTTEN_AFTER, now);
                if is_idle {
                    abandon(name, kept, words);
                }
                !is_idle
            });
        }
    }

    /// Whether a request with these descriptions, each with its tokens, is within all limits; and for each description
    /// its limit, whether it was within, and what is left.
    pub(crate) fn ask(&mut self, asked: &[(Name, u32)], now: Duration, words: &mut Words) -> Vec<Option<Verdict>> {
        let (is_learning, keeping) = (now < self.learning_until, self.keeping);
        let mut verdicts = Vec::with_capacity(asked.len());
        for (name, _) in asked {
            let verdict = self.bucket(name, true, now).and_then(|kept| match kept.stance(keeping) {
                Stance::Divides => {
                    kept.bucket.take_here(HERE, 0, now);
                    speak(name, kept, keeping, is_learning, now, words);
                    kept.part.hasten(now + ROUND);
                    Some(Verdict { limit: kept.limit.clone(), is_within: true, remaining: kept.bucket.level(HERE) })
                }
                Stance::Waits => Some(kept.on_account()),
                Stance::GivenUp => kept.by_word(),
            });
            verdicts.push(verdict);
        }
        let suffices = |(verdict, (_, tokens)): (&Option<Verdict>, &(Name, u32))| {
            verdict.as_ref().is_none_or(|v| v.limit.shadow || v.remaining >= *tokens)
        };
        let is_within = verdicts.iter().zip(asked).all(suffices);
        for ((name, tokens), verdict) in asked.iter().zip(&mut verdicts) {
            if let (Some(kept), Some(verdict)) = (self.kept.get_mut(name), verdict.as_mut()) {
                verdict.is_within = verdict.remaining >= *tokens;
                match kept.stance(keeping) {
                    // A request that is refused by one limit takes nothing from the others.
                    Stance::Divides if is_within || !verdict.is_within => {
                        kept.bucket.take_here(HERE, *tokens, now);
                        verdict.remaining = kept.bucket.level(HERE);
                    }
                    Stance::Waits if is_within => kept.borrow(*tokens),
                    Stance::Divides | Stance::Waits | Stance::GivenUp => {}
                }
            }
        }
        verdicts
    }

    fn bucket(&mut self, name: &Name, is_fresh: bool, now: Duration) -> Option<&mut Kept> {
        let limit = self.limits.as_ref()?.of(name)?;
        if !self.kept.contains_key(name) {
            if self.kept.len() >= BUCKETS_MAX {
                return None;
            }
            let is_fresh = is_fresh && now >= self.learning_until;
            self.has_new = true;
            self.kept.insert(name.clone(), Kept::new(limit, self.keeping, is_fresh, now));
        }
        self.kept.get_mut(name)
    }
}

/// What was found about a description.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) limit: Arc<SharedLimit>,
    pub(crate) is_within: bool,
    pub(crate) remaining: u32,
}

fn speak(name: &Name, kept: &mut Kept, keeping: Keeping, is_learning: bool, now: Duration, words: &mut Words) {
    let (told, said): (_, fn(Grant) -> Said) = match kept.stance(keeping) {
        Stance::Divides => (kept.bucket.assign(is_learning, now), Said::Assigned),
        // Who has something goes on with it.
        Stance::Waits => (kept.bucket.assign(true, now), Said::Assigned),
        Stance::GivenUp => (kept.bucket.give_up(now), Said::GivenUp),
    };
    for (stream, grant) in told {
        if stream == HERE {
            kept.bucket.confirm_here(HERE);
        } else {
            words.entry(stream).or_default().push((name.clone(), said(grant)));
        }
    }
    kept.due = kept.bucket.next(ROUND);
}

/// Whether there are buckets of the same limit for other values of requests.
fn is_one_of_many(name: &Name) -> bool {
    name.iter().any(|(key, _)| ![RULE, MATCH, QUERY].contains(&key.as_str()))
}

fn abandon(name: &Name, kept: &Kept, words: &mut Words) {
    for stream in kept.bucket.members().filter(|stream| *stream != HERE) {
        words.entry(stream).or_default().push((name.clone(), Said::Abandoned));
    }
}

#[cfg(test)]
mod tests;
