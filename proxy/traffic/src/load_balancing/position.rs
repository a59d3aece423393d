//! The position of a round robin: one counter, from which all threads take their turns.

use std::sync::atomic::{AtomicU64, Ordering};

/// The position of a round robin. Kept when endpoints change.
#[derive(Debug, Default)]
pub struct RoundRobin {
    position: AtomicU64,
}

impl RoundRobin {
    /// A round robin that begins anywhere, so that many proxies do not all begin with the same endpoint.
    pub fn starting_at(position: u64) -> Self {
        Self { position: AtomicU64::new(position) }
    }

    pub(super) fn next(&self) -> u64 {
        // The count is all that matters; it orders nothing else.
        self.position.fetch_add(1, Ordering::Relaxed)
    }
}
