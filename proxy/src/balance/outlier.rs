//! Tells outlier detection how attempts end, and ejects.
//!
//! # Where things happen
//! An outcome is counted on the worker that saw it, without a lock. A limit that is reached is rare: then the worker asks
//! under the cluster's lock whether the cluster can do without the endpoint, and if so bars it for all workers at once.
//! Layouts, returns and rates are the control thread's ([`crate::health`]).
//!
//! # What is no outcome
//! A kept connection that its peer had closed says nothing about the endpoint, and neither does a caller that left, a stream
//! that was refused unprocessed, or a request that waited for a place of the circuit breaker until its time was over.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_traffic::circuit_breaker::Tripped;
use tidegate_traffic::outlier::{ClusterOutlier, Host, Outcome, Reason, Verdict};
use tidegate_xds::resource::endpoint::Health;
use tracing::{info, warn};

use super::circuit_breaker::InFlight;
use crate::clock;
use crate::config::registry::EndpointState;
use crate::config::snapshot::ActiveCluster;
use crate::health::{Checked, Learned};
use crate::http::exchange::{Late, Trouble};
use crate::upstream::Fault;
use crate::worker::Worker;

/// What outlier detection did to a cluster; for reports.
#[derive(Debug, Default)]
pub(crate) struct Ejections {
    by_reason: [AtomicU64; REASONS.len()],
    /// Limits reached without consequence: too many were out already, or it was the last.
    refused: AtomicU64,
    /// Something has changed that the cluster's layout does not know.
    changed: AtomicBool,
}

/// Every reason, in the order in which they are counted.
pub(crate) const REASONS: [Reason; 8] = [
    Reason::Consecutive5xx,
    Reason::ConsecutiveGatewayFailure,
    Reason::ConsecutiveLocalOriginFailure,
    Reason::SuccessRate,
    Reason::SuccessRateLocalOrigin,
    Reason::FailurePercentage,
    Reason::FailurePercentageLocalOrigin,
    Reason::ProbeFailed,
];

