//! What policies become in xDS: golden files made from YAML, and the corners that no YAML of one screen shows.

mod endpoint;
mod golden;
mod listener;
mod route;

use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_xds::resource::ClusterLoadAssignment;
use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::route::VirtualHost;

use crate::fixture::named;
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
    translate::endpoint::assignments(&named(name), &Reader::new(&world(policies)))
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    assignment.localities.iter().flat_map(|l| &l.endpoints).map(|e| e.address.to_string()).collect()
}

fn clusters(policies: PolicySet, name: &str) -> Vec<Cluster> {
    translate::cluster::clusters(&named(name), &Reader::new(&world(policies)))
}
