//! One resource of each type, as a control plane would send it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::arc;
use crate::resource::cluster::{
    Cluster, Discovery, DnsEndpoint, LoadBalancing, OutlierDetection, Thresholds, UpstreamProtocol,
};
use crate::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use crate::resource::filter::{self, FilterConfig, HttpFilter};
use crate::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener, TcpProxy,
};
use crate::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher, StringMatcher};
use crate::resource::route::{
    AppendAction, ClusterSpecifier, DirectResponse, Forward, HashPolicy, HashSource, HeaderAddition, Mirror,
    PathMatcher, Redirect, RedirectPath, RetryOn, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch,
    Upgrade, VirtualHost, WeightedCluster, WeightedClusters,
};
use crate::resource::secret::{Secret, SecretKind};
use crate::resource::tls::{
    CertificateSource, PeerValidation, SubjectNameKind, SubjectNameMatcher, TlsVersion, TlsVersions, TrustedRoots,
    UpstreamTls,
};

pub(super) fn forward(cluster: ClusterSpecifier) -> Forward {
    Forward { timeout: Some(Duration::from_secs(15)), ..Forward::to(cluster) }
}

fn route(name: &str, path: PathMatcher, action: RouteAction) -> Route {
    let matches = RouteMatch { path, headers: Vec::new(), query_parameters: Vec::new(), grpc: false, fraction: None };
    Route { name: arc(name), ..Route::new(matches, action) }
}

fn weighted(name: &str, weight: u32) -> WeightedCluster {
    WeightedCluster { name: arc(name), weight, ..WeightedCluster::default() }
}

/// Three routes: a split with everything, a redirect, a direct response.
pub(super) fn routes() -> RouteConfiguration {
    let clusters = vec![weighted("outbound|9080|v1|reviews", 90), weighted("outbound|9080|v2|reviews", 10)];
    let clusters = WeightedClusters::new(clusters).expect("the weights add up to 100");
    let split = Forward {
        retry: Some(RetryPolicy {
            retry_on: vec![RetryOn::ConnectFailure, RetryOn::FiveXx, RetryOn::RetriableStatusCodes],
            num_retries: 2,
            per_try_timeout: Some(Duration::from_millis(500)),
            status_codes: vec![503],
            back_off_base: Duration::from_millis(25),
            back_off_max: Duration::from_millis(250),
            avoid_previous_hosts: true,
            host_selection_attempts: 3,
            ..RetryPolicy::default()
        }),
        mirrors: vec![Mirror {
            fraction: Fraction { numerator: 1, denominator: 1_000_000 },
            shadow_host_suffix: true,
            ..Mirror::to(arc("outbound|9080|v3|reviews"))
        }],
        hash_policy: vec![HashPolicy { source: HashSource::SourceIp, terminal: true }],
        upgrades: vec![Upgrade { kind: arc("websocket"), enabled: true }],
        ..forward(ClusterSpecifier::Weighted(clusters))
    };
    let mut first = route(
        "split",
        PathMatcher::SeparatedPrefix { prefix: arc("/reviews"), case_sensitive: true },
        RouteAction::Forward(Box::new(split)),
    );
    first.source = Some(arc("mesh/reviews.yaml:12"));
    first.matches.headers.push(HeaderMatcher {
        name: arc("end-user"),
        condition: HeaderCondition::Value(StringMatcher::Regex(arc("jason|anna"))),
        invert: false,
        missing_as_empty: false,
    });
    first.request_headers.add.push(HeaderAddition {
        name: arc("X-Route"),
        value: arc("%ROUTE_NAME% at 100%%"),
        append: AppendAction::OverwriteIfExistsOrAdd,
        keep_empty: false,
    });
    first.response_headers.remove.push(arc("x-internal"));
    let redirect = Redirect {
        scheme: Some(arc("https")),
        host: None,
        port: Some(443),
        path: RedirectPath::Keep,
        status: 308,
        strip_query: false,
    };
    let gone = DirectResponse { status: 410, body: Arc::from(b"gone".as_slice()) };
    let host = VirtualHost {
        name: arc("reviews:9080"),
        domains: vec![arc("reviews"), arc("*.reviews.default.svc.cluster.local")],
        routes: vec![
            first,
            route(
                "secure",
                PathMatcher::Prefix { prefix: arc("/login"), case_sensitive: false },
                RouteAction::Redirect(Box::new(redirect)),
            ),
            route(
                "gone",
                PathMatcher::Exact { path: arc("/old"), case_sensitive: true },
                RouteAction::DirectResponse(gone),
            ),
        ],
        include_request_attempt_count: true,
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: arc("9080"),
        virtual_hosts: vec![host],
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

/// The two that every control plane lists.
pub(super) fn http_filters() -> Vec<HttpFilter> {
    vec![
        HttpFilter { name: arc(filter::FAULT), disabled: false, config: FilterConfig::Fault(Arc::default()) },
        HttpFilter { name: arc(filter::CORS), disabled: false, config: FilterConfig::Cors(None) },
    ]
}

fn manager(routes: RouteSource) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: arc("outbound_9080"),
        codec: Codec::Auto,
        routes,
        http_filters: http_filters(),
        upgrades: vec![Upgrade { kind: arc("websocket"), enabled: true }],
        stream_idle_timeout: None,
        idle_timeout: Some(Duration::from_secs(60)),
        request_headers_timeout: Some(Duration::from_secs(10)),
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: true,
        server_header: ServerHeader::PassThrough,
    }
}

