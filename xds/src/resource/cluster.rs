//! Clusters: a named set of endpoints and how to talk to them.

mod circuit_breaker;
pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;
mod health_check;
mod load_balancing;
mod ours;
mod outlier;
pub(in crate::resource) mod protocol;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::endpoint::LocalityEndpoints;
use super::json;
use super::route::{HeaderMutations, Policies};
use super::tls::UpstreamTls;

/// How long a TCP connection may take when nothing is said; Envoy's default.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Envoy's default.
pub const PANIC_THRESHOLD_PERCENT_DEFAULT: u8 = 50;

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
    /// How connections to them are encrypted; `None`: they are not.
    pub tls: Option<UpstreamTls>,
    /// An idle pooled connection is closed after this; `None`: the proxy's default. Zero: never.
    #[serde(serialize_with = "json::optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// A connection is not used for more requests than this.
    pub max_requests_per_connection: Option<NonZeroU32>,
    /// Limits; absent ones have Envoy's defaults on the wire (1024, 1024, 1024, 3).
    pub circuit_breakers: Thresholds,
    /// Passive health checking.
    pub outlier_detection: Option<OutlierDetection>,
    /// Active health checking; an endpoint must pass all.
    pub health_checks: Vec<HealthCheck>,
    /// Below this share of healthy endpoints a priority's unhealthy ones are used as well; 0 never. 50 when absent.
    pub panic_threshold_percent: u8,
    /// Requests are shared out among localities by [`LocalityEndpoints::weight`] first.
    pub locality_weighted: bool,
    /// Which policies act here, by kind: the objects (`shop/spare`). Where they are written stands with the routes that
    /// lead here, see [`super::route::Written`].
    pub policies: Policies,
    /// The service that it stands for, for reports. Carried as Istio does, in `metadata.filter_metadata["istio"].services[0]`.
    pub service: Option<ServiceName>,
}

/// What a service is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceName {
    /// `reviews.shop.svc.cluster.local`
    pub host: Arc<str>,
    /// `reviews`
    pub name: Arc<str>,
    /// `shop`
    pub namespace: Arc<str>,
}

impl Cluster {
    /// A cluster with Envoy's defaults for everything else, and Tidegate's least request of two.
    pub fn new(name: Arc<str>, discovery: Discovery) -> Self {
        Self {
            name,
            discovery,
            load_balancing: LoadBalancing::LEAST_REQUEST,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            idle_timeout: None,
            max_requests_per_connection: None,
            circuit_breakers: Thresholds::default(),
            outlier_detection: None,
            health_checks: Vec::new(),
            panic_threshold_percent: PANIC_THRESHOLD_PERCENT_DEFAULT,
            locality_weighted: false,
            policies: Policies::new(),
            service: None,
        }
    }
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
    RoundRobin { slow_start: Option<SlowStart> },
    /// The one with fewest requests in flight of `choices` drawn at random.
    LeastRequest {
        choices: NonZeroU32,
        /// How strongly requests in flight count against an endpoint's weight where weights differ; 1 when absent.
        active_request_bias: f64,
        slow_start: Option<SlowStart>,
    },
    /// At random.
    Random,
    /// By a hash, on a ring.
    RingHash { min_size: u64, max_size: u64, function: HashFunction },
    /// By a hash, in a table. The size is a prime.
    Maglev { table_size: u64 },
}

impl LoadBalancing {
    /// In turn, at once.
    pub const ROUND_ROBIN: Self = Self::RoundRobin { slow_start: None };
    /// The better of two drawn at random.
    pub const LEAST_REQUEST: Self = Self::LeastRequest {
        choices: NonZeroU32::new(2).expect("2 is not zero"),
        active_request_bias: 1.0,
        slow_start: None,
    };
}

/// The hash that places endpoints on a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashFunction {
    /// xxHash64
    #[default]
    XxHash,
    /// MurmurHash2, 64 bits
    Murmur2,
}

/// A new endpoint's share grows during its first moments: weight x max(min, (age / window)^(1 / aggression)).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowStart {
    /// How long.
    #[serde(serialize_with = "json::duration")]
    pub window: Duration,
    /// 1 grows linearly.
    pub aggression: f64,
    /// The least share of its weight; 10 when absent on the wire.
    pub min_weight_percent: f64,
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Connections to all endpoints of the cluster.
    pub max_connections: u32,
    /// Requests waiting for a connection.
    pub max_pending_requests: u32,
    /// Requests in flight.
    pub max_requests: u32,
    /// Retries in flight. Does not count when there is a `retry_budget`.
    pub max_retries: u32,
    /// Retries in flight, as a share.
    pub retry_budget: Option<RetryBudget>,
    /// Connections to each endpoint (`per_host_thresholds`); `None`: no limit.
    pub max_connections_per_endpoint: Option<u32>,
    /// Ours, carried in the metadata: requests in flight to each endpoint.
    pub max_requests_per_endpoint: Option<u32>,
}

/// Retries in flight may be this share of the requests in flight or waiting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetryBudget {
    /// 20 when absent on the wire.
    pub percent: f64,
    /// So many may be in flight always; 3 when absent on the wire.
    pub min_concurrency: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            max_connections_per_endpoint: None,
            max_requests_per_endpoint: None,
        }
    }
}

