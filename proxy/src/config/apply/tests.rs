//! The applier, without network beyond a listening socket and without waiting: time is an argument.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::OnceLock;

use arc_swap::ArcSwap;
use tidegate_xds::resource::Decoded;
use tidegate_xds::resource::cluster::LoadBalancing;
use tidegate_xds::resource::endpoint::{Endpoint, Health, Locality, LocalityEndpoints};
use tidegate_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, NetworkFilter, ServerHeader, SocketListener,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};

use super::*;
use crate::config::registry::Registry;
use crate::config::watch::{changes, offer_typed};
use crate::config::whole;
use crate::drain::Drain;
use crate::limits::Limits;

fn applier() -> Applier {
    let shared = Shared {
        limits: Limits::default(),
        registry: Registry::new(1),
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
        drain: Drain::default(),
        access_log: None,
        counts_edges: true,
        traces: None,
        workers: OnceLock::new(),
    };
    Applier::new(Arc::new(shared), 0)
}

fn now() -> Instant {
    crate::clock::now()
}

fn localities() -> Vec<LocalityEndpoints> {
    let endpoint = Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        weight: NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: None,
        workload: None,
    };
    vec![LocalityEndpoints { locality: Locality::default(), priority: 0, weight: None, endpoints: vec![endpoint] }]
}

fn cluster(name: &str, discovery: Discovery) -> Resource {
    Resource::Cluster(Arc::new(Cluster {
        load_balancing: LoadBalancing::ROUND_ROBIN,
        connect_timeout: Duration::from_secs(1),
        ..Cluster::new(name.into(), discovery)
    }))
}

fn fixed(name: &str) -> Resource {
    cluster(name, Discovery::Static(localities()))
}

fn eds(name: &str) -> Resource {
    cluster(name, Discovery::Eds { service_name: name.into() })
}

fn assignment(name: &str) -> Resource {
    Resource::Endpoint(Arc::new(ClusterLoadAssignment {
        localities: localities(),
        ..ClusterLoadAssignment::empty(name.into())
    }))
}

fn forward(cluster: &str) -> Forward {
    Forward::to(ClusterSpecifier::Cluster(cluster.into()))
}

fn configuration(name: &str, forward: Forward) -> RouteConfiguration {
    let matches = RouteMatch {
        path: PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    };
    let route = Route::new(matches, RouteAction::Forward(Box::new(forward)));
    let host = VirtualHost { name: "all".into(), domains: vec!["*".into()], routes: vec![route], ..Default::default() };
    RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..Default::default() }
}

fn routes(name: &str, cluster: &str) -> Resource {
    Resource::Route(Arc::new(configuration(name, forward(cluster))))
}

fn listener(name: &str, routes: RouteSource) -> Resource {
    let manager = HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes,
        http_filters: Vec::new(),
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        idle_timeout: None,
        request_headers_timeout: None,
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: false,
        server_header: ServerHeader::PassThrough,
    };
    let chain = FilterChain {
        name: "".into(),
        matches: FilterChainMatch::default(),
        tls: None,
        filter: NetworkFilter::Http(Box::new(manager)),
    };
    Resource::Listener(Arc::new(Listener {
        name: name.into(),
        kind: ListenerKind::Socket(Box::new(SocketListener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            bind_to_port: true,
            use_original_dst: false,
            filter_chains: vec![chain],
            default_filter_chain: None,
            detection_timeout: None,
        })),
        direction: Direction::Unspecified,
        error_header: true,
        workload: None,
    }))
}

fn rds(name: &str, routes: &str) -> Resource {
    listener(name, RouteSource::Rds(routes.into()))
}

fn give(applier: &mut Applier, resources: impl IntoIterator<Item = Resource>) -> Vec<Ticket> {
    applier.offer_all(changes(resources.into_iter().map(offer_typed)), now())
}

/// What was refused of everything that is concluded, and how many are.
fn concluded(applier: &mut Applier) -> (usize, Vec<(Arc<str>, String)>) {
    let mut count = 0;
    let mut all = Vec::new();
    for effect in applier.take_effects() {
        if let Effect::Concluded { rejected, .. } = effect {
            count += 1;
            all.extend(rejected);
        }
    }
    (count, all)
}

