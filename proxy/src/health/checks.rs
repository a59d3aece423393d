//! Active checks: one task for each check of each endpoint, on the control thread.
//!
//! # Why not on the workers
//! Checks of thousands of endpoints must not stand in the way of a request, and one opinion for the process is enough.
//!
//! # Endpoints that leave
//! Envoy keeps an endpoint that has left the configuration for as long as its checks pass. Here it leaves at once: the
//! control plane knows why it took it away, and a check that still passes is not a reason to contradict.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidegate_traffic::health_check::{CheckResult, Checked, first_in};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::probe;
use crate::config::registry::EndpointState;
use crate::config::snapshot::ActiveCluster;

/// Checks under way at once: each is a socket, and the control thread has other things to do.
pub(crate) const AT_ONCE_MAX: usize = 64;

/// What a check of an endpoint has come to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) cluster: Arc<str>,
    pub(super) endpoint: u64,
    /// Which check of the cluster.
    pub(super) check: usize,
    pub(super) state: Checked,
    /// What it said last.
    pub(super) reason: Arc<str>,
}

/// The checks of one endpoint. Ends them when it is dropped.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) endpoint: Arc<EndpointState>,
    /// By check; `None` until its first has ended.
    pub(super) states: Vec<Option<Checked>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Checker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Checker {
    pub(super) fn start(
        cluster: &Arc<ActiveCluster>,
        endpoint: &Arc<EndpointState>,
        places: &Arc<Semaphore>,
        reports: &mpsc::Sender<Report>,
        seed: u64,
    ) -> Self {
        let count = cluster.config.health_checks.len();
        let task = |check: usize| {
            let job = Job {
                cluster: Arc::clone(cluster),
                endpoint: Arc::clone(endpoint),
                check,
                places: Arc::clone(places),
                reports: reports.clone(),
                random: StdRng::seed_from_u64(seed ^ endpoint.id.rotate_left(32) ^ check as u64),
            };
            tokio::spawn(job.run()).abort_handle()
        };
        Self { endpoint: Arc::clone(endpoint), states: vec![None; count], tasks: (0..count).map(task).collect() }
    }

    /// Whether every check has ended once.
    pub(super) fn is_known(&self) -> bool {
        self.states.iter().all(Option::is_some)
    }

    /// What all checks together say; `None` until each has ended once. An endpoint must pass all.
    pub(super) fn verdict(&self) -> Option<super::Checked> {
        let known: Option<Vec<Checked>> = self.states.iter().copied().collect();
        let known = known?;
        Some(if !known.iter().all(Checked::is_healthy) {
            super::Checked::Unhealthy
        } else if known.iter().any(Checked::is_degraded) {
            super::Checked::Degraded
        } else {
            super::Checked::Healthy
        })
    }
}

struct Job {
    cluster: Arc<ActiveCluster>,
    endpoint: Arc<EndpointState>,
    check: usize,
    places: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    random: StdRng,
}

impl Job {
    async fn run(mut self) {
        let cluster = Arc::clone(&self.cluster);
        let Some(check) = cluster.config.health_checks.get(self.check) else { return };
        tokio::time::sleep(first_in(check, self.random.next_u64())).await;
        let mut state = Checked::default();
        loop {
            let asked = {
                // Closed only when the process ends.
                let Ok(_place) = self.places.acquire().await else { return };
                probe::ask(self.endpoint.address, check, &cluster.config.name, cluster.tls.as_deref()).await
            };
            let first = !state.is_known();
            let failing = !matches!(asked.result, CheckResult::Passed | CheckResult::Degraded);
            let changed = state.observe(check, asked.result);
            // What changes nothing is not worth a message, except for the reason of a first failure.
            if (first || changed || (failing && state.is_healthy())) && !self.report(state, asked.reason).await {
                return;
            }
            let traffic = has_traffic(&cluster);
            tokio::time::sleep(state.next_in(check, traffic, self.random.next_u64())).await;
        }
    }

    /// `false`: nobody listens any more.
    async fn report(&self, state: Checked, reason: Arc<str>) -> bool {
        let cluster = Arc::clone(&self.cluster.config.name);
        let report = Report { cluster, endpoint: self.endpoint.id, check: self.check, state, reason };
        self.reports.send(report).await.is_ok()
    }
}

/// Whether the cluster has ever had a request.
fn has_traffic(cluster: &ActiveCluster) -> bool {
    let cells = &cluster.state.cells;
    cells.rows().any(|row| row.connects.value() > 0 || row.connect_failures.value() > 0)
}
