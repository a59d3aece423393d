//! Rate limits: where they act, how requests are described, and what stands behind a description.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::rate_limit::{RateKey, RateLimit, RateScope};
use tidegate_policies::ir::route::{ClientMatch, HeaderMatch, RequestMatch, StringMatch};
use tidegate_policies::ir::{PolicySet, Stated, WorkloadLimits};
use tidegate_xds::resource::filter::{
    FilterConfig, FilterOverrides, LOCAL_RATE_LIMIT, LocalRateLimit, RateLimitAction, RateLimitActions,
};
use tidegate_xds::resource::route::{Route, RouteAction};

use super::world;
use crate::fixture::{labels, mesh, named, rate_limit, stated};
use crate::translate::filter::LOCAL_RATE_LIMIT_SHADOW;
use crate::translate::route;
use crate::world::Reader;

fn limits(limits: Vec<RateLimit>) -> Vec<Stated<RateLimit>> {
    limits.into_iter().map(|limit| stated("RateLimit", "limits", limit)).collect()
}

fn on_reviews(of_service: Vec<RateLimit>) -> PolicySet {
    let mut set = mesh();
    set.backends.get_mut(&named("reviews")).unwrap().traffic.rate_limits = limits(of_service);
    set
}

/// The one route of a workload's only HTTP port.
fn inbound(set: PolicySet, workload: &str) -> Route {
    let world = world(set);
    let mut found = route::inbound(&named(workload), &Reader::new(&world));
    assert_eq!(found.len(), 1);
    found.remove(0).virtual_hosts.remove(0).routes.remove(0)
}

fn local(filters: &FilterOverrides, name: &str) -> Option<Arc<LocalRateLimit>> {
    match filters.get(name)?.config.as_ref()? {
        FilterConfig::LocalRateLimit(limit) => Some(limit.clone()),
        other => panic!("a local rate limit was expected, not {other:?}"),
    }
}

fn shared(route: &Route) -> &[RateLimitActions] {
    match &route.action {
        RouteAction::Forward(forward) => &forward.rate_limits,
        other => panic!("a forward was expected, not {other:?}"),
    }
}

fn entries(limit: &LocalRateLimit) -> Vec<Vec<(&str, &str)>> {
    limit.descriptors.iter().map(|d| d.entries.iter().map(|(k, v)| (&**k, &**v)).collect()).collect()
}

#[test]
fn a_limit_of_a_service_acts_where_its_requests_arrive_and_nowhere_else() {
    let set = || on_reviews(vec![rate_limit("all")]);

    let here = inbound(set(), "reviews-1");
    let elsewhere = inbound(set(), "web-1");

    let limit = local(&here.filters, LOCAL_RATE_LIMIT).expect("reviews is limited");
    assert_eq!(entries(&limit), [[("rule", "shop/limits/all")]]);
    let bucket = limit.descriptors[0].bucket;
    assert_eq!((bucket.capacity, bucket.refill.get(), bucket.interval), (200, 100, Duration::from_secs(1)));
    assert_eq!((limit.status, limit.enabled.numerator, limit.enforced.numerator), (429, 100, 100));
    // Envoy wants a bucket for requests that no limit describes, and takes from it only for those.
    assert_eq!((limit.bucket.map(|bucket| bucket.capacity), limit.always_consume_default), (Some(u32::MAX), false));
    assert_eq!(here.policies["rate_limit"].as_ref(), "shop/limits mesh.yaml:40");
    assert!(elsewhere.filters.is_empty() && elsewhere.policies.is_empty());
}

#[test]
fn a_limit_of_a_version_acts_at_that_version() {
    let mut set = mesh();
    let subsets = &mut set.backends.get_mut(&named("reviews")).unwrap().subsets;
    subsets.get_mut("v2").unwrap().traffic.rate_limits = limits(vec![rate_limit("v2")]);

    assert!(inbound(set.clone(), "reviews-1").filters.is_empty());
    assert!(!inbound(set, "reviews-2").filters.is_empty());
}

#[test]
fn a_limit_of_workloads_acts_at_those_with_its_labels_in_its_namespace() {
    let by_label = |namespace: &str| WorkloadLimits {
        namespace: namespace.into(),
        labels: labels(&[("version", "v2")]),
        limits: limits(vec![rate_limit("by-label")]),
    };
    let with = |namespace| PolicySet { workload_limits: vec![by_label(namespace)], ..mesh() };

    assert!(!inbound(with("shop"), "reviews-2").filters.is_empty());
    assert!(inbound(with("shop"), "reviews-1").filters.is_empty());
    assert!(inbound(with("elsewhere"), "reviews-2").filters.is_empty());
}

