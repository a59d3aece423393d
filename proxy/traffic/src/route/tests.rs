//! Which route wins, and that the index never changes the answer.

use proptest::prelude::*;
use tidegate_xds::resource::filter::{RateLimitAction, RateLimitActions};
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{ClusterSpecifier, DirectResponse};

use super::*;
use crate::testing::{Request, configuration, exact, forward_to, prefix, route, routes, separated, virtual_host};

fn compile(config: &RouteConfiguration) -> RouteTable {
    RouteTable::compile(config).unwrap()
}

fn found(table: &RouteTable, request: &Request) -> Option<String> {
    table.find(request, 0).map(|route| route.name.to_string())
}

fn has_header(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        condition: HeaderCondition::Present(true),
        invert: false,
        missing_as_empty: false,
    }
}

fn assert_found(config: &RouteConfiguration, cases: &[(&str, Option<&str>)]) {
    let table = compile(config);
    for (target, expected) in cases {
        assert_eq!(found(&table, &Request::get(target)).as_deref(), *expected, "{target}");
    }
}

#[test]
fn the_first_match_in_the_list_wins_over_a_more_specific_one() {
    let config = routes(vec![route("prefix", prefix("/a")), route("exact", exact("/a/b")), route("all", prefix("/"))]);

    assert_found(&config, &[("/a/b", Some("prefix")), ("/b", Some("all")), ("/", Some("all"))]);
}

#[test]
fn conditions_that_fail_pass_the_request_on_to_the_next_route() {
    let mut first = route("canary", exact("/a"));
    first.matches.headers = vec![has_header("x-canary")];
    let table = compile(&routes(vec![first, route("stable", prefix("/"))]));

    assert_eq!(found(&table, &Request::get("/a").with("x-canary", "1")).as_deref(), Some("canary"));
    assert_eq!(found(&table, &Request::get("/a")).as_deref(), Some("stable"));
}

#[test]
fn an_exact_path_is_compared_without_the_query() {
    assert_found(&routes(vec![route("a", exact("/a"))]), &[("/a?x=1", Some("a")), ("/a/", None), ("/A", None)]);
}

#[test]
fn a_prefix_does_not_stop_at_a_segment() {
    let config = routes(vec![route("v1", prefix("/v1"))]);

    assert_found(&config, &[("/v1", Some("v1")), ("/v10", Some("v1")), ("/v1/x", Some("v1")), ("/v", None)]);
}

#[test]
fn a_separated_prefix_stops_at_a_segment() {
    let config = routes(vec![route("v1", separated("/v1"))]);

    assert_found(&config, &[("/v1", Some("v1")), ("/v1/", Some("v1")), ("/v1/x", Some("v1")), ("/v10", None)]);
}

#[test]
fn a_separated_prefix_with_a_trailing_slash_is_refused() {
    let error = RouteTable::compile(&routes(vec![route("v1", separated("/v1/"))])).unwrap_err();

    assert_eq!(error.path, "virtual_hosts[0].routes[0].match.path_separated_prefix");
}

#[test]
fn case_is_ignored_for_exact_and_prefix_paths_when_asked() {
    let config = routes(vec![
        route("exact", PathMatcher::Exact { path: "/Exact".into(), case_sensitive: false }),
        route("prefix", PathMatcher::Prefix { prefix: "/Prefix".into(), case_sensitive: false }),
        route("separated", PathMatcher::SeparatedPrefix { prefix: "/Sep".into(), case_sensitive: false }),
    ]);

    let cases = [("/eXACT", "exact"), ("/pREFIXes", "prefix"), ("/sEP/x", "separated")];
    assert_found(&config, &cases.map(|(target, name)| (target, Some(name))));
}

#[test]
fn a_pattern_has_to_match_the_whole_path_without_the_query() {
    let config = routes(vec![route("regex", PathMatcher::Regex("/b[io]t".into()))]);

    let cases = [("/bit", Some("regex")), ("/bot?x", Some("regex")), ("/bite", None), ("/a/bit", None), ("/BIT", None)];
    assert_found(&config, &cases);
}

#[test]
fn connect_requests_have_routes_of_their_own() {
    let config = routes(vec![route("connect", PathMatcher::Connect), route("all", prefix("/"))]);
    let table = compile(&config);

    assert_eq!(found(&table, &Request::get("").method("CONNECT")).as_deref(), Some("connect"));
    assert_eq!(found(&table, &Request::get("/")).as_deref(), Some("all"));
}

