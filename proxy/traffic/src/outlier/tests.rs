//! Runs, rates, lengths of ejections, who may be ejected, and probation.

use std::num::NonZeroU32;

use proptest::prelude::*;
use tidegate_xds::resource::cluster::{FailurePercentage, SuccessRate};

use super::*;

const BASE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);
const FAILED: Outcome = Outcome::Status(500);
const PASSED: Outcome = Outcome::Status(200);

fn five_in_a_row() -> OutlierDetection {
    OutlierDetection { consecutive_5xx: NonZeroU32::new(5), max_ejection_percent: 100, ..OutlierDetection::default() }
}

/// Endpoints and the outlier detection of their cluster, at a time.
struct Cluster {
    detection: ClusterOutlier,
    endpoints: Vec<EndpointOutlier>,
    serves: Vec<bool>,
    now: Duration,
}

impl Cluster {
    fn new(config: OutlierDetection, n: usize) -> Self {
        let endpoints = (0..n).map(|_| EndpointOutlier::default()).collect();
        Self {
            detection: ClusterOutlier::new(config),
            endpoints,
            serves: vec![true; n],
            now: Duration::from_secs(1_000),
        }
    }

    fn hosts(&self) -> Vec<Host<'_>> {
        self.endpoints.iter().zip(&self.serves).map(|(outlier, serves)| Host { outlier, serves: *serves }).collect()
    }

    fn record(&self, i: usize, outcome: Outcome) -> Option<Reason> {
        let probe = self.endpoints[i].enter();
        self.detection.record(&self.endpoints[i], outcome, probe)
    }

    /// The reasons that so many equal outcomes give.
    fn reasons(&self, i: usize, outcome: Outcome, n: usize) -> Vec<Reason> {
        (0..n).filter_map(|_| self.record(i, outcome)).collect()
    }

    fn eject(&self, i: usize) -> Verdict {
        self.detection.eject(&self.hosts(), i, Reason::Consecutive5xx, self.now, 0)
    }

    fn lasts(&self, i: usize) -> Duration {
        self.endpoints[i].ejection().unwrap().lasts
    }

    fn tick_after(&mut self, time: Duration) -> Vec<Change> {
        self.now += time;
        self.detection.tick(&self.hosts(), self.now, &mut || 0)
    }

    fn out(&self) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|i| self.endpoints[*i].is_ejected()).collect()
    }
}

#[test]
fn a_run_of_failures_reaches_the_limit_once() {
    let cluster = Cluster::new(five_in_a_row(), 2);

    assert_eq!(cluster.reasons(0, FAILED, 4), []);
    assert_eq!(cluster.record(0, FAILED), Some(Reason::Consecutive5xx));
    // Nobody has answered yet; the same run does not ask again.
    assert_eq!(cluster.reasons(0, FAILED, 20), []);
}

#[test]
fn a_success_ends_a_run() {
    let cluster = Cluster::new(five_in_a_row(), 2);

    for _ in 0..10 {
        assert_eq!(cluster.reasons(0, FAILED, 4), []);
        assert_eq!(cluster.record(0, Outcome::Status(404)), None);
    }
}

#[test]
fn failures_to_connect_and_timeouts_count_as_503_and_504() {
    let config = OutlierDetection { consecutive_gateway_failure: NonZeroU32::new(3), ..five_in_a_row() };
    let cluster = Cluster::new(config, 2);
    let outcomes = [Outcome::ConnectFailed, Outcome::TimedOut, Outcome::Status(502)];

    assert_eq!(outcomes.map(|o| cluster.record(0, o)), [None, None, Some(Reason::ConsecutiveGatewayFailure)]);
    // A 500 is no failure of a gateway and ends that run, not the other.
    assert_eq!(cluster.record(0, FAILED), None);
    assert_eq!(cluster.record(0, Outcome::Status(502)), Some(Reason::Consecutive5xx));
}

