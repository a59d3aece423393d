//! Strategies for clusters and endpoint assignments.

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::{address, duration, filter, fraction, maybe_empty, mutations, name, positive, positive_u32, text, tls};
use crate::resource::cluster::{
    Cluster, Discovery, DnsEndpoint, FailurePercentage, HashFunction, HealthCheck, HealthCheckKind, HttpHealthCheck,
    LoadBalancing, OutlierDetection, RetryBudget, ServiceName, SlowStart, SuccessRate, Thresholds, UpstreamProtocol,
};
use crate::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};

fn locality() -> BoxedStrategy<LocalityEndpoints> {
    let health = select(vec![Health::Healthy, Health::Degraded, Health::Draining, Health::Unhealthy]);
    let endpoint = (address(), positive_u32(), health, of(name()), of(name())).prop_map(
        |(address, weight, health, hostname, workload)| Endpoint { address, weight, health, hostname, workload },
    );
    let place = (maybe_empty(), maybe_empty(), maybe_empty()).prop_map(|(region, zone, sub_zone)| Locality {
        region,
        zone,
        sub_zone,
    });
    (place, 0_u32..=128, positive_u32(), vec(endpoint, 0..4))
        .prop_map(|(locality, priority, weight, endpoints)| {
            // An absent weight is written as 1, so it does not come back; a test of its own shows that.
            LocalityEndpoints { locality, priority, weight: Some(weight), endpoints }
        })
        .boxed()
}

pub(in crate::resource::tests) fn endpoints() -> impl Strategy<Value = ClusterLoadAssignment> {
    (name(), vec(locality(), 0..4), positive_u32(), vec((name(), fraction()), 0..3)).prop_map(
        |(cluster_name, localities, overprovisioning_percent, drop_overloads)| ClusterLoadAssignment {
            cluster_name,
            localities,
            overprovisioning_percent,
            drop_overloads,
        },
    )
}

fn percentage() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(100.0), 0.0..100.0_f64]
}

fn outlier() -> BoxedStrategy<OutlierDetection> {
    let runs = (of(positive_u32()), of(positive_u32()), of(positive_u32()));
    let success_rate = any::<[u32; 3]>().prop_map(|[hosts, volume, factor]| SuccessRate {
        min_hosts: hosts,
        request_volume: volume,
        stdev_factor_thousandths: factor,
    });
    let failure_percentage = (0_u32..=100, any::<[u32; 2]>()).prop_map(|(threshold, [hosts, volume])| {
        FailurePercentage { threshold, min_hosts: hosts, request_volume: volume }
    });
    let times = (positive(), positive(), duration(), duration());
    let rates = (of(success_rate), of(failure_percentage), vec(100_u16..600, 0..3));
    (runs, rates, times, 0_u32..=100, any::<[bool; 3]>())
        .prop_map(|(runs, rates, (interval, base, more, jitter), max_ejection_percent, flags)| OutlierDetection {
            consecutive_5xx: runs.0,
            consecutive_gateway_failure: runs.1,
            // Only with the split.
            consecutive_local_origin_failure: runs.2.filter(|_| flags[0]),
            split_local_origin: flags[0],
            success_rate: rates.0,
            failure_percentage: rates.1,
            interval,
            base_ejection_time: base,
            max_ejection_time: base + more,
            max_ejection_jitter: jitter,
            max_ejection_percent,
            always_eject_one: flags[1],
            uneject_on_healthy: flags[2],
            failure_codes: rates.2,
        })
        .boxed()
}

fn health_check() -> BoxedStrategy<HealthCheck> {
    let range = || (100_u16..599, 1_u16..50).prop_map(|(start, more)| (start, (start + more).min(600)));
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]).prop_map(Arc::from);
    let http = (maybe_empty(), text("/[a-z?]{0,5}"), method, vec(range(), 1..3), vec(range(), 0..2), mutations())
        .prop_map(|(host, path, method, expected_statuses, retriable_statuses, request_headers)| HttpHealthCheck {
            host,
            path,
            method,
            expected_statuses,
            retriable_statuses,
            request_headers,
            http2: false,
        });
    let bytes = |least: usize| vec(any::<u8>(), least..5).prop_map(Arc::from);
    let kind = prop_oneof![
        (http, any::<bool>())
            .prop_map(|(http, http2)| HealthCheckKind::Http(Box::new(HttpHealthCheck { http2, ..http }))),
        (maybe_empty(), maybe_empty()).prop_map(|(service, authority)| HealthCheckKind::Grpc { service, authority }),
        (bytes(0), vec(bytes(1), 0..3)).prop_map(|(send, receive)| HealthCheckKind::Tcp { send, receive }),
    ];
    let times = (positive(), positive(), duration(), positive(), positive());
    (times, positive_u32(), positive_u32(), of(1_u16..), kind)
        .prop_map(|(times, unhealthy_threshold, healthy_threshold, alt_port, kind)| HealthCheck {
            timeout: times.0,
            interval: times.1,
            interval_jitter: times.2,
            no_traffic_interval: times.3,
            unhealthy_interval: times.4,
            unhealthy_threshold,
            healthy_threshold,
            alt_port,
            kind,
        })
        .boxed()
}

