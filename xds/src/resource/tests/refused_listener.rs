//! Listeners that are refused, each with the path of the guilty field.

use prost::{Message, Name};

use super::{arc, assert_refused, decode, governed, sample};
use crate::name::ResourceType;
use crate::proto::hcm::{self, HttpConnectionManager, http_connection_manager as parts};
use crate::proto::{self, Any, UInt32Value, core, cors, fault, listener, router, tcp_proxy, tls};
use crate::resource::Resource;
use crate::resource::extension::pack;
use crate::resource::filter::FilterConfig;
use crate::resource::listener::{ListenerKind, NetworkFilter, ServerHeader, encode};

fn changed(change: impl FnOnce(&mut listener::Listener)) -> listener::Listener {
    let mut message = encode::encode(&sample::listener());
    change(&mut message);
    message
}

#[track_caller]
fn refused(change: impl FnOnce(&mut listener::Listener), path: &str, reason: &str) {
    assert_refused(ResourceType::Listener, &changed(change), path, reason);
}

/// Changes the typed configuration of a filter.
fn within<M: Message + Name + Default>(filter: &mut listener::Filter, change: impl FnOnce(&mut M)) {
    let Some(listener::filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        panic!("the sample has typed filters")
    };
    let mut message = M::decode(&any.value[..]).expect("ours");
    change(&mut message);
    *any = pack(&message);
}

const MANAGER: &str = "filter_chains[0].filters[0].typed_config";

fn manager(change: impl FnOnce(&mut HttpConnectionManager)) -> impl FnOnce(&mut listener::Listener) {
    |m| within(&mut m.filter_chains[0].filters[0], change)
}

#[track_caller]
fn refused_manager(change: impl FnOnce(&mut HttpConnectionManager), path: &str, reason: &str) {
    refused(manager(change), &format!("{MANAGER}{path}"), reason);
}

#[track_caller]
fn refused_tcp(change: impl FnOnce(&mut tcp_proxy::TcpProxy), path: &str, reason: &str) {
    refused(
        |m| within(&mut m.filter_chains[1].filters[0], change),
        &format!("filter_chains[1].filters[0].typed_config{path}"),
        reason,
    );
}

fn unknown() -> Any {
    Any { type_url: "type.googleapis.com/a.Wasm".into(), value: Vec::new() }
}

fn http_filter(any: Any) -> hcm::HttpFilter {
    let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(any));
    hcm::HttpFilter { name: "f".into(), config_type, ..Default::default() }
}

fn filter(any: Any) -> listener::Filter {
    listener::Filter { name: "f".into(), config_type: Some(listener::filter::ConfigType::TypedConfig(any)) }
}

/// The connection manager of the first chain of a listener that is accepted.
#[track_caller]
fn accepted(
    change: impl FnOnce(&mut HttpConnectionManager),
) -> (crate::resource::listener::HttpConnectionManager, Vec<String>) {
    let decoded = decode(ResourceType::Listener, &changed(manager(change))).unwrap_or_else(|e| panic!("{e}"));
    let Resource::Listener(listener) = decoded.resource else { panic!("a listener comes back") };
    let ListenerKind::Socket(socket) = &listener.kind else { panic!("the sample has a socket") };
    let NetworkFilter::Http(manager) = &socket.filter_chains[0].filter else { panic!("the first chain is HTTP") };
    (manager.as_ref().clone(), decoded.ignored)
}

#[test]
fn a_listener_without_a_name_or_an_address() {
    refused(|m| m.name.clear(), "name", "is required");
    refused(|m| m.address = None, "address", "is required");
}

#[test]
fn an_address_that_is_a_pipe_or_a_name() {
    refused(
        |m| m.address = Some(core::Address { address: Some(core::address::Address::Pipe(Default::default())) }),
        "address.pipe",
        "not supported yet",
    );
    refused(
        |m| m.address = Some(crate::resource::scalar::encode_address("localhost", 1)),
        "address.socket_address.address",
        "not an IP address",
    );
}

#[test]
fn port_zero_needs_a_socket() {
    let zero = || Some(crate::resource::scalar::encode_address("127.0.0.1", 0));
    refused(|m| m.address = zero(), "address.socket_address.port_value", "0 is not a port");
    let bound = changed(|m| {
        m.address = zero();
        m.bind_to_port = None;
    });
    assert!(decode(ResourceType::Listener, &bound).is_ok());
}

