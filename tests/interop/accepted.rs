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
    Cluster, Discovery, DnsEndpoint, LoadBalancing, OutlierDetection, Thresholds, UpstreamProtocol,
};
use tidegate_xds::resource::listener::{
    Codec, FilterChain, FilterChainMatch, HttpFilter, Listener, ListenerKind, NetworkFilter, RouteSource, ServerHeader,
    SocketListener, TcpProxy,
};
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, DirectResponse, HashPolicy, HashSource, HeaderAddition, HeaderMutations,
    HostRewrite, Mirror, PathMatcher, PathRewrite, Redirect, RedirectPath, RetryOn, RetryPolicy, Route, RouteAction,
    Upgrade, WeightedCluster, WeightedClusters,
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
    let cookie = |ttl| HashSource::Cookie { name: "session".into(), ttl, path: "/".into() };
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
            RetryOn::Retriable4xx,
            RetryOn::RetriableStatusCodes,
            RetryOn::Unavailable,
        ],
        num_retries: 3,
        per_try_timeout: Some(SECOND),
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
    all
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
        manager.http_filters = vec![HttpFilter::Cors, HttpFilter::Fault];
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
    Listener { name: format!("listener-{port}").into(), kind, direction: Default::default() }
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
        interval: SECOND,
        base_ejection_time: 30 * SECOND,
        max_ejection_time: 300 * SECOND,
        max_ejection_percent: 50,
    };
    let thresholds = Thresholds { max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 0 };
    vec![
        make("v1", &|c| c.load_balancing = LoadBalancing::LeastRequest { choices: few(2) }),
        make("v2", &|c| c.load_balancing = LoadBalancing::Random),
        make("eds", &|c| c.discovery = Discovery::Eds { service_name: "other".into() }),
        make("dns", &|c| c.discovery = Discovery::StrictDns { endpoints: names.clone() }),
        make("original", &|c| c.discovery = Discovery::OriginalDestination),
        make("h2", &|c| (c.protocol, c.idle_timeout) = (UpstreamProtocol::Http2, Some(SECOND))),
        make("same", &|c| {
            (c.protocol, c.max_requests_per_connection) = (UpstreamProtocol::SameAsDownstream, Some(few(1)));
        }),
        make("guarded", &|c| (c.circuit_breakers, c.outlier_detection) = (thresholds, Some(outliers.clone()))),
    ]
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
