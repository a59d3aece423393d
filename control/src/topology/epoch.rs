//! What each process was heard to say last: from what all differences are taken.
//!
//! # When a process is forgotten
//! Its numbers must be kept as long as it may say them again, since they are cumulative. A process that said `last` does so only
//! if it has not heard our answer, which takes moments. One that fell silent may be cut off and come back: it is kept until its
//! node has too many, or for a day. Of either, the number of the epoch stays a while as a grave, so that nothing is
//! counted twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::counts::Counts;
use super::key::Key;

/// Processes of one node that are kept: one that serves, one that drains after an upgrade, and those that crashed lately.
pub(super) const EPOCHS_PER_NODE_MAX: usize = 8;
/// Edges of one process. A sidecar has dozens, a gateway of a large mesh some thousands.
pub(super) const EDGES_PER_EPOCH_MAX: usize = 20_000;
/// How long what a process has said last is kept, for the case that our answer was lost.
const ENDED_KEPT_MS: u64 = 120_000;
/// How long a silent process is waited for.
const SILENT_KEPT_MS: u64 = 24 * 3_600_000;
/// Graves of one node: a process that is restarted each minute has its last hour.
const GRAVES_MAX: usize = 64;

/// One process.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    pub(super) heard: HashMap<u32, Heard>,
    /// Streams that are open.
    pub(super) streams: usize,
    /// When it spoke last.
    pub(super) spoke_ms: u64,
    /// When it said that nothing follows.
    pub(super) ended_ms: Option<u64>,
    /// What it could not tell apart itself.
    pub(super) folded: u64,
    /// Has changed since the last checkpoint.
    pub(super) unsaved: bool,
}

/// What it said of one edge.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) key: Arc<Key>,
    pub(super) counts: Counts,
    pub(super) unsaved: bool,
}

/// Why a process is in its grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grave {
    /// It said so.
    Ended,
    /// Nobody heard of it for long, or its node had too many.
    GivenUp,
}

/// All processes under one node id.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) epochs: HashMap<u64, Epoch>,
    pub(super) graves: VecDeque<(u64, Grave)>,
}

impl Epoch {
    fn is_due(&self, now_ms: u64) -> bool {
        let ended = self.ended_ms.is_some_and(|at| now_ms.saturating_sub(at) > ENDED_KEPT_MS);
        self.streams == 0 && (ended || now_ms.saturating_sub(self.spoke_ms) > SILENT_KEPT_MS)
    }

    fn grave(&self) -> Grave {
        if self.ended_ms.is_some() { Grave::Ended } else { Grave::GivenUp }
    }
}

impl Node {
    pub(super) fn grave(&self, epoch: u64) -> Option<Grave> {
        self.graves.iter().find(|(number, _)| *number == epoch).map(|(_, grave)| *grave)
    }

    /// Buries what is due, and what is too much when another is to come. Gives what was buried.
    pub(super) fn bury(&mut self, now_ms: u64, room_for: usize) -> Vec<u64> {
        let mut buried: Vec<u64> =
            self.epochs.iter().filter(|(_, epoch)| epoch.is_due(now_ms)).map(|(number, _)| *number).collect();
        let mut others: Vec<(bool, u64, u64)> = self
            .epochs
            .iter()
            .filter(|(number, epoch)| epoch.streams == 0 && !buried.contains(number))
            .map(|(number, epoch)| (epoch.ended_ms.is_none(), epoch.spoke_ms, *number))
            .collect();
        others.sort_unstable();
        let left = self.epochs.len() - buried.len();
        let surplus = (left + room_for).saturating_sub(EPOCHS_PER_NODE_MAX);
        buried.extend(others.into_iter().take(surplus).map(|(_, _, number)| number));
        for number in &buried {
            if let Some(epoch) = self.epochs.remove(number) {
                self.graves.push_back((*number, epoch.grave()));
            }
        }
        self.graves.drain(..self.graves.len().saturating_sub(GRAVES_MAX));
        buried
    }

    /// The same for one of them, if it has no stream.
    pub(super) fn give_up(&mut self, number: u64) -> bool {
        let Some(epoch) = self.epochs.get(&number).filter(|epoch| epoch.streams == 0) else { return false };
        self.graves.push_back((number, epoch.grave()));
        self.epochs.remove(&number);
        self.graves.drain(..self.graves.len().saturating_sub(GRAVES_MAX));
        true
    }

    /// When something was heard of it last.
    pub(super) fn spoke_ms(&self) -> u64 {
        self.epochs.values().map(|epoch| epoch.spoke_ms).max().unwrap_or(0)
    }
}
