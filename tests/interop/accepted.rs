//! Envoy accepts whatever our types can say: each variant of each type, encoded by us, in one bootstrap that Envoy checks.
//!
//! # Why a check of its own
//! The control plane uses a part of what the types offer, and a refused resource is only seen when somebody uses it.

use std::num::NonZeroU32;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_xds::resource::cluster::{
    Cluster, Discovery, DnsEndpoint, FailurePercentage, HashFunction, HealthCheck, HealthCheckKind, HttpHealthCheck,
    LoadBalancing, OutlierDetection, RetryBudget, SlowStart, SuccessRate, Thresholds, UpstreamProtocol,
};
use tidegate_xds::resource::filter::{
    self, Cors, Fault, FaultAbort, FaultAnswer, FaultBandwidth, FaultDelay, FilterConfig, FilterOverride,
    FilterOverrides, HttpFilter, LocalDescriptor, LocalRateLimit, RateLimitAction, RateLimitActions, RateLimitPerRoute,
    RateLimitService, RequestType, SessionCarrier, StatefulSession, TokenBucket, VirtualHostLimits,
};
use tidegate_xds::resource::listener::{
    Codec, FilterChain, FilterChainMatch, Listener, ListenerKind, NetworkFilter, RouteSource, ServerHeader,
    SocketListener, TcpProxy,
};
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, DirectResponse, HashPolicy, HashSource, HeaderAddition, HeaderMutations,
    HostRewrite, Mirror, PathMatcher, PathRewrite, RateLimitedBackOff, Redirect, RedirectPath, ResetHeader, RetryOn,
    RetryPolicy, Route, RouteAction, Upgrade, WeightedCluster, WeightedClusters,
};
use tidegate_xds::resource::{Resource, RouteConfiguration};

use super::envoy;
use super::wire::{field, number};
use super::world::{cluster, connection_manager, endpoints, forward, route, routes, socket};

const SECOND: Duration = Duration::from_secs(1);

fn string_matchers() -> Vec<StringMatcher> {
    let mut all = vec![StringMatcher::Regex("a+b?".into())];
    for ignore_case in [true, false] {
        let value: Arc<str> = "Value".into();
        all.push(StringMatcher::Exact { value: value.clone(), ignore_case });
        all.push(StringMatcher::Prefix { value: value.clone(), ignore_case });
        all.push(StringMatcher::Suffix { value: value.clone(), ignore_case });
        all.push(StringMatcher::Contains { value, ignore_case });
    }
    all
}

/// A route for each kind of match.
fn matches() -> Vec<Route> {
    let mut paths = vec![PathMatcher::Connect, PathMatcher::Regex("/items/[0-9]+".into())];
    for case_sensitive in [true, false] {
        paths.push(PathMatcher::Exact { path: "/exact".into(), case_sensitive });
        paths.push(PathMatcher::Prefix { prefix: "/prefix".into(), case_sensitive });
        paths.push(PathMatcher::SeparatedPrefix { prefix: "/segment".into(), case_sensitive });
    }
    let mut all: Vec<Route> = paths.into_iter().map(|path| with(|r| r.matches.path = path.clone())).collect();
    let mut conditions = vec![HeaderCondition::Present(true), HeaderCondition::Present(false)];
    conditions.push(HeaderCondition::Range { start: -5, end: 10 });
    conditions.extend(string_matchers().into_iter().map(HeaderCondition::Value));
    for condition in conditions {
        for (invert, missing_as_empty) in [(false, false), (true, false), (false, true)] {
            let name = "x-header".into();
            let matcher = HeaderMatcher { name, condition: condition.clone(), invert, missing_as_empty };
            all.push(with(|r| r.matches.headers = vec![matcher.clone()]));
        }
    }
    let mut conditions = vec![QueryParameterCondition::Present(true), QueryParameterCondition::Present(false)];
    conditions.extend(string_matchers().into_iter().map(QueryParameterCondition::Value));
    for condition in conditions {
        let matcher = QueryParameterMatcher { name: "q".into(), condition };
        all.push(with(|r| r.matches.query_parameters = vec![matcher.clone()]));
    }
    all.push(with(|r| r.matches.grpc = true));
    for denominator in [100, 10_000, 1_000_000] {
        all.push(with(|r| r.matches.fraction = Some(Fraction { numerator: 7, denominator })));
    }
    all
}