fn active_cluster_of(applier: &Applier, routes: &str) -> Option<Arc<str>> {
    let active = applier.active().routes.get(routes)?;
    active.table.clusters().next().cloned()
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_whole_and_all_of_it_then() {
    let mut applier = applier();

    for part in [routes("r", "c"), rds("in", "r"), eds("c")] {
        give(&mut applier, [part]);
        assert!(applier.active().listeners.is_empty());
    }
    give(&mut applier, [assignment("c")]);

    assert_eq!(applier.active().listeners.len(), 1);
    assert_eq!(applier.active().clusters["c"].endpoints.len(), 1);
    assert_eq!(concluded(&mut applier), (4, Vec::new()));
}

#[tokio::test]
async fn a_route_to_a_cluster_without_endpoints_waits_while_the_old_one_serves() {
    let mut applier = applier();
    give(&mut applier, [fixed("old"), routes("r", "old"), rds("in", "r")]);
    concluded(&mut applier);

    give(&mut applier, [eds("new"), routes("r", "new")]);
    assert_eq!(active_cluster_of(&applier, "r").as_deref(), Some("old"));
    assert_eq!(concluded(&mut applier).0, 1, "the cluster is concluded, the route is held");

    give(&mut applier, [assignment("new")]);
    assert_eq!(active_cluster_of(&applier, "r").as_deref(), Some("new"));
    assert_eq!(concluded(&mut applier), (2, Vec::new()));
}

#[tokio::test]
async fn a_route_that_waits_too_long_is_refused_with_the_reason_and_the_old_one_stays() {
    let mut applier = applier();
    give(&mut applier, [fixed("old"), routes("r", "old"), rds("in", "r")]);
    concluded(&mut applier);
    give(&mut applier, [routes("r", "nowhere")]);
    let deadline = applier.next_deadline().expect("something is held");

    applier.tick(deadline - Duration::from_millis(1));
    assert_eq!(concluded(&mut applier).0, 0);
    applier.tick(deadline);

    let (_, refused) = concluded(&mut applier);
    assert_eq!(refused, [("r".into(), "cluster \"nowhere\" is not known".to_owned())]);
    assert_eq!(active_cluster_of(&applier, "r").as_deref(), Some("old"));
    assert_eq!(applier.next_deadline(), None);

    give(&mut applier, [fixed("nowhere")]);
    assert_eq!(
        active_cluster_of(&applier, "r").as_deref(),
        Some("old"),
        "what was refused comes only from who wants it"
    );
}

/// What is asked for again.
fn asked_again(applier: &mut Applier) -> Vec<(ResourceType, Arc<str>)> {
    let effects = applier.take_effects().into_iter();
    let asked = effects.filter_map(|effect| match effect {
        Effect::AskAgain { resource_type, name } => Some((resource_type, name)),
        Effect::Concluded { .. } | Effect::Subscribe(_) | Effect::Published => None,
    });
    asked.collect()
}

/// Route `r` to `old`, and another version, to `late`, which was given up.
fn given_up() -> Applier {
    let mut applier = applier();
    give(&mut applier, [fixed("old"), routes("r", "old"), rds("in", "r")]);
    give(&mut applier, [routes("r", "late")]);
    let deadline = applier.next_deadline().expect("something is held");
    applier.tick(deadline);
    assert_eq!(asked_again(&mut applier), []);
    applier
}

#[tokio::test]
async fn a_route_that_was_given_up_is_asked_for_once_when_its_cluster_is_whole_and_applies_then() {
    let mut applier = given_up();

    give(&mut applier, [eds("late")]);
    assert_eq!(asked_again(&mut applier), []);
    give(&mut applier, [assignment("late")]);
    assert_eq!(asked_again(&mut applier), [(ResourceType::Route, "r".into())]);
    give(&mut applier, [fixed("other")]);
    assert_eq!(asked_again(&mut applier), []);

    give(&mut applier, [routes("r", "late")]);
    assert_eq!(active_cluster_of(&applier, "r").as_deref(), Some("late"));
}

#[tokio::test]
async fn what_was_given_up_is_not_asked_for_when_something_else_is_said_of_it() {
    let mut applier = given_up();

    give(&mut applier, [fixed("new"), routes("r", "new")]);
    give(&mut applier, [fixed("late")]);

    assert_eq!(asked_again(&mut applier), []);
}

#[tokio::test]
async fn a_listener_that_was_given_up_is_asked_for_when_its_routes_lack_nothing() {
    let mut applier = applier();
    give(&mut applier, [listener("in", RouteSource::Inline(Arc::new(configuration("r", forward("late")))))]);
    let deadline = applier.next_deadline().expect("something is held");
    applier.tick(deadline);

    give(&mut applier, [fixed("late")]);

    assert_eq!(asked_again(&mut applier), [(ResourceType::Listener, "in".into())]);
}

#[tokio::test]
async fn a_listener_that_waits_for_its_next_version_follows_the_routes_that_it_serves_by() {
    let elsewhere = RouteSource::Inline(Arc::new(configuration("x", forward("nowhere"))));
    for next in [rds("in", "later"), listener("in", elsewhere)] {
        let mut applier = applier();
        give(&mut applier, [fixed("c"), fixed("d"), routes("r", "c"), rds("in", "r"), rds("other", "r")]);
        give(&mut applier, [next]);

        give(&mut applier, [routes("r", "d")]);

        assert_eq!(active_cluster_of(&applier, "r").as_deref(), Some("d"));
        assert_eq!(whole::missing(applier.active()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_inline_route_is_held_as_one_by_name_is() {
    let mut applier = applier();
    let inline = RouteSource::Inline(Arc::new(configuration("r", forward("c"))));
    give(&mut applier, [listener("in", inline)]);
    assert!(applier.active().listeners.is_empty());
    assert_eq!(concluded(&mut applier).0, 0);

    give(&mut applier, [fixed("c")]);

    assert_eq!(applier.active().listeners.len(), 1);
    assert_eq!(concluded(&mut applier), (2, Vec::new()));
}

#[tokio::test]
async fn one_bad_resource_of_a_push_does_not_hold_up_the_good_ones() {
    let mut applier = applier();
    let bad = Resource::Cluster(Arc::new(match cluster("bad", Discovery::OriginalDestination) {
        Resource::Cluster(cluster) => (*cluster).clone(),
        other => panic!("not a cluster: {other:?}"),
    }));

    give(&mut applier, [fixed("c"), bad, routes("r", "c"), rds("in", "r")]);

    let (count, refused) = concluded(&mut applier);
    assert_eq!((count, refused.len()), (3, 1));
    assert_eq!(&*refused[0].0, "bad");
    assert!(refused[0].1.starts_with("type: "), "{}", refused[0].1);
    assert_eq!(applier.active().listeners.len(), 1);
}

#[tokio::test]
async fn a_removed_cluster_stays_while_a_route_names_it() {
    let mut applier = applier();
    give(&mut applier, [fixed("c"), fixed("d"), routes("r", "c"), rds("in", "r")]);

    let removed = vec!["c".into()];
    applier.offer(Change { resource_type: ResourceType::Cluster, offered: Vec::new(), removed }, now());
    assert!(applier.active().clusters.contains_key("c"));
    give(&mut applier, [routes("r", "d")]);

    assert!(!applier.active().clusters.contains_key("c"));
}

/// A worker lets go of connections when it first sees a snapshot; what is retired after that is kept until it is old.
#[tokio::test]
async fn endpoints_are_retired_before_anybody_can_see_that_their_cluster_has_gone() {
    let mut applier = applier();
    for _ in 0..50 {
        give(&mut applier, [fixed("c"), fixed("d"), routes("r", "c"), rds("in", "r")]);
        let endpoint = Arc::clone(&applier.active().clusters["c"].states[0]);
        let snapshot = Arc::clone(&applier.shared.snapshot);
        let onlooker = std::thread::spawn(move || {
            while snapshot.load().clusters.contains_key("c") {
                std::hint::spin_loop();
            }
            endpoint.retired.load(Ordering::Relaxed)
        });

        let removed = vec!["c".into()];
        applier.offer(Change { resource_type: ResourceType::Cluster, offered: Vec::new(), removed }, now());
        give(&mut applier, [routes("r", "d")]);

        assert!(onlooker.join().expect("it does not panic"));
    }
}

#[tokio::test]
async fn a_cluster_that_only_a_route_keeps_is_kept_for_a_restart() {
    let mut applier = applier();
    give(&mut applier, [eds("c"), assignment("c"), fixed("d"), routes("r", "c"), rds("in", "r")]);
    let removed = vec!["c".into()];
    applier.offer(Change { resource_type: ResourceType::Cluster, offered: Vec::new(), removed }, now());

    let mut again = self::applier();
    let kept = applier.stored().into_iter();
    let decoded = kept.map(|kept| Decoded::from_any(kept.resource_type.type_url(), &kept.value).expect("decodes"));
    give(&mut again, decoded.map(|decoded| decoded.resource));

    assert_eq!(active_cluster_of(&again, "r").as_deref(), Some("c"));
    assert_eq!(again.active().listeners.len(), 1);
}

#[tokio::test]
async fn while_a_listener_waits_for_its_routes_the_one_that_serves_is_kept_for_a_restart() {
    let mut applier = applier();
    let inline = || listener("in", RouteSource::Inline(Arc::new(configuration("r", forward("c")))));
    give(&mut applier, [fixed("c"), inline()]);

    give(&mut applier, [rds("in", "later")]);

    let kept = applier.stored().into_iter().find(|kept| &*kept.name == "in");
    assert_eq!(kept.map(|kept| kept.version), Some(inline().version()));
}

#[tokio::test]
async fn what_nobody_names_any_more_is_not_kept_for_a_restart() {
    let mut applier = applier();
    give(&mut applier, [assignment("gone"), routes("gone", "c"), fixed("c"), routes("r", "c"), rds("in", "r")]);

    let kept: Vec<_> = applier.stored().into_iter().map(|stored| stored.name).collect();

    assert_eq!(kept, ["c".into(), "r".into(), "in".into()] as [Arc<str>; 3]);
}

#[tokio::test]
async fn what_follows_from_a_change_is_asked_for_before_the_change_is_concluded() {
    let mut applier = applier();
    give(&mut applier, [eds("c")]);

    let effects = applier.take_effects();

    let asked = effects.iter().position(|effect| matches!(effect, Effect::Subscribe { .. }));
    let concluded = effects.iter().position(|effect| matches!(effect, Effect::Concluded { .. }));
    assert!(asked.is_some() && asked < concluded, "{effects:?}");
}

#[tokio::test]
async fn what_did_not_change_is_shared_with_the_snapshot_before() {
    let mut applier = applier();
    give(&mut applier, [eds("c"), assignment("c"), fixed("d"), routes("r", "c"), routes("s", "d"), rds("in", "r")]);
    give(&mut applier, [rds("other", "s"), routes("s", "d")]);
    let before = Arc::clone(applier.active());

    give(&mut applier, [routes("r", "d")]);

    let after = applier.active();
    assert!(Arc::ptr_eq(&before.clusters, &after.clusters));
    assert!(Arc::ptr_eq(&before.routes["s"], &after.routes["s"]));
    assert!(Arc::ptr_eq(&before.listeners["other"], &after.listeners["other"]));
    assert!(!Arc::ptr_eq(&before.listeners["in"], &after.listeners["in"]));
}

#[tokio::test]
async fn new_endpoints_keep_the_state_of_those_that_stay() {
    let mut applier = applier();
    give(&mut applier, [eds("c"), assignment("c"), routes("r", "c"), rds("in", "r")]);
    let before = Arc::clone(&applier.active().clusters["c"]);
    let mut wider = localities();
    let mut second = wider[0].endpoints[0].clone();
    second.address.set_port(2);
    wider[0].endpoints.push(second);

    give(
        &mut applier,
        [Resource::Endpoint(Arc::new(ClusterLoadAssignment {
            localities: wider,
            ..ClusterLoadAssignment::empty("c".into())
        }))],
    );

    let after = &applier.active().clusters["c"];
    assert_eq!(after.endpoints.len(), 2);
    assert!(Arc::ptr_eq(&before.states[0], &after.states[0]));
    assert!(Arc::ptr_eq(&before.balancer, &after.balancer), "the round robin goes on where it was");
}

#[tokio::test]
async fn names_are_subscribed_to_as_they_appear() {
    let mut applier = applier();
    give(&mut applier, [eds("c"), rds("in", "r")]);

    let subscribed = applier.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Subscribe(names) => Some(names),
        Effect::Concluded { .. } | Effect::AskAgain { .. } | Effect::Published => None,
    });

    let Names { endpoints, routes, secrets } = subscribed.expect("a subscription");
    assert_eq!((endpoints.len(), routes.len(), secrets.len()), (1, 1, 0));
    assert!(endpoints.contains("c") && routes.contains("r"));
}

#[tokio::test]
async fn a_configuration_is_whole_when_its_listeners_are() {
    let mut applier = applier();
    give(&mut applier, [fixed("c")]);
    assert!(!applier.is_whole());
    give(&mut applier, [rds("in", "r")]);
    assert!(!applier.is_whole());
    give(&mut applier, [routes("r", "c")]);

    assert!(applier.is_whole());
}

#[tokio::test]
async fn a_resource_that_is_still_held_is_not_kept_for_a_restart() {
    let mut applier = applier();
    give(&mut applier, [fixed("c"), routes("r", "nowhere"), rds("in", "r")]);

    let kept: Vec<_> = applier.stored().into_iter().map(|stored| stored.name).collect();

    assert_eq!(kept, ["c".into(), "in".into()] as [Arc<str>; 2]);
}

#[tokio::test]
async fn while_a_version_is_held_and_after_it_was_refused_the_one_that_serves_is_kept_for_a_restart() {
    let mut applier = applier();
    give(&mut applier, [fixed("c"), routes("r", "c"), rds("in", "r")]);
    let version_of_r = |applier: &Applier| {
        let stored = applier.stored().into_iter().find(|stored| &*stored.name == "r");
        stored.map(|stored| stored.version)
    };
    let good = version_of_r(&applier);
    assert_eq!(good, Some(routes("r", "c").version()));

    give(&mut applier, [routes("r", "nowhere")]);
    assert_eq!(version_of_r(&applier), good);
    let deadline = applier.next_deadline().expect("something is held");
    applier.tick(deadline);

    assert_eq!(version_of_r(&applier), good);
}