#[test]
fn grpc_is_told_by_its_content_type_and_grpc_web_is_not_it() {
    let mut only = route("grpc", prefix("/"));
    only.matches.grpc = true;
    let table = compile(&routes(vec![only]));
    for (content_type, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let request = Request::get("/s/m").with("content-type", content_type);
        assert_eq!(table.find(&request, 0).is_some(), expected, "{content_type}");
    }
    assert!(table.find(&Request::get("/s/m"), 0).is_none());
}

#[test]
fn query_parameters_and_headers_must_all_hold() {
    let mut both = route("both", prefix("/"));
    let is_1 = QueryParameterCondition::Value(StringMatcher::Exact { value: "1".into(), ignore_case: false });
    both.matches.query_parameters = vec![QueryParameterMatcher { name: "q".into(), condition: is_1 }];
    both.matches.headers = vec![has_header("x-a"), has_header("x-b")];
    let table = compile(&routes(vec![both]));

    assert!(table.find(&Request::get("/?q=1").with("x-a", "").with("x-b", ""), 0).is_some());
    assert!(table.find(&Request::get("/?q=2").with("x-a", "").with("x-b", ""), 0).is_none());
    assert!(table.find(&Request::get("/?q=1").with("x-a", ""), 0).is_none());
}

#[test]
fn shares_of_several_routes_nest_because_they_see_one_draw() {
    let share = |name: &str, numerator| {
        let mut route = route(name, prefix("/"));
        route.matches.fraction = Some(Fraction { numerator, denominator: 100 });
        route
    };
    let table = compile(&routes(vec![share("ten", 10), share("thirty", 30), route("rest", prefix("/"))]));
    let count =
        |name: &str| (0..100).filter(|draw| &*table.find(&Request::get("/"), *draw).unwrap().name == name).count();

    assert_eq!((count("ten"), count("thirty"), count("rest")), (10, 20, 70));
}

#[test]
fn a_request_that_its_host_does_not_serve_is_not_offered_to_the_next_host() {
    let config = configuration(vec![
        virtual_host("reviews", &["reviews"], vec![route("reviews", exact("/a"))]),
        virtual_host("any", &["*"], vec![route("any", prefix("/"))]),
    ]);
    let table = compile(&config);

    assert_eq!(found(&table, &Request::get("/b").to("reviews")), None);
    assert_eq!(found(&table, &Request::get("/b").to("other")).as_deref(), Some("any"));
}