/// Two chains (HTTP by port and protocol, bytes for the rest of that port) and a default.
pub(super) fn listener() -> Listener {
    let http = FilterChain {
        name: arc("http"),
        matches: FilterChainMatch {
            destination_port: Some(9080),
            application_protocols: vec![arc("http/1.1"), arc("h2c")],
            ..FilterChainMatch::default()
        },
        tls: None,
        filter: NetworkFilter::Http(Box::new(manager(RouteSource::Rds(arc("9080"))))),
    };
    let tcp = |name: &str| {
        NetworkFilter::Tcp(TcpProxy {
            stat_prefix: arc(name),
            clusters: vec![(arc("BlackHoleCluster"), 1)],
            idle_timeout: None,
        })
    };
    let bytes = FilterChain {
        name: arc("bytes"),
        matches: FilterChainMatch { destination_port: Some(9080), ..FilterChainMatch::default() },
        tls: None,
        filter: tcp("bytes"),
    };
    let rest = FilterChain { name: arc("rest"), matches: FilterChainMatch::default(), tls: None, filter: tcp("rest") };
    Listener {
        name: arc("0.0.0.0_9080"),
        kind: ListenerKind::Socket(Box::new(SocketListener {
            address: "0.0.0.0:9080".parse().expect("an address"),
            bind_to_port: false,
            use_original_dst: false,
            filter_chains: vec![http, bytes],
            default_filter_chain: Some(rest),
            detection_timeout: Some(Duration::from_secs(1)),
        })),
        direction: Direction::Outbound,
        error_header: true,
        workload: None,
    }
}

/// What a gRPC client reads.
pub(super) fn api_listener() -> Listener {
    Listener {
        name: arc("reviews:9080"),
        kind: ListenerKind::Api(Box::new(manager(RouteSource::Inline(Arc::new(routes()))))),
        direction: Direction::Unspecified,
        error_header: true,
        workload: None,
    }
}

fn two() -> NonZeroU32 {
    NonZeroU32::new(2).expect("2 is not zero")
}

pub(super) fn cluster() -> Cluster {
    Cluster {
        load_balancing: LoadBalancing::LEAST_REQUEST,
        connect_timeout: Duration::from_millis(250),
        protocol: UpstreamProtocol::Http2,
        idle_timeout: Some(Duration::from_secs(300)),
        max_requests_per_connection: Some(two()),
        circuit_breakers: Thresholds { max_requests: 7, ..Thresholds::default() },
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: Some(two()),
            consecutive_gateway_failure: None,
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(60),
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }),
        ..Cluster::new(arc("outbound|9080|v1|reviews"), Discovery::Eds { service_name: arc("reviews-v1") })
    }
}

/// The same with names to resolve.
pub(super) fn dns_cluster() -> Cluster {
    let endpoints = vec![DnsEndpoint { host: arc("example.org"), port: 443 }];
    Cluster { discovery: Discovery::StrictDns { endpoints }, ..cluster() }
}

/// The same with its endpoints written down.
pub(super) fn static_cluster() -> Cluster {
    Cluster { discovery: Discovery::Static(endpoints().localities), ..cluster() }
}

/// The same with encryption: our certificate and the roots come as secrets, and the server's name is checked.
pub(super) fn encrypted_cluster() -> Cluster {
    let matcher = StringMatcher::Exact { value: arc("spiffe://cluster.local/ns/a/sa/b"), ignore_case: false };
    let tls = UpstreamTls {
        certificate: Some(CertificateSource::Sds(arc("default"))),
        validation: PeerValidation {
            roots: TrustedRoots::Sds(arc("ROOTCA")),
            subject_names: vec![SubjectNameMatcher { kind: SubjectNameKind::Uri, matcher }],
        },
        sni: arc("reviews.test"),
        auto_host_sni: false,
        auto_sni_san_validation: false,
        alpn_protocols: vec![arc("h2")],
        versions: TlsVersions { min: TlsVersion::V1_2, max: TlsVersion::V1_3 },
    };
    Cluster { tls: Some(tls), ..cluster() }
}

pub(super) fn endpoints() -> ClusterLoadAssignment {
    let endpoint = Endpoint {
        address: "10.0.0.7:9080".parse().expect("an address"),
        weight: two(),
        health: Health::Draining,
        hostname: Some(arc("reviews-0")),
        workload: Some(arc("reviews-v1;default;reviews;v1;Kubernetes")),
    };
    let locality = LocalityEndpoints {
        locality: Locality { region: arc("r"), zone: arc("z"), sub_zone: arc("s") },
        priority: 1,
        weight: Some(two()),
        endpoints: vec![endpoint],
    };
    ClusterLoadAssignment { localities: vec![locality], ..ClusterLoadAssignment::empty(arc("reviews-v1")) }
}

pub(super) const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
pub(super) const CHAIN: &[u8] = b"-----BEGIN CERTIFICATE-----\nY2hhaW4=\n-----END CERTIFICATE-----\n";

pub(super) fn certificate() -> Secret {
    Secret { name: arc("default"), kind: SecretKind::Certificate { chain_pem: CHAIN.into(), key_pem: KEY.into() } }
}

pub(super) fn roots() -> Secret {
    Secret { name: arc("ROOTCA"), kind: SecretKind::Validation { roots_pem: CHAIN.into() } }
}
