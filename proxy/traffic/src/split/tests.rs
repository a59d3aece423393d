//! Intervals, headers that name clusters, and what is refused.

use proptest::prelude::*;
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::route::{HashPolicy, HashSource, HeaderMutations, Mirror, RetryPolicy, RouteAction};

use super::*;
use crate::route::RouteTable;
use crate::testing::{Request, forward_to, prefix, route, routes};

fn member(name: &str, weight: u32) -> WeightedCluster {
    WeightedCluster {
        name: name.into(),
        weight,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        host_rewrite: None,
    }
}

fn weighted(weights: &[u32]) -> Forward {
    let clusters = weights.iter().enumerate().map(|(i, weight)| member(&format!("c{i}"), *weight)).collect();
    forward_to(ClusterSpecifier::Weighted(WeightedClusters::new(clusters).unwrap()))
}

fn compile(forward: &Forward) -> CompiledForward {
    CompiledForward::compile(forward, &prefix("/")).unwrap()
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

    let error = CompiledForward::compile(&forward, &prefix("/")).unwrap_err();

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
fn what_is_not_supported_is_refused_with_its_path() {
    let fraction = Fraction { numerator: 1, denominator: 100 };
    let mirror = Mirror { cluster: "m".into(), fraction, shadow_host_suffix: true };
    let retry = RetryPolicy {
        retry_on: Vec::new(),
        num_retries: 1,
        per_try_timeout: None,
        status_codes: Vec::new(),
        back_off_base: Duration::from_millis(25),
        back_off_max: Duration::from_millis(250),
        avoid_previous_hosts: false,
        host_selection_attempts: 1,
    };
    let route = "virtual_hosts[0].routes[1].route";

    assert_eq!(refusal(|f| f.mirrors = vec![mirror]), Some(format!("{route}.request_mirror_policies")));
    assert_eq!(refusal(|f| f.retry = Some(retry)), Some(format!("{route}.retry_policy")));
}

#[test]
fn a_hash_policy_is_accepted_because_no_balancer_reads_it() {
    let policy = HashPolicy { source: HashSource::SourceIp, terminal: false };

    assert_eq!(refusal(|f| f.hash_policy = vec![policy]), None);
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
}