#[test]
fn routes_are_numbered_through_all_hosts_and_know_where_they_stand() {
    let mut sourced = route("b", prefix("/"));
    sourced.source = Some("mesh.yaml:7".into());
    let mut second = virtual_host("second", &["b"], vec![sourced]);
    second.include_request_attempt_count = true;
    let table = compile(&configuration(vec![virtual_host("first", &["a"], vec![route("a", prefix("/"))]), second]));

    let found = table.find(&Request::get("/").to("b"), 0).unwrap();

    assert_eq!((found.index, &*found.virtual_host), (1, "second"));
    assert_eq!(found.source.as_deref(), Some("mesh.yaml:7"));
    assert!(found.include_attempt_count);
    assert_eq!(table.routes().map(|r| r.index).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn every_named_cluster_is_listed_once() {
    let mut by_header = route("h", prefix("/h"));
    by_header.action = RouteAction::Forward(Box::new(forward_to(ClusterSpecifier::ClusterHeader("x-c".into()))));
    let mut direct = route("d", prefix("/d"));
    direct.action = RouteAction::DirectResponse(DirectResponse { status: 503, body: b"no".as_slice().into() });
    let table = compile(&routes(vec![
        by_header,
        direct,
        route("b", exact("/b")),
        route("a", exact("/a")),
        route("b", exact("/c")),
    ]));

    assert_eq!(table.clusters().map(|name| &**name).collect::<Vec<_>>(), ["b", "a"]);
    let found = table.find(&Request::get("/d"), 0).unwrap();
    assert!(matches!(&found.action, CompiledAction::DirectResponse { status: 503, body } if **body == *b"no"));
}

#[test]
fn equal_cluster_names_are_one_allocation() {
    let name = |path| {
        let mut route = route("r", exact(path));
        let cluster = ClusterSpecifier::Cluster(Arc::from("reviews".to_owned()));
        route.action = RouteAction::Forward(Box::new(forward_to(cluster)));
        route
    };
    let table = compile(&routes(vec![name("/a"), name("/b")]));

    let names: Vec<&Arc<str>> = table
        .routes()
        .map(|route| match &route.action {
            CompiledAction::Forward(forward) => &forward.clusters()[0],
            CompiledAction::Redirect(_) | CompiledAction::DirectResponse { .. } => panic!("the route forwards"),
        })
        .collect();
    assert!(Arc::ptr_eq(names[0], names[1]));
}

#[test]
fn a_route_is_small_enough_for_ten_thousand_of_them() {
    let bytes = size_of::<CompiledRoute>() + size_of::<CompiledForward>();

    assert!(bytes <= 768, "{bytes}");
}

#[test]
fn a_domain_of_two_hosts_is_refused_with_its_path() {
    let config = configuration(vec![virtual_host("a", &["x"], vec![]), virtual_host("b", &["y", "X"], vec![])]);

    let error = RouteTable::compile(&config).unwrap_err();

    assert_eq!(error.to_string(), "virtual_hosts[1].domains[1]: the domain `X` is in virtual_hosts[0] too");
}

#[test]
fn a_condition_that_cannot_be_compiled_is_refused_with_its_path() {
    let mut broken = route("r", prefix("/"));
    let regex = HeaderCondition::Value(StringMatcher::Regex("[".into()));
    broken.matches.headers = vec![has_header("x"), HeaderMatcher { condition: regex, ..has_header("y") }];

    let error = RouteTable::compile(&routes(vec![route("ok", prefix("/")), broken])).unwrap_err();

    assert_eq!(error.path, "virtual_hosts[0].routes[1].match.headers[1].string_match.safe_regex");
}

/// The answer without an index: each route of the chosen host in turn.
fn scanned(table: &RouteTable, request: &Request, random: u64) -> Option<usize> {
    let at = table.hosts.find(request.authority.as_bytes())?;
    let own = &table.routes[table.virtual_hosts[at].routes.clone()];
    own.iter().find(|route| route.conditions.hold(request, random)).map(|route| route.index)
}

/// What a path condition means, written down a second time and without any structure.
fn path_holds(path: &PathMatcher, request: &Request) -> bool {
    let fold = |text: &str, case_sensitive: bool| if case_sensitive { text.to_owned() } else { text.to_lowercase() };
    match path {
        PathMatcher::Connect => request.method == "CONNECT",
        PathMatcher::Exact { path, case_sensitive: c } => fold(&request.path, *c) == fold(path, *c),
        PathMatcher::Prefix { prefix, case_sensitive: c } => fold(&request.path, *c).starts_with(&fold(prefix, *c)),
        PathMatcher::SeparatedPrefix { prefix, case_sensitive: c } => {
            let (path, prefix) = (fold(&request.path, *c), fold(prefix, *c));
            path == prefix || path.starts_with(&format!("{prefix}/"))
        }
        PathMatcher::Regex(pattern) => {
            regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap().is_match(&request.path)
        }
    }
}

fn any_path() -> impl Strategy<Value = PathMatcher> {
    // Few letters and short texts, so that conditions overlap and requests hit them.
    let text = "(/[abAB]{0,2}){1,3}";
    prop_oneof![
        4 => (text, any::<bool>()).prop_map(|(p, case_sensitive)| PathMatcher::Exact { path: p.into(), case_sensitive }),
        4 => (text, any::<bool>()).prop_map(|(p, case_sensitive)| PathMatcher::Prefix { prefix: p.into(), case_sensitive }),
        3 => ("(/[abAB]{1,2}){0,2}", any::<bool>())
            .prop_map(|(p, case_sensitive)| PathMatcher::SeparatedPrefix { prefix: p.into(), case_sensitive }),
        1 => "(/[ab.]{0,2}){1,2}".prop_map(|p| PathMatcher::Regex(p.into())),
        1 => Just(PathMatcher::Connect),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let fraction = prop::option::weighted(0.2, (0_u32..=100).prop_map(|n| Fraction { numerator: n, denominator: 100 }));
    (any_path(), prop::option::weighted(0.4, 0..3_u8), fraction).prop_map(|(path, header, fraction)| {
        let mut route = route("r", path);
        route.matches.headers = header.map(|n| has_header(&format!("x-{n}"))).into_iter().collect();
        route.matches.fraction = fraction;
        route
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    ("(/[abAB]{0,2}){1,4}", prop::collection::vec(0..3_u8, 0..3), any::<bool>(), any::<bool>()).prop_map(
        |(path, headers, connect, second)| {
            let request = Request::get(&path).to(if second { "second" } else { "other" });
            let request = if connect { request.method("CONNECT") } else { request };
            headers.iter().fold(request, |request, n| request.with(&format!("x-{n}"), ""))
        },
    )
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_of_the_list_finds(
        first in prop::collection::vec(any_route(), 0..40),
        second in prop::collection::vec(any_route(), 0..40),
        requests in prop::collection::vec((any_request(), any::<u64>()), 20),
    ) {
        let config = configuration(vec![virtual_host("any", &["*"], first), virtual_host("second", &["second"], second)]);
        let table = compile(&config);
        for (request, random) in &requests {
            prop_assert_eq!(table.find(request, *random).map(|r| r.index), scanned(&table, request, *random));
        }
    }

    #[test]
    fn a_path_condition_means_what_it_says(path in any_path(), request in any_request()) {
        let table = compile(&routes(vec![route("r", path.clone())]));

        prop_assert_eq!(table.find(&request, 0).is_some(), path_holds(&path, &request));
    }

    #[test]
    fn candidates_ascend_without_repetition(
        list in prop::collection::vec(any_path(), 0..60),
        request in any_request(),
    ) {
        let index = PathIndex::new(list.iter());

        let candidates: Vec<u32> = index.candidates(&request.path).collect();

        prop_assert!(candidates.is_sorted_by(|a, b| a < b), "{:?}", candidates);
    }
}

/// How many routes of a host with an index are evaluated until the answer is known.
fn evaluated(table: &RouteTable, request: &Request) -> usize {
    let host = &table.virtual_hosts[table.hosts.find(request.authority.as_bytes()).unwrap()];
    let answer = table.find(request, 0).map(|route| route.index - host.routes.start);
    let candidates = host.index.as_ref().unwrap().candidates(&request.path);
    match answer {
        Some(answer) => candidates.take_while(|position| *position as usize <= answer).count(),
        None => candidates.count(),
    }
}

#[test]
fn as_many_routes_are_evaluated_among_ten_thousand_as_among_ten() {
    for size in [10, 100, 1_000, 10_000] {
        let exact_paths = (0..size).map(|i| route("r", exact(&format!("/service/{i}/method"))));
        let prefixes = (0..size).map(|i| route("r", prefix(&format!("/service-{i:05}/"))));
        let exact_paths = compile(&routes(exact_paths.collect()));
        let prefixes = compile(&routes(prefixes.collect()));
        for i in [0, size / 2, size - 1] {
            assert_eq!(evaluated(&exact_paths, &Request::get(&format!("/service/{i}/method"))), 1, "of {size}");
            assert_eq!(evaluated(&prefixes, &Request::get(&format!("/service-{i:05}/x"))), 1, "of {size}");
        }
        assert_eq!(evaluated(&exact_paths, &Request::get("/nothing")), 0);
        assert_eq!(evaluated(&prefixes, &Request::get("/nothing")), 0);
    }
}

#[test]
fn a_catch_all_at_the_end_of_ten_thousand_routes_is_the_only_one_evaluated() {
    let mut list: Vec<Route> = (0..10_000).map(|i| route("r", exact(&format!("/{i}")))).collect();
    list.push(route("rest", prefix("/")));
    let table = compile(&routes(list));

    assert_eq!(evaluated(&table, &Request::get("/elsewhere")), 1);
    assert_eq!(evaluated(&table, &Request::get("/9999")), 1);
}

#[test]
fn a_route_knows_its_policies_and_how_requests_are_described() {
    let list = |value: &str| RateLimitActions {
        stage: 0,
        actions: vec![RateLimitAction::GenericKey { key: "generic_key".into(), value: value.into() }],
        hits: 1,
        lease: None,
    };
    let mut own = route("r", prefix("/r"));
    own.policies = Policies::from([("retry".into(), "shop/again a.yaml:3".into())]);
    let mut fixed = route("fixed", prefix("/fixed"));
    fixed.action = RouteAction::DirectResponse(DirectResponse { status: 200, body: Arc::new([]) });
    let mut config = routes(vec![own, fixed]);
    config.virtual_hosts[0].rate_limits = vec![list("host")];
    let table = RouteTable::compile(&config).unwrap();

    let found = table.find(&Request::get("/r"), 0).unwrap();
    let sources = found.rate_limits();
    let fixed = table.find(&Request::get("/fixed"), 0).unwrap();

    assert_eq!(found.policy("retry").map(AsRef::as_ref), Some("shop/again a.yaml:3"));
    assert_eq!(found.policy("fault"), None);
    assert_eq!((sources.route.len(), sources.host.len()), (0, 1));
    assert!(fixed.rate_limits().host.is_empty());
}
