//! Ejects endpoints that keep failing.
//!
//! # Why several signals
//! A run of failures reacts at once to a dead endpoint but never fires at one that fails every second request. Success
//! rates compared among endpoints, and shares of failures, see that one, yet need a full interval. Any may eject.
//!
//! # Three places
//! [`ClusterOutlier::record`] counts an outcome on the request path, without a lock, and says when a limit is reached.
//! [`ClusterOutlier::eject`] decides, in one place for each cluster, whether the cluster can do without the endpoint.
//! [`ClusterOutlier::tick`] reviews all endpoints once an interval: ends ejections, judges rates, forgives.
//!
//! # Never the last
//! As in Envoy an ejection needs `(ejected + 1) / endpoints` to be within the greatest share, so small clusters with the
//! default of 10 % eject nobody ([`ClusterOutlier::can_never_eject`]) unless one may always be ejected. Beyond Envoy, the
//! last endpoint that could serve stays whatever it does: an endpoint that fails now and then is better than none.
//!
//! # Half open
//! Envoy gives an endpoint its full share the moment its ejection ends. Here one request goes first: until that *probe* has
//! an outcome, no other request follows; when it fails, the endpoint is ejected again at once, for longer. So a dead
//! endpoint costs one request for each return and not one run of failures.
//!
//! # What this module does not do
//! It does not send anything: the probe is a request that came anyway.

mod endpoint;

use std::time::Duration;

use tidegate_xds::resource::cluster::OutlierDetection;

pub use endpoint::{Ejection, EndpointOutlier};

/// How a request to an endpoint ended. Interim answers (1xx) and requests whose caller went away have no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status; for gRPC see [`status_of_grpc`].
    Status(u16),
    /// No connection, or one that broke before the answer.
    ConnectFailed,
    /// Neither a connection nor an answer in time.
    TimedOut,
    /// A connection on which something else than HTTP ended well.
    Connected,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Failures in a row.
    Consecutive5xx,
    /// 502, 503, 504 in a row.
    ConsecutiveGatewayFailure,
    /// Failures in a row that the proxy met itself.
    ConsecutiveLocalOriginFailure,
    /// Far less successful than its peers.
    SuccessRate,
    /// The same of connections.
    SuccessRateLocalOrigin,
    /// Too great a share of failures.
    FailurePercentage,
    /// The same of connections.
    FailurePercentageLocalOrigin,
    /// Its first request after an ejection failed.
    ProbeFailed,
}

impl Reason {
    /// As in Envoy's event log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "CONSECUTIVE_5XX",
            Self::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            Self::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            Self::SuccessRate => "SUCCESS_RATE",
            Self::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
            Self::FailurePercentage => "FAILURE_PERCENTAGE",
            Self::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
            Self::ProbeFailed => "PROBE_FAILED",
        }
    }
}

/// An endpoint as an ejection sees it.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// What is remembered of it.
    pub outlier: &'a EndpointOutlier,
    /// It could serve if it were not ejected: neither draining, nor unhealthy, nor failing its checks.
    pub serves: bool,
}

/// Whether an endpoint was ejected, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is out.
    Ejected(Ejection),
    /// It was out already, or is not one of the hosts.
    Unchanged,
    /// The greatest share of ejected endpoints is reached.
    TooMany,
    /// It is the last that could serve.
    Last,
}

/// What a review did to one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its ejection ended; its next request is a probe.
    Returned(usize),
    /// A rate was too bad; the verdict says what came of it.
    Judged(usize, Reason, Verdict),
}

/// Outlier detection of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterOutlier {
    config: OutlierDetection,
}

/// Which outcomes a rate is made of.
#[derive(Clone, Copy)]
enum Origin {
    External,
    Local,
}

impl ClusterOutlier {
    /// A cluster's.
    pub fn new(config: OutlierDetection) -> Self {
        Self { config }
    }

    /// How often [`Self::tick`] wants to be called.
    pub fn interval(&self) -> Duration {
        self.config.interval
    }