/// The plain route after a change.
fn with(change: impl FnOnce(&mut Route)) -> Route {
    let mut plain = route("v1");
    change(&mut plain);
    plain
}

fn mutations() -> HeaderMutations {
    let actions = [
        AppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists,
    ];
    let add = |append| HeaderAddition {
        name: "X-Added".into(),
        value: "100 %% of %PROTOCOL%".into(),
        append,
        keep_empty: append == AppendAction::AddIfAbsent,
    };
    HeaderMutations { remove: vec!["x-removed".into()], add: actions.map(add).into() }
}

/// A route for each kind of forwarding.
fn forwards() -> Vec<Route> {
    let member = |name: &str, weight| WeightedCluster {
        name: name.into(),
        weight,
        request_headers: mutations(),
        response_headers: mutations(),
        host_rewrite: Some("member.example.com".into()),
        filters: filters(),
    };
    let weighted = WeightedClusters::new(vec![member("v1", 0), member("v2", 7)]).expect("seven is not zero");
    let second = Some(SECOND);
    let regex = |pattern: &str| PathRewrite::Regex { pattern: pattern.into(), substitution: "/\\1".into() };
    let full = |f: &mut _| -> () { full_forward(f) };
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut tidegate_xds::resource::route::Forward)| {
        let mut action = forward("v1");
        change(&mut action);
        all.push(with(|r| r.action = RouteAction::Forward(Box::new(action))));
    };
    add(&|f| f.cluster = ClusterSpecifier::ClusterHeader("x-cluster".into()));
    add(&|f| f.cluster = ClusterSpecifier::Weighted(weighted.clone()));
    add(&|f| f.path_rewrite = PathRewrite::Prefix("/new".into()));
    add(&|f| f.path_rewrite = regex("^/old/(.*)$"));
    add(&|f| f.host_rewrite = HostRewrite::Literal("host.example.com".into()));
    add(&|f| f.host_rewrite = HostRewrite::Header("x-host".into()));
    add(&|f| f.host_rewrite = HostRewrite::Endpoint);
    for status in [404, 500, 503] {
        add(&|f| f.cluster_not_found_status = status);
    }
    add(&|f| (f.timeout, f.idle_timeout) = (second, second));
    add(&|f| (f.max_stream_duration, f.grpc_timeout_max) = (second, second));
    add(&|f| f.grpc_timeout_max = Some(Duration::ZERO));
    add(&full);
    all
}

fn full_forward(f: &mut tidegate_xds::resource::route::Forward) {
    let header = |name: &str, terminal| HashPolicy { source: HashSource::Header(name.into()), terminal };
    let cookie = |ttl| HashSource::Cookie {
        name: "session".into(),
        ttl,
        path: "/".into(),
        attributes: vec![("SameSite".into(), "Lax".into())],
    };
    f.host_rewrite = HostRewrite::Literal("host.example.com".into());
    f.append_x_forwarded_host = true;
    f.upgrades =
        vec![Upgrade { kind: "websocket".into(), enabled: true }, Upgrade { kind: "connect".into(), enabled: false }];
    f.retry = Some(RetryPolicy {
        retry_on: vec![
            RetryOn::FiveXx,
            RetryOn::Cancelled,
            RetryOn::ConnectFailure,
            RetryOn::DeadlineExceeded,
            RetryOn::GatewayError,
            RetryOn::Internal,
            RetryOn::RateLimited,
            RetryOn::RefusedStream,
            RetryOn::Reset,
            RetryOn::ResetBeforeRequest,
            RetryOn::ResourceExhausted,
            RetryOn::RetriableHeaders,
            RetryOn::Retriable4xx,
            RetryOn::RetriableStatusCodes,
            RetryOn::Unavailable,
        ],
        num_retries: 3,
        per_try_timeout: Some(SECOND),
        per_try_idle_timeout: Some(SECOND),
        retriable_headers: vec![present("x-again")],
        retriable_request_headers: vec![present("x-idempotent")],
        rate_limited_back_off: Some(RateLimitedBackOff {
            headers: vec![ResetHeader { name: "retry-after".into(), unix_timestamp: false }],
            max: 10 * SECOND,
        }),
        status_codes: vec![429, 503],
        back_off_base: Duration::from_millis(25),
        back_off_max: Duration::from_millis(250),
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
    });
    f.mirrors = vec![true, false]
        .into_iter()
        .map(|shadow_host_suffix| Mirror {
            cluster: "v2".into(),
            fraction: Fraction { numerator: 1, denominator: 100 },
            shadow_host_suffix,
            request_headers: mutations(),
            host_rewrite: None,
        })
        .collect();
    let parameter = HashPolicy { source: HashSource::QueryParameter("q".into()), terminal: false };
    f.hash_policy = vec![
        header("x-user", true),
        HashPolicy { source: cookie(Some(SECOND)), terminal: false },
        HashPolicy { source: cookie(None), terminal: false },
        HashPolicy { source: HashSource::SourceIp, terminal: false },
        parameter,
    ];
}

