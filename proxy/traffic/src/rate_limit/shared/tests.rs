//! Who is asked about, and under which names.

use std::time::Duration;

use tidegate_xds::resource::filter::{RateLimitAction, RateLimitActions};
use tidegate_xds::resource::matcher::Fraction;

use super::*;
use crate::testing::Request;

fn lists(value: &str) -> Vec<RateLimitActions> {
    let action = RateLimitAction::GenericKey { key: "generic_key".into(), value: value.into() };
    vec![RateLimitActions { stage: 0, actions: vec![action], hits: 1, lease: None }]
}

fn service() -> RateLimitService {
    let all = Fraction { numerator: 100, denominator: 100 };
    RateLimitService {
        domain: "tidegate".into(),
        stage: 0,
        request_type: RequestType::Both,
        timeout: Duration::from_millis(20),
        failure_mode_deny: false,
        resource_exhausted: false,
        cluster: "rls".into(),
        ratelimit_headers: false,
        without_ratelimited_header: false,
        status: 429,
        response_headers: Vec::new(),
        status_on_error: 500,
        retry_after: false,
        enabled: all,
        enforced: all,
        rate_limits: Vec::new(),
    }
}

fn compile(service: RateLimitService) -> CompiledSharedRateLimit {
    CompiledSharedRateLimit::compile(&Arc::new(service)).unwrap()
}

fn per_route(rate_limits: Vec<RateLimitActions>, domain: Option<&str>) -> CompiledPerRoute {
    let domain = domain.map(Arc::from);
    let route = RateLimitPerRoute { virtual_host_limits: VirtualHostLimits::Include, rate_limits, domain };
    CompiledPerRoute::compile(&route).unwrap()
}

fn values(
    limit: &CompiledSharedRateLimit,
    route: Option<&CompiledPerRoute>,
    request: &Request,
    draw: u64,
) -> Vec<String> {
    let [of_route, of_host] = ["route", "host"].map(|name| CompiledActions::compile_all(&lists(name), "").unwrap());
    let sources = Sources { route: &of_route, host: &of_host, include_host: false };
    let facts = Facts::default();
    let found = limit.descriptors(route, sources, request, &facts, || draw);
    found.iter().map(|d| d.entries[0].value.to_string()).collect()
}

#[test]
fn a_routes_word_brings_its_own_lists_or_the_hosts() {
    let (limit, request) = (compile(service()), Request::get("/"));

    assert_eq!(values(&limit, None, &request, 0), ["route"]);
    assert_eq!(values(&limit, Some(&per_route(Vec::new(), None)), &request, 0), ["route", "host"]);
    assert_eq!(values(&limit, Some(&per_route(lists("override"), None)), &request, 0), ["override"]);
    let own = compile(RateLimitService { rate_limits: lists("own"), ..service() });
    assert_eq!(values(&own, None, &request, 0), ["own"]);
    assert_eq!(values(&own, Some(&per_route(lists("override"), None)), &request, 0), ["override"]);
}

#[test]
fn a_routes_domain_replaces_the_filters() {
    let limit = compile(service());

    assert_eq!(limit.domain(None).as_ref(), "tidegate");
    assert_eq!(limit.domain(Some(&per_route(Vec::new(), None))).as_ref(), "tidegate");
    assert_eq!(limit.domain(Some(&per_route(Vec::new(), Some("other")))).as_ref(), "other");
}

#[test]
fn only_requests_of_its_type_and_share_are_asked_about() {
    let (internal, external) = (Request::get("/").with("x-envoy-internal", "true"), Request::get("/"));
    let asked = |request_type, request: &Request| {
        !values(&compile(RateLimitService { request_type, ..service() }), None, request, 0).is_empty()
    };

    assert!(asked(RequestType::Both, &internal) && asked(RequestType::Both, &external));
    assert!(asked(RequestType::Internal, &internal) && !asked(RequestType::Internal, &external));
    assert!(!asked(RequestType::External, &internal) && asked(RequestType::External, &external));

    let tenth = Fraction { numerator: 10, denominator: 100 };
    let limit = compile(RateLimitService { enabled: tenth, enforced: tenth, ..service() });
    assert!(!values(&limit, None, &external, 9).is_empty() && values(&limit, None, &external, 10).is_empty());
    assert!(limit.is_enforced(|| 9) && !limit.is_enforced(|| 10));
}
