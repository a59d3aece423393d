//! Nearness.

use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::locality::{Distribution, LocalitySettings};
use tidegate_policies::ir::world::Protocol;
use tidegate_xds::resource::ClusterLoadAssignment;

use super::{assignments_at, clusters, world};
use crate::fixture::{labels, mesh, named, stated, workload};
use crate::place::Place;

/// Instances of `reviews`, each in its locality; the number is the last of its address.
fn spread(localities: &[&str]) -> PolicySet {
    let mut set = mesh();
    set.workloads.retain(|name, _| !name.name.starts_with("reviews"));
    for (number, locality) in localities.iter().enumerate() {
        let name = format!("reviews-{number}");
        let mut instance = workload(&name, "reviews", "v1", &format!("127.0.9.{number}:9080"), Protocol::Http);
        instance.locality = parts(locality);
        instance.labels.insert("rack".into(), format!("r{}", number % 2).into());
        set.workloads.insert(instance.name.clone(), instance);
    }
    set
}

fn parts(locality: &str) -> [Arc<str>; 3] {
    let mut parts = locality.split('/').map(Arc::from);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn at(locality: &str) -> Place {
    Place { locality: parts(locality), labels: labels(&[("rack", "r1"), ("app", "web")]), ..Place::default() }
}

fn with(mut set: PolicySet, settings: LocalitySettings) -> PolicySet {
    let traffic = &mut set.backends.get_mut(&named("reviews")).unwrap().traffic;
    traffic.locality = Some(stated("DestinationRule", "near", settings));
    set
}

fn on() -> LocalitySettings {
    LocalitySettings { enabled: true, distribute: Vec::new(), failover: Vec::new(), failover_priority: Vec::new() }
}

/// `priority:number` of each endpoint.
fn priorities(set: PolicySet, place: &Place) -> Vec<String> {
    let found = assignments_at(set, "reviews", place).remove(0);
    let each = |l: &tidegate_xds::resource::endpoint::LocalityEndpoints| {
        let priority = l.priority;
        l.endpoints.iter().map(move |e| format!("{priority}:{}", last(e.address.ip()))).collect::<Vec<_>>()
    };
    found.localities.iter().flat_map(each).collect()
}

fn last(ip: std::net::IpAddr) -> u8 {
    match ip {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(ip) => ip.octets()[15],
    }
}

fn weights(found: &ClusterLoadAssignment) -> Vec<(String, u32)> {
    let each = |l: &tidegate_xds::resource::endpoint::LocalityEndpoints| {
        (format!("{}/{}", l.locality.region, l.locality.zone), l.weight.map_or(0, |w| w.get()))
    };
    found.localities.iter().map(each).collect()
}

const LOCALITIES: [&str; 5] = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "ap/a/1"];

#[test]
fn the_nearest_come_first_without_anybody_asking_and_priorities_have_no_gaps() {
    assert_eq!(priorities(spread(&LOCALITIES), &at("eu/a/2")), ["0:1", "1:0", "2:2", "3:4", "3:3"]);
    assert_eq!(priorities(spread(&LOCALITIES), &at("us/a/1")), ["0:3", "1:4", "1:0", "1:1", "1:2"]);
    assert_eq!(priorities(spread(&LOCALITIES), &at("sa/x")), ["0:4", "0:0", "0:1", "0:2", "0:3"]);
}

#[test]
fn who_is_nowhere_or_switches_it_off_uses_all_alike() {
    let all_alike = ["0:4", "0:0", "0:1", "0:2", "0:3"];
    let off = LocalitySettings { enabled: false, ..on() };

    assert_eq!(priorities(spread(&LOCALITIES), &Place::default()), all_alike);
    assert_eq!(priorities(with(spread(&LOCALITIES), off), &at("eu/a/1")), all_alike);
}

#[test]
fn a_region_that_takes_over_comes_before_the_others() {
    let failover = vec![("eu".into(), "us".into())];

    let found = priorities(with(spread(&LOCALITIES), LocalitySettings { failover, ..on() }), &at("eu/a/1"));

    assert_eq!(found, ["0:0", "1:1", "2:2", "3:3", "4:4"]);
}

#[test]
fn labels_decide_in_their_order_when_they_are_named() {
    let named = vec!["topology.kubernetes.io/region".into(), "rack".into()];
    let rack_alone = vec!["rack=r0".into()];

    let both = LocalitySettings { failover_priority: named, ..on() };
    let by_value = LocalitySettings { failover_priority: rack_alone, ..on() };

    // In the region and in the rack: 1. In the region: 0, 2. Elsewhere, whatever the rack: 3, 4.
    assert_eq!(priorities(with(spread(&LOCALITIES), both), &at("eu/a/1")), ["0:1", "1:0", "1:2", "2:4", "2:3"]);
    assert_eq!(priorities(with(spread(&LOCALITIES), by_value), &at("")), ["0:4", "0:0", "0:2", "1:1", "1:3"]);
}

#[test]
fn shares_are_weights_of_localities_for_those_who_are_there() {
    let to = vec![("eu/a/*".into(), 80), ("us".into(), 20)];
    let distribute = vec![Distribution { from: "eu/*".into(), to }];
    let set = || with(spread(&LOCALITIES), LocalitySettings { distribute: distribute.clone(), ..on() });

    let shared = assignments_at(set(), "reviews", &at("eu/b/1")).remove(0);
    let others = assignments_at(set(), "reviews", &at("us/a/1")).remove(0);

    let text = |name: &str, weight| (name.to_owned(), weight);
    assert_eq!(weights(&shared), [text("eu/a", 400_000), text("eu/a", 400_000), text("us/a", 200_000)]);
    assert!(shared.localities.iter().all(|l| l.priority == 0));
    assert_eq!(others.localities.len(), 5, "nobody said anything for callers from there");
    assert!(others.localities.iter().all(|l| l.priority == 0 && l.weight.is_some()));
    assert!(clusters(set(), "reviews")[0].locality_weighted);
    assert!(!clusters(spread(&LOCALITIES), "reviews")[0].locality_weighted);
}

#[test]
fn the_most_exact_pattern_counts() {
    let exact = Distribution { from: "eu/b/*".into(), to: vec![("us/*".into(), 100)] };
    let wide = Distribution { from: "*".into(), to: vec![("eu".into(), 70), ("*".into(), 30)] };
    let settings = || LocalitySettings { distribute: vec![wide.clone(), exact.clone()], ..on() };
    let found =
        |place: &str| weights(&assignments_at(with(spread(&LOCALITIES), settings()), "reviews", &at(place)).remove(0));

    assert_eq!(found("eu/b/1"), [("us/a".to_owned(), 1_000_000)]);
    let by_region = found("ap/a/1");
    assert_eq!(by_region.iter().filter(|(name, _)| name.starts_with("eu")).map(|(_, w)| w).sum::<u32>(), 699_999);
    assert_eq!(by_region.len(), 5);
}

#[test]
fn a_place_is_part_of_the_key_only_where_it_matters() {
    let together = world(mesh());
    let apart = world(spread(&LOCALITIES));
    let here = at("eu/a/1");

    assert_eq!(here.as_seen_by(&named("reviews"), &together), Place::default());
    assert_eq!(here.as_seen_by(&named("web"), &apart), Place::default());
    let seen = here.as_seen_by(&named("reviews"), &apart);
    assert_eq!((&seen.locality, seen.labels.len()), (&here.locality, 0), "no label was asked for");
}
