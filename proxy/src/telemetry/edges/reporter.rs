//! Tells the control plane what was counted. Runs on the control thread, never felt by a request.
//!
//! # Nothing is lost, nothing is said twice
//! Numbers are said as they stand, not what came since: a message that got lost is made good by the next, one that came twice
//! changes nothing. A new stream says everything again. What the process counted last is said before it ends.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::report_service::{self as message, EdgeReport};
use tidegate_xds::transport::report::{Edges as Stream, edges};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info};

use super::cells::Ended;
use super::{Edge, FORGOTTEN_AFTER};
use crate::clock;
use crate::worker::Shared;

/// How often is reported until the control plane says how often it wants to hear.
const INTERVAL: Duration = Duration::from_secs(1);
/// Whatever it says, not more often, and not less often, than this.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(60);
/// A stream on which nothing is to be said says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Between two attempts to reach the control plane.
const RETRY: Duration = Duration::from_secs(1);
/// The same for a process that is over.
const LAST_RETRY: Duration = Duration::from_millis(100);
/// Edges in one message, which then is some hundred kilobytes.
const EDGES_PER_MESSAGE_MAX: usize = 256;
/// How long a process that is over waits to say its last numbers.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long an edge is kept for a control plane that has not heard of it.
const UNHEARD_MAX: Duration = Duration::from_secs(3_600);

/// The task, and the way to end it.
#[derive(Debug)]
pub(crate) struct Handle {
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Starts to report to `server` as `node`.
    pub(crate) fn start(shared: Arc<Shared>, server: String, node: Arc<str>, epoch: u64) -> Self {
        let (ending, ends) = watch::channel(false);
        let reporter = Reporter {
            shared,
            server,
            node,
            epoch: epoch.max(1),
            heard: HashMap::new(),
            named: HashSet::new(),
            sequence: 0,
            interval: INTERVAL,
            ends,
        };
        Self { ending, task: tokio::spawn(reporter.run()) }
    }

    /// Says what was not said yet, as far as there is time for it.
    pub(crate) async fn finish(mut self) {
        self.ending.send_replace(true);
        if tokio::time::timeout(FAREWELL_MAX, &mut self.task).await.is_err() {
            info!("the control plane was not told of the last requests");
            self.task.abort();
        }
    }
}

struct Reporter {
    shared: Arc<Shared>,
    server: String,
    node: Arc<str>,
    epoch: u64,
    /// What each edge had counted when the control plane last heard of it.
    heard: HashMap<u32, u64>,
    /// Edges that were named on this stream.
    named: HashSet<u32>,
    sequence: u64,
    interval: Duration,
    ends: watch::Receiver<bool>,
}

impl Reporter {
    async fn run(mut self) {
        let mut was_up = true;
        loop {
            while self.unheard().is_empty() {
                // A process may have begun and ended its work between two looks.
                if self.pause(self.interval).await && self.unheard().is_empty() {
                    return;
                }
            }
            match self.converse().await {
                Ok(()) => return,
                Err(reason) if std::mem::take(&mut was_up) => {
                    info!(reason, "the control plane does not hear what is counted; it is told later");
                }
                Err(reason) => debug!(reason, "the control plane does not hear what is counted"),
            }
            was_up |= self.sequence > 1;
            if self.pause(RETRY).await {
                // At the end it is tried for as long as the end waits.
                tokio::time::sleep(LAST_RETRY).await;
            }
        }
    }

    /// One stream. `Ok`: everything has been said.
    async fn converse(&mut self) -> Result<(), String> {
        self.heard.clear();
        self.named.clear();
        self.sequence = 0;
        let first = self.report(Vec::new(), false);
        let (mut stream, ack) = edges(&self.server, first).await?;
        self.obey(&ack);
        let mut spoke = clock::now();
        loop {
            let ending = *self.ends.borrow();
            let unheard = self.unheard();
            if !unheard.is_empty() || ending || clock::now() - spoke >= HEARTBEAT {
                self.say(&mut stream, &unheard, ending).await?;
                spoke = clock::now();
            }
            if ending {
                return Ok(());
            }
            self.pause(self.interval).await;
        }
    }

