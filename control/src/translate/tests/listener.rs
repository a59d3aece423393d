//! Clusters and listeners.

use std::net::IpAddr;

use tidegate_policies::ir::circuit_breaker::BreakerLimits;
use tidegate_policies::ir::gateway::GatewayListener;
use tidegate_policies::ir::load_balancing::ConnectionSettings;
use tidegate_policies::ir::route::{Backend, PathMatch, RequestMatch, RuleAction};
use tidegate_policies::ir::tcp::TcpRule;
use tidegate_policies::ir::{MeshRoutes, ObjectName, PolicySet};
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::filter::{CORS, FAULT, LOCAL_RATE_LIMIT, RATE_LIMIT, STATEFUL_SESSION};
use tidegate_xds::resource::listener::{HttpConnectionManager, ListenerKind, NetworkFilter};

use super::{clusters, of_shop, world};
use crate::fixture::{backend, entry, mesh, named, origin, rule, split, stated};
use crate::place::Place;
use crate::translate::filter::LOCAL_RATE_LIMIT_SHADOW;
use crate::translate::{cluster, endpoint, listener, route};
use crate::world::Reader;

fn sidecar(policies: PolicySet, name: &str) -> Vec<Listener> {
    listener::sidecar(&named(name), &of_shop(), &Reader::new(&world(policies)))
}

#[test]
fn a_limit_that_nobody_set_is_no_limit() {
    let mut set = mesh();
    let connection = ConnectionSettings { max_requests_per_connection: Some(0), ..ConnectionSettings::default() };
    let limits = BreakerLimits { max_requests: Some(7), ..BreakerLimits::default() };
    let traffic = &mut set.backends.get_mut(&named("reviews")).unwrap().traffic;
    traffic.connection = Some(stated("DestinationRule", "reviews", connection));
    traffic.limits = Some(stated("DestinationRule", "reviews", limits));

    let found = clusters(set, "reviews").remove(0);

    let limits = found.circuit_breakers;
    assert_eq!((limits.max_requests, limits.max_connections, limits.max_retries), (7, u32::MAX, u32::MAX));
    assert_eq!(found.max_requests_per_connection, None);
}

#[test]
fn a_subset_replaces_a_whole_stanza() {
    let mut set = mesh();
    let settings = set.backends.get_mut(&named("reviews")).unwrap();
    let limits = |max_connections, max_requests| {
        let limits = BreakerLimits { max_connections, max_requests, ..BreakerLimits::default() };
        Some(stated("DestinationRule", "reviews", limits))
    };
    settings.traffic.limits = limits(Some(1), Some(2));
    settings.subsets.get_mut("v2").unwrap().traffic.limits = limits(None, Some(9));

    let found = clusters(set, "reviews");

    let of = |n: usize| (found[n].circuit_breakers.max_connections, found[n].circuit_breakers.max_requests);
    assert_eq!((of(0), of(1), of(2)), ((1, 2), (1, 2), (u32::MAX, 9)));
}

fn tcp_clusters(listeners: &[Listener]) -> Vec<(String, u32)> {
    let tcp = listeners.iter().find(|l| l.name.starts_with("outbound_tcp")).expect("there is a TCP listener");
    let ListenerKind::Socket(socket) = &tcp.kind else { panic!("a socket") };
    let NetworkFilter::Tcp(proxy) = &socket.filter_chains[0].filter else { panic!("bytes") };
    proxy.clusters.iter().map(|(name, weight)| (name.to_string(), *weight)).collect()
}

#[test]
fn a_tcp_service_is_split_by_rules_for_its_port_that_ask_for_nothing() {
    let ledger = "outbound|5432||ledger.shop.svc.cluster.local".to_owned();
    let shares =
        || split(&[(backend("ledger", 5432, None), 4), (backend("web", 80, None), 1), (backend("no", 1, None), 5)]);
    let with = |port, matches| {
        let mut set = mesh();
        let rules = vec![entry(matches, rule("VirtualService", 1, shares()))];
        set.mesh_routes.insert(named("ledger"), vec![MeshRoutes { port, consumer_namespace: None, rules }]);
        tcp_clusters(&sidecar(set, "web-1"))
    };
    let with_path = RequestMatch { path: PathMatch::SegmentPrefix("/x".into()), ..RequestMatch::default() };

    assert_eq!(tcp_clusters(&sidecar(mesh(), "web-1")), [(ledger.clone(), 1)]);
    let weighted = [(ledger.clone(), 4), ("outbound|80||web.shop.svc.cluster.local".to_owned(), 1)];
    assert_eq!(with(Some(5432), RequestMatch::default()), weighted);
    assert_eq!(with(Some(5432), with_path), [(ledger.clone(), 1)]);
    // Rules for all ports are rules for HTTP.
    assert_eq!(with(None, RequestMatch::default()), [(ledger, 1)]);
}

#[test]
fn a_tcp_listener_for_a_service_that_is_gone_is_left_out() {
    let mut set = mesh();
    set.services.remove(&named("ledger"));

    let listeners = sidecar(set, "web-1");

    assert!(!listeners.iter().any(|l| l.name.starts_with("outbound_tcp")));
}

