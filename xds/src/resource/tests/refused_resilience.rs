//! Balancing, limits, ejections, checks and drops that are refused, each with the path of the guilty field; and what an
//! absent field means.

use std::sync::Arc;

use super::{arc, assert_refused, decode, governed, sample};
use crate::name::ResourceType;
use crate::proto::cluster::cluster::{LbConfig, LbPolicy, MaglevLbConfig, RingHashLbConfig};
use crate::proto::core::health_check::{self, HealthChecker};
use crate::proto::value::Kind;
use crate::proto::{
    self, Any, ListValue, UInt32Value, UInt64Value, Value, cluster, core, endpoint, lb_common, least_request, maglev,
    ring_hash, types,
};
use crate::resource::Resource;
use crate::resource::cluster::{Cluster, HashFunction, HealthCheckKind, LoadBalancing, RetryBudget, encode};
use crate::resource::endpoint::encode as endpoints;
use crate::resource::extension::pack;

fn changed(change: impl FnOnce(&mut cluster::Cluster)) -> cluster::Cluster {
    let mut message = encode::encode(&governed::cluster());
    change(&mut message);
    message
}

#[track_caller]
fn refused(change: impl FnOnce(&mut cluster::Cluster), path: &str, reason: &str) {
    assert_refused(ResourceType::Cluster, &changed(change), path, reason);
}

#[track_caller]
fn accepted(change: impl FnOnce(&mut cluster::Cluster)) -> (Arc<Cluster>, Vec<String>) {
    let decoded = decode(ResourceType::Cluster, &changed(change)).unwrap_or_else(|error| panic!("{error}"));
    match decoded.resource {
        Resource::Cluster(cluster) => (cluster, decoded.ignored),
        other => panic!("a cluster comes back: {other:?}"),
    }
}

fn u32(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn u64(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

/// Chooses in the old way.
fn old(policy: LbPolicy, config: Option<LbConfig>) -> impl FnOnce(&mut cluster::Cluster) {
    move |m| {
        m.load_balancing_policy = None;
        m.lb_policy = policy.into();
        m.lb_config = config;
    }
}

/// Chooses in the new way.
fn new(any: Any) -> impl FnOnce(&mut cluster::Cluster) {
    let typed_extension_config = Some(core::TypedExtensionConfig { name: "p".into(), typed_config: Some(any) });
    let policy = cluster::load_balancing_policy::Policy { typed_extension_config };
    |m| m.load_balancing_policy = Some(cluster::LoadBalancingPolicy { policies: vec![policy] })
}

const TYPED: &str = "load_balancing_policy.policies[0].typed_extension_config.typed_config";

#[test]
fn a_ring_reads_the_same_in_both_ways() {
    let (typed, _) = accepted(|_| ());
    let (written, _) = accepted(|m| m.load_balancing_policy = None);

    assert_eq!(written.load_balancing, typed.load_balancing);
    assert_eq!(
        typed.load_balancing,
        LoadBalancing::RingHash { min_size: 1024, max_size: 4096, function: HashFunction::XxHash }
    );
}

#[test]
fn a_table_is_written_so_that_grpc_clients_can_pass_it_over() {
    let table = Cluster { load_balancing: LoadBalancing::Maglev { table_size: 65_537 }, ..sample::cluster() };
    let message = encode::encode(&table);

    assert_eq!(message.lb_policy, LbPolicy::RoundRobin as i32);
    let policies = message.load_balancing_policy.expect("a list").policies;
    let names: Vec<_> = policies.into_iter().filter_map(|p| Some(p.typed_extension_config?.name)).collect();
    assert_eq!(names, ["envoy.load_balancing_policies.maglev", "envoy.load_balancing_policies.round_robin"]);
}

#[test]
fn rings_and_tables_that_say_nothing_have_envoys_sizes() {
    let ring = LoadBalancing::RingHash { min_size: 1024, max_size: 8 << 20, function: HashFunction::XxHash };
    assert_eq!(accepted(old(LbPolicy::RingHash, None)).0.load_balancing, ring);
    assert_eq!(accepted(new(pack(&ring_hash::RingHash::default()))).0.load_balancing, ring);
    let table = LoadBalancing::Maglev { table_size: 65_537 };
    assert_eq!(accepted(old(LbPolicy::Maglev, None)).0.load_balancing, table);
    assert_eq!(accepted(new(pack(&maglev::Maglev::default()))).0.load_balancing, table);
}

#[test]
fn rings_and_tables_that_cannot_be_built() {
    let ring = |min: Option<UInt64Value>, max: Option<UInt64Value>| {
        let config = RingHashLbConfig { minimum_ring_size: min, maximum_ring_size: max, ..Default::default() };
        old(LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
    };
    refused(ring(u64(2), u64(1)), "ring_hash_lb_config.minimum_ring_size", "2 is above maximum_ring_size, 1");
    refused(ring(None, u64((8 << 20) + 1)), "ring_hash_lb_config.maximum_ring_size", "is above 8388608");
    let table =
        |size: u64| old(LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: u64(size) })));
    for size in [0, 1, 65_536, 65_539 * 3] {
        refused(table(size), "maglev_lb_config.table_size", "is not a prime");
    }
    refused(table(5_000_017), "maglev_lb_config.table_size", "is above 5000011");
    #[expect(deprecated, reason = "old control planes send it")]
    let by_name = ring_hash::RingHash { use_hostname_for_hashing: true, ..Default::default() };
    refused(new(pack(&by_name)), &format!("{TYPED}.use_hostname_for_hashing"), "not supported yet");
    let bounded = lb_common::ConsistentHashingLbConfig { hash_balance_factor: u32(150), ..Default::default() };
    let bounded = maglev::Maglev { consistent_hashing_lb_config: Some(bounded), ..Default::default() };
    refused(
        new(pack(&bounded)),
        &format!("{TYPED}.consistent_hashing_lb_config.hash_balance_factor"),
        "not supported yet",
    );
    refused(
        |m| {
            let config = cluster::cluster::common_lb_config::ConsistentHashingLbConfig {
                use_hostname_for_hashing: true,
                hash_balance_factor: None,
            };
            m.common_lb_config.get_or_insert_default().consistent_hashing_lb_config = Some(config);
        },
        "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
        "not supported yet",
    );
}

