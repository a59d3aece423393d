//! Retries and limits in time.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::retry::Retry;
use tidegate_policies::ir::route::RequestMatch;
use tidegate_policies::ir::timeout::Timeouts;
use tidegate_xds::resource::matcher::{HeaderCondition, StringMatcher};
use tidegate_xds::resource::route::{Forward, RetryOn, RetryPolicy, Route, RouteAction};

use super::{hosts, of_shop, with_rule, world};
use crate::fixture::{backend, entry, for_all, mesh, named, origin, retry, rule, split, stated};
use crate::translate::route;
use crate::world::{ClientClass, Reader};

const SECOND: Duration = Duration::from_secs(1);

fn route_to(set: PolicySet, name: &str) -> Route {
    hosts(set, name, &of_shop()).remove(0).routes.remove(0)
}

fn forward(route: &Route) -> &Forward {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("a forward was expected, not {other:?}"),
    }
}

fn methods(policy: &RetryPolicy) -> Vec<String> {
    let value = |m: &tidegate_xds::resource::matcher::HeaderMatcher| match &m.condition {
        HeaderCondition::Value(StringMatcher::Exact { value, .. }) if &*m.name == ":method" => value.to_string(),
        other => panic!("a method was expected, not {other:?}"),
    };
    policy.retriable_request_headers.iter().map(value).collect()
}

