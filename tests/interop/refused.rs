//! A resource that breaks its own rules is refused by every data plane alike: named, and the one before keeps serving.
//!
//! Our control plane cannot send such resources, since its types have no value for them. They are encoded here by hand.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_xds::ads::server::EncodedResource;
use tidegate_xds::name::ResourceType;

use super::wire::{field, number};
use super::world::{Kind, ROUTES, World};

fn encoded(resource_type: ResourceType, name: &str, message: &[u8]) -> EncodedResource {
    let any = [field(1, resource_type.type_url()), field(2, message)].concat();
    EncodedResource {
        resource_type,
        name: name.into(),
        version: "broken".into(),
        any: Bytes::from(any),
        named_only: false,
        clusters: vec!["v1".into(), "v2".into()],
        eds_name: None,
        secrets: Vec::new(),
        routes: Vec::new(),
    }
}

/// A weighted route to v2 whose weights sum to zero.
fn weightless_routes() -> EncodedResource {
    let weighted = field(1, [field(1, "v2"), field(2, number(1, 0))].concat());
    let route = [field(1, field(1, "/")), field(2, field(3, weighted))].concat();
    let host = [field(1, "reviews"), field(2, "*"), field(3, route)].concat();
    encoded(ResourceType::Route, ROUTES, &[field(1, ROUTES), field(2, host)].concat())
}

/// The cluster v1 with a hash ring larger than anybody allows.
fn ring_too_large() -> EncodedResource {
    let over_ads = [field(3, []), number(6, 2)].concat();
    let eds = field(3, [field(1, over_ads), field(2, "v1")].concat());
    let ring_size = number(1, 9_000_000);
    // `ring_hash_lb_config` is field 23, `lb_policy` 6 (RING_HASH = 2), `type` 2 (EDS = 3).
    let ring = field(23, field(1, ring_size));
    let cluster = [field(1, "v1"), number(2, 3), eds, number(6, 2), ring].concat();
    let mut resource = encoded(ResourceType::Cluster, "v1", &cluster);
    resource.clusters.clear();
    resource.eds_name = Some(Arc::from("v1"));
    resource
}

/// Pushes a broken resource to one data plane and sees it refused, named, survived, not repeated and forgotten.
async fn assert_refused_and_survived(kind: Kind, broken: EncodedResource) {
    let mut world = World::start(kind).await;
    let (resource_type, name) = (broken.resource_type, Arc::clone(&broken.name));

    world.publish("v1", Some(broken));
    let reason = world.server.refusal(resource_type).await;
    println!("{kind:?} refuses {resource_type} {name}: {}", reason.chars().take(300).collect::<String>());
    // Envoy names a route configuration only by what is wrong inside it.
    let is_named = kind != Kind::EnvoyDelta && kind != Kind::EnvoySotw || resource_type == ResourceType::Cluster;
    assert!(!is_named || reason.contains(&*name), "{kind:?} does not name {name}: {reason}");
    world.plane.assert_stays_with("v1").await;
    assert_eq!(world.server.refusals(), 1, "{kind:?}: what was refused is not sent again");

    let mended = world.publish("v2", None);
    world.server.settled(mended).await;
    world.plane.assert_turns_to("v2").await;
}

#[tokio::test]
async fn our_proxy_refuses_broken_resources_and_keeps_serving() {
    assert_refused_and_survived(Kind::Ours, weightless_routes()).await;
    assert_refused_and_survived(Kind::Ours, ring_too_large()).await;
}

#[tokio::test]
async fn envoy_refuses_them_over_delta() {
    assert_refused_and_survived(Kind::EnvoyDelta, weightless_routes()).await;
    assert_refused_and_survived(Kind::EnvoyDelta, ring_too_large()).await;
}

#[tokio::test]
async fn envoy_refuses_them_over_the_state_of_the_world() {
    assert_refused_and_survived(Kind::EnvoySotw, weightless_routes()).await;
    assert_refused_and_survived(Kind::EnvoySotw, ring_too_large()).await;
}

#[tokio::test]
async fn grpc_refuses_them() {
    assert_refused_and_survived(Kind::Grpc, weightless_routes()).await;
    assert_refused_and_survived(Kind::Grpc, ring_too_large()).await;
}
