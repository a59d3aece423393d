//! What the proxy learns about the health of endpoints, and what follows from it.
//!
//! # Three voices
//! The control plane says what it knows (in the assignment), active checks ask ([`checks`], `probe`), and the outcome of
//! every request is watched ([`crate::balance::outlier`]). What was learned is kept with the endpoint ([`Learned`]) and so
//! survives a change of configuration.
//!
//! # Who does what
//! Workers only count outcomes and bar an endpoint in the moment in which it is ejected. Everything else happens on the
//! control thread: it lays out the endpoints of a cluster anew, hash tables included, and swaps them in. A request
//! therefore never waits for that, and never sees half of it.

pub(crate) mod checks;
pub(crate) mod keeper;
mod probe;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_traffic::EndpointHealth;
use tidegate_traffic::outlier::EndpointOutlier;
use tidegate_xds::resource::cluster::Cluster;
use tokio::time::Instant;

use crate::config::snapshot::ActiveCluster;

/// What has been learned about an endpoint.
#[derive(Debug)]
pub(crate) struct Learned {
    born: Instant,
    /// Milliseconds after `born` since when it has been usable; slow start counts from here.
    usable_ms: AtomicU64,
    pub(crate) outlier: EndpointOutlier,
    /// Ejected so lately that the layout of its cluster does not know it yet. Until then the balancer asks here.
    barred: AtomicBool,
    check: AtomicU8,
    /// What the checks said last when that was worth a message; for reports.
    reason: Mutex<Arc<str>>,
}

/// What active checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Checked {
    /// The first one has not ended.
    Not,
    Healthy,
    Degraded,
    Unhealthy,
}

impl Checked {
    fn of(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Degraded,
            3 => Self::Unhealthy,
            _ => Self::Not,
        }
    }
}

impl Learned {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            born: now,
            usable_ms: AtomicU64::new(0),
            outlier: EndpointOutlier::default(),
            barred: AtomicBool::new(false),
            check: AtomicU8::new(Checked::Not as u8),
            reason: Mutex::new("".into()),
        }
    }

    /// For laying out the endpoints of a cluster. What was learned by a means that the cluster no longer has is passed over.
    pub(crate) fn health(&self, config: &Cluster, now: Instant) -> EndpointHealth {
        let checked = !config.health_checks.is_empty();
        let found = self.checked();
        let usable_since = self.born + Duration::from_millis(self.usable_ms.load(Ordering::Relaxed));
        EndpointHealth {
            ejected: config.outlier_detection.is_some() && self.outlier.is_ejected(),
            failed_check: checked && matches!(found, Checked::Not | Checked::Unhealthy),
            degraded: checked && found == Checked::Degraded,
            age: Some(now.saturating_duration_since(usable_since)),
        }
    }

    /// Whether it may be chosen where the layout has it: not when it was ejected a moment ago, nor while its first request
    /// after an ejection is under way.
    pub(crate) fn may_serve(&self) -> bool {
        !self.barred.load(Ordering::Relaxed) && self.outlier.may_serve()
    }

    /// Out, for all workers and at once.
    pub(crate) fn bar(&self) {
        self.barred.store(true, Ordering::Relaxed);
    }

    pub(crate) fn reason(&self) -> Arc<str> {
        Arc::clone(&self.reason.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_reason(&self, reason: &Arc<str>) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(reason);
    }

    pub(crate) fn checked(&self) -> Checked {
        Checked::of(self.check.load(Ordering::Relaxed))
    }

    /// What a check found; whether that changes anything.
    pub(crate) fn found(&self, found: Checked, now: Instant) -> bool {
        let before = Checked::of(self.check.swap(found as u8, Ordering::Relaxed));
        let was_usable = matches!(before, Checked::Healthy | Checked::Degraded);
        if !was_usable && found != Checked::Unhealthy {
            let age = now.saturating_duration_since(self.born).as_millis();
            self.usable_ms.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        before != found
    }
}

/// Lays out a cluster's endpoints by what is known now, and makes that visible.
pub(crate) fn lay_out(cluster: &ActiveCluster, now: Instant) {
    // Before anything is asked: what changes from here on asks for another layout.
    cluster.state.ejections.take_changed();
    let known: Vec<_> = cluster.states.iter().map(|state| state.learned.health(&cluster.config, now)).collect();
    let set = cluster.live.load().with_health(|index, _| known.get(index).copied().unwrap_or_default());
    cluster.live.store(Arc::new(set));
    // Now the layout knows; in a panic it may use an ejected endpoint on purpose. One that was ejected since is for the next.
    for (state, known) in cluster.states.iter().zip(&known) {
        if known.ejected || !state.learned.outlier.is_ejected() {
            state.learned.barred.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_xds::resource::cluster::{Discovery, HealthCheck, HealthCheckKind};

    use super::*;

    fn cluster(checked: bool) -> Cluster {
        let second = Duration::from_secs(1);
        let check = HealthCheck {
            timeout: second,
            interval: second,
            interval_jitter: Duration::ZERO,
            no_traffic_interval: second,
            unhealthy_interval: second,
            unhealthy_threshold: std::num::NonZeroU32::MIN,
            healthy_threshold: std::num::NonZeroU32::MIN,
            alt_port: None,
            kind: HealthCheckKind::Tcp { send: Arc::new([]), receive: Vec::new() },
        };
        let health_checks = if checked { vec![check] } else { Vec::new() };
        Cluster { health_checks, ..Cluster::new("c".into(), Discovery::Static(Vec::new())) }
    }

    #[tokio::test]
    async fn an_endpoint_of_a_checked_cluster_is_out_until_its_first_check_passes() {
        let now = crate::clock::now();
        let learned = Learned::new(now);

        assert!(learned.health(&cluster(true), now).failed_check);
        assert!(!learned.health(&cluster(false), now).failed_check);
        let later = now + Duration::from_secs(60);
        assert!(learned.found(Checked::Healthy, later));

        let health = learned.health(&cluster(true), later);
        assert!(!health.failed_check);
        assert_eq!(health.age, Some(Duration::ZERO), "slow start begins when it becomes usable");
        assert!(!learned.found(Checked::Healthy, later), "nothing new");
    }
}
