//! A bucket for each value of a key, and a bound on how many.
//!
//! # What is kept of a value
//! 128 bits of hash, by two functions whose seeds are drawn when the process starts. A caller cannot aim at another's
//! bucket, and a value of 64 KiB costs no more than one of ten bytes.
//!
//! # What it costs
//! At most [`KEY_BYTES_MAX`] for each key, and at most [`KEYS_MAX`] keys whatever configuration says.
//!
//! # What happens at the bound
//! The value that was least recently asked for is forgotten; should it come back, its bucket is full. So a caller who
//! can invent values at will can get around a limit by value, with or without this bound: give such a limit a second,
//! unkeyed bucket. Above [`KEYS_PER_SHARD`] keys they are divided by hash so that workers rarely meet at one lock, and
//! "least recently" then means within a division.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;

use super::bucket::Bucket;

/// Most keys of one descriptor. Their tables take 40 MiB then.
pub const KEYS_MAX: u32 = 1 << 18;

/// Most memory a key takes: its place in the list, which may have just doubled, and in the table of positions, which
/// may be half empty.
pub const KEY_BYTES_MAX: usize = 160;

/// How many keys share a lock.
const KEYS_PER_SHARD: u32 = 1024;

/// Most locks. More workers than this do not stand in line at once.
const SHARDS_MAX: u32 = 16;

/// No neighbour in the list.
const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct Keyed {
    hashers: [RandomState; 2],
    shards: Box<[Mutex<Shard>]>,
}

impl Keyed {
    /// Room for so many keys, [`KEYS_MAX`] at most and one at least.
    pub fn new(keys_max: u32) -> Self {
        let keys_max = keys_max.clamp(1, KEYS_MAX);
        let shards = (keys_max / KEYS_PER_SHARD).clamp(1, SHARDS_MAX);
        let per_shard = keys_max / shards;
        Self {
            hashers: [RandomState::default(), RandomState::default()],
            shards: (0..shards).map(|_| Mutex::new(Shard::new(per_shard))).collect(),
        }
    }

    /// Asks the bucket of a value, which is made when it is new. `values` are the parts of the value, in order.
    pub fn with<'v, R>(&self, values: impl Iterator<Item = &'v [u8]> + Clone, ask: impl FnOnce(&Bucket) -> R) -> R {
        let [high, low] = [0, 1].map(|i| {
            let mut hasher = self.hashers[i].build_hasher();
            for value in values.clone() {
                // The length first, so that `ab`,`c` is not `a`,`bc`.
                hasher.write_usize(value.len());
                hasher.write(value);
            }
            hasher.finish()
        });
        let shard = &self.shards[(high % self.shards.len() as u64) as usize];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let position = shard.touch(u128::from(high) << 64 | u128::from(low));
        ask(&shard.slots[position as usize].bucket)
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().slots.len()).sum()
    }
}

/// A list in order of use, and where in it each key stands.
#[derive(Debug)]
struct Shard {
    keys_max: u32,
    positions: HashMap<u128, u32, RandomState>,
    slots: Vec<Slot>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Slot {
    key: u128,
    bucket: Bucket,
    newer: u32,
    older: u32,
}

impl Shard {
    fn new(keys_max: u32) -> Self {
        Self { keys_max, positions: HashMap::default(), slots: Vec::new(), newest: NONE, oldest: NONE }
    }

    /// Where a key's slot is; it is the newest now.
    fn touch(&mut self, key: u128) -> u32 {
        if let Some(&position) = self.positions.get(&key) {
            if position != self.newest {
                self.unlink(position);
                self.link_newest(position);
            }
            return position;
        }
        let position = match u32::try_from(self.slots.len()) {
            Ok(next) if next < self.keys_max => {
                self.slots.push(Slot { key, bucket: Bucket::default(), newer: NONE, older: NONE });
                next
            }
            _ => {
                let oldest = self.oldest;
                self.unlink(oldest);
                let slot = &mut self.slots[oldest as usize];
                self.positions.remove(&slot.key);
                *slot = Slot { key, bucket: Bucket::default(), newer: NONE, older: NONE };
                oldest
            }
        };
        self.positions.insert(key, position);
        self.link_newest(position);
        position
    }

    fn unlink(&mut self, position: u32) {
        let Slot { newer, older, .. } = self.slots[position as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, position: u32) {
        let older = self.newest;
        self.slots[position as usize].newer = NONE;
        self.slots[position as usize].older = older;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = position,
            None => self.oldest = position,
        }
        self.newest = position;
    }
}

#[cfg(test)]
mod tests;
