//! Who is who, and that sessions see every new world.

use std::net::IpAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_policies::ir::{ObjectName, PolicySet};
use tidegate_xds::ads::server::StreamEvent;
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::name::ResourceType;
use tidegate_xds::transport::server::{Control, Session};

use super::{Client, Hub, NODE_ID_BYTES_MAX};
use crate::api::model::{ProxyKind, SyncState};
use crate::changes::{ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::fixture::{canary, mesh, named};
use crate::fleet::Fleet;
use crate::snapshot::View;
use crate::store::Store;
use crate::world::World;

fn world(policies: PolicySet) -> Arc<World> {
    Arc::new(World::new(Arc::new(policies)))
}

fn hub(policies: PolicySet) -> (Hub, Arc<Fleet>) {
    let clock = Clock::of(|| Timestamp::from_unix_ms(10_000));
    let fleet = Arc::new(Fleet::new("mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 0));
    let hub = Hub::new(fleet.clone());
    hub.publish(world(policies), 1);
    (hub, fleet)
}

fn open(hub: &Hub, id: &str) -> Session {
    let node = Node { id: id.into(), ..Node::default() };
    let opened = hub.open(&node, Mode::Delta, "127.0.0.1:4000".parse().unwrap());
    opened.unwrap_or_else(|refusal| panic!("{id} is served, not refused: {}", refusal.message))
}

/// A change that was written 30 ms ago.
fn applied(generation: u64) -> Entry {
    let at = Timestamp::from_unix_ms(9_970);
    Entry { generation, at, what: Vec::new(), files: Vec::new(), result: Outcome::Applied }
}

fn listeners(session: &Session) -> Vec<String> {
    let set = session.resources.borrow();
    set.iter(ResourceType::Listener).map(|r| r.name.to_string()).collect()
}

#[test]
fn node_ids_are_read_in_both_forms() {
    let name = |name: &str, namespace: &str| Some(ObjectName { namespace: namespace.into(), name: name.into() });
    let client = |name, router, address: Option<&str>| Client {
        name,
        router,
        address: address.map(|a| a.parse::<IpAddr>().unwrap()),
        locality: Default::default(),
    };

    assert_eq!(Client::parse("web-1.shop"), client(name("web-1", "shop"), false, None));
    assert_eq!(Client::parse("a.b.shop"), client(name("a.b", "shop"), false, None));
    let istio = "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local";
    assert_eq!(Client::parse(istio), client(name("web-1", "shop"), false, Some("10.0.0.7")));
    assert_eq!(Client::parse("router~::1~front.shop~x"), client(name("front", "shop"), true, Some("::1")));
    assert_eq!(Client::parse("router~not-an-ip~front.shop"), client(name("front", "shop"), true, None));
    for odd in ["", ".", "web-1", ".shop", "web.", "sidecar~~~", "waypoint~1.2.3.4~x~y", "~"] {
        let client = Client::parse(odd);
        assert_eq!((client.name, client.router), (None, false), "{odd:?}");
    }
}

#[test]
fn each_kind_of_node_has_its_own_view() {
    let world = world(mesh());
    let view = |id| Client::parse(id).view(&world);
    let address = Some("10.0.0.7".parse().unwrap());

    assert_eq!(view("web-1.shop"), View::Sidecar(named("web-1")));
    assert_eq!(view("sidecar~10.0.0.7~web-1.shop~d"), View::Sidecar(named("web-1")));
    assert_eq!(view("front.shop"), View::Gateway { name: named("front"), address: None, locality: Default::default() });
    assert_eq!(
        view("router~10.0.0.7~front.shop~d"),
        View::Gateway { name: named("front"), address, locality: Default::default() }
    );
    assert_eq!(view("C-core/1.58 pid 77"), View::Other);
    assert_eq!(view("web-1.elsewhere"), View::Other);
}

#[test]
fn a_workload_without_a_sidecar_is_no_sidecar() {
    let mut set = mesh();
    set.workloads.get_mut(&named("web-1")).unwrap().sidecar = None;

    assert_eq!(Client::parse("web-1.shop").view(&world(set)), View::Other);
}

#[test]
fn a_sidecar_a_gateway_and_a_proxyless_client_are_given_what_is_theirs() {
    let (hub, fleet) = hub(mesh());

    let web = open(&hub, "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local");
    let front = open(&hub, "front.shop");
    let grpc = open(&hub, "some grpc client");

    assert_eq!(listeners(&web), ["inbound|80", "outbound", "outbound_tcp|127.0.1.1:15432"]);
    assert_eq!(listeners(&front), ["gateway|8080"]);
    let set = grpc.resources.borrow();
    assert!(set.iter(ResourceType::Listener).all(|listener| listener.named_only));
    assert!(set.get(ResourceType::Route, "grpc|ratings.shop.svc.cluster.local:9090").is_some());
    assert!(set.get(ResourceType::Cluster, "outbound|9090||ratings.shop.svc.cluster.local").is_some());
    let kinds: Vec<(ProxyKind, Option<String>)> =
        fleet.status().proxies.into_iter().map(|p| (p.kind, p.workload)).collect();
    let of_shop = |name: &str| Some(format!("shop/{name}"));
    let expected =
        [(ProxyKind::Sidecar, of_shop("web-1")), (ProxyKind::Gateway, of_shop("front")), (ProxyKind::Other, None)];
    assert_eq!(kinds, expected);
}

#[test]
fn proxies_of_one_workload_share_one_set() {
    let (hub, _fleet) = hub(mesh());

    let (first, second) = (open(&hub, "web-1.shop"), open(&hub, "sidecar~10.0.0.7~web-1.shop~d"));
    assert!(Arc::ptr_eq(&first.resources.borrow(), &second.resources.borrow()), "in the world they came into");
    let mut edited = mesh();
    edited.mesh_routes.insert(named("reviews"), canary(50, 50));
    hub.publish(world(edited), 2);

    let third = open(&hub, "sidecar~10.0.0.8~web-1.shop~d");
    for other in [&second, &third] {
        assert!(Arc::ptr_eq(&first.resources.borrow(), &other.resources.borrow()), "and in the next one");
    }
    assert_eq!(third.resources.borrow().generation(), 2);
}

#[test]
fn an_open_session_sees_the_next_world_and_keeps_what_is_equal() {
    let (hub, _fleet) = hub(mesh());
    let mut session = open(&hub, "web-1.shop");
    let before = session.resources.borrow_and_update().clone();
    let mut edited = mesh();
    edited.mesh_routes.insert(named("reviews"), canary(50, 50));

    let work = hub.publish(world(edited), 2);

    assert!(session.resources.has_changed().unwrap());
    let after = session.resources.borrow().clone();
    assert_eq!((before.generation(), after.generation()), (1, 2));
    for of_type in ResourceType::ALL {
        for resource in after.iter(of_type) {
            let same = before.get(of_type, &resource.name).is_some_and(|old| Arc::ptr_eq(old, resource));
            let is_edited = of_type == ResourceType::Route && &*resource.name == "outbound";
            assert_eq!(same, !is_edited, "{of_type} {}", resource.name);
        }
    }
    assert_eq!(work.encoded.values().sum::<usize>(), 1, "only what somebody is connected for is encoded");
}

#[test]
fn a_workload_that_appears_after_its_proxy_connected_gets_its_listeners() {
    let mut without = mesh();
    without.workloads.remove(&named("web-1"));
    let (hub, _fleet) = hub(without);
    let session = open(&hub, "web-1.shop");
    assert!(!listeners(&session).contains(&"outbound".to_owned()));

    hub.publish(world(mesh()), 2);

    assert!(listeners(&session).contains(&"outbound".to_owned()));
}

#[test]
fn a_node_id_of_unreasonable_length_is_refused() {
    let (hub, fleet) = hub(mesh());
    let node = Node { id: "x".repeat(NODE_ID_BYTES_MAX + 1).into(), ..Node::default() };

    let refusal = hub.open(&node, Mode::Delta, "127.0.0.1:4000".parse().unwrap()).err().expect("refused");

    assert_eq!(refusal.code, 3);
    assert!(fleet.status().proxies.is_empty());
}

#[test]
fn a_stream_that_ends_leaves_the_fleet() {
    let (hub, fleet) = hub(mesh());
    let session = open(&hub, "web-1.shop");
    assert_eq!(fleet.status().proxies.len(), 1);

    drop(session);

    assert!(fleet.status().proxies.is_empty());
}

#[test]
fn a_stream_that_ends_without_an_answer_ends_its_change_and_the_log_on_disk_says_so() {
    let directory = TempDir::new().unwrap();
    let clock = Clock::of(|| Timestamp::from_unix_ms(10_000));
    let (store, _) = Store::open(directory.path(), &clock);
    let fleet = Arc::new(Fleet::new("mesh".to_owned(), clock.clone(), store, ChangeLog::default(), 0));
    let hub = Hub::new(fleet.clone());
    hub.publish(world(mesh()), 1);
    let session = open(&hub, "web-1.shop");
    fleet.applied(applied(2), 1, Vec::new());

    drop(session);

    let change = fleet.changes_since(0).remove(0);
    assert_eq!((change.proxies, change.acked, change.nacked, change.left), (1, 0, 0, 1));
    fleet.store().close();
    let (_store, remembered) = Store::open(directory.path(), &clock);
    assert_eq!(remembered.changes, [change]);
}

#[test]
fn what_a_proxy_held_when_it_came_back_is_synced_once_its_stream_has_settled() {
    let (hub, fleet) = hub(mesh());
    let mut session = open(&hub, "web-1.shop");
    let subscribed = |resource_type, names, wildcard| StreamEvent::Subscribed { resource_type, names, wildcard };
    (session.observer)(subscribed(ResourceType::Cluster, 0, true));
    (session.observer)(subscribed(ResourceType::Endpoint, 3, false));
    let shown = || {
        let types = fleet.status().proxies.remove(0).types;
        ["CDS", "EDS", "RDS"].map(|name| (types[name].state, types[name].subscribed, types[name].wildcard))
    };
    // Routes are not asked for.
    let unsettled = [(SyncState::NotSent, 0, true), (SyncState::NotSent, 3, false), (SyncState::NotSent, 0, false)];
    assert_eq!(shown(), unsettled);

    (session.observer)(StreamEvent::Settled { generation: 1, rejected: false });

    let settled = [(SyncState::Synced, 0, true), (SyncState::Synced, 3, false), (SyncState::NotSent, 0, false)];
    assert_eq!(shown(), settled);
}

#[test]
fn events_become_states_by_type() {
    let (hub, fleet) = hub(mesh());
    let mut session = open(&hub, "web-1.shop");
    fleet.applied(applied(2), 1, Vec::new());
    let of = |resource_type| StreamEvent::Sent { resource_type, generation: 2, resources: 1, removed: 0, bytes: 9 };
    for event in [
        StreamEvent::Subscribed { resource_type: ResourceType::Route, names: 1, wildcard: false },
        of(ResourceType::Cluster),
        StreamEvent::Acked { resource_type: ResourceType::Cluster, generation: 2 },
        of(ResourceType::Listener),
        of(ResourceType::Route),
        StreamEvent::Nacked { resource_type: ResourceType::Route, generation: 2, message: "bad".into() },
    ] {
        (session.observer)(event);
    }

    let status = fleet.status();
    let types = &status.proxies[0].types;
    let states: Vec<(&str, SyncState)> = types.iter().map(|(name, answers)| (&**name, answers.state)).collect();
    let expected = [
        ("CDS", SyncState::Synced),
        ("EDS", SyncState::NotSent),
        ("LDS", SyncState::Stale),
        ("RDS", SyncState::Nacked),
    ];
    assert_eq!(states, expected);
    assert_eq!((types["RDS"].subscribed, types["CDS"].acked_generation), (1, Some(2)));
    assert_eq!(types["RDS"].nack.as_ref().map(|nack| &*nack.message), Some("bad"));
    assert_eq!(fleet.counts().0.nacks.values().sum::<u64>(), 1);

    (session.observer)(StreamEvent::Acked { resource_type: ResourceType::Route, generation: 2 });
    let state = fleet.status().proxies[0].types["RDS"].state;
    assert_eq!(state, SyncState::Nacked, "another resource was taken; the refused one still is refused");

    for event in [
        StreamEvent::Refused { resource_type: ResourceType::Route, names: 0 },
        StreamEvent::Settled { generation: 2, rejected: false },
    ] {
        (session.observer)(event);
    }

    let status = fleet.status();
    assert_eq!(status.proxies[0].types["RDS"].state, SyncState::Synced);
    assert_eq!((status.proxies[0].settled_generation, status.generation), (2, 2));
    let change = fleet.changes_since(0).remove(0);
    assert_eq!((change.acked, change.first_ack_ms), (1, Some(30)));
    let (counts, proxies) = fleet.counts();
    assert_eq!((counts.propagation_count, counts.propagation[3], counts.propagation[2]), (1, 1, 0));
    assert_eq!(proxies.get(&(ProxyKind::Sidecar, true)), Some(&1));
}
