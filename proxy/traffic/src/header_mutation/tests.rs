//! Levels, actions and the head that values are computed from.

use tidegate_xds::resource::route::{
    ClusterSpecifier, HeaderAddition, RouteAction, RouteConfiguration, WeightedCluster, WeightedClusters,
};

use super::*;
use crate::route::{CompiledAction, RouteTable};
use crate::testing::{Head, Request, forward_to, prefix, route, routes};

fn add(name: &str, value: &str, append: AppendAction) -> HeaderAddition {
    HeaderAddition { name: name.into(), value: value.into(), append, keep_empty: false }
}

fn append(name: &str, value: &str) -> HeaderAddition {
    add(name, value, AppendAction::AppendIfExistsOrAdd)
}

fn set(name: &str, value: &str) -> HeaderAddition {
    add(name, value, AppendAction::OverwriteIfExistsOrAdd)
}

fn mutations(remove: &[&str], add: Vec<HeaderAddition>) -> HeaderMutations {
    HeaderMutations { remove: remove.iter().map(|n| Arc::from(*n)).collect(), add }
}

/// A configuration with a weighted cluster, a route, a host and itself, in this order.
fn levels(
    most_specific_wins: bool,
    request: [HeaderMutations; 4],
    response: [HeaderMutations; 4],
) -> RouteConfiguration {
    let [member_request, route_request, host_request, config_request] = request;
    let [member_response, route_response, host_response, config_response] = response;
    let member = WeightedCluster {
        name: "c".into(),
        weight: 1,
        request_headers: member_request,
        response_headers: member_response,
        ..WeightedCluster::default()
    };
    let mut route = route("r", prefix("/"));
    let split = WeightedClusters::new(vec![member]).unwrap();
    route.action = RouteAction::Forward(Box::new(forward_to(ClusterSpecifier::Weighted(split))));
    (route.request_headers, route.response_headers) = (route_request, route_response);
    let mut config = routes(vec![route]);
    config.most_specific_header_mutations_wins = most_specific_wins;
    (config.request_headers, config.response_headers) = (config_request, config_response);
    let host = &mut config.virtual_hosts[0];
    (host.request_headers, host.response_headers) = (host_request, host_response);
    config
}

fn none() -> [HeaderMutations; 4] {
    std::array::from_fn(|_| HeaderMutations::default())
}

fn request_head(config: &RouteConfiguration, request: &Request) -> Head {
    let table = RouteTable::compile(config).unwrap();
    let route = table.find(request, 0).unwrap();
    let chosen = match &route.action {
        CompiledAction::Forward(forward) => forward.choose_cluster(request, 0),
        CompiledAction::Redirect(_) | CompiledAction::DirectResponse { .. } => None,
    };
    let mut head = request.headers.clone();
    apply_request(route, chosen.as_ref(), request, &Context::default(), &mut head);
    head
}

/// One level alone.
fn changed(own: HeaderMutations, request: &Request) -> Head {
    request_head(
        &levels(
            false,
            [HeaderMutations::default(), own, HeaderMutations::default(), HeaderMutations::default()],
            none(),
        ),
        request,
    )
}

fn of_each_level(addition: impl Fn(&str) -> HeaderAddition) -> [HeaderMutations; 4] {
    ["cluster", "route", "host", "config"].map(|level| mutations(&[], vec![addition(level)]))
}

#[test]
fn the_outermost_level_has_the_last_word() {
    let config = levels(false, of_each_level(|level| set("x", level)), none());

    assert_eq!(request_head(&config, &Request::get("/")), Head::of(&[("x", "config")]));
}

#[test]
fn the_route_has_the_last_word_when_asked_and_the_weighted_cluster_never() {
    let config = levels(true, of_each_level(|level| set("x", level)), none());

    assert_eq!(request_head(&config, &Request::get("/")), Head::of(&[("x", "route")]));
}

#[test]
fn levels_append_in_their_order() {
    let outermost_last = levels(false, of_each_level(|level| append("x", level)), none());
    let expected = Head::of(&[("x", "cluster"), ("x", "route"), ("x", "host"), ("x", "config")]);
    assert_eq!(request_head(&outermost_last, &Request::get("/")), expected);

    let specific_last = levels(true, of_each_level(|level| append("x", level)), none());
    let expected = Head::of(&[("x", "cluster"), ("x", "config"), ("x", "host"), ("x", "route")]);
    assert_eq!(request_head(&specific_last, &Request::get("/")), expected);
}

#[test]
fn a_later_level_removes_what_an_earlier_one_added() {
    let own = mutations(&[], vec![append("x", "route")]);
    let outer = mutations(&["x"], vec![]);
    let at = |most_specific_wins| {
        levels(
            most_specific_wins,
            [HeaderMutations::default(), own.clone(), HeaderMutations::default(), outer.clone()],
            none(),
        )
    };

    assert_eq!(request_head(&at(false), &Request::get("/")), Head::default());
    assert_eq!(request_head(&at(true), &Request::get("/")), Head::of(&[("x", "route")]));
}

#[test]
fn within_a_level_removals_come_first() {
    let request = Request::get("/").with("x", "old").with("X", "older").with("y", "kept");

    let head = changed(mutations(&["x"], vec![append("x", "new")]), &request);

    assert_eq!(head, Head::of(&[("y", "kept"), ("x", "new")]));
}

