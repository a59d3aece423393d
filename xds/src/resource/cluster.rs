//! Clusters: a named set of endpoints and how to talk to them.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;
mod load_balancing;
mod outlier;
pub(in crate::resource) mod protocol;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::endpoint::LocalityEndpoints;
use super::json;

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Unique; routes name it.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How one is chosen. Means nothing for [`Discovery::OriginalDestination`], which has one.
    pub load_balancing: LoadBalancing,
    /// How long a TCP connection may take; 5 s when absent on the wire.
    #[serde(serialize_with = "json::duration")]
    pub connect_timeout: Duration,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// An idle pooled connection is closed after this; `None`: the proxy's default. Zero: never.
    #[serde(serialize_with = "json::optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// A connection is not used for more requests than this.
    pub max_requests_per_connection: Option<NonZeroU32>,
    /// Limits; absent ones have Envoy's defaults on the wire (1024, 1024, 1024, 3).
    pub circuit_breakers: Thresholds,
    /// Passive health checking.
    pub outlier_detection: Option<OutlierDetection>,
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// EDS over ADS. `service_name` defaults to the cluster's name.
    Eds { service_name: Arc<str> },
    /// Written in the resource.
    Static(Vec<LocalityEndpoints>),
    /// Every address a name resolves to. A `LOGICAL_DNS` cluster becomes one of these with its only name.
    StrictDns { endpoints: Vec<DnsEndpoint> },
    /// Where the connection was going before it was redirected.
    OriginalDestination,
}

/// A name to resolve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DnsEndpoint {
    /// The host name, or an IP address.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    /// In turn.
    RoundRobin,
    /// The one with fewest requests in flight of `choices` drawn at random.
    LeastRequest { choices: NonZeroU32 },
    /// At random.
    Random,
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2, with prior knowledge on cleartext connections.
    Http2,
    /// Whatever the caller speaks to the proxy.
    SameAsDownstream,
}

/// Circuit breaker limits of the default priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    /// Connections to all endpoints of the cluster.
    pub max_connections: u32,
    /// Requests waiting for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight.
    pub max_retries: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 }
    }
}

/// `envoy.config.cluster.v3.OutlierDetection`: the signals that Tidegate acts on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlierDetection {
    /// Eject after this many 5xx in a row.
    pub consecutive_5xx: Option<NonZeroU32>,
    /// Eject after this many 502, 503, 504 in a row.
    pub consecutive_gateway_failure: Option<NonZeroU32>,
    /// How often ejections are reviewed.
    #[serde(serialize_with = "json::duration")]
    pub interval: Duration,
    /// How long the first ejection lasts.
    #[serde(serialize_with = "json::duration")]
    pub base_ejection_time: Duration,
    /// The longest.
    #[serde(serialize_with = "json::duration")]
    pub max_ejection_time: Duration,
    /// At most this share of endpoints is out at once.
    pub max_ejection_percent: u32,
}
