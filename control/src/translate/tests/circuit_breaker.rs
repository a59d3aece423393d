//! Limits, ejection and health checks of clusters.

use std::num::NonZeroU32;
use std::time::Duration;

use tidegate_policies::ir::circuit_breaker::{BreakerLimits, FailurePercentage, Outlier, RetryBudget};
use tidegate_policies::ir::health_check::{HealthCheck, Probe};
use tidegate_policies::ir::load_balancing::{ConnectionSettings, LoadBalancing, TrafficSettings, Warmup};
use tidegate_xds::resource::cluster::{Cluster, HealthCheckKind, LoadBalancing as XdsLoadBalancing, UpstreamProtocol};

use super::clusters;
use crate::fixture::{mesh, named, stated};

fn cluster(change: impl FnOnce(&mut TrafficSettings)) -> Cluster {
    let mut set = mesh();
    change(&mut set.backends.get_mut(&named("reviews")).unwrap().traffic);
    clusters(set, "reviews").remove(0)
}

#[test]
fn retries_are_a_fifth_unless_somebody_counts_them_otherwise() {
    let of = |limits| {
        let found = cluster(|t| t.limits = Some(stated("CircuitBreaker", "x", limits))).circuit_breakers;
        (found.retry_budget.map(|b| (b.percent, b.min_concurrency)), found.max_retries)
    };
    let budget = RetryBudget { percent: 50.0, min_concurrency: 1 };

    let nobody = cluster(|_| {}).circuit_breakers.retry_budget.unwrap();
    assert_eq!((nobody.percent, nobody.min_concurrency), (20.0, 3));
    assert_eq!(of(BreakerLimits { max_retries: Some(0), ..BreakerLimits::default() }), (None, 0));
    let own = BreakerLimits { retry_budget: Some(budget), ..BreakerLimits::default() };
    assert_eq!(of(own), (Some((50.0, 1)), u32::MAX));
}

#[test]
fn an_explicit_zero_is_a_limit_of_zero() {
    let zero = BreakerLimits {
        max_connections: Some(0),
        max_pending_requests: Some(0),
        max_requests: Some(0),
        max_requests_per_endpoint: Some(0),
        ..BreakerLimits::default()
    };

    let found = cluster(|t| t.limits = Some(stated("CircuitBreaker", "none", zero)));

    let limits = found.circuit_breakers;
    assert_eq!((limits.max_connections, limits.max_pending_requests, limits.max_requests), (0, 0, 0));
    assert_eq!(limits.max_requests_per_endpoint, Some(0));
    assert_eq!(found.policies["circuit_breaker"].as_ref(), "shop/none");
}

#[test]
fn a_dead_endpoint_is_ejected_soon_although_nobody_asked() {
    let outlier = cluster(|_| {}).outlier_detection.expect("on by default");

    assert!(outlier.split_local_origin && outlier.always_eject_one);
    assert!(outlier.consecutive_local_origin_failure.is_some_and(|n| n.get() <= 3));
    assert!(outlier.base_ejection_time <= Duration::from_secs(5) && outlier.interval <= Duration::from_secs(1));
    assert!(outlier.max_ejection_percent <= 50, "what is left can bear the load");
}

#[test]
fn signals_of_zero_are_off_and_what_is_left_out_is_the_meshs() {
    let said = Outlier {
        consecutive_5xx: Some(0),
        consecutive_gateway: Some(7),
        consecutive_local: Some(0),
        failure_percentage: Some(FailurePercentage { threshold: 30, min_requests: None, min_hosts: None }),
        codes: vec![500],
        base_ejection: Some(Duration::from_secs(600)),
        panic_threshold_percent: Some(0),
        always_eject_one: Some(false),
        ..Outlier::default()
    };

    let found = cluster(|t| t.outlier = Some(stated("CircuitBreaker", "x", said)));

    let outlier = found.outlier_detection.unwrap();
    assert_eq!((outlier.consecutive_5xx, outlier.consecutive_local_origin_failure), (None, None));
    assert_eq!(outlier.consecutive_gateway_failure.map(NonZeroU32::get), Some(7));
    let percentage = outlier.failure_percentage.unwrap();
    assert_eq!((percentage.threshold, percentage.min_hosts, percentage.request_volume), (30, 2, 50));
    assert_eq!((outlier.failure_codes, outlier.always_eject_one), (vec![500], false));
    // The longest ejection cannot be shorter than the first.
    assert_eq!(outlier.max_ejection_time, Duration::from_secs(600));
    assert_eq!((found.panic_threshold_percent, outlier.max_ejection_percent), (0, 50));
    assert_eq!(found.policies["outlier"].as_ref(), "shop/x");
}

#[test]
fn an_unwell_minority_is_enough_to_carry_on() {
    assert_eq!(cluster(|_| {}).panic_threshold_percent, 1, "only when nobody is well everybody is tried");
}

#[test]
fn health_checks_are_said_with_the_meshs_times_where_theirs_are_missing() {
    let check = |probe| HealthCheck {
        probe,
        interval: None,
        timeout: None,
        unhealthy_threshold: None,
        healthy_threshold: None,
        port: Some(9000),
    };
    let of =
        |probe| cluster(|t| t.health_check = Some(stated("BackendPolicy", "x", check(probe)))).health_checks.remove(0);
    let http = Probe::Http { path: "/ok".into(), host: None, method: None, expected_statuses: Vec::new() };

    let by_http = of(http);

    assert_eq!((by_http.interval, by_http.timeout), (Duration::from_secs(10), Duration::from_secs(1)));
    assert_eq!((by_http.unhealthy_threshold.get(), by_http.healthy_threshold.get()), (3, 1));
    assert_eq!((by_http.alt_port, by_http.no_traffic_interval), (Some(9000), Duration::from_secs(10)));
    let HealthCheckKind::Http(asked) = &by_http.kind else { panic!("by HTTP") };
    assert_eq!((&*asked.path, &*asked.method, &asked.expected_statuses), ("/ok", "GET", &vec![(200, 201)]));
    let ranges = vec![(200, 200), (300, 399)];
    let chosen = Probe::Http { path: "/ok".into(), host: None, method: None, expected_statuses: ranges };
    let HealthCheckKind::Http(asked) = of(chosen).kind else { panic!("by HTTP") };
    assert_eq!(asked.expected_statuses, [(200, 201), (300, 400)], "half open on the wire");
    assert!(matches!(of(Probe::Grpc { service: "s".into() }).kind, HealthCheckKind::Grpc { .. }));
    assert!(matches!(of(Probe::Tcp).kind, HealthCheckKind::Tcp { .. }));
}

#[test]
fn a_new_endpoint_warms_up_and_a_connection_may_be_http2() {
    let warmup = Warmup { duration: Duration::from_secs(30), min_percent: None, aggression: None };
    let connection = ConnectionSettings { http2: Some(true), ..ConnectionSettings::default() };

    let found = cluster(|t| {
        let balancing = LoadBalancing::RoundRobin { warmup: Some(warmup) };
        t.load_balancing = Some(stated("DestinationRule", "x", balancing));
        t.connection = Some(stated("DestinationRule", "x", connection));
    });

    let XdsLoadBalancing::RoundRobin { slow_start: Some(start) } = found.load_balancing else { panic!("in turn") };
    assert_eq!((start.window, start.aggression, start.min_weight_percent), (Duration::from_secs(30), 1.0, 10.0));
    assert_eq!(found.protocol, UpstreamProtocol::Http2);
}
