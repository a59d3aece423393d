//! The only door to the message crate. Nothing else in the workspace names `envoy_types`.
//!
//! # Why a door
//! The message crate is large, generated and somebody else's. Behind one file it can be exchanged (for a newer one, for
//! messages of our own) without touching a decoder, and a reader sees at a glance which of its 1 800 messages we use.
//! Packages come through under one short word each; the messages inside keep their protobuf names.

pub(crate) use envoy_types::pb::envoy::config::cluster::v3 as cluster;
pub(crate) use envoy_types::pb::envoy::config::common::mutation_rules::v3 as mutation_rules;
pub(crate) use envoy_types::pb::envoy::config::core::v3 as core;
pub(crate) use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
pub(crate) use envoy_types::pb::envoy::config::listener::v3 as listener;
pub(crate) use envoy_types::pb::envoy::config::ratelimit::v3 as ratelimit_config;
pub(crate) use envoy_types::pb::envoy::config::route::v3 as route;
pub(crate) use envoy_types::pb::envoy::extensions::clusters::dns::v3 as dns_cluster;
pub(crate) use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as fault_common;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as cors;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3 as ratelimit;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::router::v3 as router;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3 as stateful_session;
pub(crate) use envoy_types::pb::envoy::extensions::filters::http::upstream_codec::v3 as upstream_codec;
pub(crate) use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3 as http_inspector;
pub(crate) use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3 as original_dst;
pub(crate) use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
pub(crate) use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub(crate) use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3 as session_cookie;
pub(crate) use envoy_types::pb::envoy::extensions::http::stateful_session::header::v3 as session_header;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3 as lb_common;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3 as least_request;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::maglev::v3 as maglev;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::random::v3 as random;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::ring_hash::v3 as ring_hash;
pub(crate) use envoy_types::pb::envoy::extensions::load_balancing_policies::round_robin::v3 as round_robin;
pub(crate) use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub(crate) use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
pub(crate) use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub(crate) use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;
pub(crate) use envoy_types::pb::envoy::extensions::upstreams::tcp::v3 as upstream_tcp;
/// The envelopes of ADS are messages of our own (`ads::wire`); these are what they are compared with.
#[cfg(test)]
pub(crate) use envoy_types::pb::envoy::service::discovery::v3 as discovery;
pub(crate) use envoy_types::pb::envoy::r#type::http::v3 as http_types;
pub(crate) use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
pub(crate) use envoy_types::pb::envoy::r#type::v3 as types;
/// What [`crate::rate_limit_service`] shows to the planes.
pub use envoy_types::pb::envoy::{
    config::core::v3::{HeaderValue, HeaderValueOption},
    extensions::common::ratelimit::v3 as rate_limit_descriptor,
    service::rate_limit_quota::v3 as rlqs,
    service::ratelimit::v3 as rls,
    r#type::v3 as rate_limit_strategy,
};
pub(crate) use envoy_types::pb::google::protobuf::{Any, ListValue, Struct, Value, value};
pub use envoy_types::pb::google::protobuf::{BoolValue, Duration, UInt32Value, UInt64Value};