/// `envoy.config.cluster.v3.OutlierDetection`. A signal that is not enforced is absent here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlierDetection {
    /// Eject after this many 5xx in a row (failures to connect and timeouts count, unless `split_local_origin`).
    pub consecutive_5xx: Option<NonZeroU32>,
    /// Eject after this many 502, 503, 504 in a row.
    pub consecutive_gateway_failure: Option<NonZeroU32>,
    /// Eject after this many failures in a row that the proxy met itself; only with `split_local_origin`.
    pub consecutive_local_origin_failure: Option<NonZeroU32>,
    /// Failures that the proxy met itself are counted apart from statuses.
    pub split_local_origin: bool,
    /// Eject endpoints that succeed much less often than their peers.
    pub success_rate: Option<SuccessRate>,
    /// Eject endpoints that fail more often than this.
    pub failure_percentage: Option<FailurePercentage>,
    /// How often ejections are reviewed.
    #[serde(serialize_with = "json::duration")]
    pub interval: Duration,
    /// How long the first ejection lasts; each further one as much longer.
    #[serde(serialize_with = "json::duration")]
    pub base_ejection_time: Duration,
    /// The longest.
    #[serde(serialize_with = "json::duration")]
    pub max_ejection_time: Duration,
    /// A random part is added, at most this, so that endpoints do not come back all at once.
    #[serde(serialize_with = "json::duration")]
    pub max_ejection_jitter: Duration,
    /// At most this share of endpoints is out at once.
    pub max_ejection_percent: u32,
    /// One endpoint may be ejected whatever the share says, unless it is the last.
    pub always_eject_one: bool,
    /// A passed active health check ends an ejection.
    pub uneject_on_healthy: bool,
    /// Ours, carried in the cluster's metadata: these statuses count as failures instead of all 5xx. Empty: all 5xx.
    pub failure_codes: Vec<u16>,
}

impl Default for OutlierDetection {
    /// No signal at all, and Envoy's times.
    fn default() -> Self {
        Self {
            consecutive_5xx: None,
            consecutive_gateway_failure: None,
            consecutive_local_origin_failure: None,
            split_local_origin: false,
            success_rate: None,
            failure_percentage: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: false,
            uneject_on_healthy: true,
            failure_codes: Vec::new(),
        }
    }
}

/// Success rates compared with each other: below mean - factor x standard deviation is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SuccessRate {
    /// Endpoints with enough requests that a comparison needs; 5.
    pub min_hosts: u32,
    /// Requests in an interval that make an endpoint comparable; 100.
    pub request_volume: u32,
    /// Thousandths; 1900 is 1.9.
    pub stdev_factor_thousandths: u32,
}

/// A share of failures that is too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FailurePercentage {
    /// From this share on; 85.
    pub threshold: u32,
    /// Endpoints with enough requests that the rule needs; 5.
    pub min_hosts: u32,
    /// Requests in an interval that make an endpoint count; 50.
    pub request_volume: u32,
}

/// `envoy.config.core.v3.HealthCheck`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthCheck {
    /// How long a check may take.
    #[serde(serialize_with = "json::duration")]
    pub timeout: Duration,
    /// How often.
    #[serde(serialize_with = "json::duration")]
    pub interval: Duration,
    /// Added to each interval at random, at most this.
    #[serde(serialize_with = "json::duration")]
    pub interval_jitter: Duration,
    /// How often while the cluster has no traffic; 60 s when absent on the wire.
    #[serde(serialize_with = "json::duration")]
    pub no_traffic_interval: Duration,
    /// How often while unhealthy; `interval` when absent on the wire.
    #[serde(serialize_with = "json::duration")]
    pub unhealthy_interval: Duration,
    /// Failures in a row that make it unhealthy. An HTTP 503 always does at once.
    pub unhealthy_threshold: NonZeroU32,
    /// Successes in a row that make it healthy again. The first check of all needs one.
    pub healthy_threshold: NonZeroU32,
    /// Another port than the endpoint's.
    pub alt_port: Option<u16>,
    /// How.
    pub kind: HealthCheckKind,
}

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckKind {
    /// A request.
    Http(Box<HttpHealthCheck>),
    /// `grpc.health.v1.Health/Check`
    Grpc { service: Arc<str>, authority: Arc<str> },
    /// A connection; with bytes to send, and bytes to be found in what comes back.
    Tcp { send: Arc<[u8]>, receive: Vec<Arc<[u8]>> },
}

/// A health check by HTTP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpHealthCheck {
    /// `host`; empty: the cluster's name.
    pub host: Arc<str>,
    /// The path with its query.
    pub path: Arc<str>,
    /// `GET` unless said otherwise.
    pub method: Arc<str>,
    /// Half-open ranges of statuses that mean healthy; 200 alone when absent on the wire.
    pub expected_statuses: Vec<(u16, u16)>,
    /// Half-open ranges of statuses that count towards the threshold instead of failing at once.
    pub retriable_statuses: Vec<(u16, u16)>,
    /// Added to the check's head.
    pub request_headers: HeaderMutations,
    /// HTTP/2 with prior knowledge.
    pub http2: bool,
}
