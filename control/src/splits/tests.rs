//! Weights of the canary of `reviews`, as a sidecar and a second one take them.

use std::sync::Arc;

use tidegate_policies::ir::{MeshRoutes, PolicySet};
use tidegate_xds::ads::server::StreamEvent;
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::transport::server::{Control as _, Session};

use super::WEIGHTS_MAX;
use crate::ads::Hub;
use crate::api::model::{SplitDestination, SplitReport};
use crate::changes::ChangeLog;
use crate::clock::{Clock, Timestamp};
use crate::fixture::{canary, mesh, named};
use crate::fleet::Fleet;
use crate::store::Store;
use crate::world::World;

fn hub() -> Hub {
    let clock = Clock::of(|| Timestamp::from_unix_ms(10_000));
    Hub::new(Arc::new(Fleet::new("mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 0)))
}

fn with(routes: Vec<MeshRoutes>) -> PolicySet {
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), routes);
    set
}

fn publish(hub: &Hub, generation: u64, v1: u32, v2: u32) {
    hub.publish(Arc::new(World::new(Arc::new(with(canary(v1, v2))))), generation);
}

fn open(hub: &Hub, id: &str) -> Session {
    let node = Node { id: id.into(), ..Node::default() };
    let opened = hub.open(&node, Mode::Delta, "127.0.0.1:4000".parse().unwrap());
    opened.unwrap_or_else(|refusal| panic!("{id} is served, not refused: {}", refusal.message))
}

fn settle(session: &mut Session, generation: u64) {
    (session.observer)(StreamEvent::Settled { generation, rejected: false });
}

fn reviews(hub: &Hub) -> SplitReport {
    let of_reviews = |split: &SplitReport| split.host == "reviews.shop.svc.cluster.local";
    hub.splits().splits.into_iter().find(of_reviews).expect("reviews is split")
}

/// Of the canary: wanted, acknowledged, and by how many of how many.
fn second(hub: &Hub) -> (f64, Option<f64>, usize, usize) {
    let SplitDestination { desired, acknowledged, acknowledged_by, of, .. } = reviews(hub).destinations[1].clone();
    (desired, acknowledged, acknowledged_by, of)
}

#[test]
fn a_split_is_named_as_it_is_written() {
    let hub = hub();
    publish(&hub, 1, 90, 10);

    let found = reviews(&hub);

    let expected = serde_json::json!({
        "host": "reviews.shop.svc.cluster.local", "gateway": null, "namespace": "shop", "name": "rules",
        "kind": "VirtualService", "route": "", "source": "mesh.yaml:12",
        "destinations": [
            {"name": "v1", "service": "reviews.shop.svc.cluster.local", "version": "v1", "desired": 0.9,
             "acknowledged": null, "acknowledged_by": 0, "of": 0, "observed": null},
            {"name": "v2", "service": "reviews.shop.svc.cluster.local", "version": "v2", "desired": 0.1,
             "acknowledged": null, "acknowledged_by": 0, "of": 0, "observed": null}]
    });
    assert_eq!(serde_json::to_value(found).unwrap(), expected);
}

#[test]
fn a_weight_is_acknowledged_when_every_proxy_that_carries_it_has_taken_it() {
    let hub = hub();
    publish(&hub, 1, 90, 10);
    let mut web = open(&hub, "web-1.shop");
    let mut ratings = open(&hub, "ratings-1.shop");
    // A gateway that has another route does not count.
    let _front = open(&hub, "front.shop");
    assert_eq!(second(&hub), (0.1, None, 0, 2));
    settle(&mut web, 1);
    settle(&mut ratings, 1);
    assert_eq!(second(&hub), (0.1, Some(0.1), 2, 2));

    publish(&hub, 2, 50, 50);

    assert_eq!(second(&hub), (0.5, Some(0.1), 0, 2));
    settle(&mut web, 2);
    assert_eq!(second(&hub), (0.5, Some(0.1), 1, 2));
    settle(&mut ratings, 2);
    assert_eq!(second(&hub), (0.5, Some(0.5), 2, 2));
}

#[test]
fn a_generation_that_leaves_the_weights_alone_takes_no_acknowledgement_back() {
    let hub = hub();
    publish(&hub, 1, 90, 10);
    let mut web = open(&hub, "web-1.shop");
    settle(&mut web, 1);

    publish(&hub, 2, 900, 100);

    assert_eq!(second(&hub), (0.1, Some(0.1), 1, 1));
}

#[test]
fn a_proxy_that_refuses_routes_keeps_the_weight_that_it_took_last() {
    let hub = hub();
    publish(&hub, 1, 90, 10);
    let mut web = open(&hub, "web-1.shop");
    let resource_type = ResourceType::Route;
    (web.observer)(StreamEvent::Acked { resource_type, generation: 1 });
    settle(&mut web, 1);
    publish(&hub, 2, 50, 50);

    (web.observer)(StreamEvent::Nacked { resource_type, generation: 2, message: "no".into() });
    (web.observer)(StreamEvent::Settled { generation: 2, rejected: true });

    assert_eq!(second(&hub), (0.5, Some(0.1), 0, 1));
}

#[test]
fn what_a_proxy_far_behind_lives_by_is_not_guessed() {
    let hub = hub();
    publish(&hub, 1, 99, 1);
    let mut web = open(&hub, "web-1.shop");
    settle(&mut web, 1);

    for step in 0..WEIGHTS_MAX {
        let step = u32::try_from(step).unwrap();
        publish(&hub, u64::from(step) + 2, 90 - step, 10 + step);
    }

    assert_eq!(second(&hub).1, None);
}
