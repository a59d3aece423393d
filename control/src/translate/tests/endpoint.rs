//! Who stands behind a service.

use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::world::{EndpointSlice, External, Protocol, SliceEndpoint, TargetPort};
use tidegate_xds::resource::cluster::Discovery;

use super::{addresses, assignments, clusters, hosts, of_shop};
use crate::fixture::{labels, mesh, named, origin, port, service, workload};

#[test]
fn subsets_are_endpoints_with_their_labels() {
    let found = assignments(mesh(), "reviews");

    let by_name: Vec<(&str, Vec<String>)> = found.iter().map(|a| (&*a.cluster_name, addresses(a))).collect();
    let [all, v1, v2] = &by_name[..] else { panic!("all, v1 and v2") };
    assert_eq!(all.1, ["127.0.1.2:9080", "127.0.1.3:9080"]);
    assert_eq!(
        (v1.0, v1.1.as_slice()),
        ("outbound|9080|v1|reviews.shop.svc.cluster.local", ["127.0.1.2:9080".to_owned()].as_slice())
    );
    assert_eq!(v2.1, ["127.0.1.3:9080"]);
}

#[test]
fn a_named_target_port_is_looked_up_at_each_workload() {
    let mut set = mesh();
    set.services.get_mut(&named("reviews")).unwrap().ports[0].target = TargetPort::Name("main".into());
    set.workloads.get_mut(&named("reviews-2")).unwrap().ports[0].port = 9999;
    set.workloads.get_mut(&named("reviews-1")).unwrap().ports[0].name = "other".into();

    assert_eq!(addresses(&assignments(set, "reviews")[0]), ["127.0.1.3:9999"]);
}

#[test]
fn a_port_that_a_workload_does_not_declare_is_reached_only_without_a_sidecar() {
    let mut set = mesh();
    set.services.get_mut(&named("reviews")).unwrap().ports[0].target = TargetPort::Number(7070);
    set.workloads.get_mut(&named("reviews-2")).unwrap().sidecar = None;

    assert_eq!(addresses(&assignments(set, "reviews")[0]), ["127.0.1.3:7070"]);
}

fn slice_endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![address.parse().unwrap()],
        ready,
        serving,
        terminating,
        zone: Some("z1".into()),
        target: Some("pod-x".into()),
        labels: labels(&[("app", "external"), ("version", "v7")]),
    }
}

fn sliced(service_name: &str, slices: Vec<Vec<SliceEndpoint>>) -> PolicySet {
    let mut set = mesh();
    let mut of_slices = service(service_name, vec![port("http", 80, Protocol::Http)]);
    of_slices.selector = None;
    set.services.insert(of_slices.name.clone(), of_slices);
    for endpoints in slices {
        set.endpoint_slices.push(EndpointSlice {
            origin: origin("EndpointSlice", service_name, 1),
            service: named(service_name),
            ports: vec![("http".into(), 8080), ("admin".into(), 9)],
            endpoints,
        });
    }
    set
}

#[test]
fn slices_are_merged_and_an_address_counts_once() {
    let first = vec![slice_endpoint("10.0.0.2", true, true, false), slice_endpoint("10.0.0.1", true, true, false)];
    let second = vec![slice_endpoint("10.0.0.2", true, true, false), slice_endpoint("10.0.0.3", false, false, false)];

    let found = assignments(sliced("external", vec![first, second]), "external").remove(0);

    assert_eq!(addresses(&found), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let locality = &found.localities[0];
    assert_eq!((&*locality.locality.zone, locality.weight.map(|w| w.get())), ("z1", Some(2)));
    assert_eq!(locality.endpoints[0].workload.as_deref(), Some("pod-x;shop;external;v7;"));
}

#[test]
fn endpoints_that_terminate_but_serve_are_used_only_when_none_is_ready() {
    let ending = || slice_endpoint("10.0.0.1", false, true, true);
    let gone = || slice_endpoint("10.0.0.2", false, false, true);
    let ready = slice_endpoint("10.0.0.3", true, true, false);
    let found = |slices| addresses(&assignments(sliced("external", slices), "external")[0]);

    assert_eq!(found(vec![vec![ending(), gone()]]), ["10.0.0.1:8080"]);
    assert_eq!(found(vec![vec![ending(), gone()], vec![ready]]), ["10.0.0.3:8080"]);
    assert_eq!(found(vec![vec![gone()]]), Vec::<String>::new());
}

#[test]
fn a_slice_of_a_workload_that_is_chosen_too_adds_nothing() {
    let mut set = mesh();
    set.endpoint_slices.push(EndpointSlice {
        origin: origin("EndpointSlice", "reviews", 1),
        service: named("reviews"),
        ports: vec![("http".into(), 9080)],
        endpoints: vec![slice_endpoint("127.0.1.2", true, true, false)],
    });

    assert_eq!(addresses(&assignments(set, "reviews")[0]), ["127.0.1.2:9080", "127.0.1.3:9080"]);
}

#[test]
fn an_empty_selector_chooses_nothing() {
    let mut set = mesh();
    set.services.get_mut(&named("reviews")).unwrap().selector = Some(labels(&[]));

    assert!(assignments(set, "reviews")[0].localities.is_empty());
}

#[test]
fn the_workload_of_an_endpoint_is_told_with_its_application_and_version() {
    let found = assignments(mesh(), "web");

    let endpoint = &found[0].localities[0].endpoints[0];
    assert_eq!(endpoint.workload.as_deref(), Some("web-1;shop;web;v1;"));
}

#[test]
fn a_service_entry_has_its_own_endpoints_or_names_to_resolve() {
    let mut set = mesh();
    let mut outside = service("api", vec![port("https", 443, Protocol::Http)]);
    outside.hosts = vec!["api.example.com".into()];
    outside.selector = None;
    let mut fixed = workload("a", "api", "v1", "192.0.2.1:8443", Protocol::Http);
    fixed.ports[0].name = "https".into();
    outside.external = External::Static(vec![fixed]);
    set.services.insert(named("api"), outside.clone());
    assert_eq!(addresses(&assignments(set.clone(), "api")[0]), ["192.0.2.1:8443"]);

    outside.external = External::Dns(vec!["a.example.com".into(), "b.example.com".into()]);
    set.services.insert(named("api"), outside);

    assert!(assignments(set.clone(), "api").is_empty());
    let Discovery::StrictDns { endpoints } = clusters(set.clone(), "api").remove(0).discovery else {
        panic!("by name")
    };
    let names: Vec<(&str, u16)> = endpoints.iter().map(|e| (&*e.host, e.port)).collect();
    assert_eq!(names, [("a.example.com", 443), ("b.example.com", 443)]);
    let host = hosts(set, "api", &of_shop()).remove(0);
    assert_eq!(host.domains, ["api.example.com", "api.example.com:443"].map(Arc::<str>::from));
}
