//! Intervals, headers that name clusters, and what is refused.

use proptest::prelude::*;
use tidegate_xds::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher};
use tidegate_xds::resource::route::{HashPolicy, HashSource, Mirror, RetryPolicy, RouteAction};

use super::*;
use crate::route::RouteTable;
use crate::testing::{Request, compile_forward, forward_to, prefix, route, routes};

fn member(name: &str, weight: u32) -> WeightedCluster {
    WeightedCluster { name: name.into(), weight, ..WeightedCluster::default() }
}

fn weighted(weights: &[u32]) -> Forward {
    let clusters = weights.iter().enumerate().map(|(i, weight)| member(&format!("c{i}"), *weight)).collect();
    forward_to(ClusterSpecifier::Weighted(WeightedClusters::new(clusters).unwrap()))
}

fn compile(forward: &Forward) -> CompiledForward {
    compile_forward(forward, &prefix("/")).unwrap()
}

fn index(forward: &CompiledForward, random: u64) -> Option<usize> {
    forward.choose_cluster(&Request::get("/"), random).and_then(|chosen| chosen.index)
}

#[test]
fn weights_lay_half_open_intervals_in_list_order() {
    let forward = compile(&weighted(&[90, 10]));
    for (draw, expected) in [(0, 0), (89, 0), (90, 1), (99, 1), (100, 0), (189, 0), (190, 1)] {
        assert_eq!(index(&forward, draw), Some(expected), "draw {draw}");
    }
}

#[test]
fn a_weight_of_zero_is_never_chosen() {
    let forward = compile(&weighted(&[0, 1, 0, 2, 0]));

    let chosen: Vec<_> = (0..3).map(|draw| index(&forward, draw).unwrap()).collect();

    assert_eq!(chosen, [1, 3, 3]);
}

#[test]
fn weights_need_not_sum_to_a_hundred() {
    let forward = compile(&weighted(&[u32::MAX - 1, 1]));

    assert_eq!(index(&forward, u64::from(u32::MAX) - 2), Some(0));
    assert_eq!(index(&forward, u64::from(u32::MAX) - 1), Some(1));
    assert_eq!(index(&forward, u64::from(u32::MAX)), Some(0));
}

#[test]
fn weights_that_are_all_zero_are_refused() {
    let mut forward = weighted(&[1, 1]);
    if let ClusterSpecifier::Weighted(weighted) = &mut forward.cluster {
        weighted.clusters.iter_mut().for_each(|c| c.weight = 0);
    }

    let error = compile_forward(&forward, &prefix("/")).unwrap_err();

    assert_eq!(error.to_string(), "weighted_clusters: weights are all zero");
}

#[test]
fn a_single_cluster_needs_no_draw() {
    let forward = compile(&forward_to(ClusterSpecifier::Cluster("reviews".into())));

    let chosen = forward.choose_cluster(&Request::get("/"), u64::MAX).unwrap();

    assert_eq!((chosen.cluster.as_ref().as_ref(), chosen.index), ("reviews", Some(0)));
}

#[test]
fn a_header_may_name_the_cluster_and_without_it_there_is_none() {
    let forward = compile(&forward_to(ClusterSpecifier::ClusterHeader("X-Cluster".into())));
    let chosen = |request: &Request| forward.choose_cluster(request, 0).map(|c| (c.cluster.to_string(), c.index));

    assert_eq!(chosen(&Request::get("/").with("x-cluster", "blue")), Some(("blue".to_owned(), None)));
    assert_eq!(chosen(&Request::get("/").with("x-cluster", "")), None);
    assert_eq!(chosen(&Request::get("/")), None);
    assert!(forward.clusters().is_empty());
}

#[test]
fn upgrades_are_the_routes_word_or_the_connection_managers() {
    let mut forward = forward_to(ClusterSpecifier::Cluster("c".into()));
    forward.upgrades =
        vec![Upgrade { kind: "websocket".into(), enabled: true }, Upgrade { kind: "connect".into(), enabled: false }];
    let forward = compile(&forward);

    assert_eq!(forward.upgrade("WebSocket"), Some(true));
    assert_eq!(forward.upgrade("CONNECT"), Some(false));
    assert_eq!(forward.upgrade("h2c"), None);
}

fn refusal(change: impl FnOnce(&mut Forward)) -> Option<String> {
    let mut forward = forward_to(ClusterSpecifier::Cluster("c".into()));
    change(&mut forward);
    let mut refused = route("r", prefix("/"));
    refused.action = RouteAction::Forward(Box::new(forward));
    RouteTable::compile(&routes(vec![route("ok", prefix("/ok")), refused])).err().map(|e| e.path)
}

#[test]
fn a_mirror_or_retry_policy_that_cannot_work_is_refused_with_its_path() {
    let nobody = Fraction { numerator: 1, denominator: 0 };
    let mirror = |change: fn(&mut Mirror)| {
        let mut mirror = Mirror::to("m".into());
        change(&mut mirror);
        refusal(|f| f.mirrors = vec![Mirror::to("ok".into()), mirror])
    };
    let condition = HeaderMatcher {
        name: "a b".into(),
        condition: HeaderCondition::Present(true),
        invert: false,
        missing_as_empty: false,
    };
    let retry = RetryPolicy { retriable_headers: vec![condition], ..RetryPolicy::default() };
    let route = "virtual_hosts[0].routes[1].route";
    let second = format!("{route}.request_mirror_policies[1]");

    assert_eq!(mirror(|m| m.cluster = "n".into()), None);
    assert_eq!(mirror(|m| m.host_rewrite = Some("a/b".into())), Some(format!("{second}.host_rewrite_literal")));
    assert!(refusal(|f| f.mirrors = vec![Mirror { fraction: nobody, ..Mirror::to("m".into()) }]).is_some());
    assert_eq!(refusal(|f| f.retry = Some(retry)), Some(format!("{route}.retry_policy.retriable_headers[0].name")));
}

