//! Limits that are shared with other proxies, kept by leases.
//!
//! # How
//! Each description of requests has a [`cell`]: a bucket that is filled as the control plane said last. Workers take from
//! it and count; the control thread's [`reporter`] tells the control plane what was used, and puts new leases in place. No
//! request waits for anybody.
//!
//! # Before and without a lease
//! Descriptions that have no value of a request in them are known when configuration is applied, and their leases are there
//! before traffic is. Others are met first in a request; until their lease arrives, a tenth of the limit (one token at
//! least) is allowed. After a second without control plane the limit's own word holds: the last lease goes on (or the whole
//! limit, where there never was one), everything passes, or nothing does.
//!
//! # How many
//! At most [`CELLS_MAX`] descriptions with values. Beyond that new ones pass until those that nobody uses were let go: who
//! can invent values at will has a full bucket for each anyway, and an unkeyed limit beside it is what stops them.

pub(crate) mod cell;
pub(crate) mod reporter;

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use foldhash::{HashMap, HashMapExt as _};
use tidegate_traffic::rate_limit::Descriptor;
use tidegate_xds::resource::filter::{Lease, RateLimitAction, RateLimitActions};
use tidegate_xds::resource::route::{RouteAction, RouteConfiguration};
use tokio::sync::Notify;

use self::cell::Cell;
use crate::config::snapshot::Snapshot;

/// Descriptions with values of requests in them. Each takes some 500 bytes.
const CELLS_MAX: usize = 20_000;
/// Locks over them; two workers rarely meet at one.
const SHARDS: usize = 16;
/// Without the control plane for so long, a limit's own word for that case holds.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// The control plane is there.
const UP: u64 = u64::MAX;

/// A description, shortened to what no caller can aim at.
type Key = u128;
/// Keys and values of a description.
type Entries = Vec<(Arc<str>, Arc<str>)>;
type Cells = HashMap<Key, Arc<Cell>>;

/// All cells of the process.
#[derive(Debug)]
pub(crate) struct Leases {
    hashers: [RandomState; 2],
    fixed: ArcSwap<Cells>,
    keyed: Box<[Mutex<Cells>]>,
    keyed_count: AtomicUsize,
    /// Cells that the reporter has not seen yet.
    fresh: Mutex<Vec<Arc<Cell>>>,
    wake: Notify,
    /// Since when the control plane is away.
    down_since: AtomicU64,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            hashers: [RandomState::default(), RandomState::default()],
            fixed: ArcSwap::default(),
            keyed: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keyed_count: AtomicUsize::new(0),
            fresh: Mutex::default(),
            wake: Notify::new(),
            down_since: AtomicU64::new(0),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leases {
    /// The cell of a description; `None`: there are too many.
    pub(crate) fn cell(&self, descriptor: &Descriptor<'_>, lease: &Arc<Lease>, now: u64) -> Option<Arc<Cell>> {
        let entries = descriptor.entries.iter().map(|entry| (entry.key, &*entry.value));
        let key = self.key(entries.clone());
        if let Some(cell) = self.fixed.load().get(&key) {
            return Some(Arc::clone(cell));
        }
        let mut shard = lock(&self.keyed[key as usize % SHARDS]);
        if let Some(cell) = shard.get(&key) {
            return Some(Arc::clone(cell));
        }
        if self.keyed_count.fetch_add(1, Ordering::Relaxed) >= CELLS_MAX {
            self.keyed_count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let cell = Arc::new(Cell::new(entries, lease, now));
        if self.is_away(now) {
            cell.go_alone(now);
        }
        shard.insert(key, Arc::clone(&cell));
        drop(shard);
        self.introduce(Arc::clone(&cell));
        Some(cell)
    }

    /// Knows from now on the fixed descriptions of a configuration, and no others.
    pub(crate) fn follow(&self, snapshot: &Snapshot, now: u64) {
        let before = self.fixed.load_full();
        let inline =
            snapshot.listeners.values().flat_map(|listener| listener.chains.iter().chain(&listener.default_chain));
        let inline = inline.filter_map(|chain| match &chain.kind {
            crate::config::snapshot::ChainKind::Http(http) => Some(&http.routes),
            crate::config::snapshot::ChainKind::Tcp(_) => None,
        });
        let mut cells = Cells::new();
        for routes in snapshot.routes.values().chain(inline) {
            for (entries, lease) in fixed_descriptions(&routes.config) {
                let entries = entries.iter().map(|(key, value)| (&**key, &**value));
                let key = self.key(entries.clone());
                let known = cells.get(&key).or_else(|| before.get(&key)).cloned();
                let cell = known.unwrap_or_else(|| {
                    let cell = Arc::new(Cell::new(entries, lease, now));
                    self.introduce(Arc::clone(&cell));
                    cell
                });
                cell.set_limit(lease);
                cells.insert(key, cell);
            }
        }
        for (key, gone) in before.iter() {
            if !cells.contains_key(key) {
                gone.retire();
            }
        }
        if !(cells.is_empty() && before.is_empty()) {
            self.fixed.store(Arc::new(cells));
        }
    }

    fn introduce(&self, cell: Arc<Cell>) {
        lock(&self.fresh).push(cell);
        self.wake.notify_one();
    }

    /// A key with values is forgotten.
    fn forget(&self, cell: &Cell) {
        let key = self.key(cell.entries());
        if lock(&self.keyed[key as usize % SHARDS]).remove(&key).is_some() {
            self.keyed_count.fetch_sub(1, Ordering::Relaxed);
        }
        cell.retire();
    }

    fn is_fixed(&self, cell: &Cell) -> bool {
        self.fixed.load().contains_key(&self.key(cell.entries()))
    }

    /// Whether the control plane has been away for longer than a moment.
    pub(super) fn is_away(&self, now: u64) -> bool {
        let since = self.down_since.load(Ordering::Relaxed);
        since != UP && now.saturating_sub(since) > GRACE.as_nanos() as u64
    }

    fn key<'v>(&self, entries: impl Iterator<Item = (&'v str, &'v str)> + Clone) -> Key {
        let [high, low] = [0, 1].map(|i| {
            let mut hasher = self.hashers[i].build_hasher();
            for (key, value) in entries.clone() {
                for part in [key, value] {
                    // The length first, so that `ab`,`c` is not `a`,`bc`.
                    hasher.write_usize(part.len());
                    hasher.write(part.as_bytes());
                }
            }
            hasher.finish()
        });
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The descriptions with a lease and without a value of a request.
fn fixed_descriptions(config: &RouteConfiguration) -> Vec<(Entries, &Arc<Lease>)> {
    let of_routes = config.virtual_hosts.iter().flat_map(|host| &host.routes).filter_map(|route| match &route.action {
        RouteAction::Forward(forward) => Some(&forward.rate_limits),
        _ => None,
    });
    let lists = config.virtual_hosts.iter().map(|host| &host.rate_limits).chain(of_routes).flatten();
    lists.filter_map(|list| Some((fixed_entries(list)?, list.lease.as_ref()?))).collect()
}

fn fixed_entries(list: &RateLimitActions) -> Option<Entries> {
    let entry = |action: &RateLimitAction| match action {
        RateLimitAction::GenericKey { key, value }
        | RateLimitAction::HeaderValueMatch { key, value, .. }
        | RateLimitAction::QueryParameterValueMatch { key, value, .. } => Some((Arc::clone(key), Arc::clone(value))),
        _ => None,
    };
    list.actions.iter().map(entry).collect()
}

#[cfg(test)]
mod tests;
