//! Numbers with one writer each.
//!
//! # In which order they are read
//! Each number is exact by itself. Of two that a worker wrote one after the other a reader may have the second and not yet the
//! first, on processors that are not Intel's; who needs both together asks for it ([`Cell::publish`], [`settled`]).

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A number that one worker writes and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds one. Only the worker that owns the row may call it.
    pub(crate) fn increment(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds. Only the worker that owns the row may call it.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Adds one, for last: whoever reads this one, and has a fence behind that ([`settled`]), reads what the worker wrote before
    /// as well. Only the worker that owns the row may call it.
    pub(crate) fn publish(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Stands between reading what was [published](Cell::publish) and reading the rest.
pub(crate) fn settled() {
    fence(Ordering::Acquire);
}

/// Keeps a row off its neighbours' cache lines (two lines, because processors fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Row<T>(T);

/// One row of cells for each worker.
#[derive(Debug)]
pub(crate) struct Sharded<T>(Box<[Row<T>]>);

impl<T: Default> Sharded<T> {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Row::default()).collect())
    }

    /// The row of a worker.
    pub(crate) fn of(&self, worker: usize) -> &T {
        &self.0[worker % self.0.len()].0
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|row| &row.0)
    }

    /// The sum over all workers.
    pub(crate) fn sum(&self, cell: impl Fn(&T) -> &Cell) -> u64 {
        self.rows().map(|row| cell(row).value()).fold(0, u64::wrapping_add)
    }
}
