//! A small mesh for tests, in the compiler's own terms: short words for the objects that every test needs.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::fault::{AppliesTo, Fault};
use tidegate_policies::ir::gateway::{Gateway, GatewayHost, GatewayListener};
use tidegate_policies::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use tidegate_policies::ir::rate_limit::{OnDeny, OnStoreUnavailable, RateLimit, RateScope};
use tidegate_policies::ir::retry::Retry;
use tidegate_policies::ir::route::{
    Backend, HeaderChanges, PathRewrite, RequestMatch, RouteEntry, RouteRule, RuleAction, RulePolicies,
};
use tidegate_policies::ir::share::Share;
use tidegate_policies::ir::split::{Destination, Split};
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_policies::ir::world::{
    External, Labels, OutboundTcp, Protocol, Service, ServicePort, Sidecar, TargetPort, Workload, WorkloadPort,
};
use tidegate_policies::ir::{MeshRoutes, ObjectName, Origin, PolicySet, Stated};

pub(crate) const NAMESPACE: &str = "shop";

pub(crate) fn named(name: &str) -> ObjectName {
    ObjectName { namespace: NAMESPACE.into(), name: name.into() }
}

pub(crate) fn origin(kind: &'static str, name: &str, line: u32) -> Origin {
    Origin { kind, object: named(name), file: "mesh.yaml".into(), line }
}

/// Something that was written in line 40.
pub(crate) fn stated<T>(kind: &'static str, name: &str, value: T) -> Stated<T> {
    Stated { origin: Arc::new(origin(kind, name, 40)), value: Arc::new(value) }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("the test writes addresses")
}

pub(crate) fn port(name: &str, number: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.into(), port: number, target: TargetPort::Number(number), protocol }
}

/// A service whose endpoints have the label `app: NAME`.
pub(crate) fn service(name: &str, ports: Vec<ServicePort>) -> Service {
    Service {
        name: named(name),
        origin: origin("Service", name, 1),
        hosts: vec![format!("{name}.{NAMESPACE}.svc.cluster.local").into()],
        ports,
        selector: Some(labels(&[("app", name)])),
        addresses: Vec::new(),
        external: External::No,
    }
}

/// A workload of `app` with a sidecar: peers reach `ADDRESS:PORT`, the application listens on the next port.
pub(crate) fn workload(name: &str, app: &str, version: &str, inbound: &str, protocol: Protocol) -> Workload {
    let inbound = address(inbound);
    let application = SocketAddr::new(inbound.ip(), inbound.port() + 1);
    let port = WorkloadPort { name: "main".into(), port: inbound.port(), application: Some(application), protocol };
    Workload {
        name: named(name),
        origin: origin("Workload", name, 1),
        labels: labels(&[("app", app), ("version", version)]),
        address: inbound.ip(),
        ports: vec![port],
        weight: NonZeroU32::MIN,
        locality: Default::default(),
        sidecar: Some(Sidecar { outbound: SocketAddr::new(inbound.ip(), 15001), outbound_tcp: Vec::new() }),
    }
}

pub(crate) fn backend(service: &str, port: u16, subset: Option<&str>) -> Backend {
    Backend::Service { service: named(service), port, subset: subset.map(Arc::from) }
}

pub(crate) fn split(destinations: &[(Backend, u32)]) -> RuleAction {
    let destinations = destinations.iter().map(|(backend, weight)| Destination {
        backend: backend.clone(),
        weight: *weight,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        host_rewrite: None,
    });
    RuleAction::Split(Split { destinations: destinations.collect() })
}

pub(crate) fn rule(kind: &'static str, line: u32, action: RuleAction) -> RouteRule {
    RouteRule {
        origin: origin(kind, "rules", line),
        name: "".into(),
        action,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        path_rewrite: PathRewrite::Keep,
        host_rewrite: None,
        timeouts: Timeouts::default(),
        policies: RulePolicies::default(),
        delegated_by: None,
    }
}

pub(crate) fn entry(matches: RequestMatch, rule: RouteRule) -> RouteEntry {
    RouteEntry { matches, rule: Arc::new(rule) }
}

pub(crate) fn for_all(rules: Vec<RouteEntry>) -> Vec<MeshRoutes> {
    vec![MeshRoutes { port: None, consumer_namespace: None, rules }]
}

