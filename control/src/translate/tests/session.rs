//! Sessions, hashes, copies and cross-origin requests.

use std::time::Duration;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::cors::Cors;
use tidegate_policies::ir::load_balancing::LoadBalancing;
use tidegate_policies::ir::mirror::Mirror;
use tidegate_policies::ir::route::{HeaderChanges, RequestMatch, StringMatch};
use tidegate_policies::ir::session::{ConsistentHash, HashKey, HashTable, SessionCarrier, SessionPersistence};
use tidegate_policies::ir::share::Share;
use tidegate_xds::resource::cluster::LoadBalancing as XdsLoadBalancing;
use tidegate_xds::resource::filter::{CORS, FilterConfig, STATEFUL_SESSION, SessionCarrier as XdsCarrier};
use tidegate_xds::resource::route::{ClusterSpecifier, Forward, HashSource, Route, RouteAction, WeightDraw};

use super::{clusters, hosts, of_shop, with_rule};
use crate::fixture::{backend, canary, mesh, named, rule, split, stated};

fn route_to_reviews(set: PolicySet) -> Route {
    hosts(set, "reviews", &of_shop()).remove(0).routes.remove(0)
}

fn forward(route: &Route) -> &Forward {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("a forward was expected, not {other:?}"),
    }
}

fn with_session(v1: u32, v2: u32) -> PolicySet {
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), canary(v1, v2));
    let carrier = SessionCarrier::Cookie { name: "shop".into(), path: None, ttl: None };
    let session = Some(stated("BackendPolicy", "sticky", SessionPersistence { carrier }));
    set.backends.get_mut(&named("reviews")).unwrap().traffic.session = session;
    set
}

#[test]
fn a_session_holds_the_endpoint_in_one_cookie_and_draws_the_version_from_another() {
    let route = route_to_reviews(with_session(90, 10));

    let Some(FilterConfig::StatefulSession(Some(session))) = &route.filters[STATEFUL_SESSION].config else {
        panic!("a session")
    };
    let expected = XdsCarrier::Cookie { name: "shop".into(), path: "/".into(), ttl: None };
    assert_eq!((&session.carrier, session.strict), (&expected, false));
    let HashSource::Cookie { name, ttl, .. } = &forward(&route).hash_policy[0].source else { panic!("a cookie") };
    assert_eq!((&**name, *ttl), ("shop-version", Some(Duration::ZERO)), "made by the proxy, for the browser's life");
    assert_eq!(route.policies["session"].as_ref(), "shop/sticky mesh.yaml:40");
}

#[test]
fn nobody_who_was_sent_to_the_candidate_is_sent_back_while_its_share_grows() {
    let member_of = |v1, v2, hash: u64| {
        let route = route_to_reviews(with_session(v1, v2));
        let ClusterSpecifier::Weighted(weighted) = &forward(&route).cluster else { panic!("weighted") };
        assert_eq!(weighted.draw, WeightDraw::Hash);
        assert_eq!(weighted.clusters.iter().map(|m| u64::from(m.weight)).sum::<u64>(), weighted.total.get());
        let at = hash % weighted.total.get();
        usize::from(at >= u64::from(weighted.clusters[0].weight))
    };
    // The sums of the weights differ, too.
    let steps = [(99, 1), (9, 1), (3, 1), (2, 1), (1, 1), (1, 2), (1, 99)];

    for hash in (0..1_000_000_000_u64).step_by(7_654_321) {
        let drawn: Vec<usize> = steps.iter().map(|(v1, v2)| member_of(*v1, *v2, hash)).collect();
        assert!(drawn.is_sorted(), "{hash}: {drawn:?}");
    }
}

#[test]
fn a_single_destination_needs_no_draw() {
    let mut set = with_session(1, 1);
    set.mesh_routes.clear();

    let route = route_to_reviews(set);

    assert!(route.filters.contains_key(STATEFUL_SESSION) && forward(&route).hash_policy.is_empty());
}