#[test]
fn failures_of_local_origin_are_counted_apart_when_split() {
    let config = OutlierDetection {
        split_local_origin: true,
        consecutive_local_origin_failure: NonZeroU32::new(3),
        ..five_in_a_row()
    };
    let cluster = Cluster::new(config, 2);

    assert_eq!(cluster.reasons(0, Outcome::ConnectFailed, 2), []);
    assert_eq!(cluster.reasons(0, FAILED, 4), []);
    // Any answer shows that connections work.
    assert_eq!(cluster.reasons(0, Outcome::TimedOut, 3), [Reason::ConsecutiveLocalOriginFailure]);
    assert_eq!(cluster.record(0, FAILED), Some(Reason::Consecutive5xx));
}

#[test]
fn statuses_of_ones_own_replace_5xx_but_not_failures_to_connect() {
    let config = OutlierDetection { failure_codes: vec![429], ..five_in_a_row() };
    let cluster = Cluster::new(config, 2);

    assert_eq!(cluster.reasons(0, FAILED, 10), []);
    assert_eq!(cluster.reasons(0, Outcome::Status(429), 5), [Reason::Consecutive5xx]);
    assert_eq!(cluster.reasons(1, Outcome::ConnectFailed, 5), [Reason::Consecutive5xx]);
}

#[test]
fn without_a_signal_nothing_is_reached() {
    let cluster = Cluster::new(OutlierDetection::default(), 2);

    assert_eq!(cluster.reasons(0, FAILED, 1_000), []);
}

#[test]
fn an_ejection_is_refused_beyond_the_greatest_share() {
    let with = |percent, always_eject_one| {
        let config = OutlierDetection { max_ejection_percent: percent, always_eject_one, ..five_in_a_row() };
        let cluster = Cluster::new(config, 9);
        for i in 0..9 {
            cluster.eject(i);
        }
        (cluster.out().len(), cluster.detection.can_never_eject(9))
    };

    // (ejected + 1) / 9 within 10 % is never so.
    assert_eq!(with(10, false), (0, true));
    assert_eq!(with(10, true), (1, false));
    assert_eq!(with(12, false), (1, false));
    assert_eq!(with(34, false), (3, false));
}

#[test]
fn a_refused_ejection_is_asked_for_again_after_as_many_failures() {
    let config = OutlierDetection { max_ejection_percent: 10, ..five_in_a_row() };
    let cluster = Cluster::new(config, 3);

    assert_eq!(cluster.reasons(0, FAILED, 5).len(), 1);
    assert_eq!(cluster.eject(0), Verdict::TooMany);
    assert_eq!(cluster.reasons(0, FAILED, 4).len(), 0);
    assert_eq!(cluster.reasons(0, FAILED, 1).len(), 1);
}

#[test]
fn the_last_endpoint_that_serves_stays() {
    let mut cluster = Cluster::new(five_in_a_row(), 3);
    cluster.serves[2] = false;

    assert!(matches!(cluster.eject(0), Verdict::Ejected(_)));
    assert_eq!(cluster.eject(1), Verdict::Last);
    assert_eq!(cluster.eject(0), Verdict::Unchanged);
    assert_eq!(cluster.eject(9), Verdict::Unchanged);
    assert_eq!(cluster.out(), [0]);
    assert_eq!(Cluster::new(five_in_a_row(), 1).eject(0), Verdict::Last);
    assert!(Cluster::new(five_in_a_row(), 1).detection.can_never_eject(1));
}

#[test]
fn an_endpoint_on_probation_does_not_stand_in_for_the_last() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    cluster.eject(0);
    cluster.tick_after(BASE);

    assert_eq!(cluster.eject(1), Verdict::Last);
    assert_eq!(cluster.record(0, PASSED), None);
    assert!(matches!(cluster.eject(1), Verdict::Ejected(_)));
}

#[test]
fn each_ejection_lasts_one_base_time_longer_up_to_the_longest() {
    let config = OutlierDetection { max_ejection_time: Duration::from_secs(80), ..five_in_a_row() };
    let mut cluster = Cluster::new(config, 2);
    let mut lengths = Vec::new();
    for _ in 0..4 {
        cluster.eject(0);
        lengths.push(cluster.lasts(0).as_secs());
        let length = cluster.lasts(0);
        assert_eq!(cluster.tick_after(length - Duration::from_millis(1)), []);
        assert_eq!(cluster.tick_after(Duration::from_millis(1)), [Change::Returned(0)]);
        assert!(!cluster.endpoints[0].is_ejected());
    }

    assert_eq!(lengths, [30, 60, 80, 80]);
    assert_eq!(cluster.endpoints[0].ejections(), 4);
}

