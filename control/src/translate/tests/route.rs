//! Rules as routes.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::MeshRoutes;
use tidegate_policies::ir::retry::Retry;
use tidegate_policies::ir::route::{
    Backend, ClientMatch, HeaderChanges, HeaderMatch, PathMatch, PathRewrite, Redirect, RedirectPort, RequestMatch,
    RouteRule, RuleAction, StringMatch,
};
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_policies::ir::world::Protocol;
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, Forward, HeaderMutations, PathRewrite as XdsPathRewrite, RedirectPath, Route,
    RouteAction,
};

use super::{hosts, of_shop, world};
use crate::fixture::{backend, entry, for_all, mesh, named, port, retry, rule, service, split, stated};
use crate::translate::route;
use crate::world::{ClientClass, Reader};

/// The routes to `reviews` under these rules, as clients in its namespace have them.
fn routes(rules: Vec<MeshRoutes>) -> Vec<Route> {
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), rules);
    hosts(set, "reviews", &of_shop()).remove(0).routes
}

fn one_route(matches: RequestMatch, rule: RouteRule) -> Route {
    let mut routes = routes(for_all(vec![entry(matches, rule)]));
    assert_eq!(routes.len(), 1);
    routes.remove(0)
}

fn to_reviews() -> RuleAction {
    split(&[(backend("reviews", 9080, None), 1)])
}

fn forward(route: &Route) -> &Forward {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("a forward was expected, not {other:?}"),
    }
}

#[test]
fn a_host_is_known_by_all_its_names_with_and_without_its_port() {
    let host = hosts(mesh(), "reviews", &of_shop()).remove(0);

    assert_eq!(&*host.name, "reviews.shop.svc.cluster.local:9080");
    let expected = [
        "reviews.shop.svc.cluster.local",
        "reviews.shop.svc.cluster.local:9080",
        "reviews.shop.svc",
        "reviews.shop.svc:9080",
        "reviews.shop",
        "reviews.shop:9080",
        "reviews",
        "reviews:9080",
    ];
    assert_eq!(host.domains.iter().map(|d| &**d).collect::<Vec<_>>(), expected);
}

#[test]
fn the_shortest_name_is_only_for_neighbours() {
    let stranger = ClientClass { namespace: Some("elsewhere".into()), ..ClientClass::default() };

    let host = hosts(mesh(), "reviews", &stranger).remove(0);

    assert!(!host.domains.iter().any(|d| **d == *"reviews" || d.starts_with("reviews:")));
}

#[test]
fn a_name_without_a_port_means_port_80_where_there_are_several() {
    let mut set = mesh();
    let ports =
        [(8080, "http-a"), (80, "http"), (9000, "grpc")].map(|(number, name)| port(name, number, Protocol::Http));
    set.services.insert(named("web"), service("web", ports.to_vec()));
    let mut without_80 = set.clone();
    without_80.services.get_mut(&named("web")).unwrap().ports.remove(1);
    let bare = |set| {
        let hosts = hosts(set, "web", &of_shop());
        let bare = hosts.iter().filter(|h| h.domains.iter().any(|d| **d == *"web.shop"));
        bare.map(|h| h.name.to_string()).collect::<Vec<_>>()
    };

    assert_eq!(bare(set), ["web.shop.svc.cluster.local:80"]);
    assert_eq!(bare(without_80), Vec::<String>::new());
}

#[test]
fn a_tcp_port_has_no_host() {
    assert!(hosts(mesh(), "ledger", &of_shop()).is_empty());
}

#[test]
fn a_domain_that_two_services_claim_belongs_to_the_first() {
    let mut hosts = hosts(mesh(), "reviews", &of_shop());
    let mut other = hosts[0].clone();
    other.name = "other".into();
    other.domains = vec!["reviews".into(), "other".into()];
    let mut nothing_left = hosts[0].clone();
    nothing_left.name = "nothing left".into();
    hosts.extend([other, nothing_left]);

    let configuration = route::outbound(&hosts);

    let left: Vec<(&str, usize)> = configuration.virtual_hosts.iter().map(|h| (&*h.name, h.domains.len())).collect();
    assert_eq!(left, [("reviews.shop.svc.cluster.local:9080", 8), ("other", 1)]);
}

