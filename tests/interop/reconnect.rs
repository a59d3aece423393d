//! A control plane that returns without memory sends nothing that a data plane already has.
//!
//! Versions are hashes of content, and the delta variant lets a client say which versions it holds: the server needs to
//! remember nobody. (The state-of-the-world variant cannot do this, so it is not held to it.)

use crate::harness::load::Load;

use super::world::{Kind, World};

async fn assert_nothing_is_sent_again(kind: Kind) {
    let mut world = World::start(kind).await;
    assert!(world.server.sent() >= 6, "{kind:?} got {} resources at first", world.server.sent());
    let load = Load::start(world.outbound, "reviews:9080", "/reviews/0", 2, 1);

    world.server.stop().await;
    world.plane.assert_stays_with("v1").await;
    world.server.start_again();
    world.server.settled(1).await;
    assert_eq!(world.server.sent(), 0, "{kind:?} was sent resources that it had");

    // And it is not deaf: what is new still arrives.
    let next = world.publish("v2", None);
    world.server.settled(next).await;
    assert_eq!(world.server.sent(), 1, "{kind:?}: one route configuration changed");
    world.plane.assert_turns_to("v2").await;
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{kind:?}: {:?}", seen.failures);
}

#[tokio::test]
async fn envoy_is_sent_nothing_that_it_has() {
    assert_nothing_is_sent_again(Kind::EnvoyDelta).await;
}

#[tokio::test]
async fn our_proxy_is_sent_nothing_that_it_has() {
    assert_nothing_is_sent_again(Kind::Ours).await;
}