#[test]
fn healthy_intervals_make_the_next_ejection_shorter() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    for _ in 0..3 {
        cluster.eject(0);
        let length = cluster.lasts(0);
        cluster.tick_after(length);
    }
    // The review that ended the ejection does not count as an interval; the next two do.
    cluster.tick_after(INTERVAL);
    cluster.tick_after(INTERVAL);

    cluster.eject(0);

    assert_eq!(cluster.lasts(0), 2 * BASE);
}

#[test]
fn a_random_part_is_added_to_an_ejection() {
    let config = OutlierDetection { max_ejection_jitter: Duration::from_secs(5), ..five_in_a_row() };
    for (random, jitter_ms) in [(0, 0), (5_000, 5_000), (5_001, 0), (u64::MAX, u64::MAX % 5_001)] {
        let cluster = Cluster::new(config.clone(), 2);
        cluster.detection.eject(&cluster.hosts(), 0, Reason::Consecutive5xx, cluster.now, random);
        assert_eq!(cluster.lasts(0), BASE + Duration::from_millis(jitter_ms));
    }
}

#[test]
fn after_an_ejection_one_request_goes_first() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    cluster.eject(0);
    cluster.tick_after(BASE);
    let endpoint = &cluster.endpoints[0];

    assert!(endpoint.may_serve());
    assert!(endpoint.enter());
    assert!(!endpoint.may_serve() && !endpoint.enter());
    // Outcomes of requests from before the ejection say nothing about the probe.
    assert_eq!(cluster.detection.record(endpoint, PASSED, false), None);
    assert!(!endpoint.may_serve());
    assert_eq!(cluster.detection.record(endpoint, PASSED, true), None);
    assert!(endpoint.may_serve() && !endpoint.enter());
}

#[test]
fn a_failed_probe_ejects_at_once_and_for_longer() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    cluster.eject(0);
    cluster.tick_after(BASE);

    let reason = cluster.record(0, Outcome::ConnectFailed).unwrap();
    assert_eq!(reason, Reason::ProbeFailed);
    let verdict = cluster.detection.eject(&cluster.hosts(), 0, reason, cluster.now, 0);

    assert_eq!(verdict, Verdict::Ejected(Ejection { reason, since: cluster.now, lasts: 2 * BASE }));
}

#[test]
fn an_endpoint_that_has_to_stay_after_a_failed_probe_stays_open_if_it_is_the_last() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    cluster.eject(0);
    cluster.tick_after(BASE);
    cluster.serves[1] = false;
    let reason = cluster.record(0, FAILED).unwrap();

    assert_eq!(cluster.detection.eject(&cluster.hosts(), 0, reason, cluster.now, 0), Verdict::Last);
    assert!(cluster.endpoints[0].may_serve() && !cluster.endpoints[0].enter());
}

#[test]
fn a_probe_that_was_given_up_or_lost_is_followed_by_another() {
    let mut cluster = Cluster::new(five_in_a_row(), 2);
    cluster.eject(0);
    cluster.tick_after(BASE);
    assert!(cluster.endpoints[0].enter());
    cluster.endpoints[0].abandon_probe();
    assert!(cluster.endpoints[0].enter());

    cluster.tick_after(INTERVAL);
    assert!(!cluster.endpoints[0].may_serve());
    cluster.tick_after(INTERVAL);
    assert!(cluster.endpoints[0].enter());
}

#[test]
fn a_passed_check_ends_an_ejection_without_a_probe_unless_it_must_not() {
    let cluster = Cluster::new(five_in_a_row(), 2);
    assert!(!cluster.detection.passed_check(&cluster.endpoints[0], cluster.now));
    cluster.eject(0);
    assert!(cluster.detection.passed_check(&cluster.endpoints[0], cluster.now));
    assert!(!cluster.endpoints[0].is_ejected() && !cluster.endpoints[0].enter());

    let strict = Cluster::new(OutlierDetection { uneject_on_healthy: false, ..five_in_a_row() }, 2);
    strict.eject(0);
    assert!(!strict.detection.passed_check(&strict.endpoints[0], strict.now));
    assert!(strict.endpoints[0].is_ejected());
    strict.endpoints[0].pardon();
    assert!(!strict.endpoints[0].is_ejected() && strict.endpoints[0].ejection().is_none());
}

