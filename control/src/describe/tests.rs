//! What a person reads of a change.

use std::sync::Arc;

use tidegate_policies::ir::route::{PathMatch, RequestMatch, RuleAction};
use tidegate_policies::ir::world::Protocol;

use super::{LINES_MAX, describe};
use crate::fixture::{backend, canary, entry, for_all, mesh, named, port, rate_limit, rule, service, split, stated};

#[test]
fn a_shifted_weight_is_shown_share_by_share() {
    let (old, mut new) = (mesh(), mesh());
    new.mesh_routes.insert(named("reviews"), canary(50, 50));

    assert_eq!(describe(&old, &new), ["reviews.shop: v1 90 % / v2 10 % -> v1 50 % / v2 50 %"]);
}

#[test]
fn weights_need_not_sum_to_a_hundred() {
    let (mut old, mut new) = (mesh(), mesh());
    old.mesh_routes.insert(named("reviews"), canary(1, 0));
    new.mesh_routes.insert(named("reviews"), canary(2, 1));

    assert_eq!(describe(&old, &new), ["reviews.shop: v1 100 % / v2 0 % -> v1 66.7 % / v2 33.3 %"]);
}

#[test]
fn a_rule_among_several_is_named() {
    let rules = |weight| {
        let beta = RequestMatch { path: PathMatch::SegmentPrefix("/beta".into()), ..RequestMatch::default() };
        let mut named_rule = rule("HTTPRoute", 3, split(&[(backend("reviews", 9080, Some("v2")), 1)]));
        named_rule.name = "beta".into();
        let shares = [(backend("reviews", 9080, Some("v1")), weight), (backend("ratings", 9090, None), 100 - weight)];
        let rest = rule("HTTPRoute", 9, split(&shares));
        for_all(vec![entry(beta, named_rule), entry(RequestMatch::default(), rest)])
    };
    let (mut old, mut new) = (mesh(), mesh());
    old.mesh_routes.insert(named("reviews"), rules(75));
    new.mesh_routes.insert(named("reviews"), rules(70));

    let lines = describe(&old, &new);

    assert_eq!(lines, ["reviews.shop (rule 2): v1 75 % / ratings 25 % -> v1 70 % / ratings 30 %"]);
}

#[test]
fn a_gateways_split_is_shown_with_its_host() {
    let (mut old, mut new) = (mesh(), mesh());
    for (set, weights) in [(&mut old, [1, 0]), (&mut new, [1, 1])] {
        let shares = [(backend("web", 80, None), weights[0]), (backend("reviews", 9080, None), weights[1])];
        let gateway = set.gateways.get_mut(&named("front")).unwrap();
        gateway.listeners[0].hosts[0].rules =
            vec![entry(RequestMatch::default(), rule("HTTPRoute", 1, split(&shares)))];
    }

    let lines = describe(&old, &new);

    let expected = "gateway shop/front, host shop.example.com: web 100 % / reviews 0 % -> web 50 % / reviews 50 %";
    assert_eq!(lines, [expected]);
}

#[test]
fn objects_that_come_and_go_are_named_and_the_rest_is_counted() {
    let (old, mut new) = (mesh(), mesh());
    let added = service("cart", vec![port("http", 80, Protocol::Http)]);
    new.services.insert(added.name.clone(), added);
    new.workloads.remove(&named("reviews-2"));
    new.workloads.get_mut(&named("web-1")).unwrap().address = [127, 0, 9, 9].into();
    new.backends.get_mut(&named("reviews")).unwrap().subsets.clear();

    assert_eq!(
        describe(&old, &new),
        ["service shop/cart added", "workload shop/reviews-2 removed", "2 objects changed"]
    );
}

#[test]
fn a_line_inserted_above_an_object_is_no_change_of_it() {
    let (mut old, mut new) = (mesh(), mesh());
    let limit = |line| {
        let mut limit = stated("RateLimit", "limits", rate_limit("all"));
        Arc::make_mut(&mut limit.origin).line = line;
        limit
    };
    for (set, line) in [(&mut old, 7), (&mut new, 8)] {
        set.backends.get_mut(&named("reviews")).unwrap().traffic.rate_limits.push(limit(line));
    }
    new.services.values_mut().for_each(|s| s.origin.line += 1);
    new.workloads.values_mut().for_each(|w| w.origin.line += 1);
    let mut moved = canary(90, 10);
    let mut shifted = (*moved[0].rules[0].rule).clone();
    shifted.origin.line += 1;
    moved[0].rules[0].rule = shifted.into();
    new.mesh_routes.insert(named("reviews"), moved);

    assert_eq!(describe(&old, &new), ["nothing that proxies can see"]);
}

#[test]
fn a_changed_action_that_is_no_split_is_counted() {
    let (old, mut new) = (mesh(), mesh());
    let answer = RuleAction::DirectResponse { status: 503, body: "closed".into() };
    new.mesh_routes
        .insert(named("reviews"), for_all(vec![entry(RequestMatch::default(), rule("HTTPRoute", 1, answer))]));

    assert_eq!(describe(&old, &new), ["1 object changed"]);
}

#[test]
fn a_long_list_is_cut() {
    let (old, mut new) = (mesh(), mesh());
    for number in 0..LINES_MAX + 3 {
        let added = service(&format!("s{number:02}"), Vec::new());
        new.services.insert(added.name.clone(), added);
    }

    let lines = describe(&old, &new);

    assert_eq!(lines.len(), LINES_MAX + 1);
    assert_eq!(lines[LINES_MAX], "and 3 more");
}