#[test]
fn when_nobody_says_anything_broken_connections_are_tried_again_elsewhere_for_idempotent_methods() {
    let mut set = mesh();
    set.mesh_routes.clear();

    let route = route_to(set, "reviews");

    let policy = forward(&route).retry.as_ref().expect("the mesh has a default");
    assert_eq!(methods(policy), ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
    assert!(policy.retry_on.contains(&RetryOn::ConnectFailure) && policy.retry_on.contains(&RetryOn::Reset));
    let of_answers = [RetryOn::FiveXx, RetryOn::GatewayError, RetryOn::RetriableStatusCodes, RetryOn::Retriable4xx];
    assert!(!policy.retry_on.iter().any(|on| of_answers.contains(on)), "an application's answer is an answer");
    assert!(policy.num_retries == 2 && policy.avoid_previous_hosts && policy.host_selection_attempts > 1);
    assert!(route.policies.is_empty());
}

#[test]
fn a_policy_is_said_word_for_word() {
    let policy = Retry { backoff: Some(SECOND), avoid_previous_hosts: true, per_try: Some(SECOND), ..retry() };
    let mut own = rule("VirtualService", 12, split(&[(backend("reviews", 9080, None), 1)]));
    own.policies.retry = Some(stated("VirtualService", "rules", policy));

    let route = route_to(with_rule(RequestMatch::default(), own), "reviews");

    let said = forward(&route).retry.as_ref().unwrap();
    assert_eq!(said.retry_on, [RetryOn::GatewayError, RetryOn::RetriableStatusCodes]);
    assert_eq!((said.num_retries, &said.status_codes), (2, &vec![409]));
    assert_eq!((said.back_off_base, said.back_off_max), (SECOND, 10 * SECOND));
    assert!(said.avoid_previous_hosts && said.per_try_timeout == Some(SECOND));
    assert!(methods(said).is_empty(), "an empty list of methods asks for none");
    assert_eq!(route.policies["retry"].as_ref(), "shop/rules mesh.yaml:40");
}

#[test]
fn named_methods_are_the_ones_that_may_run_twice() {
    let mut set = mesh();
    set.mesh_routes.clear();
    let traffic = &mut set.backends.get_mut(&named("reviews")).unwrap().traffic;
    let retry = Retry { methods: Some(vec!["POST".into()]), ..retry() };
    traffic.retry = Some(stated("BackendPolicy", "reviews", retry));

    let route = route_to(set, "reviews");

    assert_eq!(methods(forward(&route).retry.as_ref().unwrap()), ["POST"]);
}

#[test]
fn zero_attempts_switch_retries_off() {
    let mut set = mesh();
    let traffic = &mut set.backends.get_mut(&named("reviews")).unwrap().traffic;
    traffic.retry = Some(stated("BackendPolicy", "reviews", Retry { attempts: 0, ..retry() }));

    let route = route_to(set, "reviews");

    assert_eq!(forward(&route).retry, None);
    assert_eq!(route.policies["retry"].as_ref(), "shop/reviews mesh.yaml:40");
}

#[test]
fn a_rule_speaks_before_its_destination_and_the_destination_before_the_service_that_was_called() {
    let attempts = |attempts| Some(stated("BackendPolicy", "x", Retry { attempts, ..retry() }));
    let found = |own, destination, called| {
        let mut set = mesh();
        let mut to_ratings = rule("HTTPRoute", 1, split(&[(backend("ratings", 9090, None), 1)]));
        to_ratings.policies.retry = own;
        set.mesh_routes.insert(named("reviews"), for_all(vec![entry(RequestMatch::default(), to_ratings)]));
        let mut of_ratings = set.backends[&named("reviews")].clone();
        of_ratings.traffic.retry = destination;
        set.backends.insert(named("ratings"), of_ratings);
        set.backends.get_mut(&named("reviews")).unwrap().traffic.retry = called;
        forward(&route_to(set, "reviews")).retry.as_ref().unwrap().num_retries
    };

    assert_eq!(found(attempts(7), attempts(8), attempts(9)), 7);
    assert_eq!(found(None, attempts(8), attempts(9)), 8);
    assert_eq!(found(None, None, attempts(9)), 9);
    assert_eq!(found(None, None, None), 2);
}

#[test]
fn with_retries_the_limit_of_the_attempt_is_of_the_attempt() {
    let mut limited = rule("HTTPRoute", 1, split(&[(backend("reviews", 9080, None), 1)]));
    limited.timeouts = Timeouts { request: Some(5 * SECOND), backend_request: Some(2 * SECOND) };

    let route = route_to(with_rule(RequestMatch::default(), limited), "reviews");

    let forward = forward(&route);
    assert_eq!(forward.timeout, Some(5 * SECOND));
    assert_eq!(forward.retry.as_ref().unwrap().per_try_timeout, Some(2 * SECOND));
}

#[test]
fn a_services_limits_in_time_hold_where_a_rule_has_none() {
    let mut set = mesh();
    let timeouts = Timeouts { request: Some(3 * SECOND), backend_request: None };
    set.backends.get_mut(&named("reviews")).unwrap().traffic.timeouts = Some(stated("BackendPolicy", "x", timeouts));

    let route = route_to(set, "reviews");

    assert_eq!(forward(&route).timeout, Some(3 * SECOND));
    assert_eq!(route.policies["timeout"].as_ref(), "shop/x mesh.yaml:40");
}

#[test]
fn a_policy_for_a_rule_may_lift_the_limits_of_its_service() {
    let mut unlimited = rule("HTTPRoute", 1, split(&[(backend("reviews", 9080, None), 1)]));
    unlimited.policies.timeouts_from = Some(Arc::new(origin("BackendPolicy", "patient", 7)));
    let mut set = with_rule(RequestMatch::default(), unlimited);
    let timeouts = Timeouts { request: Some(3 * SECOND), backend_request: None };
    set.backends.get_mut(&named("reviews")).unwrap().traffic.timeouts = Some(stated("BackendPolicy", "x", timeouts));

    let route = route_to(set, "reviews");

    assert_eq!(forward(&route).timeout, None);
    assert_eq!(route.policies["timeout"].as_ref(), "shop/patient mesh.yaml:7");
}

#[test]
fn a_grpc_client_is_told_only_of_retries_that_somebody_asked_for() {
    let mut set = mesh();
    let of_grpc = |set: &PolicySet| {
        let world = world(set.clone());
        let mut routes = route::grpc(&named("ratings"), &ClientClass::default(), &Reader::new(&world));
        forward(&routes.remove(0).virtual_hosts[0].routes[0]).retry.clone()
    };
    assert_eq!(of_grpc(&set), None);

    let mut settings = set.backends[&named("reviews")].clone();
    settings.traffic.retry = Some(stated("BackendPolicy", "x", retry()));
    set.backends.insert(named("ratings"), settings);

    assert!(of_grpc(&set).is_some());
}