#[test]
fn a_service_without_rules_is_called_plainly_and_without_a_limit_in_time() {
    let mut set = mesh();
    set.mesh_routes.clear();

    let route = hosts(set, "reviews", &of_shop()).remove(0).routes.remove(0);

    assert_eq!((&*route.name, &route.source), ("default", &None));
    assert_eq!(
        forward(&route).cluster,
        ClusterSpecifier::Cluster("outbound|9080||reviews.shop.svc.cluster.local".into())
    );
    assert_eq!(forward(&route).timeout, None);
}

#[test]
fn rules_that_match_nobody_leave_a_host_without_routes_and_not_with_a_plain_one() {
    let for_nobody = RequestMatch {
        client: ClientMatch { namespace: Some("elsewhere".into()), ..ClientMatch::default() },
        ..RequestMatch::default()
    };

    let routes = routes(for_all(vec![entry(for_nobody, rule("VirtualService", 3, to_reviews()))]));

    assert!(routes.is_empty());
}

#[test]
fn rules_for_one_port_or_one_consumer_replace_the_general_ones() {
    let named_rule = |name: &str| {
        let mut rule = rule("HTTPRoute", 1, to_reviews());
        rule.name = name.into();
        vec![entry(RequestMatch::default(), rule)]
    };
    let part = |port, consumer: Option<&str>, name| MeshRoutes {
        port,
        consumer_namespace: consumer.map(Arc::from),
        rules: named_rule(name),
    };
    let all = vec![part(None, None, "all"), part(Some(9080), None, "port"), part(Some(1), None, "other port")];
    let with_consumer = all.iter().cloned().chain([part(None, Some("shop"), "consumer")]).collect();
    let with_stranger = all.iter().cloned().chain([part(None, Some("elsewhere"), "stranger")]).collect();
    let name = |parts| routes(parts).iter().map(|r| r.name.to_string()).collect::<Vec<_>>();

    assert_eq!(name(all), ["port"]);
    assert_eq!(name(with_consumer), ["consumer"]);
    assert_eq!(name(with_stranger), ["port"]);
}

#[test]
fn a_route_says_where_it_was_written() {
    let route = one_route(RequestMatch::default(), rule("VirtualService", 42, to_reviews()));

    assert_eq!(route.source.as_deref(), Some("mesh.yaml:42"));
}

#[test]
fn conditions_become_matchers_of_pseudo_headers_headers_and_parameters() {
    let exact = |text: &str| StringMatch::Exact(text.into());
    let matches = RequestMatch {
        path: PathMatch::SegmentPrefix("/v1".into()),
        method: Some(exact("GET")),
        authority: Some(StringMatch::Prefix("rev".into())),
        headers: vec![
            ("x-a".into(), HeaderMatch::Present),
            ("x-b".into(), HeaderMatch::Absent),
            ("x-c".into(), HeaderMatch::NotValue(StringMatch::Regex("v.*".into()))),
        ],
        query_parameters: vec![("q".into(), HeaderMatch::Value(exact("1")))],
        ..RequestMatch::default()
    };

    let route = one_route(matches, rule("HTTPRoute", 1, to_reviews()));

    let headers: Vec<(&str, bool, bool)> =
        route.matches.headers.iter().map(|h| (&*h.name, h.invert, h.missing_as_empty)).collect();
    let expected = [
        (":method", false, false),
        (":authority", false, false),
        ("x-a", false, false),
        ("x-b", false, false),
        // A missing header does not have the value either.
        ("x-c", true, true),
    ];
    assert_eq!(headers, expected);
    assert_eq!(route.matches.query_parameters.len(), 1);
}