impl Ejections {
    pub(crate) fn of(&self, reason: Reason) -> u64 {
        let known = REASONS.iter().position(|known| *known == reason);
        known.map_or(0, |index| self.by_reason[index].load(Ordering::Relaxed))
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn count(&self, reason: Reason) {
        if let Some(index) = REASONS.iter().position(|known| *known == reason) {
            self.by_reason[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the cluster should be laid out anew; asked once.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// The layout has become old.
    pub(crate) fn change(&self) {
        self.changed.store(true, Ordering::Release);
    }
}

/// One attempt as outlier detection sees it: counted as in flight until dropped, and reported once. An attempt that is
/// dropped without a report has no outcome.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    endpoint: &'a Arc<EndpointState>,
    cluster: &'a ActiveCluster,
    worker: &'a Worker,
    index: usize,
    /// The first request after an ejection.
    probe: Cell<bool>,
    reported: Cell<bool>,
    _in_flight: InFlight<'a>,
}

impl Deref for Watched<'_> {
    type Target = Arc<EndpointState>;

    fn deref(&self) -> &Arc<EndpointState> {
        self.endpoint
    }
}

impl<'a> Watched<'a> {
    /// An attempt on an endpoint of a cluster. Refused when the endpoint has as many requests as it may.
    pub(crate) fn begin(
        cluster: &'a ActiveCluster,
        index: usize,
        endpoint: &'a Arc<EndpointState>,
        worker: &'a Worker,
    ) -> Result<Self, Tripped> {
        let in_flight = InFlight::enter(endpoint, &cluster.config.circuit_breakers)?;
        let probe = Cell::new(cluster.outlier.is_some() && endpoint.learned.outlier.enter());
        Ok(Self { endpoint, cluster, worker, index, probe, reported: Cell::new(false), _in_flight: in_flight })
    }

    /// The head of an answer. `grpc`: the status that a gRPC answer without a body carries in its head.
    pub(crate) fn answered(&self, status: u16, grpc: Option<u32>) {
        self.report(Outcome::Status(grpc.map_or(status, tidegate_traffic::outlier::status_of_grpc)));
    }

    /// Something that is not HTTP goes over the connection from here on.
    pub(crate) fn connected(&self) {
        self.report(Outcome::Connected);
    }

    /// The attempt failed before the answer's head.
    pub(crate) fn failed(&self, trouble: &Trouble, reused: bool, sent: bool) {
        let outcome = match trouble {
            Trouble::Upstream(fault) => of_fault(fault, reused),
            // Whoever waits for a place says nothing about the endpoint.
            Trouble::Late(Late::CallerSending | Late::CallerReading) => None,
            Trouble::Late(_) if !sent && self.endpoint.breaker.pending() > 0 => None,
            Trouble::Late(_) => Some(Outcome::TimedOut),
            Trouble::Answered(status) => Some(Outcome::Status(*status)),
            Trouble::Caller(_) | Trouble::CallerGone | Trouble::Unwritable | Trouble::Injected(_) => None,
        };
        if let Some(outcome) = outcome {
            self.report(outcome);
        }
    }

    fn report(&self, outcome: Outcome) {
        if self.reported.replace(true) {
            return;
        }
        let Some(detector) = &self.cluster.outlier else { return };
        let probe = self.probe.replace(false);
        if let Some(reason) = detector.record(&self.endpoint.learned.outlier, outcome, probe) {
            eject(self.cluster, detector, self.index, reason, self.worker);
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if self.probe.get() {
            self.endpoint.learned.outlier.abandon_probe();
        }
    }
}

fn of_fault(fault: &Fault, reused: bool) -> Option<Outcome> {
    match fault {
        Fault::Connect(_) | Fault::Handshake(_) => Some(Outcome::ConnectFailed),
        Fault::ConnectTimeout => Some(Outcome::TimedOut),
        Fault::Closed { seen: false } if reused => None,
        Fault::Closed { .. } | Fault::Reset(_) => Some(Outcome::ConnectFailed),
        Fault::Protocol(_) | Fault::Unexpected(_) => Some(Outcome::Status(502)),
        Fault::Unprocessed | Fault::Overflow(_) => None,
    }
}

/// Moments as outlier detection counts them.
pub(crate) fn moment(cluster: &ActiveCluster) -> Duration {
    clock::now().saturating_duration_since(cluster.state.born)
}

/// The endpoints of a cluster as an ejection sees them.
pub(crate) fn hosts(cluster: &ActiveCluster) -> Vec<Host<'_>> {
    let checked = !cluster.config.health_checks.is_empty();
    let described = cluster.endpoints.endpoints().iter().zip(&cluster.states);
    let serves = |health: Health, learned: &Learned| {
        let passes = !checked || matches!(learned.checked(), Checked::Healthy | Checked::Degraded);
        passes && matches!(health, Health::Healthy | Health::Degraded)
    };
    described
        .map(|(endpoint, state)| Host {
            outlier: &state.learned.outlier,
            serves: serves(endpoint.health, &state.learned),
        })
        .collect()
}

/// Takes an endpoint out, if the cluster can do without it.
fn eject(cluster: &ActiveCluster, detector: &ClusterOutlier, index: usize, reason: Reason, worker: &Worker) {
    let verdict = {
        let _deciding = cluster.state.deciding();
        detector.eject(&hosts(cluster), index, reason, moment(cluster), worker.random())
    };
    concluded(cluster, index, reason, verdict);
    if matches!(verdict, Verdict::Ejected(_)) {
        worker.shared.registry.learned.notify_one();
    }
}

/// Makes the verdict about an endpoint felt and seen.
pub(crate) fn concluded(cluster: &ActiveCluster, index: usize, reason: Reason, verdict: Verdict) {
    let Some(state) = cluster.states.get(index) else { return };
    let ejections = &cluster.state.ejections;
    let (name, address, why) = (&cluster.config.name, state.address, reason.as_str());
    match verdict {
        Verdict::Ejected(ejection) => {
            state.learned.bar();
            ejections.count(reason);
            ejections.change();
            warn!(cluster = %name, endpoint = %address, reason = why, seconds = ejection.lasts.as_secs_f64(), "ejected");
        }
        Verdict::TooMany => {
            ejections.refused.fetch_add(1, Ordering::Relaxed);
            info!(cluster = %name, endpoint = %address, reason = why, "not ejected: as many are out as may be");
        }
        Verdict::Last => {
            ejections.refused.fetch_add(1, Ordering::Relaxed);
            info!(cluster = %name, endpoint = %address, reason = why, "not ejected: it is the last that can serve");
        }
        Verdict::Unchanged => {}
    }
}