/// Records successes and failures of one interval for each endpoint.
fn record_rates(cluster: &Cluster, rates: &[(usize, usize)]) {
    for (i, (successes, failures)) in rates.iter().enumerate() {
        cluster.reasons(i, PASSED, *successes);
        cluster.reasons(i, FAILED, *failures);
    }
}

fn by_rate(min_hosts: u32, request_volume: u32) -> OutlierDetection {
    let success_rate = Some(SuccessRate { min_hosts, request_volume, stdev_factor_thousandths: 1_900 });
    OutlierDetection { success_rate, max_ejection_percent: 100, ..OutlierDetection::default() }
}

#[test]
fn an_endpoint_far_below_its_peers_is_ejected_at_the_review() {
    // Mean 90, deviation 20, threshold 52: 50 is below.
    let mut cluster = Cluster::new(by_rate(5, 100), 5);
    record_rates(&cluster, &[(50, 50), (100, 0), (100, 0), (100, 0), (100, 0)]);
    assert!(cluster.out().is_empty());

    let changes = cluster.tick_after(INTERVAL);

    assert!(matches!(changes[..], [Change::Judged(0, Reason::SuccessRate, Verdict::Ejected(_))]), "{changes:?}");
    assert_eq!(cluster.out(), [0]);
}

#[test]
fn rates_are_not_compared_with_too_few_endpoints_or_requests() {
    let rates = [(50, 50), (100, 0), (100, 0), (100, 0), (100, 0)];
    for config in [by_rate(6, 100), by_rate(5, 101)] {
        let mut cluster = Cluster::new(config, 5);
        record_rates(&cluster, &rates);
        assert_eq!(cluster.tick_after(INTERVAL), []);
    }
}

#[test]
fn equal_endpoints_are_no_outliers_however_bad() {
    let mut cluster = Cluster::new(by_rate(5, 10), 5);
    record_rates(&cluster, &[(5, 95); 5]);

    assert_eq!(cluster.tick_after(INTERVAL), []);
}

#[test]
fn only_the_last_interval_counts() {
    let mut cluster = Cluster::new(by_rate(5, 100), 5);
    record_rates(&cluster, &[(25, 25), (50, 0), (50, 0), (50, 0), (50, 0)]);
    assert_eq!(cluster.tick_after(INTERVAL), []);
    record_rates(&cluster, &[(25, 25), (50, 0), (50, 0), (50, 0), (50, 0)]);
    assert_eq!(cluster.tick_after(INTERVAL), []);
}

#[test]
fn too_great_a_share_of_failures_ejects_from_the_threshold_on() {
    let failure_percentage = Some(FailurePercentage { threshold: 85, min_hosts: 3, request_volume: 50 });
    let config = OutlierDetection { failure_percentage, max_ejection_percent: 100, ..OutlierDetection::default() };
    let mut cluster = Cluster::new(config, 3);
    record_rates(&cluster, &[(15, 85), (16, 84), (100, 0)]);

    let changes = cluster.tick_after(INTERVAL);

    assert!(matches!(changes[..], [Change::Judged(0, Reason::FailurePercentage, Verdict::Ejected(_))]), "{changes:?}");
}

#[test]
fn shares_of_failures_to_connect_are_judged_apart_when_split() {
    let failure_percentage = Some(FailurePercentage { threshold: 85, min_hosts: 2, request_volume: 10 });
    let config = OutlierDetection {
        failure_percentage,
        split_local_origin: true,
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    };
    let mut cluster = Cluster::new(config, 2);
    cluster.reasons(0, Outcome::ConnectFailed, 10);
    cluster.reasons(1, PASSED, 10);

    let changes = cluster.tick_after(INTERVAL);

    let expected = Reason::FailurePercentageLocalOrigin;
    assert!(
        matches!(changes[..], [Change::Judged(0, reason, Verdict::Ejected(_))] if reason == expected),
        "{changes:?}"
    );
}