#[test]
fn a_gateway_listens_where_it_says_or_where_its_proxy_is_or_everywhere() {
    let at = |addresses: Vec<IpAddr>, node: Option<&str>| {
        let mut set = mesh();
        set.gateways.get_mut(&named("front")).unwrap().addresses = addresses;
        let world = world(set);
        let listeners = listener::gateway(&named("front"), node.map(|n| n.parse().unwrap()), &Reader::new(&world));
        let shown = listeners.iter().map(|l| match &l.kind {
            ListenerKind::Socket(socket) => format!("{} {}", l.name, socket.address),
            ListenerKind::Api(_) => panic!("a gateway has sockets"),
        });
        shown.collect::<Vec<_>>()
    };
    let two = vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];

    assert_eq!(at(two, Some("10.0.0.1")), ["gateway|8080 127.0.0.1:8080", "gateway|8080|127.0.0.2 127.0.0.2:8080"]);
    assert_eq!(at(Vec::new(), Some("10.0.0.1")), ["gateway|8080 10.0.0.1:8080"]);
    assert_eq!(at(Vec::new(), None), ["gateway|8080 0.0.0.0:8080"]);
}

#[test]
fn two_listeners_of_a_gateways_port_that_serve_one_host_are_one_host() {
    let mut set = mesh();
    let gateway = set.gateways.get_mut(&named("front")).unwrap();
    let mut second = gateway.listeners[0].clone();
    second.name = "second".into();
    second.hosts[0].host = "SHOP.example.com".into();
    gateway.listeners.push(second);
    let world = world(set);

    let configuration = route::gateway(&named("front"), &Reader::new(&world)).remove(0);

    assert!(configuration.ignore_port_in_host_matching);
    assert_eq!(configuration.virtual_hosts.len(), 1);
    assert_eq!(configuration.virtual_hosts[0].routes.len(), 2);
}

#[test]
fn a_gateways_tcp_listener_carries_bytes_to_what_exists() {
    let listeners = |destinations: &[(Backend, u32)]| {
        let RuleAction::Split(split) = split(destinations) else { panic!("made as a split") };
        let mut set = mesh();
        let gateway = set.gateways.get_mut(&named("front")).unwrap();
        let tcp = Some(TcpRule { origin: origin("TCPRoute", "bytes", 3), split });
        gateway.listeners.push(GatewayListener {
            name: "tcp".into(),
            port: 9000,
            hosts: Vec::new(),
            hostname: None,
            tcp,
            servers: Vec::new(),
            tls: None,
        });
        let world = world(set);
        let reader = Reader::new(&world);
        let ports: Vec<String> = route::gateway(&named("front"), &reader).iter().map(|r| r.name.to_string()).collect();
        assert_eq!(ports, ["gateway|8080"], "bytes have no routes");
        listener::gateway(&named("front"), None, &reader)
    };

    let both = listeners(&[(backend("ledger", 5432, None), 3), (backend("nobody", 1, None), 1)]);
    let nobody = listeners(&[(backend("nobody", 1, None), 1)]);

    assert_eq!(both.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["gateway|8080", "gateway|9000"]);
    let ListenerKind::Socket(socket) = &both[1].kind else { panic!("a socket") };
    let NetworkFilter::Tcp(proxy) = &socket.filter_chains[0].filter else { panic!("bytes") };
    assert_eq!(proxy.clusters, [("outbound|5432||ledger.shop.svc.cluster.local".into(), 3)]);
    assert_eq!(nobody.len(), 1, "a refused connection says it at once");
}

#[test]
fn answers_of_proxies_say_why_unless_the_mesh_does_not_want_it() {
    let mut set = mesh();
    assert!(sidecar(set.clone(), "web-1").iter().all(|l| l.error_header));
    set.mesh.error_header = false;

    assert!(!sidecar(set, "web-1").iter().any(|l| l.error_header));
}

#[test]
fn a_proxy_lists_all_filters_in_their_order_and_a_grpc_client_what_it_knows() {
    let names =
        |manager: &HttpConnectionManager| manager.http_filters.iter().map(|f| f.name.to_string()).collect::<Vec<_>>();
    let world = world(mesh());
    let api = listener::api(&named("ratings"), &Reader::new(&world)).remove(0);
    let ListenerKind::Api(of_grpc) = &api.kind else { panic!("no socket") };

    let outbound = sidecar(mesh(), "web-1").remove(0);

    let ListenerKind::Socket(socket) = &outbound.kind else { panic!("a socket") };
    let NetworkFilter::Http(manager) = &socket.filter_chains[0].filter else { panic!("HTTP") };
    let local = [LOCAL_RATE_LIMIT, LOCAL_RATE_LIMIT_SHADOW];
    assert_eq!(names(manager), [CORS, FAULT, local[0], local[1], RATE_LIMIT, STATEFUL_SESSION]);
    assert_eq!(names(of_grpc), [FAULT]);
}

#[test]
fn what_does_not_exist_translates_to_nothing() {
    let world = world(mesh());
    let reader = Reader::new(&world);
    let nobody = ObjectName { namespace: "no".into(), name: "body".into() };

    assert!(cluster::clusters(&nobody, None, &reader).is_empty());
    assert!(endpoint::assignments(&nobody, &Place::default(), &reader).is_empty());
    assert!(listener::sidecar(&nobody, &of_shop(), &reader).is_empty());
    assert!(listener::gateway(&nobody, None, &reader).is_empty());
    assert!(route::gateway(&nobody, &reader).is_empty());
    // All of it was looked for, so that it is translated when it appears.
    assert_eq!(reader.into_facts().len(), 3, "a service, a workload, a gateway");
}