#[test]
fn values_are_those_of_the_head_as_it_was_received() {
    let request = Request::get("/").with("x", "original");
    let first = mutations(&["x"], vec![set("x", "changed"), append("a", "%REQ(x)%")]);
    let second = mutations(&[], vec![append("b", "%REQ(x)%"), append("c", "%REQ(a)%")]);
    for most_specific_wins in [false, true] {
        let config = levels(
            most_specific_wins,
            [HeaderMutations::default(), first.clone(), HeaderMutations::default(), second.clone()],
            none(),
        );

        let head = request_head(&config, &request);

        let value = |name: &str| head.header(name).next().map(<[u8]>::to_vec);
        assert_eq!(value("x").as_deref(), Some(b"changed".as_slice()));
        assert_eq!(value("a").as_deref(), Some(b"original".as_slice()));
        assert_eq!(value("b").as_deref(), Some(b"original".as_slice()));
        assert_eq!(value("c"), None);
    }
}

#[test]
fn each_action_does_its_own_when_the_header_is_there_and_when_it_is_not() {
    let there = Request::get("/").with("x", "old");
    let absent = Request::get("/");
    for (action, when_there, when_absent) in [
        (AppendAction::AppendIfExistsOrAdd, vec![("x", "old"), ("x", "new")], vec![("x", "new")]),
        (AppendAction::AddIfAbsent, vec![("x", "old")], vec![("x", "new")]),
        (AppendAction::OverwriteIfExistsOrAdd, vec![("x", "new")], vec![("x", "new")]),
        (AppendAction::OverwriteIfExists, vec![("x", "new")], vec![]),
    ] {
        let own = || mutations(&[], vec![add("x", "new", action)]);
        assert_eq!(changed(own(), &there), Head::of(&when_there), "{action:?}");
        assert_eq!(changed(own(), &absent), Head::of(&when_absent), "{action:?}");
    }
}

#[test]
fn presence_is_asked_after_removals_and_before_the_levels_own_additions() {
    let request = Request::get("/").with("x", "old");
    let twice = vec![add("x", "1", AppendAction::AddIfAbsent), add("X", "2", AppendAction::AddIfAbsent)];

    let head = changed(mutations(&["x"], twice), &request);

    assert_eq!(head, Head::of(&[("x", "1"), ("X", "2")]));
}

#[test]
fn within_a_level_replacements_come_before_additions() {
    let head =
        changed(mutations(&[], vec![append("x", "added"), set("x", "set")]), &Request::get("/").with("x", "old"));

    assert_eq!(head, Head::of(&[("x", "set"), ("x", "added")]));
}

#[test]
fn an_empty_value_is_not_written_unless_it_is_to_be_kept() {
    let kept = HeaderAddition { keep_empty: true, ..append("b", "%REQ(none)%") };

    let head = changed(mutations(&[], vec![append("a", "%REQ(none)%"), kept, append("c", "")]), &Request::get("/"));

    assert_eq!(head, Head::of(&[("b", "")]));
}

#[test]
fn a_name_is_written_as_configured() {
    let head = changed(mutations(&[], vec![set("X-Custom-Name", "1")]), &Request::get("/"));

    assert_eq!(head.0[0].0, "X-Custom-Name");
}

#[test]
fn answers_are_changed_by_the_same_levels_and_read_both_heads() {
    for (most_specific_wins, winner) in [(false, "config"), (true, "route")] {
        let mut response = of_each_level(|level| set("x", level));
        response[1].add.push(append("y", "%REQ(a)%-%RESP(b)%-%RESPONSE_CODE%"));
        let config = levels(most_specific_wins, none(), response);
        let table = RouteTable::compile(&config).unwrap();
        let request = Request::get("/").with("a", "1");
        let route = table.find(&request, 0).unwrap();
        let CompiledAction::Forward(forward) = &route.action else { panic!("the route forwards") };
        let chosen = forward.choose_cluster(&request, 0);
        let received = Head::of(&[("b", "2")]);
        let mut head = received.clone();
        let context = Context { response_code: Some(404), ..Context::default() };

        apply_response(route, chosen.as_ref(), &request, &received, &context, &mut head);

        assert_eq!(head.header("x").collect::<Vec<_>>(), [winner.as_bytes()]);
        assert_eq!(head.header("y").collect::<Vec<_>>(), [b"1-2-404"]);
    }
}

#[test]
fn without_a_chosen_cluster_its_level_is_silent() {
    let config = levels(true, of_each_level(|level| append("x", level)), none());
    let table = RouteTable::compile(&config).unwrap();
    let request = Request::get("/");
    let mut head = Head::default();

    apply_request(table.find(&request, 0).unwrap(), None, &request, &Context::default(), &mut head);

    assert_eq!(head, Head::of(&[("x", "config"), ("x", "host"), ("x", "route")]));
}

fn refusal(level: usize, own: HeaderMutations) -> String {
    let mut request = none();
    request[level] = own;
    RouteTable::compile(&levels(false, request, none())).unwrap_err().to_string()
}

#[test]
fn the_host_and_pseudo_headers_are_not_for_mutations() {
    for name in ["host", "Host", ":path", ":authority"] {
        let reason = format!("`{name}` is changed by a rewrite, not by a header mutation");

        let removed = refusal(3, mutations(&["ok", name], vec![]));
        assert_eq!(removed, format!("request_headers_to_remove[1]: {reason}"));
        let added = refusal(2, mutations(&[], vec![append(name, "x")]));
        assert_eq!(added, format!("virtual_hosts[0].request_headers_to_add[0].header.key: {reason}"));
    }
}

#[test]
fn names_and_values_that_cannot_be_written_are_refused_with_their_path() {
    let name = refusal(1, mutations(&[], vec![append("a b", "x")]));
    assert_eq!(name, "virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: `a b` is not a header name");
    let value = refusal(0, mutations(&[], vec![append("a", "%NO%")]));
    let member = "virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0]";
    assert_eq!(value, format!("{member}.request_headers_to_add[0].header.value: the operator `%NO%` is not supported"));
}
