//! What a request costs before any I/O: its head read, its route found, its head written.
//!
//! # Why route tables of several sizes
//! A mesh grows. Finding a route must cost the same with one route and with ten thousand, so both are measured side by
//! side: a slope is seen at once.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_http1::{HeadEdits, Limits, Parsed, RequestHead, parse_request, write_request};
use tidegate_traffic::{RequestView, RouteTable};
use tidegate_xds::resource::RouteConfiguration;
use tidegate_xds::resource::route::{
    ClusterSpecifier, Forward, PathMatcher, Route, RouteAction, RouteMatch, VirtualHost,
};

/// What a browser sends, more or less.
const REQUEST: &[u8] = b"GET /api/v1/items/77?page=2 HTTP/1.1\r\n\
    Host: reviews.shop.svc.cluster.local:9080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef\r\n\
    X-Request-Id: 5b1c0cf5-8f5c-4a3b-9f5d-1f2e3d4c5b6a\r\n\r\n";

struct View(RequestHead);

impl RequestView for View {
    fn method(&self) -> &str {
        self.0.method()
    }

    fn scheme(&self) -> &str {
        "http"
    }

    fn authority(&self) -> &str {
        self.0.authority()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn query(&self) -> Option<&str> {
        self.0.query()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.field_all(name)
    }
}

fn parsed() -> RequestHead {
    match parse_request(REQUEST, &Limits::default()) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => unreachable!("a literal request is whole and valid: {other:?}"),
    }
}

fn route(path: PathMatcher, cluster: &str) -> Route {
    let matches = RouteMatch { path, headers: Vec::new(), query_parameters: Vec::new(), grpc: false, fraction: None };
    let forward = Forward::to(ClusterSpecifier::Cluster(cluster.into()));
    Route { name: "bench".into(), ..Route::new(matches, RouteAction::Forward(Box::new(forward))) }
}

/// `count` routes that do not match, then the one that does.
fn table(count: usize) -> RouteTable {
    let other = |n: usize| PathMatcher::Prefix { prefix: format!("/other/{n}").into(), case_sensitive: true };
    let mut routes: Vec<Route> = (1..count).map(|n| route(other(n), "other")).collect();
    routes.push(route(PathMatcher::Prefix { prefix: "/api".into(), case_sensitive: true }, "reviews"));
    let host = VirtualHost {
        name: "reviews".into(),
        domains: vec!["reviews.shop.svc.cluster.local:9080".into()],
        routes,
        ..VirtualHost::default()
    };
    let config =
        RouteConfiguration { name: "bench".into(), virtual_hosts: vec![host], ..RouteConfiguration::default() };
    RouteTable::compile(&config).unwrap_or_else(|error| unreachable!("literal routes compile: {error}"))
}

fn heads(criterion: &mut Criterion) {
    let limits = Limits::default();
    criterion.bench_function("head/read", |b| b.iter(|| parse_request(black_box(REQUEST), &limits).is_ok()));
    let head = parsed();
    let edits = HeadEdits::default();
    let mut out = Vec::with_capacity(REQUEST.len() * 2);
    criterion.bench_function("head/write", |b| {
        b.iter(|| {
            out.clear();
            write_request(&mut out, black_box(&head), &edits, head.framing(), None).is_ok()
        });
    });
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route/find");
    let view = View(parsed());
    for count in [1, 100, 10_000] {
        let table = table(count);
        assert!(table.find(&view, 0).is_some(), "the last route matches");
        group.bench_with_input(BenchmarkId::from_parameter(count), &table, |b, table| {
            b.iter(|| table.find(black_box(&view), 7).is_some());
        });
    }
    group.finish();
}

criterion_group!(request_path, heads, routes);
criterion_main!(request_path);
