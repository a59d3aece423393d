//! Clusters and listeners.

use std::net::IpAddr;

use tidegate_policies::ir::load_balancing::ConnectionSettings;
use tidegate_policies::ir::route::{PathMatch, RequestMatch};
use tidegate_policies::ir::{MeshRoutes, ObjectName, PolicySet};
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::listener::{ListenerKind, NetworkFilter};

use super::{clusters, of_shop, world};
use crate::fixture::{backend, entry, mesh, named, rule, split};
use crate::translate::{cluster, endpoint, listener, route};
use crate::world::Reader;

fn sidecar(policies: PolicySet, name: &str) -> Vec<Listener> {
    listener::sidecar(&named(name), &of_shop(), &Reader::new(&world(policies)))
}

#[test]
fn a_limit_that_nobody_set_is_no_limit() {
    let mut set = mesh();
    let connection = ConnectionSettings {
        max_requests: Some(7),
        max_requests_per_connection: Some(0),
        ..ConnectionSettings::default()
    };
    set.backends.get_mut(&named("reviews")).unwrap().traffic.connection = Some(connection);

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
        Some(ConnectionSettings { max_connections, max_requests, ..ConnectionSettings::default() })
    };
    settings.traffic.connection = limits(Some(1), Some(2));
    settings.subsets.get_mut("v2").unwrap().traffic.connection = limits(None, Some(9));

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
fn what_does_not_exist_translates_to_nothing() {
    let world = world(mesh());
    let reader = Reader::new(&world);
    let nobody = ObjectName { namespace: "no".into(), name: "body".into() };

    assert!(cluster::clusters(&nobody, &reader).is_empty());
    assert!(endpoint::assignments(&nobody, &reader).is_empty());
    assert!(listener::sidecar(&nobody, &of_shop(), &reader).is_empty());
    assert!(listener::gateway(&nobody, None, &reader).is_empty());
    assert!(route::gateway(&nobody, &reader).is_empty());
    // All of it was looked for, so that it is translated when it appears.
    assert_eq!(reader.into_facts().len(), 3);
}
