//! All edges of a proxy, within bounds: found by their keys under a lock, and let go of when they are over.
//!
//! # Why whoever counts takes no lock
//! It holds the edge itself, once found, and adds to its own row. So letting go must see that nobody does, and that everything
//! counted has been heard; that this holds in whatever order threads run is shown by a model of loom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use tidegate_xds::report_service::{EdgeKey, Reporter, Service, Workload};
use tokio::time::Instant;

use super::cells::Row;
use crate::clock;
use crate::telemetry::{Sharded, settled};

/// Edges of one proxy. A sidecar has some twenty, a gateway in front of a large mesh some thousand; each is one to some
/// kilobytes, and a few hundred lines on the Prometheus page.
pub(crate) const EDGES_MAX: usize = 4_096;
/// Edges of callers that arrived. Who they are is their own word, and whoever reaches the listener may say it: without a bound of
/// its own a stranger fills the table, and each edge is some tens of kilobytes on the Prometheus page.
pub(crate) const CALLERS_MAX: usize = 256;
/// What cannot be told apart any more.
pub(crate) const OTHER: &str = "__other__";

/// An edge and its counts.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Never used for another edge of this process.
    pub(crate) id: u32,
    pub(crate) key: EdgeKey,
    pub(crate) rows: Sharded<Row>,
}

impl Edge {
    /// Grows with everything that is counted.
    pub(crate) fn activity(&self) -> u64 {
        let of_row = |row: &Row| {
            let ended = row.outcomes().map(|(_, outcome)| outcome.duration.number()).fold(0, u64::wrapping_add);
            [&row.sent, &row.received, &row.opened, &row.closed].iter().fold(ended, |sum, cell| sum + cell.value())
        };
        let activity = self.rows.rows().map(of_row).fold(0, u64::wrapping_add);
        // What is read of the edge from here on has all that this number promises.
        settled();
        activity
    }
}

/// All edges of the process.
#[derive(Debug)]
pub(crate) struct Edges {
    workers: usize,
    table: Mutex<Table>,
    folded: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<EdgeKey, Known>,
    /// Of these, edges of callers.
    callers: usize,
    last_id: u32,
}

#[derive(Debug)]
struct Known {
    edge: Arc<Edge>,
    /// What it had counted when it was last looked at, and since when that is so.
    activity: u64,
    still_since: Instant,
}

