//! Listener to protobuf.

use prost::{Message, Name};

use super::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener, tcp,
};
use crate::proto::hcm::{self, http_connection_manager as parts};
use crate::proto::value::Kind;
use crate::proto::{core, http_inspector, listener, original_dst, router, tls_inspector};
use crate::resource::extension::pack;
use crate::resource::filter::{self, HttpFilter};
use crate::resource::metadata::{self, ISTIO, OURS, WORKLOAD};
use crate::resource::route;
use crate::resource::scalar::{encode_address, encode_ads, encode_bool, encode_duration, encode_limit, encode_u32};
use crate::resource::tls;

/// Envoy refuses a manager without a prefix for its statistics.
const STAT_PREFIX_DEFAULT: &str = "http";

pub(in crate::resource) fn encode(value: &Listener) -> listener::Listener {
    let direction = match value.direction {
        Direction::Unspecified => core::TrafficDirection::Unspecified,
        Direction::Inbound => core::TrafficDirection::Inbound,
        Direction::Outbound => core::TrafficDirection::Outbound,
    };
    let message = match &value.kind {
        ListenerKind::Socket(socket) => self::socket(socket),
        ListenerKind::Api(manager) => listener::Listener {
            api_listener: Some(listener::ApiListener { api_listener: Some(pack(&self::manager(manager, ""))) }),
            ..Default::default()
        },
    };
    let silent = (!value.error_header).then_some((super::METADATA_ERROR_HEADER, Kind::BoolValue(false)));
    let workload = value.workload.as_deref().map(|workload| (WORKLOAD, metadata::encode_text(workload)));
    listener::Listener {
        name: value.name.to_string(),
        traffic_direction: direction.into(),
        metadata: metadata::encode_of([(OURS, silent.into_iter().collect()), (ISTIO, workload.into_iter().collect())]),
        ..message
    }
}

fn socket(value: &SocketListener) -> listener::Listener {
    listener::Listener {
        address: Some(encode_address(&value.address.ip().to_string(), value.address.port())),
        filter_chains: value.filter_chains.iter().map(chain).collect(),
        use_original_dst: value.use_original_dst.then(|| encode_bool(true)),
        default_filter_chain: value.default_filter_chain.as_ref().map(chain),
        listener_filters: listener_filters(value),
        listener_filters_timeout: value.detection_timeout.map(encode_duration),
        bind_to_port: (!value.bind_to_port).then(|| encode_bool(false)),
        ..Default::default()
    }
}

/// Envoy looks at a connection only when it is told to, so the filters that the chains' matches need are written out.
fn listener_filters(value: &SocketListener) -> Vec<listener::ListenerFilter> {
    let any = |test: fn(&FilterChainMatch) -> bool| value.filter_chains.iter().any(|chain| test(&chain.matches));
    let destination = any(|m| m.destination_port.is_some() || !m.prefix_ranges.is_empty());
    let tls = any(|m| !m.server_names.is_empty() || !m.transport_protocol.is_empty());
    let application = any(|m| !m.application_protocols.is_empty());
    let mut filters = Vec::new();
    if destination || value.use_original_dst {
        filters.push(listener_filter("envoy.filters.listener.original_dst", &original_dst::OriginalDst {}));
    }
    if tls || application {
        filters.push(listener_filter("envoy.filters.listener.tls_inspector", &tls_inspector::TlsInspector::default()));
    }
    if application {
        filters.push(listener_filter("envoy.filters.listener.http_inspector", &http_inspector::HttpInspector {}));
    }
    filters
}

fn listener_filter<M: Message + Name>(name: &str, config: &M) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        filter_disabled: None,
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pack(config))),
    }
}

