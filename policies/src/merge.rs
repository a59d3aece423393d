//! Many objects into one set: references resolved, conflicts decided, rules in the order in which they are tried.
//!
//! # Order
//! First what exists ([`world`]), then how it is called (backends and their subsets), then the rules that name both, then the
//! policies that are attached to any of them ([`attach`]). Nothing can therefore refer to something that is decided later.

mod advice;
mod attach;
mod backend_tls;
mod backends;
mod certificates;
mod clients;
mod conjunction;
mod delegates;
mod gateways;
mod http_routes;
mod istio_gateways;
mod listeners;
mod order;
mod routes;
mod status;
mod versions;
mod world;

use std::collections::BTreeSet;

use crate::dialect::gateway_api::http_route::HttpRoute;
use crate::dialect::gateway_api::tcp_route::TcpRoute;
use crate::dialect::gateway_api::tls_route::TlsRoute;
use crate::dialect::{Context, Object, Objects};
use crate::ir::PolicySet;

pub(crate) use status::statuses;

pub(crate) fn merge(objects: Objects, cx: &mut Context<'_>) -> PolicySet {
    let mut set = PolicySet::default();
    let mut world = world::build(&objects, &mut set, cx);
    let grants = http_routes::Grants::new(&objects.reference_grants);
    let mut credentials = certificates::Credentials::new(&objects, &grants, cx);
    http_routes::declare_protocols(&objects, &mut set);
    backends::destination_rules(&objects, &world, &mut set, cx);
    backends::traffic_policies(&objects.backend_traffic_policies, &mut set, cx);
    backend_tls::policies(&objects.backend_tls_policies, &mut credentials, &mut set, cx);
    http_routes::derive_versions(&objects, &mut set, cx);
    let lent = versions::lend(&mut set);
    let mut attachments = routes::Attachments::default();
    let bound = routes::virtual_services(&objects.virtual_services, &mut world, &set, &mut attachments, cx);
    let mut routes: Vec<&Object<HttpRoute>> = objects.http_routes.iter().collect();
    routes.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut tcp_routes: Vec<&Object<TcpRoute>> = objects.tcp_routes.iter().collect();
    tcp_routes.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut tls_routes: Vec<&Object<TlsRoute>> = objects.tls_routes.iter().collect();
    tls_routes.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let listeners = listeners::Listeners::new(&objects.gateways, &objects.listener_sets, &set.namespaces, cx);
    let mut lowering = http_routes::Lowering {
        world: &mut world,
        set: &set,
        grants: &grants,
        cx: &mut *cx,
        reported: BTreeSet::new(),
    };
    http_routes::attach_to_services(&routes, &mut lowering, &mut attachments);
    http_routes::attach_tcp_to_services(&tcp_routes, &mut lowering, &mut attachments);
    let mut attached = gateways::attach(&routes, &listeners, &mut lowering);
    gateways::attach_tcp(&tcp_routes, &listeners, &mut lowering, &mut attached);
    gateways::attach_tls(&tls_routes, &listeners, &mut lowering, &mut attached);
    attachments.finish(&world, &mut set, cx);
    gateways::finish(&objects.gateways, &listeners, attached, &credentials, &mut set, cx);
    istio_gateways::finish(&objects.istio_gateways, bound, &mut credentials, &mut set, cx);
    (set.credentials, set.unusable) = credentials.into_found();
    attach::attach(&objects, &world, &mut set, cx);
    versions::check(&lent, &world, &set, cx);
    advice::give(&set, cx);
    world.warn_of_missing_endpoints(&set, cx);
    set
}
