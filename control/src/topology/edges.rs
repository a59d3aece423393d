//! All edges, at most so many, and what they have counted.
//!
//! # Making room
//! When there are too many, those that nothing happened on for longest become one, `__other__`, a few hundred at a time so that
//! the search for them pays. What they counted is added there: the sum over all edges stays the sum of all that was heard. An edge that
//! comes back begins at zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::Counts;
use super::key::Key;
use super::ring::Rings;

/// Edges, each reporter's view as one. An edge that is idle takes about a kilobyte; a mesh of a thousand workloads that
/// call ten others each has twenty thousand.
pub const EDGES_MAX: usize = 50_000;
/// Bytes of all slots that are over. Ten thousand edges that are called all the time come to some 120 MB in a day. Beyond it,
/// slots that end keep their times by octaves, which is a hundred bytes at most; counts stay exact.
const HISTORY_BYTES_MAX: usize = 512 << 20;
/// The part of them that makes room at a time.
const FOLDED_PART: usize = 64;

/// What has happened on an edge.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Since the beginning.
    pub(super) total: Counts,
    pub(super) rings: Rings,
    /// When something happened last.
    pub(super) active_ms: u64,
    /// Has changed since the last checkpoint.
    pub(super) unsaved: bool,
}

/// A record that is looked at while others are written.
#[derive(Debug, Default)]
pub(super) struct Edge(Mutex<Record>);

impl Edge {
    pub(super) fn of(total: Counts, active_ms: u64) -> Self {
        Self(Mutex::new(Record { total, active_ms, ..Record::default() }))
    }

    /// Held for as long as some numbers are added or read.
    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Edges {
    by_key: HashMap<Arc<Key>, Arc<Edge>>,
    max: usize,
    /// Those that made room since the last checkpoint.
    pub(super) gone: Vec<Arc<Key>>,
    /// How many have made room.
    pub(super) folded_edges: u64,
    /// The requests on them.
    pub(super) folded_requests: u64,
    /// Times that were moved to another bucket because an edge had too many.
    pub(super) collapsed: u64,
    /// Bytes of all slots that are over, and how many there may be.
    pub(super) history: usize,
    history_max: usize,
}

impl Edges {
    pub(super) fn new(max: usize) -> Self {
        let (folded_edges, folded_requests, collapsed) = (0, 0, 0);
        let (history, history_max) = (0, HISTORY_BYTES_MAX);
        let (by_key, gone) = (HashMap::new(), Vec::new());
        Self { by_key, max, gone, folded_edges, folded_requests, collapsed, history, history_max }
    }

    pub(super) fn put(&mut self, key: Arc<Key>, total: Counts, active_ms: u64) {
        self.by_key.insert(key, Arc::new(Edge::of(total, active_ms)));
    }

    /// A key as it lies here already, so that the replicas of a workload share it.
    pub(super) fn shared(&self, key: Key) -> Arc<Key> {
        self.by_key.get_key_value(&key).map_or_else(|| Arc::new(key.clone()), |(known, _)| Arc::clone(known))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Key>, &Arc<Edge>)> {
        self.by_key.iter()
    }

    /// Counts what came together during the last `gap_ms`.
    pub(super) fn add(&mut self, key: &Arc<Key>, more: &Counts, now_ms: u64, gap_ms: u64) {
        if !self.by_key.contains_key(key) {
            self.make_room();
            self.put(Arc::clone(key), Counts::default(), now_ms);
        }
        let is_coarse = self.is_coarse();
        let Some(edge) = self.by_key.get(key) else { return };
        let mut record = edge.lock();
        let moved = record.total.add(more, key.protocol);
        let before = record.rings.bytes();
        record.rings.add(now_ms, gap_ms, more, key.protocol, is_coarse);
        self.history = (self.history + record.rings.bytes()).saturating_sub(before);
        record.active_ms = now_ms;
        record.unsaved = true;
        self.collapsed = self.collapsed.saturating_add(moved);
    }

    fn make_room(&mut self) {
        if self.by_key.len() < self.max {
            return;
        }
        let idle = |(key, edge): (&Arc<Key>, &Arc<Edge>)| (edge.lock().active_ms, Arc::clone(key));
        let mut oldest: Vec<_> = self.by_key.iter().filter(|(key, _)| !key.is_other()).map(idle).collect();
        let part = (self.max / FOLDED_PART).clamp(1, oldest.len().max(1));
        if part < oldest.len() {
            oldest.select_nth_unstable_by_key(part, |(active, _)| *active);
            oldest.truncate(part);
        }
        for (_, key) in oldest {
            self.fold(&key);
        }
    }

    fn fold(&mut self, key: &Arc<Key>) {
        let Some(edge) = self.by_key.remove(key) else { return };
        let other = Arc::clone(self.by_key.entry(Arc::new(key.folded())).or_default());
        let (folded, mut other) = (edge.lock(), other.lock());
        self.history = self.history.saturating_sub(folded.rings.bytes());
        let moved = other.total.add(&folded.total, key.protocol);
        other.active_ms = other.active_ms.max(folded.active_ms);
        other.unsaved = true;
        self.collapsed = self.collapsed.saturating_add(moved);
        self.folded_edges += 1;
        self.folded_requests = self.folded_requests.saturating_add(folded.total.requests());
        self.gone.push(Arc::clone(key));
    }

    /// Lets go of slots that are too old to be asked for.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        let coarse = self.is_coarse();
        let swept = self.by_key.values().map(|edge| {
            let mut record = edge.lock();
            record.rings.sweep(now_ms, coarse);
            record.rings.bytes()
        });
        self.history = swept.sum();
    }

    /// Whether slots that end keep their times by octaves.
    pub(super) fn is_coarse(&self) -> bool {
        self.history > self.history_max
    }

    #[cfg(test)]
    pub(super) fn bound_history(&mut self, max: usize) {
        self.history_max = max;
    }
}