#[test]
fn a_listener_without_a_chain() {
    refused(
        |m| {
            m.filter_chains.clear();
            m.default_filter_chain = None;
        },
        "filter_chains",
        "is required",
    );
}

#[test]
fn two_chains_with_one_match() {
    refused(
        |m| {
            let again = m.filter_chains[0].clone();
            m.filter_chains.push(again);
        },
        "filter_chains[2].filter_chain_match",
        "the same as that of filter_chains[0]",
    );
}

#[test]
fn encryption_is_refused_rather_than_left_out() {
    let tls = core::TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&tls::DownstreamTlsContext::default()))),
    };
    refused(
        |m| m.filter_chains[1].transport_socket = Some(tls),
        "filter_chains[1].transport_socket.typed_config.common_tls_context",
        "is required",
    );
}

#[test]
fn a_chain_without_a_filter() {
    refused(|m| m.filter_chains[0].filters.clear(), "filter_chains[0].filters", "is required");
    refused(
        |m| m.filter_chains[0].filters[0].config_type = None,
        "filter_chains[0].filters[0].typed_config",
        "is required",
    );
}

#[test]
fn a_filter_after_the_last() {
    refused(
        |m| {
            let again = m.filter_chains[0].filters[0].clone();
            m.filter_chains[0].filters.push(again);
        },
        "filter_chains[0].filters[0]",
        "must be the last",
    );
}

#[test]
fn an_unknown_network_filter() {
    refused(
        |m| m.filter_chains[0].filters.insert(0, filter(unknown())),
        "filter_chains[0].filters[0].typed_config",
        "a.Wasm",
    );
}

#[test]
fn untyped_configuration_says_so() {
    for package in ["xds.type.v3", "udpa.type.v1"] {
        let any = Any { type_url: format!("type.googleapis.com/{package}.TypedStruct"), value: Vec::new() };
        refused(
            |m| m.filter_chains[0].filters.insert(0, filter(any)),
            "filter_chains[0].filters[0].typed_config",
            "untyped configuration",
        );
    }
}

#[test]
fn an_unknown_listener_filter() {
    refused(
        |m| {
            let config_type = Some(listener::listener_filter::ConfigType::TypedConfig(unknown()));
            m.listener_filters.push(listener::ListenerFilter { config_type, ..Default::default() });
        },
        "listener_filters[3].typed_config",
        "a.Wasm",
    );
}

#[test]
fn a_match_on_the_caller() {
    let set = |change: fn(&mut listener::FilterChainMatch)| {
        move |m: &mut listener::Listener| change(m.filter_chains[0].filter_chain_match.as_mut().expect("it matches"))
    };
    let at = "filter_chains[0].filter_chain_match";
    refused(set(|m| m.source_type = 1), &format!("{at}.source_type"), "not supported yet");
    refused(set(|m| m.source_ports.push(1)), &format!("{at}.source_ports"), "not supported yet");
    refused(
        set(|m| m.destination_port = Some(UInt32Value { value: 0 })),
        &format!("{at}.destination_port"),
        "0 is not a port",
    );
    refused(set(|m| m.transport_protocol = "quic".into()), &format!("{at}.transport_protocol"), "\"quic\"");
    refused(set(|m| m.server_names.push("a*".into())), &format!("{at}.server_names[0]"), "neither a name");
    let range = |address: &str, len: u32| core::CidrRange {
        address_prefix: address.into(),
        prefix_len: Some(UInt32Value { value: len }),
    };
    let with = |range: core::CidrRange| {
        |m: &mut listener::Listener| {
            m.filter_chains[0].filter_chain_match.as_mut().expect("it matches").prefix_ranges.push(range);
        }
    };
    refused(with(range("10.0.0.0", 33)), &format!("{at}.prefix_ranges[0].prefix_len"), "33 is more than the 32");
    refused(with(range("10.0.0", 8)), &format!("{at}.prefix_ranges[0].address_prefix"), "not an IP address");
}

#[test]
fn a_transparent_or_a_udp_listener() {
    refused(|m| m.transparent = Some(proto::BoolValue { value: true }), "transparent", "not supported yet");
    refused(|m| m.udp_listener_config = Some(Default::default()), "udp_listener_config", "not supported yet");
}

#[test]
fn a_manager_without_a_prefix_for_statistics() {
    refused_manager(|m| m.stat_prefix.clear(), ".stat_prefix", "is required");
}