/// A route for each kind of answer that the proxy makes itself.
fn answers() -> Vec<Route> {
    let mut all = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        let paths = [
            RedirectPath::Keep,
            RedirectPath::Full("/full?q=1".into()),
            RedirectPath::Prefix("/swapped".into()),
            RedirectPath::Regex { pattern: "^/(.*)$".into(), substitution: "/x/\\1".into() },
        ];
        for path in paths {
            let redirect = Redirect {
                scheme: Some("https".into()),
                host: Some("new.example.com".into()),
                port: Some(8443),
                strip_query: status == 301,
                path,
                status,
            };
            all.push(with(|r| r.action = RouteAction::Redirect(Box::new(redirect))));
        }
    }
    for status in [200, 404, 599] {
        let body = Arc::from(&b"the proxy says so"[..]);
        all.push(with(|r| r.action = RouteAction::DirectResponse(DirectResponse { status, body })));
    }
    all.push(with(|r| (r.request_headers, r.response_headers) = (mutations(), mutations())));
    all
}

fn all_routes() -> RouteConfiguration {
    let mut all = routes("v1");
    all.ignore_port_in_host_matching = true;
    all.most_specific_header_mutations_wins = true;
    (all.request_headers, all.response_headers) = (mutations(), mutations());
    let host = &mut all.virtual_hosts[0];
    (host.request_headers, host.response_headers) = (mutations(), mutations());
    host.include_request_attempt_count = true;
    host.domains = ["*", "reviews", "*.example.com", "prefix.*", "reviews:9080"].map(Into::into).into();
    host.routes = [matches(), forwards(), answers()].concat();
    host.routes[0].filters = filters();
    host.rate_limits = vec![descriptions()];
    all
}

fn present(name: &str) -> HeaderMatcher {
    let condition = HeaderCondition::Present(true);
    HeaderMatcher { name: name.into(), condition, invert: false, missing_as_empty: false }
}