#[test]
fn grpc_statuses_of_the_server_count_as_failures() {
    let failing: Vec<u32> = (0..20).filter(|status| status_of_grpc(*status) >= 500).collect();

    assert_eq!(failing, [2, 4, 12, 13, 14, 15, 17, 18, 19]);
    assert_eq!((status_of_grpc(0), status_of_grpc(8), status_of_grpc(14)), (200, 429, 503));
}

#[test]
fn a_run_across_threads_reaches_the_limit_once() {
    let config = OutlierDetection { consecutive_5xx: NonZeroU32::new(1_000), ..five_in_a_row() };
    let cluster = Cluster::new(config, 2);

    let reached: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| cluster.reasons(0, FAILED, 500).len())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });

    assert_eq!(reached, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Outcome(usize, Outcome),
    Tick(u64),
    Serves(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(vec![PASSED, FAILED, FAILED, Outcome::ConnectFailed, Outcome::TimedOut]);
    prop_oneof![
        20 => (0_usize..6, outcome).prop_map(|(i, outcome)| Step::Outcome(i, outcome)),
        2 => (1_u64..60).prop_map(Step::Tick),
        1 => (0_usize..6, any::<bool>()).prop_map(|(i, serves)| Step::Serves(i, serves)),
    ]
}

proptest! {
    #[test]
    fn somebody_is_always_left_and_the_greatest_share_holds(
        n in 1_usize..6,
        percent in 0_u32..=100,
        always_eject_one in any::<bool>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let config = OutlierDetection {
            consecutive_5xx: NonZeroU32::new(2),
            max_ejection_percent: percent,
            always_eject_one,
            ..OutlierDetection::default()
        };
        let mut cluster = Cluster::new(config, n);
        for step in steps {
            let before = cluster.out().len();
            match step {
                Step::Outcome(i, outcome) if i < n => {
                    if let Some(reason) = cluster.record(i, outcome) {
                        let hosts = cluster.hosts();
                        let verdict = cluster.detection.eject(&hosts, i, reason, cluster.now, 0);
                        if let Verdict::Ejected(_) = verdict {
                            prop_assert!(hosts.iter().any(|host| host.serves && !host.outlier.is_ejected()));
                            let out = cluster.out().len();
                            prop_assert_eq!(out, before + 1);
                            let within = out as u32 * 100 <= percent * n as u32;
                            prop_assert!(within || (always_eject_one && out == 1));
                        }
                    }
                }
                Step::Tick(seconds) => {
                    cluster.tick_after(Duration::from_secs(seconds));
                    prop_assert!(cluster.out().len() <= before);
                }
                Step::Serves(i, serves) if i < n => cluster.serves[i] = serves,
                Step::Outcome(..) | Step::Serves(..) => {}
            }
            for endpoint in &cluster.endpoints {
                prop_assert_eq!(endpoint.is_ejected(), endpoint.ejection().is_some());
            }
        }
        // Nothing is out for ever.
        cluster.tick_after(Duration::from_secs(301));
        prop_assert_eq!(cluster.out(), Vec::<usize>::new());
    }
}

#[test]
fn reviews_rest_while_nothing_is_out_or_remembered_and_no_rates_are_judged() {
    let mut cluster = Cluster::new(five_in_a_row(), 3);
    assert!(cluster.detection.rests(&cluster.hosts()));

    assert!(matches!(cluster.eject(0), Verdict::Ejected(_)));
    assert!(!cluster.detection.rests(&cluster.hosts()), "one is out");
    assert_eq!(cluster.tick_after(BASE), [Change::Returned(0)]);
    assert!(!cluster.detection.rests(&cluster.hosts()), "one is on probation");
    cluster.record(0, PASSED);
    assert!(!cluster.detection.rests(&cluster.hosts()), "the next ejection would be longer");
    assert_eq!(cluster.tick_after(INTERVAL), []);
    assert!(cluster.detection.rests(&cluster.hosts()));

    let cluster = Cluster::new(by_rate(3, 10), 3);
    assert!(!cluster.detection.rests(&cluster.hosts()), "rates are of an interval");
}