#[test]
fn a_manager_without_routes() {
    refused_manager(|m| m.route_specifier = None, "", "has no routes");
    let rds = hcm::Rds { config_source: None, route_config_name: "a".into() };
    refused_manager(|m| m.route_specifier = Some(parts::RouteSpecifier::Rds(rds)), ".rds.config_source", "is required");
    refused_manager(
        |m| m.route_specifier = Some(parts::RouteSpecifier::ScopedRoutes(Default::default())),
        ".scoped_routes",
        "not supported yet",
    );
}

#[test]
fn an_error_in_inline_routes_has_the_whole_path() {
    let routes = proto::route::RouteConfiguration {
        virtual_hosts: vec![proto::route::VirtualHost { name: "a".into(), ..Default::default() }],
        ..Default::default()
    };
    refused_manager(
        |m| m.route_specifier = Some(parts::RouteSpecifier::RouteConfig(routes)),
        ".route_config.virtual_hosts[0].domains",
        "is required",
    );
}

#[test]
fn a_manager_that_does_not_end_in_the_router() {
    refused_manager(|m| m.http_filters.clear(), ".http_filters", "must end in envoy.filters.http.router");
    refused_manager(
        |m| m.http_filters.push(http_filter(pack(&cors::Cors {}))),
        ".http_filters[3]",
        "comes after the router, http_filters[2]",
    );
    refused_manager(|m| m.http_filters[2].disabled = true, ".http_filters[2].disabled", "cannot be disabled");
}

#[test]
fn an_unknown_http_filter() {
    refused_manager(|m| m.http_filters.insert(1, http_filter(unknown())), ".http_filters[1].typed_config", "a.Wasm");
}

#[test]
fn an_unknown_http_filter_that_is_optional_is_passed_over() {
    let (manager, ignored) =
        accepted(|m| m.http_filters.insert(1, hcm::HttpFilter { is_optional: true, ..http_filter(unknown()) }));

    assert_eq!(manager.http_filters, sample::http_filters());
    assert_eq!(ignored, [format!("{MANAGER}.http_filters[1]")]);
}

#[test]
fn a_filter_twice() {
    refused_manager(
        |m| {
            let again = hcm::HttpFilter { name: m.http_filters[0].name.clone(), ..http_filter(pack(&cors::Cors {})) };
            m.http_filters.insert(1, again);
        },
        ".http_filters[1].name",
        "twice",
    );
}

#[test]
fn a_fault_for_a_whole_listener() {
    let fault = fault::HttpFault { upstream_cluster: "a".into(), ..Default::default() };
    let (manager, ignored) = accepted(|m| m.http_filters[0] = http_filter(pack(&fault)));

    let FilterConfig::Fault(fault) = &manager.http_filters[0].config else { panic!("it is a fault") };
    assert_eq!((&*manager.http_filters[0].name, fault.upstream_cluster.as_deref()), ("f", Some("a")));
    assert_eq!(ignored, Vec::<String>::new());
}

#[test]
fn a_filter_that_waits_for_a_route_to_switch_it_on() {
    let (manager, ignored) = accepted(|m| {
        m.http_filters[0].disabled = true;
        m.http_filters.insert(1, hcm::HttpFilter { disabled: true, ..http_filter(unknown()) });
    });

    assert_eq!(manager.http_filters.iter().map(|f| f.disabled).collect::<Vec<_>>(), [true, false]);
    // No route can switch on what we do not have.
    assert_eq!(ignored, [format!("{MANAGER}.http_filters[1]")]);
}

#[test]
fn a_filter_without_a_name() {
    refused_manager(|m| m.http_filters[0].name.clear(), ".http_filters[0].name", "is required");
}

#[test]
fn what_is_for_routes_is_not_for_listeners() {
    use proto::{ratelimit::RateLimitPerRoute, stateful_session::StatefulSessionPerRoute};
    for any in [
        pack(&cors::CorsPolicy::default()),
        pack(&RateLimitPerRoute::default()),
        pack(&StatefulSessionPerRoute::default()),
    ] {
        refused_manager(
            |m| m.http_filters[0] = http_filter(any.clone()),
            ".http_filters[0].typed_config",
            "for routes, not for a listener",
        );
    }
}

