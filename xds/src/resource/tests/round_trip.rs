//! type -> bytes -> type, and what holds of the bytes themselves.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::{arc, governed, sample, samples, strategy};
use crate::resource::endpoint::ClusterLoadAssignment;
use crate::resource::listener::{ListenerKind, RouteSource};
use crate::resource::route::{RetryOn, RouteAction};
use crate::resource::{Decoded, Resource};

/// Our own writing comes back as it was, and none of it is something that we ignore ourselves.
fn comes_back(resource: Resource) -> Result<(), TestCaseError> {
    let bytes = resource.encode_value();
    let decoded = Decoded::from_any(resource.resource_type().type_url(), &bytes);
    let decoded = decoded.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&decoded.resource, &resource);
    prop_assert_eq!(decoded.ignored, Vec::<String>::new());
    prop_assert_eq!(decoded.resource.encode_value(), bytes);
    prop_assert_eq!(decoded.resource.version(), resource.version());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_listener_comes_back(listener in strategy::listener()) {
        comes_back(Resource::Listener(Arc::new(listener)))?;
    }

    #[test]
    fn every_route_configuration_comes_back(routes in strategy::routes()) {
        comes_back(Resource::Route(Arc::new(routes)))?;
    }

    #[test]
    fn every_cluster_comes_back(cluster in strategy::cluster()) {
        comes_back(Resource::Cluster(Arc::new(cluster)))?;
    }

    #[test]
    fn every_endpoint_assignment_comes_back(endpoints in strategy::endpoints()) {
        comes_back(Resource::Endpoint(Arc::new(endpoints)))?;
    }

    #[test]
    fn every_secret_comes_back(secret in strategy::secret()) {
        comes_back(Resource::Secret(Arc::new(secret)))?;
    }
}

#[test]
fn the_samples_come_back() {
    for resource in samples() {
        comes_back(resource).expect("a sample is valid");
    }
    for cluster in [sample::dns_cluster(), sample::static_cluster(), sample::encrypted_cluster()] {
        comes_back(Resource::Cluster(Arc::new(cluster))).expect("a sample is valid");
    }
    comes_back(Resource::Secret(Arc::new(sample::roots()))).expect("a sample is valid");
}

#[test]
fn an_api_listener_may_go_without_a_prefix_for_statistics() {
    let mut listener = sample::api_listener();
    let ListenerKind::Api(manager) = &mut listener.kind else { panic!("the sample is an API listener") };
    manager.stat_prefix = arc("");

    comes_back(Resource::Listener(Arc::new(listener))).expect("valid");
}

#[test]
fn a_locality_without_a_weight_gets_none() {
    let mut assignment: ClusterLoadAssignment = sample::endpoints();
    assignment.localities[0].weight = None;

    comes_back(Resource::Endpoint(Arc::new(assignment))).expect("valid");
}

#[test]
fn a_retry_condition_is_spelt_as_it_is_read() {
    let routes = sample::routes();
    let RouteAction::Forward(forward) = &routes.virtual_hosts[0].routes[0].action else { panic!("a split") };
    for condition in &forward.retry.as_ref().expect("the sample retries").retry_on {
        assert_eq!(RetryOn::from_spelling(condition.as_str()), Some(*condition));
    }
    assert_eq!(RetryOn::from_spelling(""), None);
}

#[test]
fn versions_are_stable_short_and_different() {
    let versions: Vec<_> = samples().iter().map(Resource::version).collect();

    assert_eq!(versions, samples().iter().map(Resource::version).collect::<Vec<_>>());
    assert!(versions.iter().all(|v| v.len() == 32 && v.bytes().all(|b| b.is_ascii_hexdigit())), "{versions:?}");
    assert_eq!(versions.iter().collect::<HashSet<_>>().len(), versions.len());
}

#[test]
fn maps_of_a_resource_lie_in_one_order_every_time() {
    for encode in [
        || Resource::Route(Arc::new(governed::routes())).encode_any(),
        || Resource::Listener(Arc::new(governed::listener())).encode_any(),
        || Resource::Cluster(Arc::new(governed::cluster())).encode_any(),
    ] {
        let bytes = encode();
        // Each encoding fills new hash maps, and each of those draws its own order.
        assert!((0..100).all(|_| encode() == bytes));
    }
    // Routes written in their listener, inside of two messages that are packed.
    let inline = || {
        let mut listener = sample::api_listener();
        let ListenerKind::Api(manager) = &mut listener.kind else { panic!("the sample is an API listener") };
        manager.routes = RouteSource::Inline(Arc::new(governed::routes()));
        Resource::Listener(Arc::new(listener)).encode_any()
    };
    let bytes = inline();
    assert!((0..100).all(|_| inline() == bytes));
}

#[test]
fn one_changed_field_changes_the_version() {
    let mut changed = sample::cluster();
    changed.circuit_breakers.max_requests += 1;

    let before = Resource::Cluster(Arc::new(sample::cluster())).version();
    assert_ne!(Resource::Cluster(Arc::new(changed)).version(), before);
}

#[test]
fn an_any_carries_type_and_value() {
    use prost::Message;
    for resource in samples() {
        let any = crate::proto::Any::decode(resource.encode_any()).expect("an Any");

        assert_eq!(any.type_url, resource.resource_type().type_url());
        assert_eq!(any.value, resource.encode_value());
    }
}

#[test]
fn json_is_readable_and_secrets_are_not() {
    let json = Resource::Route(Arc::new(sample::routes())).to_json();
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let route = &value["route"]["virtual_hosts"][0]["routes"][0];
    assert_eq!(route["action"]["forward"]["timeout"], "15s");
    assert_eq!(route["action"]["forward"]["retry"]["per_try_timeout"], "0.5s");
    assert_eq!(value["route"]["virtual_hosts"][0]["routes"][2]["action"]["direct_response"]["body"], "gone");

    let secret = Resource::Secret(Arc::new(sample::certificate())).to_json();
    assert!(secret.contains("[redacted]") && secret.contains("default"), "{secret}");
    for resource in samples() {
        assert!(!resource.to_json().contains("BEGIN"), "{resource:?}");
    }
    let debug = format!("{:?}", Resource::Secret(Arc::new(sample::certificate())));
    assert!(!debug.contains("BEGIN"), "{debug}");
}