#[test]
fn numbers_of_balancing_that_are_none() {
    let number = |default_value: f64| Some(core::RuntimeDouble { default_value, runtime_key: String::new() });
    for bias in [-0.5, f64::NAN, f64::INFINITY] {
        let config = least_request::LeastRequest { active_request_bias: number(bias), ..Default::default() };
        refused(new(pack(&config)), &format!("{TYPED}.active_request_bias"), "below zero or not finite");
    }
    let warm = |aggression: f64, percent: f64| {
        let slow_start = lb_common::SlowStartConfig {
            slow_start_window: Some(proto::Duration { seconds: 1, nanos: 0 }),
            aggression: number(aggression),
            min_weight_percent: Some(types::Percent { value: percent }),
        };
        new(pack(&least_request::LeastRequest { slow_start_config: Some(slow_start), ..Default::default() }))
    };
    let at = format!("{TYPED}.slow_start_config");
    refused(warm(0.0, 10.0), &format!("{at}.aggression"), "not above zero");
    refused(warm(1.0, 100.5), &format!("{at}.min_weight_percent"), "not between 0 and 100");
    refused(warm(1.0, f64::NAN), &format!("{at}.min_weight_percent"), "not between 0 and 100");
    refused(
        |m| {
            m.common_lb_config.get_or_insert_default().healthy_panic_threshold = Some(types::Percent { value: -1.0 });
        },
        "common_lb_config.healthy_panic_threshold",
        "not between 0 and 100",
    );
}

#[test]
fn zones_are_not_asked_about_and_a_list_of_policies_has_its_own_word_on_localities() {
    use cluster::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig};
    let (cluster, ignored) = accepted(|m| {
        m.load_balancing_policy = None;
        m.common_lb_config.get_or_insert_default().locality_config_specifier =
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig::default()));
    });
    assert!(!cluster.locality_weighted);
    assert_eq!(ignored, ["common_lb_config.zone_aware_lb_config"]);

    let (cluster, ignored) = accepted(|m| {
        new(pack(&ring_hash::RingHash::default()))(m);
        m.common_lb_config.get_or_insert_default().locality_config_specifier =
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}));
    });
    assert!(!cluster.locality_weighted);
    assert_eq!(ignored, ["common_lb_config.locality_weighted_lb_config"]);
}

#[test]
fn a_budget_that_says_nothing_has_envoys_numbers() {
    let (cluster, ignored) = accepted(|m| {
        let breakers = m.circuit_breakers.as_mut().expect("it has them");
        breakers.thresholds[0].retry_budget = Some(Default::default());
        breakers.per_host_thresholds.push(Default::default());
    });

    let expected = RetryBudget { percent: 20.0, min_concurrency: 3 };
    assert_eq!(cluster.circuit_breakers.retry_budget, Some(expected));
    assert_eq!(ignored, ["circuit_breakers.per_host_thresholds[1]"]);
}

