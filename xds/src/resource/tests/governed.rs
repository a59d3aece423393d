//! One resource of each type with everything that governs traffic in it: filters, limits, sessions, checks.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{arc, sample};
use crate::resource::cluster::{
    Cluster, FailurePercentage, HashFunction, HealthCheck, HealthCheckKind, HttpHealthCheck, LoadBalancing,
    OutlierDetection, RetryBudget, SuccessRate, Thresholds,
};
use crate::resource::endpoint::ClusterLoadAssignment;
use crate::resource::filter::{
    self, Cors, Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride,
    FilterOverrides, HttpFilter, Lease, LocalDescriptor, LocalRateLimit, OnUnavailable, RateLimitAction,
    RateLimitActions, RateLimitPerRoute, RateLimitService, Refusal, RefusalField, RequestType, SessionCarrier,
    StatefulSession, TokenBucket, VirtualHostLimits,
};
use crate::resource::listener::{Listener, ListenerKind, NetworkFilter};
use crate::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher, StringMatcher};
use crate::resource::route::{
    ClusterSpecifier, HashPolicy, HashSource, RouteAction, RouteConfiguration, VirtualCluster, WeightDraw,
};

fn ten() -> NonZeroU32 {
    NonZeroU32::new(10).expect("10 is not zero")
}

fn bucket(seconds: u64) -> TokenBucket {
    TokenBucket { capacity: 100, refill: ten(), interval: Duration::from_secs(seconds) }
}

fn post() -> HeaderMatcher {
    HeaderMatcher {
        name: arc(":method"),
        condition: HeaderCondition::Value(StringMatcher::Exact { value: arc("POST"), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    }
}

pub(super) fn cors() -> Cors {
    Cors {
        allow_origins: vec![StringMatcher::Suffix { value: arc(".example.org"), ignore_case: false }],
        allow_methods: arc("GET, POST"),
        allow_headers: arc("x-user"),
        expose_headers: arc("x-cost"),
        max_age: arc("600"),
        allow_credentials: true,
        enabled: Fraction::ALL,
        forward_not_matching_preflights: false,
        allow_private_network_access: true,
    }
}

pub(super) fn fault() -> Fault {
    Fault {
        delay: Some(FaultDelay { fixed: Some(Duration::from_secs(2)), percentage: Fraction::ALL }),
        abort: Some(FaultAbort {
            with: FaultAnswer::Reset,
            percentage: Fraction { numerator: 1, denominator: 10_000 },
        }),
        bandwidth: Some(FaultBandwidth { kib_per_second: Some(64), percentage: Fraction::ALL }),
        headers: vec![post()],
        upstream_cluster: Some(arc("reviews")),
        downstream_nodes: vec![arc("web-1")],
        active_max: Some(50),
        expires_at_unix_s: Some(1_900_000_000),
        per_attempt: true,
    }
}

pub(super) fn local_rate_limit() -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: arc("local"),
        status: 429,
        bucket: Some(bucket(1)),
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: sample::routes().virtual_hosts[0].routes[0].request_headers.add.clone(),
        descriptors: vec![LocalDescriptor {
            entries: vec![(arc("rule"), arc("per-user")), (arc("user"), arc(""))],
            bucket: bucket(60),
        }],
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        always_consume_default: false,
        resource_exhausted: true,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 1000,
        retry_after: true,
        virtual_host_limits: VirtualHostLimits::Include,
    }
}

fn rate_limit() -> RateLimitService {
    RateLimitService {
        domain: arc("tidegate"),
        stage: 0,
        request_type: RequestType::Both,
        timeout: Duration::from_millis(20),
        failure_mode_deny: false,
        resource_exhausted: true,
        cluster: arc("tidegate_rate_limit"),
        ratelimit_headers: true,
        without_ratelimited_header: false,
        status: 429,
        response_headers: Vec::new(),
        status_on_error: 500,
        retry_after: true,
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        rate_limits: Vec::new(),
    }
}

fn session() -> StatefulSession {
    let carrier = SessionCarrier::Cookie { name: arc("seat"), path: arc("/"), ttl: Some(Duration::from_secs(3600)) };
    StatefulSession { carrier, strict: false }
}

/// A description with a shared limit behind it.
pub(super) fn leased(name: &str) -> RateLimitActions {
    RateLimitActions {
        stage: 0,
        actions: vec![
            RateLimitAction::GenericKey { key: arc("rule"), value: arc(name) },
            RateLimitAction::HeaderValueMatch {
                key: arc("header_match"),
                value: arc("write"),
                expect_match: true,
                headers: vec![post()],
            },
            RateLimitAction::RequestHeader { header: arc("x-user"), key: arc("user"), skip_if_absent: false },
        ],
        hits: 2,
        lease: Some(Arc::new(Lease {
            limit: bucket(1),
            on_unavailable: OnUnavailable::Deny,
            shadow: true,
            refusal: Refusal {
                status: 503,
                grpc_status: 14,
                fields: vec![RefusalField { name: arc("x-plan"), value: arc("100% free"), append: true }],
            },
        })),
    }
}

fn overrides() -> FilterOverrides {
    let per_route = RateLimitPerRoute {
        virtual_host_limits: VirtualHostLimits::Ignore,
        rate_limits: vec![leased("by-override")],
        domain: Some(arc("other")),
    };
    let configs = [
        (filter::CORS, FilterConfig::Cors(Some(Arc::new(cors())))),
        (filter::FAULT, FilterConfig::Fault(Arc::new(fault()))),
        (filter::LOCAL_RATE_LIMIT, FilterConfig::LocalRateLimit(Arc::new(local_rate_limit()))),
        (filter::RATE_LIMIT, FilterConfig::RateLimitPerRoute(Arc::new(per_route))),
        (filter::STATEFUL_SESSION, FilterConfig::StatefulSession(Some(Arc::new(session())))),
    ];
    let configs = configs.map(|(name, config)| (arc(name), FilterOverride { disabled: false, config: Some(config) }));
    configs.into()
}

