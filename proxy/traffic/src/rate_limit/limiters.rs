//! The tokens of all local limits, found again by every snapshot.
//!
//! # What makes two buckets the same
//! Where the limit stands (filter, listener or route table, host, route, member), the description it counts, and its
//! size. Someone who changes a limit's size starts with a full bucket of the new size; every other limit keeps its own.
//!
//! # Who owns them
//! The compiled limits do. This table only knows the way to what is still in use, and forgets the rest whenever it has
//! doubled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidegate_xds::resource::filter::TokenBucket;

use super::bucket::Bucket;
use super::keyed::Keyed;

/// The table is looked through for what nobody uses any more when it has grown to this, and then to twice what was
/// left.
const SWEEP_AT_LEAST: usize = 64;

/// Keys and values of a description.
pub(crate) type Entries = [(Arc<str>, Arc<str>)];

/// See the module.
#[derive(Debug, Default)]
pub struct Limiters {
    // Locked while a snapshot is compiled, never at a request.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    single: HashMap<Key, Weak<Bucket>>,
    keyed: HashMap<(Key, u32), Weak<Keyed>>,
    sweep_at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    place: Box<str>,
    entries: Box<Entries>,
    capacity: u32,
    refill: u32,
    interval_nanos: u128,
}

impl Key {
    fn new(place: &str, entries: &Entries, bucket: TokenBucket) -> Self {
        Self {
            place: place.into(),
            entries: entries.into(),
            capacity: bucket.capacity,
            refill: bucket.refill.get(),
            interval_nanos: bucket.interval.as_nanos(),
        }
    }
}

impl Limiters {
    /// The bucket that stands there, or a full one.
    pub(crate) fn single(&self, place: &str, entries: &Entries, bucket: TokenBucket) -> Arc<Bucket> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let slot = known.single.entry(Key::new(place, entries, bucket)).or_default();
        upgrade_or(slot, Bucket::default)
    }

    /// The buckets that stand there, or none yet.
    pub(crate) fn keyed(&self, place: &str, entries: &Entries, bucket: TokenBucket, keys_max: u32) -> Arc<Keyed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep();
        let slot = known.keyed.entry((Key::new(place, entries, bucket), keys_max)).or_default();
        upgrade_or(slot, || Keyed::new(keys_max))
    }

    /// How many are known, those included that nobody uses any more and that were not swept out yet.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let known = self.known.lock().unwrap();
        known.single.len() + known.keyed.len()
    }
}

impl Known {
    fn sweep(&mut self) {
        if self.single.len() + self.keyed.len() < self.sweep_at.max(SWEEP_AT_LEAST) {
            return;
        }
        self.single.retain(|_, bucket| bucket.strong_count() > 0);
        self.keyed.retain(|_, buckets| buckets.strong_count() > 0);
        self.sweep_at = 2 * (self.single.len() + self.keyed.len());
    }
}

fn upgrade_or<T>(slot: &mut Weak<T>, make: impl FnOnce() -> T) -> Arc<T> {
    slot.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *slot = Arc::downgrade(&made);
        made
    })
}

#[cfg(test)]
mod tests;
