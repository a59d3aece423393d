//! Fields that are accepted and have no effect: each is named.

use prost::Message;

use super::{decode, sample};
use crate::name::ResourceType;
use crate::proto::{self, Any, UInt32Value, core, endpoint, route};
use crate::resource::extension::pack;
use crate::resource::path::IGNORED_PATHS_MAX;
use crate::resource::{Decoded, Resource, cluster, listener, route as typed};

fn metadata(owner: &str, key: &str) -> core::Metadata {
    let value = proto::Value { kind: Some(proto::value::Kind::StringValue("v".into())) };
    let fields = proto::Struct { fields: [(key.to_owned(), value)].into() };
    core::Metadata { filter_metadata: [(owner.to_owned(), fields)].into(), ..Default::default() }
}

#[track_caller]
fn ignored(kind: ResourceType, message: &impl Message) -> Vec<String> {
    decode(kind, message).unwrap_or_else(|error| panic!("{error}")).ignored
}

#[test]
fn a_route_configuration_as_control_planes_send_it() {
    let mut message = typed::encode::encode(&sample::routes());
    message.validate_clusters = Some(proto::BoolValue { value: false });
    let host = &mut message.virtual_hosts[0];
    host.metadata = Some(metadata("istio", "config"));
    let first = &mut host.routes[0];
    first.stat_prefix = "a".into();
    first.decorator = Some(route::Decorator { operation: "a".into(), propagate: None });
    first.tracing = Some(Default::default());
    let Some(route::route::Action::Route(action)) = &mut first.action else { panic!("it forwards") };
    action.metadata_match = Some(metadata("envoy.lb", "version"));
    action.request_mirror_policies[0].trace_sampled = Some(proto::BoolValue { value: false });
    action.retry_policy.as_mut().expect("it retries").retry_on.push_str(",http3-post-connect-failure,made-up");

    assert_eq!(
        ignored(ResourceType::Route, &message),
        [
            "virtual_hosts[0].routes[0].decorator",
            "virtual_hosts[0].routes[0].tracing",
            "virtual_hosts[0].routes[0].stat_prefix",
            "virtual_hosts[0].routes[0].route.metadata_match",
            "virtual_hosts[0].routes[0].route.retry_policy.retry_on[\"made-up\"]",
            "virtual_hosts[0].routes[0].route.request_mirror_policies[0].trace_sampled",
            "virtual_hosts[0].metadata.filter_metadata[\"istio\"]",
        ]
    );
}

#[test]
fn a_cluster_as_control_planes_send_it() {
    let mut message = cluster::encode::encode(&sample::cluster());
    message.alt_stat_name = "a;".into();
    message.per_connection_buffer_limit_bytes = Some(UInt32Value { value: 32_768 });
    message.dns_lookup_family = 1;
    message.ignore_health_on_host_removal = true;
    message.common_lb_config = Some(Default::default());
    message.metadata = Some(metadata("istio", "services"));
    message.upstream_bind_config = Some(Default::default());
    message.circuit_breakers.as_mut().expect("it has them").thresholds[0].track_remaining = true;
    let outlier = message.outlier_detection.as_mut().expect("the sample has one");
    outlier.enforcing_success_rate = Some(UInt32Value { value: 99 });
    outlier.monitors.push(Default::default());
    outlier.consecutive_local_origin_failure = Some(UInt32Value { value: 3 });

    assert_eq!(
        ignored(ResourceType::Cluster, &message),
        [
            "alt_stat_name",
            "per_connection_buffer_limit_bytes",
            "upstream_bind_config",
            "ignore_health_on_host_removal",
            "dns_lookup_family",
            "circuit_breakers.thresholds[0].track_remaining",
            "outlier_detection.monitors",
            "outlier_detection.consecutive_local_origin_failure",
            "outlier_detection.enforcing_success_rate",
            "metadata.filter_metadata[\"istio\"].services",
        ]
    );
}

#[test]
fn a_listener_as_control_planes_send_it() {
    let mut message = listener::encode::encode(&sample::listener());
    message.stat_prefix = "a".into();
    message.enable_reuse_port = Some(proto::BoolValue { value: true });
    message.max_connections_to_accept_per_socket_event = Some(UInt32Value { value: 1 });
    message.metadata = Some(metadata("a", "b"));
    message.listener_filters[1].filter_disabled = Some(Default::default());
    let Some(proto::listener::filter::ConfigType::TypedConfig(any)) =
        &mut message.filter_chains[0].filters[0].config_type
    else {
        panic!("the sample has typed filters")
    };
    let mut manager = proto::hcm::HttpConnectionManager::decode(&any.value[..]).expect("ours");
    manager.tracing = Some(Default::default());
    manager.access_log.push(Default::default());
    manager.http2_protocol_options = Some(core::Http2ProtocolOptions {
        max_concurrent_streams: Some(UInt32Value { value: 1 }),
        ..Default::default()
    });
    manager.common_http_protocol_options.get_or_insert_default().headers_with_underscores_action = 1;
    manager.path_with_escaped_slashes_action = 3;
    *any = pack(&manager);

    let at = "filter_chains[0].filters[0].typed_config";
    assert_eq!(
        ignored(ResourceType::Listener, &message),
        [
            "stat_prefix".to_owned(),
            "enable_reuse_port".to_owned(),
            "max_connections_to_accept_per_socket_event".to_owned(),
            "metadata.filter_metadata[\"a\"]".to_owned(),
            "listener_filters[1].filter_disabled".to_owned(),
            format!("{at}.tracing"),
            format!("{at}.access_log"),
            format!("{at}.path_with_escaped_slashes_action"),
            format!("{at}.http2_protocol_options.max_concurrent_streams"),
            format!("{at}.common_http_protocol_options.headers_with_underscores_action"),
        ]
    );
}