#[test]
fn limits_that_cannot_be_kept() {
    let breakers = |change: fn(&mut cluster::CircuitBreakers)| {
        move |m: &mut cluster::Cluster| change(m.circuit_breakers.as_mut().expect("it has them"))
    };
    refused(
        breakers(|m| m.per_host_thresholds[0].max_requests = u32(1)),
        "circuit_breakers.per_host_thresholds[0].max_requests",
        "not supported yet",
    );
    refused(
        breakers(|m| {
            let budget = m.thresholds[0].retry_budget.as_mut().expect("it has one");
            budget.budget_percent = Some(types::Percent { value: 101.0 });
        }),
        "circuit_breakers.thresholds[0].retry_budget.budget_percent",
        "not between 0 and 100",
    );
}

#[test]
fn sometimes_is_always_and_never_is_absent() {
    let (cluster, ignored) = accepted(|m| {
        let detection = m.outlier_detection.as_mut().expect("it has one");
        detection.enforcing_success_rate = u32(50);
        detection.enforcing_failure_percentage = u32(0);
        detection.enforcing_consecutive_local_origin_failure = u32(1);
    });
    let detection = cluster.outlier_detection.as_ref().expect("it has one");

    assert!(detection.success_rate.is_some() && detection.failure_percentage.is_none());
    assert!(detection.consecutive_local_origin_failure.is_some());
    assert_eq!(
        ignored,
        ["outlier_detection.enforcing_consecutive_local_origin_failure", "outlier_detection.enforcing_success_rate"]
    );
    refused(
        |m| m.outlier_detection.as_mut().expect("it has one").failure_percentage_threshold = u32(101),
        "outlier_detection.failure_percentage_threshold",
        "101 is above 100",
    );
}

#[test]
fn what_is_ours_in_a_cluster_is_checked_as_well() {
    let ours = |key: &str, kind: Kind| {
        let key = key.to_owned();
        |m: &mut cluster::Cluster| {
            let metadata = m.metadata.as_mut().expect("the governed cluster has some");
            let ours = metadata.filter_metadata.get_mut("tidegate").expect("ours");
            drop(ours.fields.insert(key, Value { kind: Some(kind) }));
        }
    };
    let list = |code: f64| Kind::ListValue(ListValue { values: vec![Value { kind: Some(Kind::NumberValue(code)) }] });
    let path = |path: &str| format!("metadata.filter_metadata[\"tidegate\"].{path}");
    refused(ours("failure_codes", list(99.0)), &path("failure_codes.values[0]"), "99");
    refused(ours("failure_codes", list(600.0)), &path("failure_codes.values[0].number_value"), "from 0 to 599");
    refused(ours("failure_codes", Kind::BoolValue(true)), &path("failure_codes"), "not a list");
    refused(
        ours("max_requests_per_endpoint", Kind::NumberValue(1.5)),
        &path("max_requests_per_endpoint"),
        "not a whole number",
    );
    // Who stands behind it changes nothing.
    let (_, ignored) = accepted(ours("policies", Kind::BoolValue(true)));
    assert_eq!(ignored, [path("policies")]);
    let (_, ignored) = accepted(|m| m.outlier_detection = None);
    assert_eq!(ignored, [path("failure_codes")]);
}