    /// Counts an outcome. `Some`: a limit is reached, and [`Self::eject`] should be asked.
    ///
    /// `probe` is what [`EndpointOutlier::enter`] said when the request went out.
    pub fn record(&self, endpoint: &EndpointOutlier, outcome: Outcome, probe: bool) -> Option<Reason> {
        let reached = match outcome {
            Outcome::Connected => {
                self.local_success(endpoint);
                self.answered(endpoint, 200, false)
            }
            Outcome::Status(status) => {
                self.local_success(endpoint);
                self.answered(endpoint, status, self.is_failed_status(status))
            }
            Outcome::ConnectFailed | Outcome::TimedOut if self.config.split_local_origin => {
                endpoint.local.count(false);
                let reached = endpoint.local_failures.reaches(self.config.consecutive_local_origin_failure);
                reached.then_some(Reason::ConsecutiveLocalOriginFailure)
            }
            Outcome::ConnectFailed => self.answered(endpoint, 503, true),
            Outcome::TimedOut => self.answered(endpoint, 504, true),
        };
        if !probe {
            return reached;
        }
        if self.is_failure(outcome) {
            return Some(Reason::ProbeFailed);
        }
        endpoint.probe_passed();
        reached
    }

    fn local_success(&self, endpoint: &EndpointOutlier) {
        if self.config.split_local_origin {
            endpoint.local.count(true);
            endpoint.local_failures.clear();
        }
    }

    fn answered(&self, endpoint: &EndpointOutlier, status: u16, failed: bool) -> Option<Reason> {
        endpoint.external.count(!failed);
        if !failed {
            endpoint.failures.clear();
            endpoint.gateway_failures.clear();
            return None;
        }
        let mut gateway = false;
        if matches!(status, 502..=504) {
            gateway = endpoint.gateway_failures.reaches(self.config.consecutive_gateway_failure);
        } else {
            endpoint.gateway_failures.clear();
        }
        if endpoint.failures.reaches(self.config.consecutive_5xx) {
            return Some(Reason::Consecutive5xx);
        }
        gateway.then_some(Reason::ConsecutiveGatewayFailure)
    }

