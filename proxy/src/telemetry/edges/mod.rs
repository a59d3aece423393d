//! Who called whom, how often, how it ended and how long it took: counted exactly, for the control plane and for Prometheus.
//!
//! # What a request pays
//! Its edge is found once for each endpoint and once for each connection that arrives, and kept there as a handle
//! ([`place`]). A request adds to a dozen numbers of its worker's own row ([`cells`]): no lock, no look-up by name, no text.
//!
//! # Bounds
//! There are at most [`EDGES_MAX`] edges; what comes after them is counted on one edge to [`OTHER`], and how often is counted as well.
//! An edge that nobody holds any more and that has been still for [`FORGOTTEN_AFTER`] is let go.

pub(crate) mod cells;
pub(crate) mod place;
pub(crate) mod reporter;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use tidegate_xds::report_service::{EdgeKey, Reporter, Service, Workload};
use tokio::time::Instant;

use self::cells::{Ended, Request, Row};
use super::Sharded;
use crate::clock;
use crate::http::call::Call;
use crate::router::Decision;

/// Edges of one proxy. A sidecar has some twenty, a gateway in front of a large mesh some thousand; each is one to some
/// kilobytes, and a few hundred lines on the Prometheus page.
pub(crate) const EDGES_MAX: usize = 4_096;
/// Edges of callers that arrived. Who they are is their own word, and whoever reaches the listener may say it: without a bound of
/// its own a stranger fills the table, and each edge is some tens of kilobytes on the Prometheus page.
pub(crate) const CALLERS_MAX: usize = 256;
/// What cannot be told apart any more.
pub(crate) const OTHER: &str = "__other__";
/// How long an edge that nobody holds stays, so that scrapers see its last numbers.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

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
        self.rows.rows().map(of_row).fold(0, u64::wrapping_add)
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
            let activity = known.edge.activity();
            if std::mem::replace(&mut known.activity, activity) != activity || Arc::strong_count(&known.edge) > 1 {
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

/// Counts a request that is over.
pub(crate) fn record(call: &Call<'_>, decision: &Decision<'_>) {
    if !call.worker.shared.counts_edges {
        return;
    }
    let outcome = &call.outcome;
    let request = Request {
        ended: Ended { code: outcome.status(), grpc_status: outcome.grpc_status.get(), flags: outcome.flag_bits() },
        // To when the last of the answer came in: what the proxy did with it since is some microseconds, which the clock of this
        // moment does not cost.
        took: call.worker.wheel.stamp().since(call.started),
        received: outcome.received.get(),
        sent: outcome.sent.get(),
    };
    place::of(call, decision, |edge| edge.rows.of(call.worker.index).count(&request));
}

#[cfg(test)]
mod tests {
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