fn discovery() -> BoxedStrategy<Discovery> {
    let endpoint = (text("[a-z]{1,5}(\\.[a-z]{2,3})?|127\\.0\\.0\\.1|::1"), 1_u16..)
        .prop_map(|(host, port)| DnsEndpoint { host, port });
    prop_oneof![
        name().prop_map(|service_name| Discovery::Eds { service_name }),
        vec(locality(), 0..3).prop_map(Discovery::Static),
        vec(endpoint, 0..3).prop_map(|endpoints| Discovery::StrictDns { endpoints }),
        Just(Discovery::OriginalDestination),
    ]
    .boxed()
}

fn load_balancing() -> BoxedStrategy<LoadBalancing> {
    let slow_start = || {
        (positive(), 0.1..9.0_f64, percentage()).prop_map(|(window, aggression, min_weight_percent)| SlowStart {
            window,
            aggression,
            min_weight_percent,
        })
    };
    let choices = (2_u32..9).prop_filter_map("zero", NonZeroU32::new);
    let function = select(vec![HashFunction::XxHash, HashFunction::Murmur2]);
    prop_oneof![
        of(slow_start()).prop_map(|slow_start| LoadBalancing::RoundRobin { slow_start }),
        Just(LoadBalancing::Random),
        (choices, prop_oneof![Just(1.0), 0.0..9.0_f64], of(slow_start())).prop_map(
            |(choices, active_request_bias, slow_start)| LoadBalancing::LeastRequest {
                choices,
                active_request_bias,
                slow_start
            }
        ),
        (0_u64..4_000_000, 0_u64..4_000_000, function).prop_map(|(min_size, more, function)| {
            LoadBalancing::RingHash { min_size, max_size: min_size + more, function }
        }),
        select(vec![2_u64, 3, 65_537, 5_000_011]).prop_map(|table_size| LoadBalancing::Maglev { table_size }),
    ]
    .boxed()
}

fn limits() -> BoxedStrategy<Thresholds> {
    let budget =
        (percentage(), any::<u32>()).prop_map(|(percent, min_concurrency)| RetryBudget { percent, min_concurrency });
    (any::<[u32; 4]>(), of(budget), of(any::<u32>()), of(any::<u32>()))
        .prop_map(|([connections, pending, requests, retries], retry_budget, of_each, requests_of_each)| Thresholds {
            max_connections: connections,
            max_pending_requests: pending,
            max_requests: requests,
            max_retries: retries,
            retry_budget,
            max_connections_per_endpoint: of_each,
            max_requests_per_endpoint: requests_of_each,
        })
        .boxed()
}

pub(in crate::resource::tests) fn cluster() -> impl Strategy<Value = Cluster> {
    let protocol = select(vec![UpstreamProtocol::Http1, UpstreamProtocol::Http2, UpstreamProtocol::SameAsDownstream]);
    let connection = (positive(), protocol, of(duration()), of(positive_u32()));
    let health = (of(outlier()), vec(health_check(), 0..3));
    let service = (name(), name(), name()).prop_map(|(host, name, namespace)| ServiceName { host, name, namespace });
    let common = (0_u8..=100, any::<bool>(), filter::policies(), of(tls::upstream()), of(service));
    (name(), discovery(), load_balancing(), connection, limits(), health, common).prop_map(
        |(name, discovery, load_balancing, connection, circuit_breakers, health, common)| Cluster {
            name,
            // Where the destination is given there is nothing to balance.
            load_balancing: match discovery {
                Discovery::OriginalDestination => LoadBalancing::ROUND_ROBIN,
                _ => load_balancing,
            },
            discovery,
            connect_timeout: connection.0,
            protocol: connection.1,
            tls: common.3,
            idle_timeout: connection.2,
            max_requests_per_connection: connection.3,
            circuit_breakers,
            outlier_detection: health.0,
            health_checks: health.1,
            panic_threshold_percent: common.0,
            locality_weighted: common.1,
            policies: common.2,
            service: common.4,
        },
    )
}
