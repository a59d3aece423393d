//! What policies become in xDS: golden files made from YAML, and the corners that no YAML of one screen shows.

mod circuit_breaker;
mod endpoint;
mod fault;
mod golden;
mod listener;
mod locality;
mod rate_limit;
mod retry;
mod route;
mod session;
mod written;

use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::route::{RequestMatch, RouteRule};
use tidegate_xds::resource::ClusterLoadAssignment;
use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::route::VirtualHost;

use crate::fixture::{entry, for_all, mesh, named};
use crate::place::Place;
use crate::translate;
use crate::world::{ClientClass, Reader, World};

fn world(policies: PolicySet) -> World {
    World::new(Arc::new(policies))
}

fn of_shop() -> ClientClass {
    ClientClass { namespace: Some("shop".into()), ..ClientClass::default() }
}

fn hosts(policies: PolicySet, name: &str, client: &ClientClass) -> Vec<VirtualHost> {
    translate::route::service_hosts(&named(name), client, &Reader::new(&world(policies)))
}

fn assignments(policies: PolicySet, name: &str) -> Vec<ClusterLoadAssignment> {
    assignments_at(policies, name, &Place::default())
}

fn assignments_at(policies: PolicySet, name: &str, place: &Place) -> Vec<ClusterLoadAssignment> {
    let world = world(policies);
    let seen = place.as_seen_by(&named(name), &world);
    translate::endpoint::assignments(&named(name), &seen, &Reader::new(&world))
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    assignment.localities.iter().flat_map(|l| &l.endpoints).map(|e| e.address.to_string()).collect()
}

fn clusters(policies: PolicySet, name: &str) -> Vec<Cluster> {
    translate::cluster::clusters(&named(name), None, &Reader::new(&world(policies)))
}

/// A mesh in which calls to `reviews` have this rule.
fn with_rule(matches: RequestMatch, rule: RouteRule) -> PolicySet {
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), for_all(vec![entry(matches, rule)]));
    set
}
