//! Another library, generated from another version of the API, reads what we write.
//!
//! Our own round trip cannot see a field written under a wrong meaning twice; a second decoder can.

use std::sync::Arc;

use prost_of_xds_api::{Message, Name};
use xds_api::pb::envoy::config::cluster::v3::{Cluster, cluster as cluster_parts};
use xds_api::pb::envoy::config::core::v3::{address, config_source, socket_address, transport_socket};
use xds_api::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint};
use xds_api::pb::envoy::config::listener::v3::{Listener, filter};
use xds_api::pb::envoy::config::route::v3::{RouteConfiguration, route, route_action, route_match};
use xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager,
};
use xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};

use super::{governed, sample};
use crate::resource::Resource;

/// Decodes with the other library; the type URL is part of the agreement.
fn read<M: Message + Name + Default>(resource: &Resource) -> M {
    assert_eq!(M::type_url(), resource.resource_type().type_url());
    let message = M::decode(resource.encode_value()).expect("the other library reads it");
    // It knows every field that we write.
    assert_eq!(message.encoded_len(), resource.encode_value().len());
    message
}

#[test]
fn routes_read_the_same() {
    let message: RouteConfiguration = read(&Resource::Route(Arc::new(sample::routes())));

    assert_eq!(message.name, "9080");
    assert!(message.ignore_port_in_host_matching);
    let host = &message.virtual_hosts[0];
    assert_eq!(host.domains, ["reviews", "*.reviews.default.svc.cluster.local"]);
    assert!(host.include_request_attempt_count);
    let first = &host.routes[0];
    let matches = first.r#match.as_ref().expect("a match");
    assert_eq!(matches.path_specifier, Some(route_match::PathSpecifier::PathSeparatedPrefix("/reviews".into())));
    assert_eq!(matches.headers[0].name, "end-user");
    let Some(route::Action::Route(action)) = &first.action else { panic!("it forwards") };
    assert_eq!(action.timeout.as_ref().map(|d| d.seconds), Some(15));
    let Some(route_action::ClusterSpecifier::WeightedClusters(clusters)) = &action.cluster_specifier else {
        panic!("it splits")
    };
    let weights: Vec<_> =
        clusters.clusters.iter().map(|c| (c.name.as_str(), c.weight.as_ref().map(|w| w.value))).collect();
    assert_eq!(weights, [("outbound|9080|v1|reviews", Some(90)), ("outbound|9080|v2|reviews", Some(10))]);
    let retry = action.retry_policy.as_ref().expect("it retries");
    assert_eq!(retry.retry_on, "connect-failure,5xx,retriable-status-codes");
    assert_eq!(retry.retriable_status_codes, [503]);
    assert_eq!(action.request_mirror_policies[0].cluster, "outbound|9080|v3|reviews");
    let Some(route::Action::Redirect(redirect)) = &host.routes[1].action else { panic!("it redirects") };
    assert_eq!((redirect.port_redirect, redirect.response_code), (443, 4));
    let Some(route::Action::DirectResponse(response)) = &host.routes[2].action else { panic!("it answers") };
    assert_eq!(response.status, 410);
}

#[test]
fn clusters_read_the_same() {
    let message: Cluster = read(&Resource::Cluster(Arc::new(sample::cluster())));

    assert_eq!(message.name, "outbound|9080|v1|reviews");
    assert_eq!(message.cluster_discovery_type, Some(cluster_parts::ClusterDiscoveryType::Type(3)));
    let eds = message.eds_cluster_config.as_ref().expect("EDS");
    assert_eq!(eds.service_name, "reviews-v1");
    let source = eds.eds_config.as_ref().and_then(|c| c.config_source_specifier.as_ref());
    assert!(matches!(source, Some(config_source::ConfigSourceSpecifier::Ads(_))), "{source:?}");
    // Least request stands first in the list; who has neither it nor the list takes turns.
    assert_eq!(message.lb_policy, cluster_parts::LbPolicy::RoundRobin as i32);
    let policies = &message.load_balancing_policy.as_ref().expect("a list of policies").policies;
    let names: Vec<_> =
        policies.iter().filter_map(|p| p.typed_extension_config.as_ref()).map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["envoy.load_balancing_policies.least_request", "envoy.load_balancing_policies.round_robin"]);
    assert_eq!(message.connect_timeout.as_ref().map(|d| (d.seconds, d.nanos)), Some((0, 250_000_000)));
    let limits = &message.circuit_breakers.as_ref().expect("limits").thresholds[0];
    assert_eq!(limits.max_requests.as_ref().map(|v| v.value), Some(7));
    let outlier = message.outlier_detection.as_ref().expect("outlier detection");
    assert_eq!(outlier.consecutive_5xx.as_ref().map(|v| v.value), Some(2));
    assert_eq!(outlier.enforcing_consecutive_gateway_failure.as_ref().map(|v| v.value), Some(0));
    let options: Vec<_> = message.typed_extension_protocol_options.keys().collect();
    assert_eq!(options, ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]);
}

