//! The control thread's part: reviews, returns, active checks, and layouts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidegate_traffic::outlier::{Change, ClusterOutlier};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

use super::checks::{AT_ONCE_MAX, Checker, Report};
use super::{Checked, lay_out};
use crate::balance::outlier::{concluded, hosts, moment};
use crate::config::snapshot::ActiveCluster;

/// Findings that come together are laid out together: a table of 65537 entries is not built for each of a thousand checks.
const LAYOUT_PAUSE: Duration = Duration::from_millis(10);

/// How long a cluster may wait for its first round of checks before it is used as it is. Below the time that a route may
/// wait for its clusters.
pub(crate) const WARM_MAX: Duration = Duration::from_secs(10);

/// How finely a slow start grows: this many layouts in its window.
const SLOW_START_STEPS: u32 = 20;

/// Looks after the endpoints of all clusters.
#[derive(Debug)]
pub(crate) struct Keeper {
    clusters: BTreeMap<Arc<str>, Care>,
    places: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    random: StdRng,
}

/// One cluster.
#[derive(Debug)]
struct Care {
    cluster: Arc<ActiveCluster>,
    /// When outlier detection reviews it next; not while it rests.
    review_at: Option<Instant>,
    /// When its endpoints are laid out next.
    layout_at: Option<Instant>,
    /// By the endpoint's id.
    checkers: BTreeMap<u64, Checker>,
    /// When it is used even if its first checks have not ended.
    warm_at: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(seed: u64) -> (Self, mpsc::Receiver<Report>) {
        // Checks wait when the control thread does not keep up.
        let (reports, received) = mpsc::channel(AT_ONCE_MAX);
        let keeper = Self {
            clusters: BTreeMap::new(),
            places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            reports,
            random: StdRng::seed_from_u64(seed),
        };
        (keeper, received)
    }

    /// Looks after exactly these from now on.
    pub(crate) fn keep<'a>(&mut self, clusters: impl Iterator<Item = &'a Arc<ActiveCluster>>, now: Instant) {
        let mut before = std::mem::take(&mut self.clusters);
        for cluster in clusters {
            let name = Arc::clone(&cluster.config.name);
            let care = match before.remove(&name) {
                Some(care) if Arc::ptr_eq(&care.cluster, cluster) => care,
                known => self.take_on(cluster, known, now),
            };
            self.clusters.insert(name, care);
        }
    }

    fn take_on(&mut self, cluster: &Arc<ActiveCluster>, before: Option<Care>, now: Instant) -> Care {
        let review_at = cluster.outlier.as_ref().map(|outlier| {
            let first = now + outlier.interval();
            before.as_ref().and_then(|care| care.review_at).map_or(first, |known| known.min(first))
        });
        if let Some(outlier) = &cluster.outlier {
            if before.as_ref().is_none_or(|care| care.review_at.is_none()) {
                outlier.begin_interval(&hosts(cluster));
            }
            warn_if_toothless(cluster, outlier, before.as_ref());
        }
        let (mut checkers, warm_at, checks) = match before {
            Some(care) => (care.checkers, care.warm_at, Some(care.cluster)),
            None => (BTreeMap::new(), None, None),
        };
        // Checks that say something else begin anew; what they had found stays until they find something else.
        let tls = |cluster: &ActiveCluster| cluster.tls.as_ref().map(|tls| tls.id);
        if checks.is_none_or(|before| {
            before.config.health_checks != cluster.config.health_checks || tls(&before) != tls(cluster)
        }) {
            checkers.clear();
        }
        let mut kept = BTreeMap::new();
        if !cluster.config.health_checks.is_empty() {
            for endpoint in &cluster.states {
                let checker = checkers.remove(&endpoint.id).unwrap_or_else(|| {
                    Checker::start(cluster, endpoint, &self.places, &self.reports, self.random.next_u64())
                });
                kept.insert(endpoint.id, checker);
            }
        }
        let cold = !cluster.state.is_warm(&cluster.config);
        // Without endpoints there is nothing to wait for.
        let latest = if kept.is_empty() { now } else { now + WARM_MAX };
        let warm_at = cold.then(|| warm_at.map_or(latest, |known| known.min(latest)));
        let layout_at = cluster.live.load().is_warming().then(|| now + step(cluster));
        Care { cluster: Arc::clone(cluster), review_at, layout_at, checkers: kept, warm_at }
    }

    /// Takes in what a check found. `true`: a cluster has become warm.
    pub(crate) fn found(&mut self, report: &Report, now: Instant) -> bool {
        let Some(care) = self.clusters.get_mut(&report.cluster) else { return false };
        let Some(checker) = care.checkers.get_mut(&report.endpoint) else { return false };
        let Some(state) = checker.states.get_mut(report.check) else { return false };
        *state = Some(report.state);
        let learned = &checker.endpoint.learned;
        learned.set_reason(&report.reason);
        if let Some(found) = checker.verdict()
            && learned.found(found, now)
        {
            let address = checker.endpoint.address;
            info!(cluster = %report.cluster, endpoint = %address, reason = %report.reason, "health is now {found:?}");
            let passed = matches!(found, Checked::Healthy | Checked::Degraded);
            if passed && let Some(outlier) = &care.cluster.outlier {
                let _deciding = care.cluster.state.deciding();
                if outlier.passed_check(&learned.outlier, moment(&care.cluster)) {
                    info!(cluster = %report.cluster, endpoint = %address, "returned by an active check");
                }
            }
            care.lay_out_by(now + LAYOUT_PAUSE);
        }
        care.warm_at.is_some() && care.checkers.values().all(Checker::is_known) && care.become_warm(now)
    }

    /// Workers have ejected something.
    pub(crate) fn notice(&mut self, now: Instant) {
        for care in self.clusters.values_mut() {
            if care.cluster.state.ejections.take_changed() {
                care.lay_out_by(now);
                if let Some(outlier) = &care.cluster.outlier {
                    care.review_at.get_or_insert_with(|| now + outlier.interval());
                }
            }
        }
    }

    /// When [`Self::tick`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let of_care = |care: &Care| [care.review_at, care.layout_at, care.warm_at].into_iter().flatten().min();
        self.clusters.values().filter_map(of_care).min()
    }

    /// Does what is due. `true`: a cluster has become warm.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let mut warm = false;
        for care in self.clusters.values_mut() {
            if care.review_at.is_some_and(|at| at <= now) {
                care.review(now, &mut self.random);
            }
            if care.layout_at.is_some_and(|at| at <= now) {
                lay_out(&care.cluster, now);
                // A slow start goes on in steps.
                care.layout_at = care.cluster.live.load().is_warming().then(|| now + step(&care.cluster));
            }
            if care.warm_at.is_some_and(|at| at <= now) {
                let open = care.checkers.values().filter(|checker| !checker.is_known()).count();
                let name = &care.cluster.config.name;
                if open > 0 {
                    warn!(cluster = %name, endpoints = open, "used although first health checks have not ended");
                }
                warm |= care.become_warm(now);
            }
        }
        warm
    }
}

