//! A limit that is a part of a larger one: what others must be told about it, and what changes when it does.

use std::time::Duration;

use super::{Grant, Limit, Member, RENEWAL, REPEAT, SharedBucket};

/// Rates are compared up to this: grants are whole tokens in whole nanoseconds.
const EQUAL: f64 = 1e-8;

impl SharedBucket {
    /// The part is another now. A larger capacity brings its tokens with it, because whoever gave it counted them; what
    /// members hold already has its own.
    pub(crate) fn set_part(&mut self, part: Limit, now: Duration) {
        self.advance(now);
        self.pool += f64::from(part.capacity.saturating_sub(self.held().capacity));
        self.limit = part;
        self.advance(now);
    }

    /// The part, or more if members have not yet given back what they have to.
    pub(crate) fn held(&self) -> Limit {
        let (rate, capacity) = self.given_out();
        Limit { per_second: rate.max(self.limit.per_second), capacity: capacity.max(self.limit.capacity) }
    }

    /// Whether members hold no more than the part.
    pub(crate) fn fits(&self) -> bool {
        self.overdrawn() == (false, false)
    }

    /// Whether members hold more than there is: rate, and capacity.
    pub(super) fn overdrawn(&self) -> (bool, bool) {
        let (rate, capacity) = self.given_out();
        (rate > self.limit.per_second * (1.0 + EQUAL) + EQUAL, capacity > self.limit.capacity)
    }

    fn given_out(&self) -> (f64, u32) {
        (self.members.values().map(Member::rate).sum(), self.members.values().map(Member::capacity).sum())
    }

    /// Takes tokens on account of what will be given.
    pub(crate) fn borrow(&mut self, tokens: u32) {
        self.pool -= f64::from(tokens);
    }

    /// Requests per second of all who are here.
    pub(crate) fn demand(&self) -> f64 {
        self.members.values().filter(|m| m.until.is_none()).map(|m| m.demand).sum()
    }

    /// Takes the tokens that nobody here had room for; others may.
    pub(crate) fn take_spilled(&mut self) -> f64 {
        std::mem::take(&mut self.spilled)
    }

    /// What members have is to be said again.
    pub(crate) fn say_again(&mut self) {
        self.members.values_mut().for_each(|member| member.told = None);
    }

    /// Whom to tell that nobody keeps the limit, with what they have. A member that never had anything gets next to
    /// nothing, so that the word reaches it at all.
    pub(crate) fn give_up(&mut self, now: Duration) -> Vec<(u64, Grant)> {
        self.advance(now);
        self.members.retain(|_, member| member.until.is_none_or(|until| until > now));
        let mut told = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.until.is_none()) {
            let again = if member.is_settled() { RENEWAL } else { REPEAT };
            if member.told.is_none_or(|at| now.saturating_sub(at) >= again) {
                if member.assigned == Grant::default() {
                    member.assigned = Grant::new(0, 0.0);
                }
                member.told = Some(now);
                told.push((*id, member.assigned));
            }
        }
        told
    }
}
