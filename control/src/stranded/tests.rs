//! Changes of the fixture's mesh. `lonely` is a service that nobody stands behind.

use std::sync::Arc;

use tidegate_policies::ir::gateway::GatewayHost;
use tidegate_policies::ir::route::{Backend, RequestMatch};
use tidegate_policies::ir::world::{External, Protocol};
use tidegate_policies::ir::{MeshRoutes, ObjectName, PolicySet};

use super::stranded;
use crate::fixture::{backend, canary, entry, for_all, mesh, named, port, rule, service, split, versions, workload};
use crate::world::World;

/// The fixture's mesh with `lonely`.
fn before() -> PolicySet {
    let mut set = mesh();
    let lonely = service("lonely", vec![port("http", 9080, Protocol::Http)]);
    set.services.insert(lonely.name.clone(), lonely);
    set
}

fn to(destinations: &[(Backend, u32)]) -> Vec<MeshRoutes> {
    for_all(vec![entry(RequestMatch::default(), rule("VirtualService", 7, split(destinations)))])
}

fn lonely() -> Backend {
    backend("lonely", 9080, None)
}

/// `code file:line message` of what is found when `change` is made to `old`.
fn found_from(old: &PolicySet, change: impl FnOnce(&mut PolicySet)) -> Vec<String> {
    let mut new = old.clone();
    change(&mut new);
    let findings = stranded(old, &World::new(Arc::new(new)));
    assert!(findings.iter().all(|f| f.severity == "error" && f.help.as_ref().is_some_and(|help| !help.is_empty())));
    findings.into_iter().map(|f| format!("{} {}:{} {}", f.code, f.file, f.line, f.message)).collect()
}

fn found(change: impl FnOnce(&mut PolicySet)) -> Vec<String> {
    found_from(&before(), change)
}

fn route(set: &mut PolicySet, of: &str, routes: Vec<MeshRoutes>) {
    set.mesh_routes.insert(named(of), routes);
}

#[test]
fn a_route_to_nobody_does_not_replace_one_that_works() {
    let findings = found(|set| route(set, "reviews", to(&[(lonely(), 1)])));

    assert_eq!(
        findings,
        [
            "C0101 mesh.yaml:7 route rules sends 100 % of requests to shop/lonely, which has no endpoints on port 9080; the \
          route before works"
        ]
    );
}

#[test]
fn a_part_of_the_requests_is_enough_and_is_named() {
    let findings = found(|set| route(set, "reviews", to(&[(backend("reviews", 9080, Some("v1")), 3), (lonely(), 1)])));

    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("sends 25 % of requests to shop/lonely"), "{findings:?}");
}

#[test]
fn the_subsets_of_the_route_before_may_go_with_it() {
    let findings = found(|set| {
        route(set, "reviews", to(&[(lonely(), 1)]));
        set.backends.remove(&named("reviews"));
    });

    assert_eq!(findings.len(), 1, "version 1 still runs, whoever calls it by that name: {findings:?}");
}

#[test]
fn a_plain_call_that_works_is_not_replaced_either() {
    let findings = found(|set| route(set, "ratings", to(&[(lonely(), 1)])));

    assert_eq!(findings.len(), 1);
}

#[test]
fn a_subset_without_endpoints_is_nobody_too() {
    let findings = found(|set| {
        set.backends.insert(named("reviews"), versions(&["v1", "v2", "v3"]));
        route(set, "reviews", to(&[(backend("reviews", 9080, Some("v3")), 1)]));
    });

    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("to shop/reviews (subset v3), which has no endpoints"), "{findings:?}");
}

#[test]
fn weight_zero_gets_nothing_and_is_fine() {
    let findings = found(|set| route(set, "reviews", to(&[(backend("reviews", 9080, Some("v1")), 1), (lonely(), 0)])));

    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn endpoints_that_come_with_the_change_are_enough() {
    let findings = found(|set| {
        let started = workload("lonely-1", "lonely", "v1", "127.0.1.9:9080", Protocol::Http);
        set.workloads.insert(started.name.clone(), started);
        route(set, "reviews", to(&[(lonely(), 1)]));
    });

    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn scaling_to_zero_is_no_change_of_a_route() {
    let findings = found(|set| {
        set.workloads.retain(|name, _| !name.name.starts_with("reviews") && !name.name.starts_with("ratings"));
    });

    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn an_unchanged_rule_and_a_shifted_weight_stay_fine_when_a_version_is_gone() {
    let mut old = before();
    old.workloads.remove(&named("reviews-2"));

    let unchanged = found_from(&old, |_| {});
    let shifted = found_from(&old, |set| route(set, "reviews", canary(10, 90)));

    assert!(unchanged.is_empty() && shifted.is_empty(), "{unchanged:?} {shifted:?}");
}

#[test]
fn what_did_not_work_before_may_be_replaced_by_what_does_not_either() {
    let mut old = before();
    old.workloads.retain(|name, _| !name.name.starts_with("reviews"));

    let findings = found_from(&old, |set| route(set, "reviews", to(&[(lonely(), 1)])));

    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_first_configuration_and_a_new_service_may_route_to_nobody() {
    let to_nobody = |set: &mut PolicySet| {
        *set = before();
        route(set, "reviews", to(&[(lonely(), 1)]));
    };
    let mut without_lonely = mesh();
    without_lonely.mesh_routes.clear();

    let first = found_from(&PolicySet::default(), to_nobody);
    let new = found_from(&without_lonely, |set| {
        let lonely = before().services[&named("lonely")].clone();
        set.services.insert(lonely.name.clone(), lonely);
        route(set, "lonely", to(&[(self::lonely(), 1)]));
    });

    assert!(first.is_empty() && new.is_empty(), "{first:?} {new:?}");
}

#[test]
fn the_own_routes_of_a_service_without_endpoints_are_fine() {
    let findings = found(|set| route(set, "lonely", to(&[(lonely(), 1)])));

    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_name_that_proxies_resolve_counts_as_having_endpoints() {
    let findings = found(|set| {
        let lonely = set.services.get_mut(&named("lonely")).unwrap();
        lonely.external = External::Dns(vec!["db.example.com".into()]);
        lonely.selector = None;
        route(set, "reviews", to(&[(self::lonely(), 1)]));
    });

    assert!(findings.is_empty(), "{findings:?}");
}

fn host(set: &mut PolicySet, name: &ObjectName, host: &str, destination: Backend) {
    let rule = rule("HTTPRoute", 9, split(&[(destination, 1)]));
    let host = GatewayHost { host: host.into(), rules: vec![entry(RequestMatch::default(), rule)] };
    let listener = &mut set.gateways.get_mut(name).unwrap().listeners[0];
    listener.hosts.retain(|h| h.host != host.host);
    listener.hosts.push(host);
}

#[test]
fn a_host_of_a_gateway_that_works_is_kept_and_a_new_host_is_its_own_affair() {
    let kept = found(|set| host(set, &named("front"), "shop.example.com", lonely()));
    let new = found(|set| host(set, &named("front"), "new.example.com", lonely()));

    assert_eq!(kept.len(), 1);
    assert!(kept[0].starts_with("C0101 mesh.yaml:9 "), "{kept:?}");
    assert!(new.is_empty(), "{new:?}");
}

#[test]
fn a_rule_for_several_services_is_one_finding() {
    let findings = found(|set| {
        for of in ["reviews", "ratings"] {
            route(set, of, to(&[(lonely(), 1)]));
        }
    });

    assert_eq!(findings.len(), 1);
}
