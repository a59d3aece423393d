//! Many objects into one set: references resolved, conflicts decided, rules in the order in which they are tried.
//!
//! # Order
//! First what exists ([`world`]), then how it is called (backends and their subsets), then the rules that name both. A rule
//! can therefore never refer to something that is decided later.

mod backends;
mod gateways;
mod http_routes;
mod order;
mod routes;
mod world;

use std::collections::BTreeSet;

use crate::dialect::gateway_api::http_route::HttpRoute;
use crate::dialect::{Context, Object, Objects};
use crate::ir::PolicySet;

pub(crate) fn merge(objects: Objects, cx: &mut Context<'_>) -> PolicySet {
    let mut set = PolicySet::default();
    let mut world = world::build(&objects, &mut set, cx);
    http_routes::declare_protocols(&objects, &mut set);
    backends::destination_rules(&objects.destination_rules, &world, &mut set, cx);
    http_routes::derive_versions(&objects.http_routes, &mut set, cx);
    let mut attachments = routes::Attachments::default();
    routes::virtual_services(&objects.virtual_services, &mut world, &set, &mut attachments, cx);
    let mut routes: Vec<&Object<HttpRoute>> = objects.http_routes.iter().collect();
    routes.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let grants = http_routes::Grants::new(&objects.reference_grants);
    let mut lowering = http_routes::Lowering {
        world: &mut world,
        set: &set,
        grants: &grants,
        cx: &mut *cx,
        reported: BTreeSet::new(),
    };
    http_routes::attach_to_services(&routes, &mut lowering, &mut attachments);
    let attached = gateways::attach(&routes, &objects.gateways, &mut lowering);
    attachments.finish(&world, &mut set, cx);
    gateways::finish(&objects.gateways, attached, &mut set, cx);
    world.warn_of_missing_endpoints(&set, cx);
    set
}
