//! The books as a fuzz target keeps them: with room for few edges, under a clock that is set by hand, on a disk in memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidegate_xds::report_service::EdgeReport;

use super::answers::Answers;
use super::core::{Core, Stream};
use super::epoch::EPOCHS_PER_NODE_MAX;
use super::model::View;
use super::query::Query;
use super::{Of, Series, Topology};
use crate::clock::{Clock, Timestamp};

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing, or nothing any more.
    Nothing,
    /// What it said last.
    Numbers,
    /// That there was one.
    Grave,
}

/// See the module.
pub struct Books {
    topology: Topology,
    edges_max: usize,
    now_ms: Arc<AtomicU64>,
    streams: BTreeMap<u8, Stream>,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Books {
    /// With room for so many edges.
    pub fn new(edges_max: usize, now_ms: u64) -> Self {
        let now_ms = Arc::new(AtomicU64::new(now_ms));
        let topology = topology(edges_max, &now_ms);
        Self { topology, edges_max, now_ms, streams: BTreeMap::new(), disk: BTreeMap::new() }
    }

    /// What time it is.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// It becomes this late, or early.
    pub fn set_time(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// What time asks for is done.
    pub fn sweep(&self) {
        self.topology.sweep();
    }

    /// A message on a stream, which it opens if need be. `Err`: the stream has ended.
    pub fn take(&mut self, stream: u8, report: &EdgeReport) -> Result<(), String> {
        let taken = self.topology.take(self.streams.entry(stream).or_default(), report);
        if taken.is_err() {
            self.close(stream);
        }
        taken.map(|_| ())
    }

    /// A stream ends.
    pub fn close(&mut self, stream: u8) {
        if let Some(stream) = self.streams.remove(&stream) {
            self.topology.close(&stream);
        }
    }

    /// The process ends and another begins with what is on disk.
    pub fn restart(&mut self) {
        self.streams.clear();
        let checkpoint = self.topology.checkpoint();
        if checkpoint.whole {
            self.disk.clear();
        }
        self.disk.retain(|name, _| !checkpoint.gone.iter().any(|beginning| name.starts_with(beginning)));
        self.disk.extend(checkpoint.rows);
        self.topology = topology(self.edges_max, &self.now_ms);
        let rows: Vec<_> = self.disk.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        let unread = self.topology.lock().restore(&rows);
        assert_eq!(unread, 0, "what was written can be read");
    }

    /// What is known of a process.
    pub fn known(&self, node: &str, epoch: u64) -> Known {
        let core = self.topology.lock();
        match core.nodes.get(node) {
            Some(node) if node.epochs.contains_key(&epoch) => Known::Numbers,
            Some(node) if node.grave(epoch).is_some() => Known::Grave,
            Some(_) | None => Known::Nothing,
        }
    }

    /// Requests of all edges, added up by nobody but this.
    pub fn requests(&self) -> u128 {
        let core = self.topology.lock();
        let of = |outcomes: &[(_, u64)]| outcomes.iter().map(|(_, count)| u128::from(*count)).sum::<u128>();
        core.edges.iter().map(|(_, edge)| of(&edge.lock().total.outcomes)).sum()
    }

    /// How many edges are kept.
    pub fn edges(&self) -> usize {
        self.topology.lock().edges.iter().count()
    }

    /// Whether more processes are remembered than may be, or another number of what they said than is thought.
    pub fn is_overfull(&self) -> bool {
        let core = self.topology.lock();
        let epochs = core.nodes.values().flat_map(|node| node.epochs.values());
        let open = epochs.filter(|epoch| epoch.streams > 0).count();
        let crowded = core.nodes.values().any(|node| node.epochs.len() > EPOCHS_PER_NODE_MAX + open);
        let distinct: HashSet<_> = core.edges.iter().map(|(key, _)| key).collect();
        crowded
            || core.count_heard() != core.heard
            || core.streams != self.streams.len()
            || distinct.len() != core.edges.iter().count()
    }

    /// The graph.
    pub fn view(&self, query: &Query) -> View {
        self.topology.snapshot(query)
    }

    /// How an edge or a node fared.
    pub fn series(&self, query: &Query, of: &Of) -> Option<Series> {
        self.topology.series(query, of)
    }
}

fn topology(edges_max: usize, now_ms: &Arc<AtomicU64>) -> Topology {
    let read = Arc::clone(now_ms);
    let clock = Clock::of(move || Timestamp::from_unix_ms(read.load(Ordering::Relaxed)));
    let core = Mutex::new(Core::bounded(clock.now().unix_ms(), edges_max));
    let (turn, saving) = Default::default();
    Topology { clock, core, turn, saving, answers: Answers::default() }
}