/// `reviews` split by weight between its versions 1 and 2.
pub(crate) fn canary(v1: u32, v2: u32) -> Vec<MeshRoutes> {
    let shares = split(&[(backend("reviews", 9080, Some("v1")), v1), (backend("reviews", 9080, Some("v2")), v2)]);
    for_all(vec![entry(RequestMatch::default(), rule("VirtualService", 12, shares))])
}

pub(crate) fn versions(names: &[&str]) -> BackendSettings {
    let subset = |name: &&str| {
        let subset = Subset {
            origin: origin("DestinationRule", "reviews", 9),
            labels: labels(&[("version", name)]),
            traffic: TrafficSettings::default(),
            ports: Default::default(),
        };
        (Arc::from(*name), subset)
    };
    BackendSettings {
        origin: origin("DestinationRule", "reviews", 5),
        traffic: TrafficSettings::default(),
        ports: Default::default(),
        subsets: names.iter().map(subset).collect(),
    }
}

/// Two further attempts on a 503.
pub(crate) fn retry() -> Retry {
    Retry {
        attempts: 2,
        on: vec!["gateway-error".into()],
        codes: vec![409],
        methods: Some(Vec::new()),
        per_try: None,
        backoff: None,
        backoff_max: None,
        avoid_previous_hosts: false,
        remote_localities: true,
    }
}

/// Half of the requests wait for a second.
pub(crate) fn fault() -> Fault {
    Fault {
        matches: Vec::new(),
        delay: Some((Duration::from_secs(1), Share::from_millionths(500_000).expect("a half"))),
        abort: None,
        bandwidth: None,
        expires_at: None,
        applies_to: AppliesTo::Route,
    }
}

/// 100 a second, bursts of 200, for each proxy.
pub(crate) fn rate_limit(name: &str) -> RateLimit {
    RateLimit {
        name: format!("{NAMESPACE}/limits/{name}").into(),
        matches: Vec::new(),
        keys: Vec::new(),
        requests: NonZeroU32::new(100).expect("a hundred"),
        per: Duration::from_secs(1),
        burst: 200,
        scope: RateScope::PerProxy,
        on_deny: OnDeny { status: 429, grpc_status: 8, headers: HeaderChanges::default() },
        shadow: false,
        on_store_unavailable: OnStoreUnavailable::FallbackPerProxy,
    }
}

/// `web` calls `reviews` (two versions, HTTP), `ratings` (gRPC) and `ledger` (TCP); a gateway lets callers in to `web`.
pub(crate) fn mesh() -> PolicySet {
    let mut set = PolicySet::default();
    for service in [
        service("web", vec![port("http", 80, Protocol::Http)]),
        service("reviews", vec![port("http", 9080, Protocol::Http)]),
        service("ratings", vec![port("grpc", 9090, Protocol::Http2)]),
        service("ledger", vec![port("tcp", 5432, Protocol::Tcp)]),
    ] {
        set.services.insert(service.name.clone(), service);
    }
    let mut web = workload("web-1", "web", "v1", "127.0.1.1:80", Protocol::Http);
    let dial = OutboundTcp { listen: address("127.0.1.1:15432"), service: named("ledger"), port: 5432 };
    web.sidecar.as_mut().expect("made with a sidecar").outbound_tcp.push(dial);
    for workload in [
        web,
        workload("reviews-1", "reviews", "v1", "127.0.1.2:9080", Protocol::Http),
        workload("reviews-2", "reviews", "v2", "127.0.1.3:9080", Protocol::Http),
        workload("ratings-1", "ratings", "v1", "127.0.1.4:9090", Protocol::Http2),
        workload("ledger-1", "ledger", "v1", "127.0.1.5:5432", Protocol::Tcp),
    ] {
        set.workloads.insert(workload.name.clone(), workload);
    }
    set.backends.insert(named("reviews"), versions(&["v1", "v2"]));
    set.mesh_routes.insert(named("reviews"), canary(90, 10));
    let to_web = rule("HTTPRoute", 30, split(&[(backend("web", 80, None), 1)]));
    let host = GatewayHost { host: "shop.example.com".into(), rules: vec![entry(RequestMatch::default(), to_web)] };
    let listener = GatewayListener {
        name: "http".into(),
        port: 8080,
        hosts: vec![host],
        hostname: None,
        tcp: None,
        servers: Vec::new(),
        tls: None,
    };
    let front = Gateway {
        name: named("front"),
        origin: origin("Gateway", "front", 20),
        addresses: Vec::new(),
        listeners: vec![listener],
    };
    set.gateways.insert(front.name.clone(), front);
    set
}