    async fn say(&mut self, stream: &mut Stream, unheard: &[(Arc<Edge>, u64)], ending: bool) -> Result<(), String> {
        let parts = unheard.len().div_ceil(EDGES_PER_MESSAGE_MAX).max(1);
        for part in 0..parts {
            let from = part * EDGES_PER_MESSAGE_MAX;
            let edges = &unheard[from..unheard.len().min(from + EDGES_PER_MESSAGE_MAX)];
            let said = edges.iter().map(|(edge, _)| describe(edge, self.named.insert(edge.id))).collect();
            let report = self.report(said, ending && part + 1 == parts);
            let ack = stream.report(report).await?;
            self.obey(&ack);
            self.heard.extend(edges.iter().map(|(edge, activity)| (edge.id, *activity)));
        }
        Ok(())
    }

    fn report(&mut self, edges: Vec<message::Edge>, last: bool) -> EdgeReport {
        self.sequence += 1;
        let folded = self.shared.registry.edges.folded();
        EdgeReport { node: self.node.to_string(), epoch: self.epoch, sequence: self.sequence, edges, last, folded }
    }

    fn obey(&mut self, ack: &message::ReportAck) {
        if ack.interval_ms > 0 {
            self.interval = Duration::from_millis(ack.interval_ms.into()).clamp(*INTERVALS.start(), *INTERVALS.end());
        }
    }

    /// Edges that have counted more than was heard, with how much.
    fn unheard(&mut self) -> Vec<(Arc<Edge>, u64)> {
        let all = self.shared.registry.edges.all();
        let with_activity = all.into_iter().map(|edge| {
            // Before the numbers are read: what comes between is said once more.
            let activity = edge.activity();
            (edge, activity)
        });
        with_activity.filter(|(edge, activity)| self.heard.get(&edge.id).copied().unwrap_or(0) != *activity).collect()
    }

    /// Waits. `true`: the process is over.
    async fn pause(&mut self, length: Duration) -> bool {
        self.forget(clock::now());
        let ended = tokio::time::timeout(length, self.ends.wait_for(|ends| *ends)).await;
        ended.is_ok()
    }

    /// Lets go of edges that are over, and of what was remembered of them.
    fn forget(&mut self, now: Instant) {
        let heard = &self.heard;
        self.shared.registry.edges.forget(now, |edge, activity| match heard.get(&edge.id) == Some(&activity) {
            true => FORGOTTEN_AFTER,
            false => UNHEARD_MAX,
        });
    }
}

/// An edge as it stands. `with_key`: the stream has not named it yet.
fn describe(edge: &Edge, with_key: bool) -> message::Edge {
    let mut counts: HashMap<Ended, u64> = HashMap::new();
    let mut sketch = tidegate_report::Sketch::default();
    for row in edge.rows.rows() {
        row.sketch().for_each(|(bucket, count)| sketch.add(bucket, count));
        row.outcomes().for_each(|(ended, cells)| *counts.entry(ended).or_default() += cells.duration.number());
    }
    let outcome = |(ended, count): (Ended, u64)| message::Outcome {
        code: ended.code.into(),
        flags: ended.flag_codes(),
        grpc_status: ended.grpc_status.map(Into::into),
        count,
    };
    let mut last = 0;
    let distance = |bucket: usize| u32::try_from(bucket - std::mem::replace(&mut last, bucket)).unwrap_or(u32::MAX);
    message::Edge {
        id: edge.id,
        key: with_key.then(|| edge.key.clone()),
        outcomes: counts.into_iter().map(outcome).collect(),
        buckets: sketch.buckets().map(|(bucket, _)| bucket).map(distance).collect(),
        counts: sketch.buckets().map(|(_, count)| count).collect(),
        bytes_sent: edge.rows.sum(|row| &row.sent),
        bytes_received: edge.rows.sum(|row| &row.received),
        connections_opened: edge.rows.sum(|row| &row.opened),
        connections_closed: edge.rows.sum(|row| &row.closed),
    }
}