#[test]
fn a_governed_cluster_reads_the_same() {
    let mut cluster = governed::cluster();
    // The one field that is younger than the other library.
    cluster.outlier_detection.as_mut().expect("the sample has one").always_eject_one = false;
    let message: Cluster = read(&Resource::Cluster(Arc::new(cluster)));

    // In both ways: who does not know the list reads the policy.
    assert_eq!(message.lb_policy, cluster_parts::LbPolicy::RingHash as i32);
    let Some(cluster_parts::LbConfig::RingHashLbConfig(ring)) = &message.lb_config else { panic!("a ring") };
    assert_eq!(ring.maximum_ring_size.as_ref().map(|size| size.value), Some(4096));
    let policies = &message.load_balancing_policy.as_ref().expect("a list of policies").policies;
    let names: Vec<_> =
        policies.iter().filter_map(|p| p.typed_extension_config.as_ref()).map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["envoy.load_balancing_policies.ring_hash", "envoy.load_balancing_policies.round_robin"]);
    let limits = message.circuit_breakers.as_ref().expect("limits");
    let budget = limits.thresholds[0].retry_budget.as_ref().expect("a budget");
    assert_eq!(budget.budget_percent.as_ref().map(|p| p.value), Some(12.5));
    assert_eq!(limits.per_host_thresholds[0].max_connections.as_ref().map(|v| v.value), Some(10));
    assert_eq!(message.health_checks.len(), 3);
    let common = message.common_lb_config.as_ref().expect("common settings");
    assert_eq!(common.healthy_panic_threshold.as_ref().map(|p| p.value), Some(0.0));
}

#[test]
fn endpoints_read_the_same() {
    let message: ClusterLoadAssignment = read(&Resource::Endpoint(Arc::new(sample::endpoints())));

    assert_eq!(message.cluster_name, "reviews-v1");
    let locality = &message.endpoints[0];
    assert_eq!((locality.priority, locality.load_balancing_weight.as_ref().map(|w| w.value)), (1, Some(2)));
    assert_eq!(locality.locality.as_ref().map(|l| l.zone.as_str()), Some("z"));
    let one = &locality.lb_endpoints[0];
    assert_eq!(one.health_status, 3);
    let Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &one.host_identifier else { panic!("an endpoint") };
    let Some(address::Address::SocketAddress(socket)) = endpoint.address.as_ref().and_then(|a| a.address.as_ref())
    else {
        panic!("a socket address")
    };
    assert_eq!(socket.address, "10.0.0.7");
    assert_eq!(socket.port_specifier, Some(socket_address::PortSpecifier::PortValue(9080)));
    assert!(one.metadata.as_ref().is_some_and(|m| m.filter_metadata.contains_key("istio")));
}

#[test]
fn listeners_read_the_same() {
    let message: Listener = read(&Resource::Listener(Arc::new(sample::listener())));

    assert_eq!(message.name, "0.0.0.0_9080");
    assert_eq!(message.bind_to_port.as_ref().map(|b| b.value), Some(false));
    assert_eq!(message.traffic_direction, 2);
    assert_eq!(message.filter_chains.len(), 2);
    assert!(message.default_filter_chain.is_some());
    let filters: Vec<_> = message.listener_filters.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        filters,
        [
            "envoy.filters.listener.original_dst",
            "envoy.filters.listener.tls_inspector",
            "envoy.filters.listener.http_inspector"
        ]
    );
    let Some(filter::ConfigType::TypedConfig(any)) = &message.filter_chains[0].filters[0].config_type else {
        panic!("a typed filter")
    };
    let manager = HttpConnectionManager::decode(&any.value[..]).expect("the other library reads it");
    assert_eq!(any.type_url, HttpConnectionManager::type_url());
    assert_eq!(manager.http_filters.last().map(|f| f.name.as_str()), Some("envoy.filters.http.router"));
    let Some(http_connection_manager::RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!("RDS") };
    assert_eq!(rds.route_config_name, "9080");
}

#[test]
fn api_listeners_read_the_same() {
    let message: Listener = read(&Resource::Listener(Arc::new(sample::api_listener())));

    let any = message.api_listener.and_then(|api| api.api_listener).expect("an API listener");
    assert_eq!(any.type_url, HttpConnectionManager::type_url());
    let manager = HttpConnectionManager::decode(&any.value[..]).expect("the other library reads it");
    let Some(http_connection_manager::RouteSpecifier::RouteConfig(routes)) = &manager.route_specifier else {
        panic!("routes written in the listener")
    };
    assert_eq!(routes.virtual_hosts[0].name, "reviews:9080");
}

#[test]
fn secrets_read_the_same() {
    let message: Secret = read(&Resource::Secret(Arc::new(sample::certificate())));

    assert_eq!(message.name, "default");
    let Some(secret::Type::TlsCertificate(certificate)) = &message.r#type else { panic!("a certificate") };
    assert!(certificate.certificate_chain.is_some() && certificate.private_key.is_some());
}

#[test]
fn encryption_reads_the_same() {
    let message: Cluster = read(&Resource::Cluster(Arc::new(sample::encrypted_cluster())));

    let Some(transport_socket::ConfigType::TypedConfig(any)) =
        message.transport_socket.and_then(|socket| socket.config_type)
    else {
        panic!("a configuration")
    };
    assert_eq!(any.type_url, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext");
    assert!(!any.value.is_empty());
}