#[test]
fn a_router_that_reads_more_headers() {
    let router = router::Router { respect_expected_rq_timeout: true, ..Default::default() };
    refused_manager(
        |m| m.http_filters[2] = http_filter(pack(&router)),
        ".http_filters[2].typed_config.respect_expected_rq_timeout",
        "not supported yet",
    );
}

#[test]
fn wishes_that_would_change_requests() {
    refused_manager(|m| m.via = "a".into(), ".via", "not supported yet");
    refused_manager(|m| m.skip_xff_append = true, ".skip_xff_append", "not supported yet");
    refused_manager(|m| m.strip_matching_host_port = true, ".strip_matching_host_port", "not supported yet");
    refused_manager(|m| m.local_reply_config = Some(Default::default()), ".local_reply_config", "not supported yet");
    refused_manager(|m| m.forward_client_cert_details = 4, ".forward_client_cert_details", "not supported yet");
    refused_manager(|m| m.codec_type = 3, ".codec_type", "HTTP3");
    refused_manager(
        |m| {
            m.common_http_protocol_options.get_or_insert_default().max_stream_duration =
                Some(proto::Duration { seconds: 1, nanos: 0 });
        },
        ".common_http_protocol_options.max_stream_duration",
        "not supported yet",
    );
}

#[test]
fn a_server_name_that_ends_its_line() {
    refused_manager(|m| m.server_name = "a\nb".into(), ".server_name", "control character");
}

#[test]
fn a_bare_manager_has_the_documented_defaults() {
    let (manager, ignored) = accepted(|m| {
        let bare = HttpConnectionManager {
            stat_prefix: "a".into(),
            route_specifier: m.route_specifier.clone(),
            http_filters: vec![http_filter(pack(&router::Router::default()))],
            ..Default::default()
        };
        *m = bare;
    });

    assert_eq!(manager.stream_idle_timeout, Some(std::time::Duration::from_secs(300)));
    assert_eq!(manager.idle_timeout, Some(std::time::Duration::from_secs(3600)));
    assert_eq!((manager.request_timeout, manager.request_headers_timeout), (None, None));
    assert!(manager.generate_request_id && !manager.use_remote_address);
    assert_eq!(manager.server_header, ServerHeader::Overwrite(arc("envoy")));
    assert_eq!(ignored, Vec::<String>::new());
}

#[test]
fn bytes_to_nowhere() {
    refused_tcp(|m| m.cluster_specifier = None, "", "names no cluster");
    refused_tcp(|m| m.stat_prefix.clear(), ".stat_prefix", "is required");
    refused_tcp(|m| m.tunneling_config = Some(Default::default()), ".tunneling_config", "not supported yet");
    let weights = |weight: u32| tcp_proxy::tcp_proxy::WeightedCluster {
        clusters: vec![
            tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight {
                name: "a".into(),
                weight,
                ..Default::default()
            };
            2
        ],
    };
    let set = |weighted| {
        |m: &mut tcp_proxy::TcpProxy| {
            m.cluster_specifier = Some(tcp_proxy::tcp_proxy::ClusterSpecifier::WeightedClusters(weighted));
        }
    };
    refused_tcp(set(weights(0)), ".weighted_clusters.clusters[0].weight", "at least 1");
    refused_tcp(set(weights(u32::MAX)), ".weighted_clusters", "2^32");
}

#[test]
fn an_api_listener_with_chains_or_without_a_manager() {
    let api = || Some(listener::ApiListener { api_listener: Some(unknown()) });
    refused(|m| m.api_listener = api(), "filter_chains", "not supported yet");
    let mut message = encode::encode(&sample::api_listener());
    message.api_listener = api();
    assert_refused(ResourceType::Listener, &message, "api_listener.api_listener", "a.Wasm");
    message.api_listener = Some(Default::default());
    assert_refused(ResourceType::Listener, &message, "api_listener.api_listener", "is required");
}

#[test]
fn a_word_of_ours_that_is_neither_yes_nor_no() {
    use proto::value::Kind;
    let mut message = encode::encode(&governed::listener());
    let metadata = message.metadata.as_mut().expect("the governed listener is silent");
    let ours = metadata.filter_metadata.get_mut("tidegate").expect("ours");
    ours.fields.insert("error_header".into(), proto::Value { kind: Some(Kind::StringValue("no".into())) });

    let at = "metadata.filter_metadata[\"tidegate\"].error_header";
    assert_refused(ResourceType::Listener, &message, at, "neither true nor false");
}
