//! Who calls whom, how often, how well and how fast: the graph of the mesh, made of what proxies report.
//!
//! # A report's way
//! [`intake`] takes it off the wire, [`core`] finds out what is new in it, [`edges`] add that up, [`checkpoint`] says what must be on
//! disk, [`mod@view`] shows it. Only `intake` waits for anything, and only this file knows the time; all below is arithmetic.

mod answers;
mod called;
mod checkpoint;
mod core;
mod counts;
mod edges;
mod epoch;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod graph;
pub mod intake;
mod key;
pub mod model;
mod outcome;
mod packed;
pub mod query;
mod ring;
mod series;
mod sum;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_xds::report_service::EdgeReport;
use tracing::warn;

use self::answers::Answers;
pub use self::answers::{Form, Json};
pub use self::called::Called;
pub use self::checkpoint::{Checkpoint, Row};
use self::core::{Core, Stream};
pub use self::edges::EDGES_MAX;
use self::key::Key;
use self::model::{Folded, Series, View};
use self::query::Query;
pub use self::series::Of;
use self::view::{Picture, view};
use crate::clock::Clock;

/// The graph of the mesh.
#[derive(Debug)]
pub struct Topology {
    clock: Clock,
    core: Mutex<Core>,
    /// One checkpoint is taken and written before the next: they build on each other.
    saving: tokio::sync::Mutex<()>,
    /// Whoever needs the books for long waits here for its turn, so that no more than one thread waits for the lock of `core`. (A hundred
    /// threads that wait for a checkpoint are a hundred stacks, and as many heaps as the allocator allows.)
    turn: tokio::sync::Mutex<()>,
    answers: Answers,
}

impl Topology {
    /// Without an edge.
    pub fn new(clock: Clock) -> Self {
        let core = Mutex::new(Core::new(clock.now().unix_ms()));
        Self {
            clock,
            core,
            saving: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            answers: Answers::default(),
        }
    }

    /// Takes up what an earlier process left.
    pub fn restore(&self, rows: &[Row]) {
        let unread = self.lock().restore(rows);
        if unread > 0 {
            warn!(rows = unread, "a part of the kept topology could not be read, its counts are lost");
        }
    }

    /// The graph as it is now. It takes some milliseconds for a thousand edges.
    pub fn snapshot(&self, query: &Query) -> View {
        view(self.picture(), query)
    }

    /// How an edge or a node fared; `None`: there is none of that id, or totals were asked for.
    pub fn series(&self, query: &Query, of: &Of) -> Option<Series> {
        series::series(self.picture(), query, of)
    }

    /// What has changed since it was last asked for, for the disk.
    pub fn checkpoint(&self) -> Checkpoint {
        self.lock().checkpoint()
    }

    /// The last checkpoint did not get to the disk: the next one holds everything.
    pub fn checkpoint_was_lost(&self) {
        self.lock().whole = true;
    }

    /// Lets go of what is too old.
    pub fn sweep(&self) {
        let now = self.clock.now().unix_ms();
        if self.lock().sweep(now) {
            warn!(
                "windows of the topology have reached their bound: what ends now keeps its latencies by octaves only"
            );
        }
    }

    fn take(&self, stream: &mut Stream, report: &EdgeReport) -> Result<usize, String> {
        let now = self.clock.now().unix_ms();
        let mut core = self.lock();
        core.take(stream, report, now)?;
        Ok(core.streams)
    }

    fn close(&self, stream: &Stream) {
        self.lock().close(stream);
    }

    fn picture(&self) -> Picture {
        self.picture_of(|_| true)
    }

    fn picture_of(&self, is_wanted: impl Fn(&Key) -> bool) -> Picture {
        let now_ms = self.clock.now().unix_ms();
        let core = self.lock();
        let edges = core.edges.iter().filter(|(key, _)| is_wanted(key));
        let edges = edges.map(|(key, edge)| (Arc::clone(key), Arc::clone(edge))).collect();
        let requests = core.edges.folded_requests.saturating_add(core.folded_by_proxies);
        let folded = Folded { edges: core.edges.folded_edges, requests, left_out: None };
        Picture { edges, now_ms, since_ms: core.since_ms, began_ms: core.began_ms, folded }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