#[test]
fn a_share_without_a_backend_is_answered_with_500_in_front_of_the_rest() {
    let invalid = Backend::Invalid("there is no service shop/gone".into());
    let shares = split(&[(backend("reviews", 9080, Some("v1")), 3), (invalid, 1)]);

    let routes = routes(for_all(vec![entry(RequestMatch::default(), rule("HTTPRoute", 1, shares))]));

    let fraction = routes[0].matches.fraction.expect("only a share of requests is lost");
    assert_eq!((fraction.numerator, fraction.denominator), (250_000, 1_000_000));
    assert!(matches!(&routes[0].action, RouteAction::DirectResponse(r) if r.status == 500));
    assert_eq!(routes[1].matches.fraction, None);
    let name = "outbound|9080|v1|reviews.shop.svc.cluster.local";
    assert_eq!(forward(&routes[1]).cluster, ClusterSpecifier::Cluster(name.into()));
}

#[test]
fn a_rule_whose_backends_all_do_not_exist_answers_500() {
    let shares = split(&[(Backend::Invalid("gone".into()), 1), (backend("no-such", 80, None), 1)]);

    let route = one_route(RequestMatch::default(), rule("HTTPRoute", 1, shares));

    assert_eq!(route.matches.fraction, None);
    assert!(matches!(&route.action, RouteAction::DirectResponse(r) if r.status == 500));
}

#[test]
fn a_destination_with_changes_of_its_own_is_weighted_even_if_it_is_alone() {
    let RuleAction::Split(mut shares) = to_reviews() else { panic!("made as a split") };
    shares.destinations[0].request_headers.set.push(("x-a".into(), "1".into()));

    let route = one_route(RequestMatch::default(), rule("HTTPRoute", 1, RuleAction::Split(shares)));

    let ClusterSpecifier::Weighted(weighted) = &forward(&route).cluster else { panic!("weighted") };
    assert_eq!(weighted.clusters[0].request_headers.add.len(), 1);
}

#[test]
fn the_limit_of_the_attempt_is_that_of_the_exchange_without_retries_and_grpc_clients_read_it_elsewhere() {
    let mut limited = rule("HTTPRoute", 1, to_reviews());
    limited.timeouts =
        Timeouts { request: Some(Duration::from_secs(5)), backend_request: Some(Duration::from_secs(2)) };
    limited.policies.retry = Some(stated("VirtualService", "rules", Retry { attempts: 0, ..retry() }));
    let mut set = mesh();
    set.mesh_routes.insert(named("reviews"), for_all(vec![entry(RequestMatch::default(), limited)]));

    let of_sidecar = hosts(set.clone(), "reviews", &of_shop()).remove(0).routes.remove(0);
    let world = world(set);
    let of_grpc = route::grpc(&named("reviews"), &ClientClass::default(), &Reader::new(&world)).remove(0);

    let limit = Some(Duration::from_secs(2));
    assert_eq!((forward(&of_sidecar).timeout, forward(&of_sidecar).max_stream_duration), (limit, None));
    let grpc_route = &of_grpc.virtual_hosts[0].routes[0];
    assert_eq!((forward(grpc_route).timeout, forward(grpc_route).max_stream_duration), (limit, limit));
    assert_eq!(of_grpc.virtual_hosts[0].domains, [Arc::<str>::from("*")]);
}

#[test]
fn headers_are_removed_then_set_then_added_and_text_stays_text() {
    let changes = HeaderChanges {
        set: vec![("x-set".into(), "100%".into())],
        add: vec![("x-add".into(), "%START_TIME% and 5% off".into())],
        remove: vec![Arc::<str>::from("x-gone")],
    };
    let with = |kind| {
        let mut rule = rule(kind, 1, to_reviews());
        rule.request_headers = changes.clone();
        one_route(RequestMatch::default(), rule).request_headers
    };

    let literal = with("HTTPRoute");
    let istio = with("VirtualService");

    assert_eq!(literal.remove, [Arc::<str>::from("x-gone")]);
    let actions: Vec<AppendAction> = literal.add.iter().map(|a| a.append).collect();
    assert_eq!(actions, [AppendAction::OverwriteIfExistsOrAdd, AppendAction::AppendIfExistsOrAdd]);
    let values = |mutations: &HeaderMutations| mutations.add.iter().map(|a| a.value.to_string()).collect::<Vec<_>>();
    assert_eq!(values(&literal), ["100%%", "%%START_TIME%% and 5%% off"]);
    assert_eq!(values(&istio), ["100%%", "%START_TIME% and 5%% off"]);
}

