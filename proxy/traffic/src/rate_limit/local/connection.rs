//! The buckets of one downstream connection, for limits that are kept for each connection alone.

use std::sync::Arc;

use super::{CompiledLocalRateLimit, DescriptorBuckets, LocalBuckets, is_per_value};
use crate::rate_limit::keyed::Keyed;

/// The buckets of one downstream connection, for limits that are [`CompiledLocalRateLimit::per_connection`].
#[derive(Debug, Default)]
pub struct ConnectionBuckets {
    /// Each beside the shared ones of its limit, which are never counted in but name it: they live on in the next
    /// snapshot.
    pub(super) known: Vec<(Arc<LocalBuckets>, LocalBuckets)>,
}

/// How many limits one connection keeps buckets for. Requests of one connection meet few routes; past this the oldest
/// limit starts anew.
pub(crate) const LIMITS_PER_CONNECTION_MAX: usize = 16;

impl ConnectionBuckets {
    /// The buckets of a limit, full when it is met for the first time.
    pub fn of(&mut self, limit: &CompiledLocalRateLimit) -> &LocalBuckets {
        let position = self.known.iter().position(|(shared, _)| shared.is_same(&limit.buckets));
        let position = position.unwrap_or_else(|| {
            if self.known.len() == LIMITS_PER_CONNECTION_MAX {
                self.known.remove(0);
            }
            self.known.push((Arc::clone(&limit.buckets), LocalBuckets::full(limit)));
            self.known.len() - 1
        });
        &self.known[position].1
    }
}

impl LocalBuckets {
    fn full(limit: &CompiledLocalRateLimit) -> Self {
        let descriptors = limit.descriptors.iter().map(|descriptor| match is_per_value(&descriptor.entries) {
            true => DescriptorBuckets::PerValue(Arc::new(Keyed::new(limit.keys_max))),
            false => DescriptorBuckets::One(Arc::default()),
        });
        Self { default: limit.default.map(|_| Arc::default()), descriptors: descriptors.collect() }
    }

    /// Whether the limit they belong to is the same one, perhaps compiled again.
    fn is_same(&self, other: &Self) -> bool {
        let defaults = match (&self.default, &other.default) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        defaults
            && self.descriptors.len() == other.descriptors.len()
            && self.descriptors.iter().zip(&other.descriptors).all(|pair| match pair {
                (DescriptorBuckets::One(one), DescriptorBuckets::One(another)) => Arc::ptr_eq(one, another),
                (DescriptorBuckets::PerValue(one), DescriptorBuckets::PerValue(another)) => Arc::ptr_eq(one, another),
                (DescriptorBuckets::One(_) | DescriptorBuckets::PerValue(_), _) => false,
            })
    }
}
