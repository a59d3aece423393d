//! Faults: on a route, with a destination, for some requests.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::fault::{Abort, AppliesTo, Fault};
use tidegate_policies::ir::route::{ClientMatch, HeaderMatch, PathMatch, RequestMatch, RuleAction, StringMatch};
use tidegate_policies::ir::share::Share;
use tidegate_xds::resource::filter::{FAULT, Fault as XdsFault, FaultAnswer, FilterConfig, FilterOverrides};
use tidegate_xds::resource::matcher::{Fraction, HeaderCondition, StringMatcher};
use tidegate_xds::resource::route::{ClusterSpecifier, Route, RouteAction};

use super::{hosts, of_shop, with_rule};
use crate::fixture::{backend, canary, fault, labels, mesh, named, rule, split, stated};

fn routes(set: PolicySet) -> Vec<Route> {
    hosts(set, "reviews", &of_shop()).remove(0).routes
}

fn said(filters: &FilterOverrides) -> Option<Arc<XdsFault>> {
    match filters.get(FAULT)?.config.as_ref()? {
        FilterConfig::Fault(fault) => Some(fault.clone()),
        other => panic!("a fault was expected, not {other:?}"),
    }
}

fn members(route: &Route) -> Vec<Option<Arc<XdsFault>>> {
    let RouteAction::Forward(forward) = &route.action else { panic!("a forward") };
    let ClusterSpecifier::Weighted(weighted) = &forward.cluster else { panic!("weighted") };
    weighted.clusters.iter().map(|member| said(&member.filters)).collect()
}

fn on_route(fault: Fault) -> Vec<Route> {
    let mut broken = rule("VirtualService", 12, split(&[(backend("reviews", 9080, None), 1)]));
    broken.policies.fault = Some(stated("Fault", "slow", fault));
    routes(with_rule(RequestMatch::default(), broken))
}

#[test]
fn a_fault_of_a_rule_is_on_its_route_with_every_word_of_it() {
    let third = Share::from_millionths(333_333).unwrap();
    let all = Fault {
        abort: Some((Abort::Reset, third)),
        bandwidth: Some((64 * 1024, Share::ALL)),
        expires_at: Some(UNIX_EPOCH + Duration::from_millis(5_900)),
        applies_to: AppliesTo::Upstream,
        ..fault()
    };

    let route = on_route(all).remove(0);

    let said = said(&route.filters).expect("there is a fault");
    let half = Fraction { numerator: 500_000, denominator: 1_000_000 };
    let delay = said.delay.as_ref().unwrap();
    assert_eq!((delay.fixed, delay.percentage), (Some(Duration::from_secs(1)), half));
    let abort = said.abort.as_ref().unwrap();
    assert_eq!((abort.with, abort.percentage.numerator), (FaultAnswer::Reset, 333_333));
    assert_eq!(said.bandwidth.as_ref().unwrap().kib_per_second, Some(64));
    assert_eq!((said.expires_at_unix_s, said.per_attempt), (Some(5), true));
    assert_eq!(route.policies["fault"].as_ref(), "shop/slow mesh.yaml:40");
}

#[test]
fn a_fault_of_a_service_goes_with_its_destination() {
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), canary(90, 10));
    let subsets = &mut set.backends.get_mut(&named("reviews")).unwrap().subsets;
    subsets.get_mut("v2").unwrap().traffic.fault = Some(stated("Fault", "slow", fault()));

    let split = routes(set.clone()).remove(0);
    set.mesh_routes.clear();
    set.backends.get_mut(&named("reviews")).unwrap().traffic.fault = Some(stated("Fault", "slow", fault()));
    let plain = routes(set).remove(0);

    assert_eq!(members(&split).iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert_eq!(said(&split.filters), None);
    assert!(said(&plain.filters).is_some(), "a single destination has it on the route");
}

#[test]
fn a_rules_own_fault_silences_those_of_its_destinations() {
    let mut set = mesh();
    let mut rules = canary(90, 10);
    let mut own = (*rules[0].rules[0].rule).clone();
    own.policies.fault = Some(stated("VirtualService", "rules", fault()));
    rules[0].rules[0].rule = Arc::new(own);
    set.mesh_routes.insert(named("reviews"), rules);
    set.backends.get_mut(&named("reviews")).unwrap().traffic.fault = Some(stated("Fault", "slow", fault()));

    let route = routes(set).remove(0);

    assert!(said(&route.filters).is_some());
    assert_eq!(members(&route), [None, None], "a member's override would win over the route's");
}

#[test]
fn one_condition_is_asked_by_the_filter() {
    let only = RequestMatch {
        path: PathMatch::SegmentPrefix("/a.b".into()),
        method: Some(StringMatch::Exact("GET".into())),
        headers: vec![("x-user".into(), HeaderMatch::Present)],
        ..RequestMatch::default()
    };

    let routes = on_route(Fault { matches: vec![only], ..fault() });

    let headers = &said(&routes[0].filters).unwrap().headers;
    let names: Vec<&str> = headers.iter().map(|h| &*h.name).collect();
    assert_eq!((routes.len(), names), (1, vec![":path", ":method", "x-user"]));
    let pattern = r"/a\.b([/?].*)?";
    assert_eq!(headers[0].condition, HeaderCondition::Value(StringMatcher::Regex(pattern.into())));
}

#[test]
fn alternatives_are_narrowed_copies_of_the_route_in_front_of_it() {
    let to = |path: &str| RequestMatch {
        path: PathMatch::Exact { value: path.into(), ignore_case: false },
        ..RequestMatch::default()
    };

    let routes = on_route(Fault { matches: vec![to("/a"), to("/b")], ..fault() });

    let shown: Vec<(bool, usize)> =
        routes.iter().map(|r| (said(&r.filters).is_some(), r.matches.headers.len())).collect();
    assert_eq!(shown, [(true, 1), (true, 1), (false, 0)]);
    assert!(said(&routes[0].filters).unwrap().headers.is_empty(), "the route asks already");
}

#[test]
fn a_fault_for_other_clients_or_another_port_is_not_there() {
    let other_port = RequestMatch { port: Some(1), ..RequestMatch::default() };
    let client = ClientMatch { namespace: None, labels: labels(&[("app", "nobody")]) };
    let others = RequestMatch { client, ..RequestMatch::default() };

    let routes = on_route(Fault { matches: vec![other_port, others], ..fault() });

    assert_eq!((routes.len(), said(&routes[0].filters)), (1, None));
    assert!(routes[0].policies.is_empty());
}

#[test]
fn an_answer_of_the_proxy_itself_may_fail_too() {
    let mut answering = rule("VirtualService", 1, RuleAction::DirectResponse { status: 200, body: "".into() });
    answering.policies.fault = Some(stated("VirtualService", "rules", fault()));

    let route = routes(with_rule(RequestMatch::default(), answering)).remove(0);

    assert!(said(&route.filters).is_some());
}
