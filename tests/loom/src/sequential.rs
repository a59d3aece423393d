//! An atomic whose sequentially consistent accesses are that.
//!
//! # Why fences, and where
//! All such accesses have one order, and loom only knows one order of fences. So an access is given a fence. Compilers have two
//! ways to do that, a fence behind each write or one before each read, and either is enough: where one thread writes a first
//! word and reads a second, and another writes the second and reads the first, one of them sees what the other wrote. With both
//! fences at once an access that lacks its order would hide behind that of its neighbour; so a model runs once with each.

use loom::sync::atomic::{Ordering, fence};

use crate::real;
use crate::real::cell::Cell;

/// As much of it as the sources use.
#[derive(Debug, Default)]
pub struct AtomicU32(loom::sync::atomic::AtomicU32);

impl AtomicU32 {
    /// Holds this.
    pub fn new(value: u32) -> Self {
        Self(loom::sync::atomic::AtomicU32::new(value))
    }

    /// What it holds.
    pub fn load(&self, order: Ordering) -> u32 {
        read(order, || self.0.load(weaker_load(order)))
    }

    /// Writes.
    pub fn store(&self, value: u32, order: Ordering) {
        let weaker = if matches!(order, Ordering::SeqCst) { Ordering::Release } else { order };
        write(order, || self.0.store(value, weaker));
    }

    /// Adds; what there was before.
    pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
        write(order, || read(order, || self.0.fetch_add(value, order)))
    }

    /// Takes away; what there was before.
    pub fn fetch_sub(&self, value: u32, order: Ordering) -> u32 {
        write(order, || read(order, || self.0.fetch_sub(value, order)))
    }

    /// As the standard library has it: a load, and a swap for as long as the function gives something.
    pub fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut update: impl FnMut(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        let mut seen = self.load(fetch);
        while let Some(next) = update(seen) {
            match read(set, || self.0.compare_exchange(seen, next, set, weaker_load(fetch))) {
                Ok(before) => return Ok(write(set, || before)),
                Err(now) => seen = now,
            }
        }
        Err(seen)
    }
}

/// Where the fence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    BehindWrites,
    BeforeReads,
}

real::thread_local! {
    /// Of the model that this thread explores. loom runs all threads of a model on one.
    static FENCE: Cell<Fence> = const { Cell::new(Fence::BehindWrites) };
}

/// From here on.
pub(crate) fn set_fence(fence_is: Fence) {
    FENCE.set(fence_is);
}

fn fence_if(order: Ordering, wanted: Fence) {
    if matches!(order, Ordering::SeqCst) && FENCE.get() == wanted {
        fence(Ordering::SeqCst);
    }
}

fn read<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    fence_if(order, Fence::BeforeReads);
    access()
}

fn write<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    let result = access();
    fence_if(order, Fence::BehindWrites);
    result
}

fn weaker_load(order: Ordering) -> Ordering {
    if matches!(order, Ordering::SeqCst) { Ordering::Acquire } else { order }
}