impl Care {
    fn lay_out_by(&mut self, at: Instant) {
        self.layout_at = Some(self.layout_at.map_or(at, |known| known.min(at)));
    }

    fn become_warm(&mut self, now: Instant) -> bool {
        self.warm_at = None;
        // The cluster appears with what its checks have found.
        lay_out(&self.cluster, now);
        self.cluster.state.checked_once.store(true, Ordering::Relaxed);
        true
    }

    fn review(&mut self, now: Instant, random: &mut StdRng) {
        let cluster = &self.cluster;
        let Some(outlier) = &cluster.outlier else {
            self.review_at = None;
            return;
        };
        let changes = {
            let _deciding = cluster.state.deciding();
            outlier.tick(&hosts(cluster), moment(cluster), &mut || random.next_u64())
        };
        for change in &changes {
            match change {
                Change::Returned(index) => {
                    cluster.state.ejections.change();
                    if let Some(endpoint) = cluster.states.get(*index) {
                        let address = endpoint.address;
                        info!(cluster = %cluster.config.name, endpoint = %address, "returned after its ejection");
                    }
                }
                Change::Judged(index, reason, verdict) => concluded(cluster, *index, *reason, *verdict),
            }
        }
        let changed = cluster.state.ejections.take_changed();
        // An idle proxy does not wake up every second to see that nothing is out. Asked last: what a worker ejects after this
        // is still to be noticed.
        let rests = !changed && outlier.rests(&hosts(cluster));
        self.review_at = (!rests).then(|| now + outlier.interval());
        if changed {
            self.lay_out_by(now);
        }
    }
}

/// Between two layouts of a slow start.
fn step(cluster: &ActiveCluster) -> Duration {
    use tidegate_xds::resource::cluster::LoadBalancing;
    let window = match &cluster.config.load_balancing {
        LoadBalancing::RoundRobin { slow_start } | LoadBalancing::LeastRequest { slow_start, .. } => {
            slow_start.as_ref().map(|slow_start| slow_start.window)
        }
        LoadBalancing::Random | LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. } => None,
    };
    (window.unwrap_or_default() / SLOW_START_STEPS).max(LAYOUT_PAUSE)
}

/// Says once that a configuration can never eject anything.
fn warn_if_toothless(cluster: &ActiveCluster, outlier: &ClusterOutlier, before: Option<&Care>) {
    let count = cluster.states.len();
    let known = before.is_some_and(|care| care.cluster.states.len() == count && care.cluster.outlier.is_some());
    if !known && count > 1 && outlier.can_never_eject(count) {
        warn!(
            cluster = %cluster.config.name,
            endpoints = count,
            "outlier detection can never eject one of so few: raise max_ejection_percent or set always_eject_one_host"
        );
    }
}