    fn is_failure(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Status(status) => self.is_failed_status(status),
            Outcome::ConnectFailed | Outcome::TimedOut => true,
            Outcome::Connected => false,
        }
    }

    fn is_failed_status(&self, status: u16) -> bool {
        match self.config.failure_codes.as_slice() {
            [] => (500..600).contains(&status),
            codes => codes.contains(&status),
        }
    }

    /// Ejects the endpoint at `index` for a reason, if the cluster can do without it. `now` is any clock that only runs
    /// forward, the same for all calls.
    pub fn eject(&self, hosts: &[Host<'_>], index: usize, reason: Reason, now: Duration, random: u64) -> Verdict {
        let Some(host) = hosts.get(index).filter(|host| !host.outlier.is_ejected()) else { return Verdict::Unchanged };
        // Whatever comes of it, the run that led here starts anew, so that it can lead here again.
        host.outlier.clear_runs();
        let verdict = self.allows(hosts, index);
        if verdict != Verdict::Unchanged {
            match (reason, verdict) {
                // On probation it would serve one request at a time, and nobody else is there.
                (Reason::ProbeFailed, Verdict::Last) => host.outlier.open(),
                (Reason::ProbeFailed, _) => host.outlier.abandon_probe(),
                _ => {}
            }
            return verdict;
        }
        let mut past = host.outlier.past();
        let ejection = Ejection { reason, since: now, lasts: self.lasts(&mut past, random) };
        past.ejection = Some(ejection);
        past.ejections += 1;
        past.probe_seen = false;
        host.outlier.shut();
        Verdict::Ejected(ejection)
    }

    /// Whether the cluster can do without one more endpoint: [`Verdict::Unchanged`] if it can.
    fn allows(&self, hosts: &[Host<'_>], index: usize) -> Verdict {
        let others = hosts.iter().enumerate().filter(|(i, _)| *i != index);
        if !others.map(|(_, host)| host).any(|host| host.serves && host.outlier.is_open()) {
            // One that is back on probation does not count yet.
            return Verdict::Last;
        }
        let ejected = hosts.iter().filter(|host| host.outlier.is_ejected()).count();
        let first = self.config.always_eject_one && ejected == 0;
        if first || self.is_within_share(ejected + 1, hosts.len()) { Verdict::Unchanged } else { Verdict::TooMany }
    }

    fn is_within_share(&self, ejected: usize, hosts: usize) -> bool {
        ejected as u64 * 100 <= hosts as u64 * u64::from(self.config.max_ejection_percent.min(100))
    }

    /// Whether no endpoint can ever be ejected from a cluster of so many: a configuration worth a warning.
    pub fn can_never_eject(&self, hosts: usize) -> bool {
        hosts < 2 || !(self.config.always_eject_one || self.is_within_share(1, hosts))
    }

    /// The length of the next ejection, which is one base time longer than the last.
    fn lasts(&self, past: &mut endpoint::Past, random: u64) -> Duration {
        let base = self.config.base_ejection_time;
        let longest = self.config.max_ejection_time.max(base);
        // One beyond the longest, so that it takes a healthy interval more to become shorter.
        if base.saturating_mul(past.multiplier) < longest.saturating_add(base) {
            past.multiplier += 1;
        }
        let jitter_ms_max = self.config.max_ejection_jitter.as_millis() as u64;
        let jitter = Duration::from_millis(random % jitter_ms_max.saturating_add(1));
        base.saturating_mul(past.multiplier).min(longest) + jitter
    }

    /// Whether reviews have nothing to do until the next ejection: nobody is out or on probation, every ejection is forgiven,
    /// and no rates are judged.
    pub fn rests(&self, hosts: &[Host<'_>]) -> bool {
        let is_calm = |host: &Host<'_>| {
            let past = host.outlier.past();
            host.outlier.is_open() && past.ejection.is_none() && past.multiplier == 0
        };
        self.config.success_rate.is_none() && self.config.failure_percentage.is_none() && hosts.iter().all(is_calm)
    }

    /// Before the first review after a rest: what was counted meanwhile belongs to no interval.
    pub fn begin_interval(&self, hosts: &[Host<'_>]) {
        for host in hosts {
            host.outlier.external.take();
            host.outlier.local.take();
        }
    }

    /// Reviews all endpoints; to be called once an [interval](Self::interval).
    pub fn tick(&self, hosts: &[Host<'_>], now: Duration, random: &mut impl FnMut() -> u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (i, host) in hosts.iter().enumerate() {
            if self.is_due(host.outlier, now) {
                self.give_back(host.outlier, now);
                changes.push(Change::Returned(i));
            } else {
                revive_probe(host.outlier);
            }
        }
        self.judge(hosts, Origin::External, now, random, &mut changes);
        if self.config.split_local_origin {
            self.judge(hosts, Origin::Local, now, random, &mut changes);
        }
        for host in hosts {
            self.forgive(host.outlier, now);
        }
        changes
    }

    fn is_due(&self, outlier: &EndpointOutlier, now: Duration) -> bool {
        outlier.ejection().is_some_and(|ejection| now.saturating_sub(ejection.since) >= ejection.lasts)
    }

    fn give_back(&self, outlier: &EndpointOutlier, now: Duration) {
        outlier.clear_runs();
        let mut past = outlier.past();
        past.ejection = None;
        past.returned_at = Some(now);
        outlier.half_open();
    }

    /// A passed active health check ends an ejection, without a probe: the check was one. Whether it did.
    pub fn passed_check(&self, outlier: &EndpointOutlier, now: Duration) -> bool {
        if !self.config.uneject_on_healthy || outlier.ejection().is_none() {
            return false;
        }
        self.give_back(outlier, now);
        outlier.open();
        true
    }

    /// After an interval in which it was not out, the next ejection is one base time shorter.
    fn forgive(&self, outlier: &EndpointOutlier, now: Duration) {
        let mut past = outlier.past();
        let calm = past.returned_at.is_some_and(|returned| now.saturating_sub(returned) >= self.config.interval);
        if past.ejection.is_none() && calm {
            past.multiplier = past.multiplier.saturating_sub(1);
        }
    }

    fn judge(
        &self,
        hosts: &[Host<'_>],
        origin: Origin,
        now: Duration,
        random: &mut impl FnMut() -> u64,
        changes: &mut Vec<Change>,
    ) {
        let rates: Vec<Rate> = hosts.iter().enumerate().filter_map(|(i, host)| rate(i, host.outlier, origin)).collect();
        let (by_rate, by_share) = match origin {
            Origin::External => (Reason::SuccessRate, Reason::FailurePercentage),
            Origin::Local => (Reason::SuccessRateLocalOrigin, Reason::FailurePercentageLocalOrigin),
        };
        let slow = self.below_peers(&rates).into_iter().map(|i| (i, by_rate));
        let failing = self.failing(&rates).into_iter().map(|i| (i, by_share));
        for (index, reason) in slow.chain(failing) {
            if !hosts[index].outlier.is_ejected() {
                changes.push(Change::Judged(index, reason, self.eject(hosts, index, reason, now, random())));
            }
        }
    }

    /// Endpoints whose success rate is below mean - factor x standard deviation.
    fn below_peers(&self, rates: &[Rate]) -> Vec<usize> {
        let Some(config) = &self.config.success_rate else { return Vec::new() };
        let counted: Vec<&Rate> = rates.iter().filter(|rate| rate.volume >= u64::from(config.request_volume)).collect();
        if counted.is_empty() || counted.len() < config.min_hosts as usize {
            return Vec::new();
        }
        let n = counted.len() as f64;
        let mean = counted.iter().map(|rate| rate.success_percent).sum::<f64>() / n;
        let variance = counted.iter().map(|rate| (rate.success_percent - mean).powi(2)).sum::<f64>() / n;
        let threshold = mean - f64::from(config.stdev_factor_thousandths) / 1_000.0 * variance.sqrt();
        counted.iter().filter(|rate| rate.success_percent < threshold).map(|rate| rate.index).collect()
    }

    /// Endpoints with too great a share of failures.
    fn failing(&self, rates: &[Rate]) -> Vec<usize> {
        let Some(config) = &self.config.failure_percentage else { return Vec::new() };
        let counted: Vec<&Rate> = rates.iter().filter(|rate| rate.volume >= u64::from(config.request_volume)).collect();
        if counted.len() < config.min_hosts as usize {
            return Vec::new();
        }
        let fails = |rate: &&&Rate| 100.0 - rate.success_percent >= f64::from(config.threshold);
        counted.iter().filter(fails).map(|rate| rate.index).collect()
    }
}

/// How an endpoint did in the interval that has ended.
struct Rate {
    index: usize,
    success_percent: f64,
    volume: u64,
}

/// Takes what was counted, also of those that are out: it must not count later. `None` for them and for the unused.
fn rate(index: usize, outlier: &EndpointOutlier, origin: Origin) -> Option<Rate> {
    let window = match origin {
        Origin::External => &outlier.external,
        Origin::Local => &outlier.local,
    };
    let (volume, successes) = window.take();
    if volume == 0 || outlier.is_ejected() {
        return None;
    }
    Some(Rate { index, success_percent: successes as f64 * 100.0 / volume as f64, volume })
}

/// A probe that is under way for more than a whole interval was lost: the next request is one.
fn revive_probe(outlier: &EndpointOutlier) {
    let mut past = outlier.past();
    let probing = outlier.is_probing();
    if probing && past.probe_seen {
        outlier.abandon_probe();
    }
    past.probe_seen = probing && !past.probe_seen;
}

/// The HTTP status that stands for a gRPC status, as in Envoy: which failures are the server's.
pub const fn status_of_grpc(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests;