pub(super) fn routes() -> RouteConfiguration {
    let mut routes = sample::routes();
    let off = FilterOverride { disabled: true, config: None };
    routes.filters = [(arc(filter::FAULT), off.clone()), (arc(filter::CORS), off)].into();
    let host = &mut routes.virtual_hosts[0];
    host.rate_limits.push(leased("by-host"));
    host.virtual_clusters.push(VirtualCluster { name: arc("writes"), headers: vec![post()] });
    let route = &mut host.routes[0];
    route.filters = overrides();
    route.policies = [("fault", "shop/slow reviews.yaml:12"), ("retry", "shop/again retry.yaml:1")]
        .map(|(kind, policy)| (arc(kind), arc(policy)))
        .into();
    let RouteAction::Forward(forward) = &mut route.action else { panic!("the first route forwards") };
    forward.rate_limits = vec![leased("a"), leased("b")];
    forward.include_virtual_host_rate_limits = true;
    forward.hash_policy = vec![HashPolicy {
        source: HashSource::Cookie {
            name: arc("user"),
            ttl: Some(Duration::ZERO),
            path: arc("/"),
            attributes: vec![(arc("SameSite"), arc("Lax"))],
        },
        terminal: true,
    }];
    let ClusterSpecifier::Weighted(split) = &mut forward.cluster else { panic!("the first route splits") };
    split.draw = WeightDraw::Hash;
    // A lease has its place at routes and hosts.
    split.clusters[1].filters = overrides().into_iter().filter(|(name, _)| &**name != filter::RATE_LIMIT).collect();
    routes
}

pub(crate) fn listener() -> Listener {
    let mut listener = sample::listener();
    listener.error_header = false;
    let ListenerKind::Socket(socket) = &mut listener.kind else { panic!("the sample is a socket") };
    let NetworkFilter::Http(manager) = &mut socket.filter_chains[0].filter else { panic!("the first chain is HTTP") };
    let configs = [
        (filter::CORS, FilterConfig::Cors(None)),
        (filter::FAULT, FilterConfig::Fault(Arc::new(fault()))),
        (filter::LOCAL_RATE_LIMIT, FilterConfig::LocalRateLimit(Arc::new(local_rate_limit()))),
        (filter::RATE_LIMIT, FilterConfig::RateLimit(Arc::new(rate_limit()))),
        (filter::STATEFUL_SESSION, FilterConfig::StatefulSession(None)),
    ];
    let disabled = |name: &str| name == filter::FAULT;
    manager.http_filters =
        configs.map(|(name, config)| HttpFilter { name: arc(name), disabled: disabled(name), config }).into();
    listener
}

pub(super) fn cluster() -> Cluster {
    let check = |kind: HealthCheckKind| HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        interval_jitter: Duration::from_millis(500),
        no_traffic_interval: Duration::from_secs(60),
        unhealthy_interval: Duration::from_secs(2),
        unhealthy_threshold: ten(),
        healthy_threshold: ten(),
        alt_port: Some(8081),
        kind,
    };
    let http = HttpHealthCheck {
        host: arc("reviews"),
        path: arc("/ready?deep"),
        method: arc("HEAD"),
        expected_statuses: vec![(200, 300)],
        retriable_statuses: vec![(500, 501)],
        request_headers: sample::routes().virtual_hosts[0].routes[0].request_headers.clone(),
        http2: true,
    };
    Cluster {
        load_balancing: LoadBalancing::RingHash { min_size: 1024, max_size: 4096, function: HashFunction::XxHash },
        circuit_breakers: Thresholds {
            retry_budget: Some(RetryBudget { percent: 12.5, min_concurrency: 3 }),
            max_connections_per_endpoint: Some(10),
            max_requests_per_endpoint: Some(100),
            ..Thresholds::default()
        },
        outlier_detection: Some(OutlierDetection {
            consecutive_local_origin_failure: Some(ten()),
            split_local_origin: true,
            success_rate: Some(SuccessRate { min_hosts: 3, request_volume: 50, stdev_factor_thousandths: 1500 }),
            failure_percentage: Some(FailurePercentage { threshold: 80, min_hosts: 3, request_volume: 50 }),
            max_ejection_jitter: Duration::from_secs(1),
            always_eject_one: true,
            uneject_on_healthy: false,
            failure_codes: vec![500, 503],
            ..OutlierDetection::default()
        }),
        health_checks: vec![
            check(HealthCheckKind::Http(Box::new(http))),
            check(HealthCheckKind::Grpc { service: arc("shop.Reviews"), authority: arc("reviews") }),
            check(HealthCheckKind::Tcp {
                send: b"PING\r\n".as_slice().into(),
                receive: vec![b"PONG".as_slice().into()],
            }),
        ],
        panic_threshold_percent: 0,
        locality_weighted: true,
        policies: [("circuit_breaker", "shop/limits a.yaml:1"), ("health_check", "shop/ready b.yaml:2")]
            .map(|(kind, policy)| (arc(kind), arc(policy)))
            .into(),
        ..sample::cluster()
    }
}

pub(super) fn endpoints() -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        overprovisioning_percent: ten(),
        drop_overloads: vec![(arc("overload"), Fraction { numerator: 5, denominator: 100 })],
        ..sample::endpoints()
    }
}
