//! What a caller's HTTP/2 connection may waste.
//!
//! # The attack
//! A stream that is reset before it is answered costs its caller two frames and an endpoint a request. Limits on streams that are
//! open at once do not see it, and those of the library see only resets that arrive before it has shown us the stream: with a
//! pause of some milliseconds before each reset, thousands of requests reach the endpoints (CVE-2023-44487). Faults that make
//! *us* reset the stream are the same attack by another hand (CVE-2025-8671), and count alike.
//!
//! # Why a debt, and why streams are held back
//! A ratio over the whole life of a connection forgives ten thousand resets to whoever has been good ten thousand times. A debt
//! that each stream served repays by one, and never below nothing, forgives a caller that now and then changes its mind, and
//! nobody else. But a debt grows only when resets arrive, and a hundred streams may be open by then. So what *may* still become debt
//! counts too: a stream that would take both together over the bound waits until one of them is served or has grown old.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate_traffic::rate_limit::ConnectionBuckets;

/// A stream that its caller resets this soon was opened to be reset.
pub(crate) const PREMATURE: Duration = Duration::from_secs(1);

/// So many of those more than streams that were served end the connection.
const PREMATURE_RESETS_MAX: u32 = 100;

/// Those, and streams that may still become such: more are not begun. It is also what an attack can cost the endpoints.
const STREAMS_AT_RISK_MAX: u32 = 120;

/// Streams that the library may refuse beyond those that were served: lists of fields that are too large, malformed ones, more than
/// may be open. A hundred that it has not shown us yet are among them.
const REFUSED_STREAMS_MAX: u32 = 200;

/// What the streams of a connection have come to.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    debt: Cell<u32>,
    young: Cell<u32>,
    /// Streams of an earlier one have grown old.
    generation: Cell<u32>,
    begun: Cell<u32>,
    /// Streams that were refused and made good.
    forgiven: Cell<u32>,
    /// The connection's own tokens.
    pub(crate) buckets: RefCell<ConnectionBuckets>,
}

/// A stream that has begun. It ends when this is dropped, so that one whose task panics ends, too.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) budget: Rc<Budget>,
    generation: u32,
    /// Its caller reset it, too soon.
    pub(crate) premature: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let budget = &self.budget;
        if self.generation == budget.generation.get() {
            budget.young.set(budget.young.get().saturating_sub(1));
        }
        let debt = budget.debt.get();
        if self.premature {
            budget.debt.set(debt.saturating_add(1));
        } else {
            budget.debt.set(debt.saturating_sub(1));
            budget.forgiven.set(budget.forgiven.get().saturating_add(1));
        }
    }
}

impl Budget {
    pub(crate) fn begin(self: &Rc<Self>) -> Begun {
        self.young.set(self.young.get().saturating_add(1));
        self.begun.set(self.begun.get().wrapping_add(1));
        Begun { budget: Rc::clone(self), generation: self.generation.get(), premature: false }
    }

    /// The connection has wasted enough. `opened`: streams that its caller has opened, those that we were never shown included.
    pub(crate) fn is_spent(&self, opened: u32) -> bool {
        let refused = opened.wrapping_sub(self.begun.get());
        let forgiven = self.forgiven.get().min(refused);
        self.forgiven.set(forgiven);
        self.debt.get() > PREMATURE_RESETS_MAX || refused - forgiven > REFUSED_STREAMS_MAX
    }

    /// No further stream may begin for now.
    pub(crate) fn is_stretched(&self) -> bool {
        self.debt.get().saturating_add(self.young.get()) >= STREAMS_AT_RISK_MAX
    }

    /// No stream has begun for [`PREMATURE`]: those that are open can no longer become debt.
    pub(crate) fn all_are_old(&self) {
        self.young.set(0);
        self.generation.set(self.generation.get().wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(mut begun: Begun, premature: bool) {
        begun.premature = premature;
    }

    #[test]
    fn a_caller_that_only_resets_is_cut_off_and_never_has_more_at_risk_than_the_bound() {
        let budget = Rc::new(Budget::default());
        let mut open = Vec::new();
        let mut begun = 0;

        while !budget.is_spent(budget.begun.get()) {
            while !budget.is_stretched() && open.len() < 100 {
                open.push(budget.begin());
                begun += 1;
            }
            end(open.pop().expect("one is open"), true);
        }

        assert!(begun <= STREAMS_AT_RISK_MAX, "{begun}");
    }

    #[test]
    fn a_good_past_forgives_no_later_attack() {
        let budget = Rc::new(Budget::default());
        for _ in 0..10_000 {
            end(budget.begin(), false);
        }

        for _ in 0..=PREMATURE_RESETS_MAX {
            end(budget.begin(), true);
        }

        assert!(budget.is_spent(budget.begun.get()));
    }

    #[test]
    fn streams_that_were_refused_unseen_count_until_served_ones_have_made_them_good() {
        let budget = Rc::new(Budget::default());
        assert!(!budget.is_spent(REFUSED_STREAMS_MAX));
        assert!(budget.is_spent(REFUSED_STREAMS_MAX + 1));

        let mut opened = REFUSED_STREAMS_MAX;
        for _ in 0..10_000 {
            end(budget.begin(), false);
            opened += 2;
            assert!(!budget.is_spent(opened));
        }
    }

    #[test]
    fn a_caller_that_changes_its_mind_every_other_time_is_never_cut_off() {
        let budget = Rc::new(Budget::default());
        for _ in 0..10_000 {
            end(budget.begin(), true);
            end(budget.begin(), false);
            assert!(!budget.is_spent(budget.begun.get()) && !budget.is_stretched());
        }
    }

    #[test]
    fn streams_that_have_grown_old_hold_nobody_back() {
        let budget = Rc::new(Budget::default());
        let open: Vec<Begun> = (0..STREAMS_AT_RISK_MAX).map(|_| budget.begin()).collect();
        assert!(budget.is_stretched());

        budget.all_are_old();
        let fresh = budget.begin();
        open.into_iter().for_each(|begun| end(begun, false));

        assert!(!budget.is_stretched());
        assert_eq!(budget.young.get(), 1, "the fresh one still counts");
        end(fresh, false);
    }
}