impl Edges {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, table: Mutex::default(), folded: AtomicU64::new(0) }
    }

    /// The edge of a key, made at first sight. Takes a lock: for whoever keeps what it gets.
    pub(crate) fn edge(&self, key: EdgeKey) -> Arc<Edge> {
        let mut table = self.lock();
        let is_caller = |key: &EdgeKey| key.reporter() == Reporter::Destination;
        let has_room = table.known.len() < EDGES_MAX && !(is_caller(&key) && table.callers >= CALLERS_MAX);
        let key = match has_room || table.known.contains_key(&key) {
            true => key,
            false => {
                self.folded.fetch_add(1, Ordering::Relaxed);
                other(&key)
            }
        };
        if let Some(known) = table.known.get(&key) {
            return Arc::clone(&known.edge);
        }
        table.last_id += 1;
        table.callers += usize::from(is_caller(&key));
        let edge = Arc::new(Edge { id: table.last_id, key: key.clone(), rows: Sharded::new(self.workers) });
        let known = Known { edge: Arc::clone(&edge), activity: 0, still_since: clock::now() };
        table.known.insert(key, known);
        edge
    }

    /// Places that found no edge of their own.
    pub(crate) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    /// All of them, in the order in which they were met.
    pub(crate) fn all(&self) -> Vec<Arc<Edge>> {
        let mut all: Vec<_> = self.lock().known.values().map(|known| Arc::clone(&known.edge)).collect();
        all.sort_unstable_by_key(|edge| edge.id);
        all
    }

    /// Lets go of what is over: what nobody holds, and what has been still for as long as `keep` says of an edge with this activity.
    pub(crate) fn forget(&self, now: Instant, keep: impl Fn(&Edge, u64) -> Duration) {
        let mut table = self.lock();
        table.known.retain(|_, known| {
            // Before the numbers are read: whoever let go of it in between would have counted unseen. Under the lock nobody
            // takes hold of it anew.
            let is_held = Arc::get_mut(&mut known.edge).is_none();
            let activity = known.edge.activity();
            if std::mem::replace(&mut known.activity, activity) != activity || is_held {
                known.still_since = now;
            }
            now.duration_since(known.still_since) < keep(&known.edge, activity)
        });
        table.callers = table.known.keys().filter(|key| key.reporter() == Reporter::Destination).count();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whole between two statements, whoever panicked.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The edge that stands for all that have no place.
fn other(key: &EdgeKey) -> EdgeKey {
    let known_as = || Workload { app: OTHER.to_owned(), name: OTHER.to_owned(), ..Workload::default() };
    let service = Service { host: OTHER.to_owned(), name: OTHER.to_owned(), namespace: String::new() };
    let is_source = key.reporter() == Reporter::Source;
    EdgeKey {
        source: if is_source { key.source.clone() } else { Some(known_as()) },
        destination: if is_source { Some(known_as()) } else { key.destination.clone() },
        service: Some(service),
        ..key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::FORGOTTEN_AFTER;
    use super::super::cells::{Ended, Request};
    use super::*;

    fn key(source: &str, destination: &str) -> EdgeKey {
        let workload = |app: &str| Some(Workload { app: app.to_owned(), ..Workload::default() });
        EdgeKey {
            reporter: Reporter::Source.into(),
            source: workload(source),
            destination: workload(destination),
            ..EdgeKey::default()
        }
    }

    fn count(edge: &Edge) {
        let ended = Ended { code: 200, grpc_status: None, flags: 0 };
        edge.rows.of(0).count(&Request { ended, took: Duration::ZERO, received: 0, sent: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn more_edges_than_there_is_room_for_are_counted_on_one() {
        let edges = Edges::new(1);
        for number in 0..EDGES_MAX + 10 {
            count(&edges.edge(key("web", &number.to_string())));
        }

        let all = edges.all();
        assert_eq!((all.len(), edges.folded()), (EDGES_MAX + 1, 10));
        assert_eq!(all.iter().map(|edge| edge.activity()).sum::<u64>(), EDGES_MAX as u64 + 10);
        let last = all.last().unwrap();
        assert_eq!(last.key.destination.as_ref().unwrap().app, OTHER);
        assert_eq!((last.key.source.as_ref().unwrap().app.as_str(), last.activity()), ("web", 10));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_make_up_names_leave_room_for_everybody_else() {
        let edges = Edges::new(1);
        for number in 0..EDGES_MAX {
            let made_up = EdgeKey { reporter: Reporter::Destination.into(), ..key(&number.to_string(), "reviews") };
            count(&edges.edge(made_up));
        }
        let of_our_own = edges.edge(key("reviews", "ratings"));

        assert_eq!(edges.all().len(), CALLERS_MAX + 2);
        assert_eq!(of_our_own.key, key("reviews", "ratings"));
        let other = edges.all().into_iter().find(|edge| edge.key.source.as_ref().is_some_and(|s| s.app == OTHER));
        assert_eq!(other.unwrap().activity(), (EDGES_MAX - CALLERS_MAX) as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_goes_when_nobody_holds_it_and_nothing_has_happened_for_long() {
        let edges = Edges::new(1);
        let held = edges.edge(key("web", "reviews"));
        count(&edges.edge(key("web", "ratings")));
        edges.forget(clock::now(), |_, _| FORGOTTEN_AFTER);

        tokio::time::advance(FORGOTTEN_AFTER - Duration::from_secs(1)).await;
        edges.forget(clock::now(), |_, _| FORGOTTEN_AFTER);
        assert_eq!(edges.all().len(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        edges.forget(clock::now(), |_, _| FORGOTTEN_AFTER);

        let left: Vec<_> = edges.all().iter().map(|edge| edge.id).collect();
        assert_eq!(left, [held.id]);
        assert_eq!(edges.edge(key("web", "ratings")).id, 3);
    }
}