#[test]
fn a_swapped_prefix_neither_doubles_nor_loses_a_slash() {
    let rewrite = |kind, path, to: PathRewrite| {
        let mut rule = rule(kind, 1, to_reviews());
        rule.path_rewrite = to;
        forward(&one_route(RequestMatch { path, ..RequestMatch::default() }, rule)).path_rewrite.clone()
    };
    let segment = || PathMatch::SegmentPrefix("/a.b".into());
    let prefix = |text: &str| PathRewrite::Prefix(text.into());
    let swapped = |text: &str| XdsPathRewrite::Prefix(text.into());
    let by_pattern = |pattern: &str, substitution: &str| XdsPathRewrite::Regex {
        pattern: pattern.into(),
        substitution: substitution.into(),
    };

    assert_eq!(rewrite("HTTPRoute", segment(), prefix("/new/")), swapped("/new"));
    assert_eq!(rewrite("HTTPRoute", segment(), prefix("/")), by_pattern(r"^/a\.b/?", "/"));
    assert_eq!(rewrite("HTTPRoute", PathMatch::Any, prefix("/new")), swapped("/new/"));
    assert_eq!(rewrite("HTTPRoute", segment(), PathRewrite::Full(r"/x\1".into())), by_pattern("^/.*$", r"/x\\1"));
    let string_prefix = || PathMatch::StringPrefix { value: "/v1/".into(), ignore_case: false };
    assert_eq!(rewrite("VirtualService", string_prefix(), prefix("/v2/")), swapped("/v2/"));
    let exact = || PathMatch::Exact { value: "/a".into(), ignore_case: false };
    assert_eq!(rewrite("HTTPRoute", exact(), PathRewrite::Full("/b".into())), swapped("/b"));
}

#[test]
fn a_redirect_names_a_port_only_where_it_is_not_the_schemes_own() {
    let redirect = |scheme: Option<&str>, port| Redirect {
        scheme: scheme.map(Arc::from),
        host: None,
        port,
        path: PathRewrite::Full("/new".into()),
        status: 301,
    };
    let at_gateway = |redirect: Redirect, listener_port: u16| {
        let mut set = mesh();
        let gateway = set.gateways.get_mut(&named("front")).unwrap();
        gateway.listeners[0].port = listener_port;
        let moved = rule("HTTPRoute", 1, RuleAction::Redirect(redirect));
        gateway.listeners[0].hosts[0].rules = vec![entry(RequestMatch::default(), moved)];
        let world = world(set);
        let configuration = route::gateway(&named("front"), &Reader::new(&world)).remove(0);
        match configuration.virtual_hosts[0].routes[0].action.clone() {
            RouteAction::Redirect(redirect) => (redirect.port, redirect.path),
            other => panic!("a redirect was expected, not {other:?}"),
        }
    };

    assert_eq!(at_gateway(redirect(None, RedirectPort::Listener), 8080).0, Some(8080));
    assert_eq!(at_gateway(redirect(None, RedirectPort::Listener), 80).0, None);
    assert_eq!(at_gateway(redirect(Some("https"), RedirectPort::SchemeDefault), 8080).0, Some(443));
    assert_eq!(at_gateway(redirect(None, RedirectPort::Request), 8080).0, None);
    let (number, path) = at_gateway(redirect(None, RedirectPort::Number(81)), 8080);
    assert_eq!((number, path), (Some(81), RedirectPath::Full("/new".into())));
}