#[test]
fn metadata_of_others_beside_ours() {
    let mut message = typed::encode::encode(&sample::routes());
    let route = &mut message.virtual_hosts[0].routes[0];
    route
        .metadata
        .as_mut()
        .expect("the sample says where it comes from")
        .filter_metadata
        .extend(metadata("istio", "config").filter_metadata);
    let decoded = decode(ResourceType::Route, &message).expect("valid");

    assert_eq!(decoded.ignored, ["virtual_hosts[0].routes[0].metadata.filter_metadata[\"istio\"]"]);
    let Resource::Route(routes) = decoded.resource else { panic!("routes come back") };
    assert_eq!(routes.virtual_hosts[0].routes[0].source.as_deref(), Some("mesh/reviews.yaml:12"));
}

#[test]
fn a_filter_of_a_route_that_is_optional_and_unknown() {
    let unknown = Some(Any { type_url: "type.googleapis.com/a.Wasm".into(), value: Vec::new() });
    let optional = route::FilterConfig { config: unknown.clone(), is_optional: true, ..Default::default() };
    let off = route::FilterConfig { config: unknown, disabled: true, ..Default::default() };
    let on = route::FilterConfig::default();
    let mut message = typed::encode::encode(&sample::routes());
    let map = &mut message.virtual_hosts[0].typed_per_filter_config;
    map.insert("c".into(), pack(&optional));
    map.insert("a".into(), pack(&off));
    map.insert("b".into(), pack(&on));
    let decoded = decode(ResourceType::Route, &message).expect("valid");

    let path = |name: &str| format!("virtual_hosts[0].typed_per_filter_config[{name:?}]");
    // What is switched off has no configuration, as in Envoy.
    assert_eq!(decoded.ignored, [path("a") + ".config", path("c")]);
    let Resource::Route(routes) = decoded.resource else { panic!("routes come back") };
    let filters = &routes.virtual_hosts[0].filters;
    assert_eq!(filters.iter().map(|(name, f)| (&**name, f.disabled)).collect::<Vec<_>>(), [("a", true), ("b", false)]);
    assert!(filters.values().all(|f| f.config.is_none()));
}

#[test]
fn fields_from_the_future_are_noted_where_they_are() {
    let resource = Resource::Cluster(std::sync::Arc::new(sample::cluster()));
    let mut bytes = resource.encode_value().to_vec();
    // Field 2000, a varint: no version of the API has it.
    bytes.extend([0x80, 0x7d, 0x01]);
    let decoded = Decoded::from_any(resource.resource_type().type_url(), &bytes).expect("valid");

    assert_eq!(decoded.resource, resource);
    assert_eq!(decoded.ignored, ["(unknown fields)"]);
}

#[test]
fn fields_from_the_future_in_an_extension_are_noted_where_they_are() {
    let mut message = listener::encode::encode(&sample::listener());
    let Some(proto::listener::filter::ConfigType::TypedConfig(any)) =
        &mut message.filter_chains[1].filters[0].config_type
    else {
        panic!("the sample has typed filters")
    };
    any.value.extend([0x80, 0x7d, 0x01]);

    assert_eq!(
        ignored(ResourceType::Listener, &message),
        ["filter_chains[1].filters[0].typed_config.(unknown fields)"]
    );
}

#[test]
fn a_thousand_ignored_fields_are_counted() {
    let mut message = crate::resource::endpoint::encode::encode(&sample::endpoints());
    let mut one: endpoint::LbEndpoint = message.endpoints[0].lb_endpoints[0].clone();
    one.metadata = Some(metadata("envoy.lb", "canary"));
    message.endpoints[0].lb_endpoints = vec![one; 1000];
    let ignored = ignored(ResourceType::Endpoint, &message);

    assert_eq!(ignored.len(), IGNORED_PATHS_MAX + 1);
    assert_eq!(ignored.last().map(String::as_str), Some("(and 936 more)"));
}
