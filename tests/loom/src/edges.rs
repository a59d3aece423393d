//! What workers count of an edge while it is told, and while the table lets go of edges.

use tidegate_xds::report_service::{EdgeKey, Reporter};
use tokio::time::Instant;

use crate::real::collections::HashMap;
use crate::real::time::Duration;
use crate::sync::Arc;
use crate::{clock, explore};

#[rustfmt::skip]
#[path = "../../../proxy/src/telemetry/edges/cells.rs"]
pub(crate) mod cells;
#[rustfmt::skip]
#[path = "../../../proxy/src/telemetry/sharded.rs"]
pub(crate) mod sharded;
#[rustfmt::skip]
#[path = "../../../proxy/src/telemetry/edges/table.rs"]
pub(crate) mod table;

use cells::{Ended, Request};
use table::{Edge, Edges};

/// How long an edge is kept that is still, of which all has been told.
const KEPT: Duration = Duration::from_secs(600);
/// The same of one of which something has not.
const UNTOLD_KEPT: Duration = Duration::from_secs(3_600);
const BYTES: u64 = 7;

fn key() -> EdgeKey {
    EdgeKey { reporter: Reporter::Source.into(), ..EdgeKey::default() }
}

/// A worker finds an edge and counts one request on it.
fn count(edge: &Edge, worker: usize) {
    let ended = Ended { code: 200, grpc_status: None, flags: 0 };
    let request = Request { ended, took: Duration::from_millis(3), received: BYTES, sent: 0 };
    edge.rows.of(worker).count(&request);
}

/// What is told of an edge: requests, times of them, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told(u64, u64, u64);

fn tell(edge: &Edge) -> Told {
    let mut told = Told(0, 0, edge.rows.sum(|row| &row.sent));
    for row in edge.rows.rows() {
        told.0 += row.outcomes().map(|(_, cells)| cells.duration.number()).sum::<u64>();
        told.1 += row.sketch().map(|(_, count)| count).sum::<u64>();
    }
    told
}

/// What the reporter remembers of each edge.
#[derive(Default)]
struct Reporting {
    heard: HashMap<u32, u64>,
}

impl Reporting {
    /// Hears of all edges, as reports and the farewell do.
    fn round(&mut self, edges: &Edges) {
        for edge in edges.all() {
            self.hear(&edge);
        }
    }

    /// Whether there is something to tell of one.
    fn hear(&mut self, edge: &Edge) -> bool {
        let activity = edge.activity();
        self.heard.insert(edge.id, activity).unwrap_or(0) != activity
    }

    fn forget(&self, edges: &Edges, now: Instant) {
        edges.forget(now, |edge, activity| match self.heard.get(&edge.id) == Some(&activity) {
            true => KEPT,
            false => UNTOLD_KEPT,
        });
    }

    /// Everything that was heard of, on all edges.
    fn activity(&self) -> u64 {
        self.heard.values().sum()
    }
}

/// Two workers count on one edge while somebody adds up: no more than there was, and all in the end. (A thread that is spawned is not tried before one that has begun: so whoever reads is spawned.)
pub fn what_several_workers_count_adds_up() {
    explore(|| {
        let edge = Edges::new(2).edge(key());
        let (read, counted) = (Arc::clone(&edge), Arc::clone(&edge));
        let reader = loom::thread::spawn(move || read.activity());
        let worker = loom::thread::spawn(move || counted.rows.of(1).opened.increment());

        edge.rows.of(0).opened.increment();
        edge.rows.of(0).sent.add(BYTES);
        let seen = reader.join().expect("the thread ended");
        worker.join().expect("the thread ended");

        let all = 2 + BYTES;
        assert!(seen <= all, "{seen} seen");
        assert_eq!(edge.activity(), all);
    });
}

/// A report while a request is counted, and the farewell behind it: what was told last is everything.
pub fn what_is_told_last_is_all_that_was_counted() {
    explore(|| {
        let edges = Edges::new(1);
        let edge = edges.edge(key());
        let read = Arc::clone(&edge);
        let reader = loom::thread::spawn(move || {
            let mut reporting = Reporting::default();
            let told = if reporting.hear(&read) { tell(&read) } else { Told::default() };
            (reporting, told)
        });
        count(&edge, 0);
        let (mut reporting, mut told) = reader.join().expect("the thread ended");
        if reporting.hear(&edge) {
            told = tell(&edge);
        }

        assert_eq!(told, Told(1, 1, BYTES));
    });
}

/// A worker comes to an edge that has been still for long while the table lets go of it: whether it had this one or another
/// of the same key, the connection that it opens is heard of, once.
pub fn an_edge_that_is_let_go_of_has_been_told() {
    explore(|| {
        let edges = Arc::new(Edges::new(1));
        edges.edge(key());
        let now = clock::now() + KEPT;
        let theirs = Arc::clone(&edges);
        let worker = loom::thread::spawn(move || theirs.edge(key()).rows.of(0).opened.increment());
        let mut reporting = Reporting::default();

        reporting.round(&edges);
        reporting.forget(&edges, now);
        worker.join().expect("the thread ended");
        reporting.round(&edges);

        assert_eq!(reporting.activity(), 1);
    });
}
