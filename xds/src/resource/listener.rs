//! Listeners: where connections arrive and what is done with their bytes.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;
mod http;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::filter::HttpFilter;
use super::json;
use super::route::{RouteConfiguration, Upgrade};
use super::tls::DownstreamTls;

/// The key of [`Listener::error_header`] in our metadata.
const METADATA_ERROR_HEADER: &str = "error_header";

/// `envoy.config.listener.v3.Listener`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Unique.
    pub name: Arc<str>,
    /// A socket, or an API listener for proxyless gRPC clients.
    pub kind: ListenerKind,
    /// For reports; does not change behaviour.
    pub direction: Direction,
    /// Answers made here say why in `x-mesh-error`. Ours, carried in `metadata.filter_metadata["tidegate"].error_header`;
    /// `true` when absent.
    pub error_header: bool,
    /// The workload beside which the listener stands, for reports; as [`super::endpoint::Endpoint::workload`].
    pub workload: Option<Arc<str>>,
}

impl Listener {
    /// The names of the secrets that must be there before it.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        let chains = match &self.kind {
            ListenerKind::Socket(socket) => Some(socket.filter_chains.iter().chain(&socket.default_filter_chain)),
            ListenerKind::Api(_) => None,
        };
        chains.into_iter().flatten().filter_map(|chain| chain.tls.as_ref()).flat_map(DownstreamTls::secrets)
    }
}

/// What a listener is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Accepts connections.
    Socket(Box<SocketListener>),
    /// `api_listener`: read by gRPC clients as if they were the proxy. Never served to a wildcard subscription.
    Api(Box<HttpConnectionManager>),
}

/// A listener that binds (or stands for) an address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SocketListener {
    /// Where it listens. Port 0 (the system chooses) is possible only with `bind_to_port`.
    pub address: SocketAddr,
    /// `false`: it owns no socket and is found by original destination.
    pub bind_to_port: bool,
    /// Hand a redirected connection to the listener of its original destination.
    pub use_original_dst: bool,
    /// In order.
    pub filter_chains: Vec<FilterChain>,
    /// Used when no chain matches. Its own match is not asked.
    pub default_filter_chain: Option<FilterChain>,
    /// Deadline of protocol detection; `None`: the proxy's default. Zero: no deadline.
    #[serde(serialize_with = "json::optional_duration")]
    pub detection_timeout: Option<Duration>,
}

/// For reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Not said.
    #[default]
    Unspecified,
    /// Towards the application beside the proxy.
    Inbound,
    /// From the application beside the proxy.
    Outbound,
}

/// `envoy.config.listener.v3.FilterChain`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterChain {
    /// For logs; may be empty.
    pub name: Arc<str>,
    /// When it applies.
    pub matches: FilterChainMatch,
    /// How its connections are terminated; `None`: they are not encrypted, or what is in them is not for us.
    pub tls: Option<DownstreamTls>,
    /// What it does with the connection.
    pub filter: NetworkFilter,
}

/// `envoy.config.listener.v3.FilterChainMatch`; empty lists match everything. Most specific wins step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct FilterChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination, address and prefix length.
    pub prefix_ranges: Vec<(IpAddr, u8)>,
    /// Server names of a TLS hello.
    pub server_names: Vec<Arc<str>>,
    /// `raw_buffer`, `tls` or empty.
    pub transport_protocol: Arc<str>,
    /// `http/1.1`, `h2c`, … as detected.
    pub application_protocols: Vec<Arc<str>>,
}

/// The terminal network filter of a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFilter {
    /// HTTP.
    Http(Box<HttpConnectionManager>),
    /// Bytes.
    Tcp(TcpProxy),
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpConnectionManager {
    /// Names the listener in statistics. May be empty only in an API listener.
    pub stat_prefix: Arc<str>,
    /// Which protocol is spoken.
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// In order, without the router, which is always last.
    pub http_filters: Vec<HttpFilter>,
    /// Upgrades allowed unless the route says otherwise.
    pub upgrades: Vec<Upgrade>,
    /// Time without a byte on a stream; `None` is no limit. Absent on the wire means 5 minutes.
    #[serde(serialize_with = "json::optional_duration")]
    pub stream_idle_timeout: Option<Duration>,
    /// Time without a request on a connection. `None` is no limit. Absent on the wire means 1 hour.
    #[serde(serialize_with = "json::optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// Time for a request head; `None`: the proxy's default.
    #[serde(serialize_with = "json::optional_duration")]
    pub request_headers_timeout: Option<Duration>,
    /// Time until the whole request has been received; `None` is no limit.
    #[serde(serialize_with = "json::optional_duration")]
    pub request_timeout: Option<Duration>,
    /// Take the caller's address from the connection and append it to `x-forwarded-for`.
    pub use_remote_address: bool,
    /// How many proxies in front of this one are trusted for `x-forwarded-for`.
    pub xff_num_trusted_hops: u32,
    /// Writes `x-request-id` when it is missing. On unless switched off.
    pub generate_request_id: bool,
    /// What happens to the answer's `server` header.
    pub server_header: ServerHeader,
}

/// Which protocol a connection manager speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Found out from the first bytes.
    #[default]
    Auto,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// Where a connection manager's routes come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteSource {
    /// By name over ADS.
    Rds(Arc<str>),
    /// Written in the listener.
    Inline(Arc<RouteConfiguration>),
}

/// What happens to the `server` header of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerHeader {
    /// Replaced by this name.
    Overwrite(Arc<str>),
    /// Set to this name when missing.
    AppendIfAbsent(Arc<str>),
    /// As the upstream sent it.
    PassThrough,
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpProxy {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// Where bytes go: one cluster, or several by weight, drawn once per connection.
    pub clusters: Vec<(Arc<str>, u32)>,
    /// Time without a byte; `None` is no limit. Absent on the wire means 1 hour.
    #[serde(serialize_with = "json::optional_duration")]
    pub idle_timeout: Option<Duration>,
}