#[test]
fn a_key_makes_a_bucket_for_each_value_and_one_for_requests_without_it() {
    let keys = vec![RateKey::Header("end-user".into()), RateKey::SourceAddress];

    let route = inbound(on_reviews(vec![RateLimit { keys, ..rate_limit("user") }]), "reviews-1");

    let limit = local(&route.filters, LOCAL_RATE_LIMIT).unwrap();
    let rule = ("rule", "shop/limits/user");
    assert_eq!(
        entries(&limit),
        [vec![rule, ("header:end-user", ""), ("remote_address", "")], vec![rule, ("remote_address", "")]]
    );
    let RateLimitAction::RequestHeader { header, key, skip_if_absent } = &limit.rate_limits[0].actions[1] else {
        panic!("the header's action")
    };
    assert_eq!((&**header, &**key, *skip_if_absent), ("end-user", "header:end-user", true));
}

#[test]
fn conditions_are_a_mark_and_alternatives_share_a_bucket() {
    let method = |name: &str| RequestMatch {
        method: Some(StringMatch::Exact(name.into())),
        query_parameters: vec![("debug".into(), HeaderMatch::Present)],
        ..RequestMatch::default()
    };
    let matches = vec![method("POST"), method("PUT")];

    let route = inbound(on_reviews(vec![RateLimit { matches, ..rate_limit("writes") }]), "reviews-1");

    let limit = local(&route.filters, LOCAL_RATE_LIMIT).unwrap();
    assert_eq!(entries(&limit), [[("rule", "shop/limits/writes"), ("match", "yes"), ("query", "yes")]]);
    assert_eq!(limit.rate_limits.len(), 2);
    let first = &limit.rate_limits[0].actions;
    assert!(matches!(&first[0], RateLimitAction::GenericKey { value, .. } if &**value == "shop/limits/writes"));
    assert!(matches!(&first[1], RateLimitAction::HeaderValueMatch { headers, .. } if &*headers[0].name == ":method"));
    assert!(matches!(&first[2], RateLimitAction::QueryParameterValueMatch { .. }));
}

#[test]
fn a_limit_on_trial_counts_beside_those_that_are_enforced() {
    let trial = RateLimit { shadow: true, ..rate_limit("trial") };

    let route = inbound(on_reviews(vec![rate_limit("real"), trial]), "reviews-1");

    let (real, trial) = (local(&route.filters, LOCAL_RATE_LIMIT), local(&route.filters, LOCAL_RATE_LIMIT_SHADOW));
    let (real, trial) = (real.unwrap(), trial.unwrap());
    assert_eq!((real.descriptors.len(), real.enforced.numerator), (1, 100));
    assert_eq!((trial.descriptors.len(), trial.enabled.numerator, trial.enforced.numerator), (1, 100, 0));
}

#[test]
fn a_shared_limit_is_described_on_the_route_and_carries_itself() {
    let limit = RateLimit { scope: RateScope::Shared, shadow: true, ..rate_limit("all") };

    let route = inbound(on_reviews(vec![limit]), "reviews-1");

    assert!(route.filters.is_empty(), "the filter for the service looks at the route");
    let [described] = shared(&route) else { panic!("one description") };
    assert!(matches!(&described.actions[0], RateLimitAction::GenericKey { key, .. } if &**key == "rule"));
    let lease = described.lease.as_ref().expect("a proxy can keep it by itself");
    assert_eq!((lease.limit.capacity, lease.shadow), (200, true));
}

#[test]
fn what_cannot_be_told_where_a_request_arrives_limits_nobody() {
    let client = ClientMatch { namespace: None, labels: labels(&[("app", "web")]) };
    let by_client = vec![RequestMatch { client, ..RequestMatch::default() }];
    let by_identity = vec![RateKey::SourceIdentity];
    let set = on_reviews(vec![
        RateLimit { matches: by_client, ..rate_limit("client") },
        RateLimit { keys: by_identity, ..rate_limit("identity") },
    ]);

    assert!(inbound(set, "reviews-1").filters.is_empty());
}

#[test]
fn a_limit_of_a_gateways_rule_acts_at_the_gateway() {
    let mut set = mesh();
    let gateway = set.gateways.get_mut(&named("front")).unwrap();
    let entry = &mut gateway.listeners[0].hosts[0].rules[0];
    let mut limited = (*entry.rule).clone();
    limited.policies.rate_limits = limits(vec![rate_limit("edge")]);
    entry.rule = Arc::new(limited);
    let world = world(set);

    let route =
        route::gateway(&named("front"), &Reader::new(&world)).remove(0).virtual_hosts.remove(0).routes.remove(0);

    assert!(local(&route.filters, LOCAL_RATE_LIMIT).is_some());
}

#[test]
fn an_interval_that_the_wire_cannot_say_is_stretched() {
    let quick = RateLimit { per: Duration::from_millis(10), ..rate_limit("quick") };

    let route = inbound(on_reviews(vec![quick]), "reviews-1");

    let bucket = local(&route.filters, LOCAL_RATE_LIMIT).unwrap().descriptors[0].bucket;
    assert_eq!((bucket.refill.get(), bucket.interval), (500, Duration::from_millis(50)));
}