#[test]
fn a_routes_hash_policy_gives_the_hash_that_draws() {
    let policy = HashPolicy { source: HashSource::Header("x-user".into()), terminal: false };
    let mut forward = weighted(&[50, 50]);
    forward.hash_policy = vec![policy];
    if let ClusterSpecifier::Weighted(weighted) = &mut forward.cluster {
        weighted.draw = WeightDraw::Hash;
    }
    let forward = compile(&forward);
    let index = |user: &str, random| {
        let request = Request::get("/").with("x-user", user);
        let hashed = forward.hash_policies().hash(&request, None, &mut || panic!("no cookie is made"));
        forward.choose(&request, random, hashed.hash).and_then(|chosen| chosen.index).unwrap()
    };

    let seen: Vec<_> = (0..100).map(|user| index(&user.to_string(), 0)).collect();

    assert!((0..100).all(|user| index(&user.to_string(), 77) == seen[user]), "chance has no say");
    assert!(seen.contains(&0) && seen.contains(&1));
}

fn drawn_by(draw: WeightDraw) -> CompiledForward {
    let mut forward = weighted(&[90, 10]);
    if let ClusterSpecifier::Weighted(weighted) = &mut forward.cluster {
        weighted.draw = draw;
    }
    compile(&forward)
}

#[test]
fn a_hash_decides_instead_of_chance_and_chance_where_there_is_none() {
    let (random, by_hash) = (compile(&weighted(&[90, 10])), drawn_by(WeightDraw::Hash));
    let index = |forward: &CompiledForward, random, hash| {
        forward.choose(&Request::get("/"), random, hash).and_then(|chosen| chosen.index)
    };

    assert_eq!(index(&by_hash, 0, Some(95)), Some(1));
    assert_eq!(index(&by_hash, 95, Some(0)), Some(0));
    assert_eq!(index(&by_hash, 95, None), Some(1));
    assert_eq!(index(&random, 0, Some(95)), Some(0));
}

#[test]
fn a_header_decides_only_with_one_number() {
    let forward = drawn_by(WeightDraw::Header("x-draw".into()));
    let index = |request: &Request| forward.choose(request, 0, Some(95)).and_then(|chosen| chosen.index);

    assert_eq!(index(&Request::get("/").with("x-draw", "95")), Some(1));
    assert_eq!(index(&Request::get("/").with("x-draw", "195")), Some(1));
    for bad in ["", "x", "-5", "95,95", "99999999999999999999999"] {
        assert_eq!(index(&Request::get("/").with("x-draw", bad)), Some(0), "{bad:?}");
    }
    assert_eq!(index(&Request::get("/").with("x-draw", "95").with("x-draw", "95")), Some(0));
    assert_eq!(index(&Request::get("/")), Some(0));
}

#[test]
fn hosts_that_could_escape_their_field_are_refused() {
    let route = "virtual_hosts[0].routes[1].route";
    for host in ["", "a b", "a/b", "a\r\nx: y", "u@h", "h#f"] {
        let refused = refusal(|f| f.host_rewrite = HostRewrite::Literal(host.into()));
        assert_eq!(refused, Some(format!("{route}.host_rewrite_literal")), "{host:?}");
    }
    let refused = refusal(|f| {
        let clusters = vec![member("a", 1), WeightedCluster { host_rewrite: Some("a b".into()), ..member("b", 1) }];
        f.cluster = ClusterSpecifier::Weighted(WeightedClusters::new(clusters).unwrap());
    });
    assert_eq!(refused, Some(format!("{route}.weighted_clusters.clusters[1].host_rewrite_literal")));
}

proptest! {
    #[test]
    fn over_one_round_of_draws_each_cluster_has_exactly_its_weight(
        weights in prop::collection::vec(0_u32..50, 1..12).prop_filter("not all zero", |w| w.iter().any(|w| *w > 0)),
        start in any::<u32>(),
    ) {
        let forward = compile(&weighted(&weights));
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0; weights.len()];

        for draw in 0..total {
            counts[index(&forward, u64::from(start) + u64::from(draw)).unwrap()] += 1;
        }

        prop_assert_eq!(counts, weights);
    }

    #[test]
    fn while_the_last_share_grows_no_caller_with_a_hash_moves_back(
        shares in prop::collection::vec(0_u32..=100, 2..8),
        hash in any::<u64>(),
    ) {
        let mut shares = shares;
        shares.sort_unstable();
        let by_hash = |share: u32| {
            let mut forward = weighted(&[100 - share, share]);
            if let ClusterSpecifier::Weighted(weighted) = &mut forward.cluster {
                weighted.draw = WeightDraw::Hash;
            }
            compile(&forward).choose(&Request::get("/"), 0, Some(hash)).and_then(|chosen| chosen.index).unwrap()
        };

        let seen: Vec<_> = shares.into_iter().map(by_hash).collect();

        prop_assert!(seen.is_sorted(), "{:?}", seen);
    }
}