fn chain(value: &FilterChain) -> listener::FilterChain {
    let (name, config) = match &value.filter {
        NetworkFilter::Http(manager) => {
            ("envoy.filters.network.http_connection_manager", pack(&self::manager(manager, STAT_PREFIX_DEFAULT)))
        }
        NetworkFilter::Tcp(proxy) => ("envoy.filters.network.tcp_proxy", pack(&tcp::encode(proxy))),
    };
    let filter = listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    };
    let matches = (value.matches != FilterChainMatch::default()).then(|| chain_match(&value.matches));
    listener::FilterChain {
        filter_chain_match: matches,
        filters: vec![filter],
        transport_socket: value.tls.as_ref().map(tls::encode::downstream),
        name: value.name.to_string(),
        ..Default::default()
    }
}

fn chain_match(value: &FilterChainMatch) -> listener::FilterChainMatch {
    let ranges = value.prefix_ranges.iter().map(|(address, length)| core::CidrRange {
        address_prefix: address.to_string(),
        prefix_len: Some(encode_u32(u32::from(*length))),
    });
    listener::FilterChainMatch {
        destination_port: value.destination_port.map(|port| encode_u32(u32::from(port))),
        prefix_ranges: ranges.collect(),
        server_names: value.server_names.iter().map(ToString::to_string).collect(),
        transport_protocol: value.transport_protocol.to_string(),
        application_protocols: value.application_protocols.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn manager(value: &HttpConnectionManager, stat_prefix_default: &str) -> hcm::HttpConnectionManager {
    let codec = match value.codec {
        Codec::Auto => parts::CodecType::Auto,
        Codec::Http1 => parts::CodecType::Http1,
        Codec::Http2 => parts::CodecType::Http2,
    };
    let (server, server_name) = match &value.server_header {
        ServerHeader::Overwrite(name) => (parts::ServerHeaderTransformation::Overwrite, name.to_string()),
        ServerHeader::AppendIfAbsent(name) => (parts::ServerHeaderTransformation::AppendIfAbsent, name.to_string()),
        ServerHeader::PassThrough => (parts::ServerHeaderTransformation::PassThrough, String::new()),
    };
    let upgrades = value.upgrades.iter().map(|upgrade| parts::UpgradeConfig {
        upgrade_type: upgrade.kind.to_string(),
        filters: Vec::new(),
        enabled: Some(encode_bool(upgrade.enabled)),
    });
    hcm::HttpConnectionManager {
        codec_type: codec.into(),
        stat_prefix: if value.stat_prefix.is_empty() { stat_prefix_default } else { &value.stat_prefix }.to_owned(),
        http_filters: http_filters(&value.http_filters),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(encode_limit(value.idle_timeout)),
            ..Default::default()
        }),
        server_name,
        server_header_transformation: server.into(),
        stream_idle_timeout: Some(encode_limit(value.stream_idle_timeout)),
        request_timeout: value.request_timeout.map(encode_duration),
        request_headers_timeout: value.request_headers_timeout.map(encode_duration),
        use_remote_address: value.use_remote_address.then(|| encode_bool(true)),
        xff_num_trusted_hops: value.xff_num_trusted_hops,
        generate_request_id: Some(encode_bool(value.generate_request_id)),
        upgrade_configs: upgrades.collect(),
        // What we do ourselves, so that Envoy does it too.
        normalize_path: Some(encode_bool(true)),
        merge_slashes: true,
        path_with_escaped_slashes_action: parts::PathWithEscapedSlashesAction::RejectRequest.into(),
        route_specifier: Some(route_source(&value.routes)),
        ..Default::default()
    }
}

fn route_source(value: &RouteSource) -> parts::RouteSpecifier {
    match value {
        RouteSource::Rds(name) => parts::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(encode_ads()),
            route_config_name: name.to_string(),
        }),
        RouteSource::Inline(routes) => parts::RouteSpecifier::RouteConfig(route::encode::encode(routes)),
    }
}

fn http_filters(filters: &[HttpFilter]) -> Vec<hcm::HttpFilter> {
    let router = hcm::HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(&router::Router::default()))),
        ..Default::default()
    };
    filters.iter().map(filter::encode::listed).chain([router]).collect()
}