/// An override of every filter that has any.
fn filters() -> FilterOverrides {
    let with = |config| FilterOverride { disabled: false, config: Some(config) };
    [
        (filter::CORS, with(FilterConfig::Cors(Some(Arc::new(cors()))))),
        (filter::FAULT, with(FilterConfig::Fault(Arc::new(fault())))),
        (filter::LOCAL_RATE_LIMIT, with(FilterConfig::LocalRateLimit(Arc::new(local_rate_limit())))),
        (filter::RATE_LIMIT, with(FilterConfig::RateLimitPerRoute(Arc::new(per_route())))),
        (filter::STATEFUL_SESSION, with(FilterConfig::StatefulSession(Some(Arc::new(session()))))),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

/// Every filter in a listener's list.
fn listed() -> Vec<HttpFilter> {
    let service = RateLimitService {
        domain: "tidegate".into(),
        stage: 0,
        request_type: RequestType::External,
        timeout: Duration::from_millis(20),
        failure_mode_deny: true,
        resource_exhausted: true,
        cluster: "v1".into(),
        ratelimit_headers: true,
        without_ratelimited_header: true,
        status: 503,
        response_headers: mutations().add,
        status_on_error: 503,
        retry_after: false,
        enabled: PERCENT,
        enforced: PERCENT,
        rate_limits: Vec::new(),
    };
    [
        (filter::CORS, FilterConfig::Cors(None)),
        (filter::FAULT, FilterConfig::Fault(Arc::new(fault()))),
        (filter::LOCAL_RATE_LIMIT, FilterConfig::LocalRateLimit(Arc::new(local_rate_limit()))),
        (filter::RATE_LIMIT, FilterConfig::RateLimit(Arc::new(service))),
        (filter::STATEFUL_SESSION, FilterConfig::StatefulSession(Some(Arc::new(session())))),
    ]
    .map(|(name, config)| HttpFilter { name: name.into(), disabled: false, config })
    .into()
}

const PERCENT: Fraction = Fraction { numerator: 1, denominator: 100 };

fn cors() -> Cors {
    Cors {
        allow_origins: string_matchers(),
        allow_methods: "GET, POST".into(),
        allow_headers: "x-user".into(),
        expose_headers: "x-cost".into(),
        max_age: "600".into(),
        allow_credentials: true,
        enabled: PERCENT,
        forward_not_matching_preflights: false,
        allow_private_network_access: true,
    }
}

fn fault() -> Fault {
    Fault {
        delay: Some(FaultDelay { fixed: Some(SECOND), percentage: PERCENT }),
        abort: Some(FaultAbort { with: FaultAnswer::Grpc(14), percentage: PERCENT }),
        bandwidth: Some(FaultBandwidth { kib_per_second: Some(64), percentage: PERCENT }),
        headers: vec![present("end-user")],
        upstream_cluster: Some("v1".into()),
        downstream_nodes: vec!["one.shop".into()],
        active_max: Some(5),
        expires_at_unix_s: Some(4_000_000_000),
        per_attempt: true,
    }
}

fn local_rate_limit() -> LocalRateLimit {
    let bucket = TokenBucket { capacity: 5, refill: NonZeroU32::MIN, interval: SECOND };
    LocalRateLimit {
        stat_prefix: "limit".into(),
        status: 503,
        bucket: Some(bucket),
        enabled: PERCENT,
        enforced: PERCENT,
        request_headers_when_not_enforced: mutations().add,
        response_headers: mutations().add,
        descriptors: vec![LocalDescriptor { entries: vec![("user".into(), "".into())], bucket }],
        stage: 0,
        per_connection: false,
        ratelimit_headers: true,
        always_consume_default: false,
        resource_exhausted: true,
        rate_limits: vec![descriptions()],
        dynamic_descriptors_max: 20,
        retry_after: false,
        virtual_host_limits: VirtualHostLimits::Include,
    }
}

fn per_route() -> RateLimitPerRoute {
    RateLimitPerRoute {
        virtual_host_limits: VirtualHostLimits::Include,
        rate_limits: vec![descriptions()],
        domain: Some("other".into()),
    }
}

fn descriptions() -> RateLimitActions {
    let header = RateLimitAction::RequestHeader { header: "x-user".into(), key: "user".into(), skip_if_absent: true };
    let constant = RateLimitAction::GenericKey { key: "rule".into(), value: "shop/limit/one".into() };
    let matched = RateLimitAction::HeaderValueMatch {
        key: "matched".into(),
        value: "yes".into(),
        expect_match: true,
        headers: vec![present("x-user")],
    };
    let masked = RateLimitAction::MaskedRemoteAddress { v4_prefix: 24, v6_prefix: 64 };
    let actions = vec![constant, header, matched, masked, RateLimitAction::RemoteAddress];
    RateLimitActions { stage: 0, actions, hits: 1, lease: None }
}

fn session() -> StatefulSession {
    let carrier =
        SessionCarrier::Cookie { name: "session".into(), path: "/".into(), ttl: Some(Duration::from_secs(60)) };
    StatefulSession { carrier, strict: true }
}

fn listeners() -> Vec<Listener> {
    let tcp = |port: u16, clusters: &[(&str, u32)]| {
        let clusters = clusters.iter().map(|(name, weight)| (Arc::from(*name), *weight)).collect();
        let filter = NetworkFilter::Tcp(TcpProxy { stat_prefix: "tcp".into(), clusters, idle_timeout: Some(SECOND) });
        listener(port, |socket| socket.filter_chains[0].filter = filter)
    };
    let http = |port: u16, codec: Codec, server_header: ServerHeader, limit: Option<Duration>| {
        let mut manager = connection_manager();
        manager.codec = codec;
        manager.routes = RouteSource::Inline(Arc::new(all_routes()));
        manager.http_filters = listed();
        manager.upgrades = vec![Upgrade { kind: "websocket".into(), enabled: true }];
        (manager.stream_idle_timeout, manager.idle_timeout) = (limit, limit);
        (manager.request_headers_timeout, manager.request_timeout) = (limit, limit);
        (manager.use_remote_address, manager.xff_num_trusted_hops) = (true, 2);
        manager.server_header = server_header;
        listener(port, |socket| socket.filter_chains[0].filter = NetworkFilter::Http(Box::new(manager)))
    };
    let matched = listener(9, |socket| {
        socket.default_filter_chain = Some(socket.filter_chains[0].clone());
        socket.filter_chains[0].matches = FilterChainMatch {
            destination_port: Some(443),
            prefix_ranges: vec![("10.0.0.0".parse().expect("an address"), 8)],
            server_names: vec!["reviews.example.com".into()],
            transport_protocol: "tls".into(),
            application_protocols: vec!["http/1.1".into(), "h2".into()],
        };
        (socket.use_original_dst, socket.detection_timeout) = (true, Some(SECOND));
        with_chain_name(&mut socket.filter_chains[0]);
    });
    vec![
        tcp(1, &[("v1", 1)]),
        tcp(2, &[("v1", 1), ("v2", 3)]),
        http(3, Codec::Auto, ServerHeader::PassThrough, None),
        http(4, Codec::Http1, ServerHeader::Overwrite("tidegate".into()), Some(SECOND)),
        http(5, Codec::Http2, ServerHeader::AppendIfAbsent("tidegate".into()), Some(SECOND)),
        matched,
    ]
}

fn with_chain_name(chain: &mut FilterChain) {
    chain.name = "by name".into();
}

fn listener(port: u16, change: impl FnOnce(&mut SocketListener)) -> Listener {
    let mut socket = socket(([127, 0, 0, 1], port).into());
    change(&mut socket);
    let kind = ListenerKind::Socket(Box::new(socket));
    Listener {
        name: format!("listener-{port}").into(),
        kind,
        direction: Default::default(),
        error_header: false,
        workload: None,
    }
}

fn clusters() -> Vec<Cluster> {
    let address = ([127, 0, 0, 1], 9).into();
    let localities = endpoints("x", address).localities;
    let few = |n: u32| NonZeroU32::new(n).expect("not zero");
    let make = |name: &str, change: &dyn Fn(&mut Cluster)| {
        let mut made = cluster(name);
        made.discovery = Discovery::Static(localities.clone());
        change(&mut made);
        made
    };
    let names = vec![DnsEndpoint { host: "reviews.example.com".into(), port: 80 }];
    let outliers = OutlierDetection {
        consecutive_5xx: Some(few(5)),
        consecutive_gateway_failure: Some(few(3)),
        consecutive_local_origin_failure: Some(few(2)),
        split_local_origin: true,
        success_rate: Some(SuccessRate { min_hosts: 3, request_volume: 50, stdev_factor_thousandths: 1500 }),
        failure_percentage: Some(FailurePercentage { threshold: 60, min_hosts: 2, request_volume: 10 }),
        max_ejection_jitter: SECOND,
        always_eject_one: true,
        uneject_on_healthy: false,
        failure_codes: vec![500],
        interval: SECOND,
        base_ejection_time: 30 * SECOND,
        max_ejection_time: 300 * SECOND,
        max_ejection_percent: 50,
    };
    let thresholds = Thresholds {
        max_connections: 1,
        max_pending_requests: 2,
        max_requests: 3,
        max_retries: 0,
        retry_budget: Some(RetryBudget { percent: 20.0, min_concurrency: 3 }),
        max_connections_per_endpoint: Some(4),
        max_requests_per_endpoint: Some(5),
    };
    vec![
        make("v1", &|c| c.load_balancing = LoadBalancing::LEAST_REQUEST),
        make("v2", &|c| c.load_balancing = LoadBalancing::Random),
        make("eds", &|c| c.discovery = Discovery::Eds { service_name: "other".into() }),
        make("dns", &|c| c.discovery = Discovery::StrictDns { endpoints: names.clone() }),
        make("original", &|c| c.discovery = Discovery::OriginalDestination),
        make("h2", &|c| (c.protocol, c.idle_timeout) = (UpstreamProtocol::Http2, Some(SECOND))),
        make("same", &|c| {
            (c.protocol, c.max_requests_per_connection) = (UpstreamProtocol::SameAsDownstream, Some(few(1)));
        }),
        make("ring", &|c| {
            let function = HashFunction::Murmur2;
            c.load_balancing = LoadBalancing::RingHash { min_size: 64, max_size: 1024, function };
            c.locality_weighted = true;
        }),
        make("table", &|c| {
            c.load_balancing = LoadBalancing::Maglev { table_size: 251 };
            c.panic_threshold_percent = 0;
        }),
        make("slow", &|c| {
            let slow_start = Some(SlowStart { window: SECOND, aggression: 1.5, min_weight_percent: 20.0 });
            c.load_balancing = LoadBalancing::RoundRobin { slow_start };
        }),
        // One each: Envoy 1.40 wants several to have names, for which the message crate has no field yet.
        make("checked by HTTP", &|c| c.health_checks = health_checks()[..1].into()),
        make("checked by gRPC", &|c| {
            (c.health_checks, c.protocol) = (health_checks()[1..2].into(), UpstreamProtocol::Http2);
        }),
        make("checked by TCP", &|c| c.health_checks = health_checks()[2..].into()),
        make("guarded", &|c| (c.circuit_breakers, c.outlier_detection) = (thresholds, Some(outliers.clone()))),
    ]
}

/// One of each kind.
fn health_checks() -> Vec<HealthCheck> {
    let http = HttpHealthCheck {
        host: "health.example.com".into(),
        path: "/healthz?deep=1".into(),
        method: "GET".into(),
        expected_statuses: vec![(200, 204), (301, 302)],
        retriable_statuses: vec![(500, 502)],
        request_headers: mutations(),
        http2: true,
    };
    let kinds = [
        HealthCheckKind::Http(Box::new(http)),
        HealthCheckKind::Grpc { service: "reviews".into(), authority: "reviews.example.com".into() },
        HealthCheckKind::Tcp { send: b"PING"[..].into(), receive: vec![b"PONG"[..].into()] },
    ];
    let few = |n: u32| NonZeroU32::new(n).expect("not zero");
    let check = |kind| HealthCheck {
        timeout: SECOND,
        interval: 5 * SECOND,
        interval_jitter: SECOND,
        no_traffic_interval: 60 * SECOND,
        unhealthy_interval: 2 * SECOND,
        unhealthy_threshold: few(3),
        healthy_threshold: few(2),
        alt_port: Some(8081),
        kind,
    };
    kinds.map(check).into()
}

/// Lets Envoy check a bootstrap with these static resources; its complaints.
fn envoy_on(resources: &[u8]) -> Result<(), String> {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let bootstrap = folder.path().join("bootstrap.pb");
    // `Bootstrap.static_resources`; the rest says where ADS would be.
    std::fs::write(&bootstrap, field(2, resources)).expect("the test's folder is writable");
    let server = ([127, 0, 0, 1], 1).into();
    let rest = envoy::bootstrap_of("check", server, server, envoy::Variant::Delta).to_string();
    let output = Command::new(envoy::binary())
        .args(["--mode", "validate", "--log-level", "warning", "--config-yaml", &rest, "--config-path"])
        .arg(&bootstrap)
        .output()
        .expect("Envoy can be started");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn envoy_accepts_every_variant_of_every_type() {
    let mut resources = Vec::new();
    for listener in listeners() {
        resources.extend(field(1, Resource::Listener(Arc::new(listener)).encode_value()));
    }
    for cluster in clusters() {
        resources.extend(field(2, Resource::Cluster(Arc::new(cluster)).encode_value()));
    }

    assert_eq!(envoy_on(&resources), Ok(()));

    // The check looks inside: one impossible ring among all of these is found.
    let ring = [field(1, "ring"), number(6, 2), field(23, field(1, number(1, 9_000_000)))].concat();
    resources.extend(field(2, ring));
    let complaint = envoy_on(&resources).expect_err("nine million entries are too many");
    assert!(complaint.contains("MinimumRingSize"), "{complaint}");
}
