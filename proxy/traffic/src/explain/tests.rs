//! The walk held to the search, and what an operator reads of it.

use proptest::prelude::*;
use tidegate_xds::resource::listener::ListenerKind;
use tidegate_xds::resource::matcher::{Fraction, HeaderCondition, HeaderMatcher, StringMatcher};
use tidegate_xds::resource::route::RouteMatch;

use super::*;
use crate::testing::{configuration, exact, prefix, route, separated, virtual_host};

fn ask(url: &str, headers: &[&str]) -> Question {
    Question::parse("GET", url, headers.iter().copied()).unwrap()
}

fn header(name: &str, value: &str) -> HeaderMatcher {
    let condition = HeaderCondition::Value(StringMatcher::Exact { value: value.into(), ignore_case: false });
    HeaderMatcher { name: name.into(), condition, invert: false, missing_as_empty: false }
}

fn any_path() -> impl Strategy<Value = tidegate_xds::resource::route::PathMatcher> {
    let text = prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/b"]);
    (text, 0..4_u8).prop_map(|(text, kind)| match kind {
        0 => exact(text),
        1 => prefix(text),
        2 if text != "/" => separated(text),
        _ => tidegate_xds::resource::route::PathMatcher::Regex(format!("{text}.*").into()),
    })
}

fn any_route() -> impl Strategy<Value = RouteMatch> {
    let headers = prop::collection::vec((0..3_u8, any::<bool>()), 0..2);
    (any_path(), headers, prop::option::weighted(0.2, 0..100_u32), any::<bool>()).prop_map(
        |(path, headers, share, grpc)| {
            let header = |(value, invert): (u8, bool)| HeaderMatcher { invert, ..header("x", &value.to_string()) };
            let fraction = share.map(|numerator| Fraction { numerator, denominator: 100 });
            let headers = headers.into_iter().map(header).collect();
            RouteMatch { path, headers, query_parameters: Vec::new(), grpc: grpc && share.is_some(), fraction }
        },
    )
}

proptest! {
    #[test]
    fn the_route_that_is_named_is_the_one_that_is_found(
        routes in prop::collection::vec((any_route(), 0..3_usize), 1..30),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/ab", "/abc", "/b/c", "/c"]),
        host in prop::sample::select(vec!["h0", "h1", "x.h2", "other"]),
        value in prop::option::of(0..3_u8),
        random in any::<u64>(),
    ) {
        let mut hosts = [Vec::new(), Vec::new(), Vec::new()];
        for (number, (matches, host)) in routes.into_iter().enumerate() {
            let route = Route { matches, ..route(&format!("r{number}"), prefix("/")) };
            hosts[host].push(route);
        }
        let [first, second, third] = hosts;
        let config = configuration(vec![
            virtual_host("0", &["h0"], first),
            virtual_host("1", &["h1"], second),
            virtual_host("2", &["*.h2"], third),
        ]);
        let table = RouteTable::compile(&config).unwrap();
        let headers: Vec<String> = value.iter().map(|value| format!("x:{value}")).collect();
        let question =
            Question::parse("GET", &format!("http://{host}{path}"), headers.iter().map(String::as_str)).unwrap();

        let found = table.find(&question, random).map(|route| route.index);
        let walked = table.walk(&question);

        let ways: Vec<_> = walked.iter().flat_map(|w| &w.steps).filter(|step| step.unmet.is_none()).collect();
        // With the same draw, the first way whose share takes the request is what is found.
        let named = ways.iter().find(|step| {
            let config = &config.virtual_hosts[walked.as_ref().unwrap().virtual_host].routes[step.position];
            config.matches.fraction.is_none_or(|f| random % u64::from(f.denominator) < u64::from(f.numerator))
        });
        prop_assert_eq!(named.map(|step| step.route.index), found);
    }
}

/// A mesh of one listener.
struct Small {
    listener: Listener,
    config: RouteConfiguration,
    table: RouteTable,
    clusters: Vec<Cluster>,
    localities: Vec<LocalityEndpoints>,
}

impl Small {
    fn new(routes: Vec<Route>) -> Self {
        use tidegate_xds::resource::cluster::Discovery;
        let config = configuration(vec![virtual_host("reviews:9080", &["reviews:9080"], routes)]);
        let endpoints = crate::testing::locality(0, &[(1, Health::Healthy), (1, Health::Unhealthy)]);
        let cluster = |name: &str| Cluster::new(name.into(), Discovery::Eds { service_name: name.into() });
        Self {
            listener: Listener {
                name: "outbound".into(),
                kind: ListenerKind::Api(Box::new(manager_of_nothing())),
                direction: Direction::Outbound,
                error_header: true,
                workload: None,
            },
            table: RouteTable::compile(&config).unwrap(),
            config,
            clusters: vec![cluster("jason"), cluster("all")],
            localities: vec![endpoints],
        }
    }

    fn explain(&self, question: &Question) -> Explanation {
        explain("sidecar of default/web", self, question, None)
    }
}

fn manager_of_nothing() -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        codec: tidegate_xds::resource::listener::Codec::Auto,
        routes: RouteSource::Rds("outbound".into()),
        http_filters: Vec::new(),
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        idle_timeout: None,
        request_headers_timeout: None,
        request_timeout: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        generate_request_id: true,
        server_header: tidegate_xds::resource::listener::ServerHeader::PassThrough,
    }
}