#[test]
fn a_consistent_hash_is_a_table_at_the_cluster_and_a_key_at_the_route() {
    let hashed = |table| {
        let mut set = mesh();
        let hash = ConsistentHash { key: HashKey::Header("x-user".into()), table };
        let stated = stated("DestinationRule", "reviews", LoadBalancing::ConsistentHash(hash));
        set.backends.get_mut(&named("reviews")).unwrap().traffic.load_balancing = Some(stated);
        set
    };

    let ring = hashed(HashTable::Ring { min_size: 1024 });
    let route = route_to_reviews(ring.clone());
    let cluster = clusters(ring, "reviews").remove(0);
    let maglev = clusters(hashed(HashTable::Maglev { size: 65_537 }), "reviews").remove(0);

    // Both versions are hashed alike, so that it is said once.
    let sources: Vec<&HashSource> = forward(&route).hash_policy.iter().map(|p| &p.source).collect();
    assert_eq!(sources, [&HashSource::Header("x-user".into())]);
    assert!(matches!(cluster.load_balancing, XdsLoadBalancing::RingHash { min_size: 1024, .. }));
    assert_eq!(maglev.load_balancing, XdsLoadBalancing::Maglev { table_size: 65_537 });
    assert_eq!(cluster.policies["load_balancing"].as_ref(), "shop/reviews");
}

fn mirror(to: &str, share: Share) -> Mirror {
    Mirror {
        backend: backend(to, 9090, None),
        share,
        request_headers: HeaderChanges { set: vec![("x-copy".into(), "1".into())], ..HeaderChanges::default() },
        host_rewrite: None,
    }
}

#[test]
fn copies_go_to_what_exists_and_keep_their_host() {
    let mut copied = rule("VirtualService", 12, split(&[(backend("reviews", 9080, None), 1)]));
    let tenth = Share::from_millionths(100_000).unwrap();
    let wanted = [mirror("ratings", tenth), mirror("nobody", Share::ALL), mirror("ratings", Share::NONE)];
    copied.policies.mirrors = wanted.map(|mirror| stated("VirtualService", "rules", mirror)).to_vec();

    let route = route_to_reviews(with_rule(RequestMatch::default(), copied));

    let [made] = forward(&route).mirrors.as_slice() else { panic!("one copy") };
    assert_eq!(&*made.cluster, "outbound|9090||ratings.shop.svc.cluster.local");
    assert_eq!((made.fraction.numerator, made.fraction.denominator), (100_000, 1_000_000));
    assert!(!made.shadow_host_suffix && made.host_rewrite.is_none());
    assert_eq!(&*made.request_headers.add[0].name, "x-copy");
    assert_eq!(route.policies["mirror"].as_ref(), "shop/rules mesh.yaml:40");
}

#[test]
fn cross_origin_rules_are_the_override_of_a_filter() {
    let mut open = rule("HTTPRoute", 12, split(&[(backend("reviews", 9080, None), 1)]));
    let cors = Cors {
        allow_origins: vec![StringMatch::Exact("https://a.example".into())],
        allow_methods: vec!["GET".into(), "PUT".into()],
        allow_headers: vec!["x-a".into()],
        expose_headers: Vec::new(),
        max_age: Some(Duration::from_secs(60)),
        allow_credentials: true,
        forward_unmatched_preflights: false,
    };
    open.policies.cors = Some(stated("HTTPRoute", "rules", cors));

    let route = route_to_reviews(with_rule(RequestMatch::default(), open));

    let Some(FilterConfig::Cors(Some(said))) = &route.filters[CORS].config else { panic!("a policy") };
    let texts = [&said.allow_methods, &said.allow_headers, &said.expose_headers, &said.max_age].map(|t| &**t);
    assert_eq!(texts, ["GET,PUT", "x-a", "", "60"]);
    assert!(said.allow_credentials && !said.forward_not_matching_preflights && said.enabled.numerator == 100);
    assert_eq!(said.allow_origins.len(), 1);
}