#[test]
fn a_check_that_cannot_be_made() {
    let check = |i: usize, change: fn(&mut core::HealthCheck), path: &str, reason: &str| {
        refused(|m| change(&mut m.health_checks[i]), &format!("health_checks[{i}].{path}"), reason);
    };
    check(0, |m| m.timeout = None, "timeout", "is required");
    check(0, |m| m.interval = Some(Default::default()), "interval", "greater than zero");
    check(0, |m| m.unhealthy_threshold = None, "unhealthy_threshold", "is required");
    check(0, |m| m.healthy_threshold = u32(0), "healthy_threshold", "at least 1");
    check(0, |m| m.alt_port = u32(65_536), "alt_port", "65536 is not a port");
    refused(|m| m.health_checks[0].health_checker = None, "health_checks[0]", "says not how");
    check(
        0,
        |m| m.health_checker = Some(HealthChecker::CustomHealthCheck(Default::default())),
        "custom_health_check",
        "not supported yet",
    );
    let http = |change: fn(&mut health_check::HttpHealthCheck), path: &str, reason: &str| {
        let change = |m: &mut cluster::Cluster| match &mut m.health_checks[0].health_checker {
            Some(HealthChecker::HttpHealthCheck(http)) => change(http),
            other => panic!("the first check is HTTP: {other:?}"),
        };
        refused(change, &format!("health_checks[0].http_health_check.{path}"), reason);
    };
    http(|m| m.path.clear(), "path", "is required");
    http(|m| m.path = "/ x\r\n".into(), "path", "control character");
    http(|m| m.method = 6, "method", "6 is not a method of a check");
    http(|m| m.codec_client_type = 2, "codec_client_type", "HTTP3");
    http(|m| m.receive.push(Default::default()), "receive", "not supported yet");
    for (start, end) in [(99, 200), (200, 200), (500, 601), (-1, 70_000)] {
        let change = |m: &mut cluster::Cluster| match &mut m.health_checks[0].health_checker {
            Some(HealthChecker::HttpHealthCheck(http)) => {
                http.expected_statuses[0] = types::Int64Range { start, end };
            }
            other => panic!("the first check is HTTP: {other:?}"),
        };
        refused(change, "health_checks[0].http_health_check.expected_statuses[0]", "not a range of statuses");
    }
    let bytes = |text: &'static str, reason: &str| {
        let payload = health_check::payload::Payload::Text(text.into());
        let change = |m: &mut cluster::Cluster| match &mut m.health_checks[2].health_checker {
            Some(HealthChecker::TcpHealthCheck(tcp)) => {
                tcp.send = Some(health_check::Payload { payload: Some(payload) });
            }
            other => panic!("the third check is TCP: {other:?}"),
        };
        let path = if text.is_empty() { "send" } else { "send.text" };
        refused(change, &format!("health_checks[2].tcp_health_check.{path}"), reason);
    };
    bytes("0", "hexadecimal");
    bytes("zz", "hexadecimal");
    bytes("é0", "hexadecimal");
    bytes("", "no bytes");
}

#[test]
fn a_check_that_says_little_has_envoys_numbers() {
    let (cluster, _) = accepted(|m| {
        let check = &mut m.health_checks[0];
        (check.no_traffic_interval, check.unhealthy_interval, check.interval_jitter) = (None, None, None);
        if let Some(HealthChecker::HttpHealthCheck(http)) = &mut check.health_checker {
            http.expected_statuses.clear();
            http.method = 0;
        }
    });
    let check = &cluster.health_checks[0];

    assert_eq!(
        (check.no_traffic_interval.as_secs(), check.unhealthy_interval, check.interval_jitter.as_secs()),
        (60, check.interval, 0)
    );
    let HealthCheckKind::Http(http) = &check.kind else { panic!("the first check is HTTP") };
    assert_eq!((&*http.method, &http.expected_statuses[..]), ("GET", &[(200, 201)][..]));
}

#[test]
fn shares_to_drop_need_a_reason_and_a_place() {
    use endpoint::cluster_load_assignment::policy::DropOverload;
    let mut message = endpoints::encode(&governed::endpoints());
    let policy = message.policy.as_mut().expect("it has one");
    policy.drop_overloads[0].category.clear();
    assert_refused(ResourceType::Endpoint, &message, "policy.drop_overloads[0].category", "is required");

    let policy = message.policy.as_mut().expect("it has one");
    policy.drop_overloads.clear();
    policy.overprovisioning_factor = u32(0);
    assert_refused(ResourceType::Endpoint, &message, "policy.overprovisioning_factor", "greater than zero");

    // A cluster that carries its endpoints has no place for either.
    let mut message = encode::encode(&sample::static_cluster());
    let half = types::FractionalPercent { numerator: 50, denominator: 0 };
    let overload = DropOverload { category: "c".into(), drop_percentage: Some(half) };
    let assignment = message.load_assignment.as_mut().expect("it carries its endpoints");
    let policy = assignment.policy.get_or_insert_default();
    policy.overprovisioning_factor = u32(100);
    let decoded = decode(ResourceType::Cluster, &message).expect("valid");
    assert_eq!(decoded.ignored, ["load_assignment.policy.overprovisioning_factor"]);
    let assignment = message.load_assignment.as_mut().expect("it carries its endpoints");
    assignment.policy.get_or_insert_default().drop_overloads.push(overload);
    assert_refused(ResourceType::Cluster, &message, "load_assignment.policy.drop_overloads[0]", "not supported yet");
}

#[test]
fn a_destination_that_is_given_is_not_chosen() {
    let given = Cluster::new(arc("passthrough"), crate::resource::cluster::Discovery::OriginalDestination);
    let decoded = decode(ResourceType::Cluster, &encode::encode(&given)).expect("valid");

    let Resource::Cluster(back) = decoded.resource else { panic!("a cluster comes back") };
    assert_eq!(back.load_balancing, LoadBalancing::ROUND_ROBIN);
}