impl Mesh for Small {
    fn listeners(&self) -> Vec<&Listener> {
        vec![&self.listener]
    }
    fn routes(&self, _: &Listener, _: &RouteSource) -> Option<(&RouteConfiguration, &RouteTable)> {
        Some((&self.config, &self.table))
    }
    fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| *cluster.name == *name)
    }
    fn localities<'m>(&'m self, _: &'m Cluster) -> &'m [LocalityEndpoints] {
        &self.localities
    }
}

#[test]
fn a_route_that_loses_says_which_condition_failed_and_what_the_request_has() {
    let mut jason = route("jason", prefix("/"));
    jason.matches.headers.push(header("end-user", "jason"));
    jason.source = Some("reviews.yaml:12".into());
    let small = Small::new(vec![jason, route("all", prefix("/"))]);

    let lost = small.explain(&ask("http://reviews:9080/x", &[]));
    let other = small.explain(&ask("http://reviews:9080/x", &["End-User: otto"]));
    let won = small.explain(&ask("http://reviews:9080/x", &["end-user:jason"]));

    assert_eq!(lost.passed_over[0].because, "header end-user: exact jason, request has none");
    assert_eq!(other.passed_over[0].because, "header end-user: exact jason, request has otto");
    assert_eq!(lost.routes[0].name, "all");
    assert_eq!((won.routes[0].name.as_str(), won.passed_over.len()), ("jason", 0));
    assert_eq!(won.routes[0].source.as_deref(), Some("reviews.yaml:12"));
    assert_eq!(won.refused, None);
    let usable: Vec<bool> = won.routes[0].destinations[0].endpoints.iter().map(|e| e.usable).collect();
    assert_eq!(usable, [true, false]);
}

#[test]
fn an_unknown_host_is_refused_with_the_names_that_are_most_like_it() {
    let small = Small::new(vec![route("all", prefix("/"))]);

    let answer = small.explain(&ask("http://review:9080/", &[]));

    assert!(answer.refused.as_deref().is_some_and(|why| why.contains("404") && why.contains("reviews:9080")));
}

#[test]
fn a_cluster_that_is_missing_or_empty_refuses_the_request() {
    let mut small = Small::new(vec![route("gone", exact("/gone")), route("all", prefix("/"))]);
    small.localities.clear();

    let missing = small.explain(&ask("http://reviews:9080/gone", &[]));
    let empty = small.explain(&ask("http://reviews:9080/", &[]));

    assert_eq!(missing.refused.as_deref(), Some("there is no cluster gone"));
    assert_eq!(empty.refused.as_deref(), Some("503: the cluster has no endpoints"));
}

#[test]
fn a_route_for_a_share_leaves_the_rest_to_the_next() {
    let mut some = route("jason", prefix("/"));
    some.matches.fraction = Some(Fraction { numerator: 10, denominator: 100 });
    let small = Small::new(vec![some, route("all", prefix("/")), route("never", prefix("/"))]);

    let answer = small.explain(&ask("http://reviews:9080/", &[]));

    let ways: Vec<_> = answer.routes.iter().map(|way| (way.name.as_str(), way.share.as_deref())).collect();
    assert_eq!(ways, [("jason", Some("10 %")), ("all", None)]);
}

#[test]
fn what_is_typed_wrongly_is_refused_with_what_to_write() {
    let error = |url, headers: &[&str]| Question::parse("GET", url, headers.iter().copied()).unwrap_err().to_string();

    assert!(error("reviews/x", &[]).contains("http://HOST"));
    assert!(error("http://reviews/a//b", &[]).contains("no `//`"));
    assert!(error("http://reviews/", &["end-user"]).contains("NAME:VALUE"));
    assert!(Question::parse("G T", "http://a/", []).is_err());
    assert_eq!(ask("http://a:81?x=1", &["host: b"]).to_string(), "GET http://b/?x=1");
    assert_eq!((ask("http://a:81/", &[]).port(), ask("https://a/", &[]).port()), (81, 443));
}

#[test]
fn names_that_begin_alike_come_first() {
    let names = ["ratings", "reviews", "productpage"];

    assert!(near(names.into_iter(), "revews").starts_with("reviews, ratings"));
}

#[test]
fn an_abort_of_everything_refuses_the_request_and_names_its_policy() {
    use std::sync::Arc;
    use tidegate_xds::resource::filter::{
        FAULT, Fault, FaultAbort, FaultAnswer, FilterConfig, FilterOverride, HttpFilter,
    };
    let mut broken = route("all", prefix("/"));
    let abort = FaultAbort { with: FaultAnswer::Http(418), percentage: Fraction::ALL };
    let config = Some(FilterConfig::Fault(Arc::new(Fault { abort: Some(abort), ..Fault::default() })));
    broken.filters.insert(FAULT.into(), FilterOverride { disabled: false, config });
    broken.policies.insert("fault".into(), "shop/slow f.yaml:3".into());
    let mut small = Small::new(vec![broken]);
    let mut manager = manager_of_nothing();
    let inert = FilterConfig::Fault(Arc::new(Fault::default()));
    manager.http_filters.push(HttpFilter { name: FAULT.into(), disabled: false, config: inert });
    small.listener.kind = ListenerKind::Api(Box::new(manager));

    let answer = small.explain(&ask("http://reviews:9080/", &[]));

    assert_eq!(answer.refused.as_deref(), Some("fault (shop/slow f.yaml:3): aborts every request with 418"));
    assert!(answer.to_string().contains("fault           aborts every request with 418 [shop/slow f.yaml:3]"));
}
