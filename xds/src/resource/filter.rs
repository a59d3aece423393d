//! HTTP filters: what is done with a request besides routing it.
//!
//! # Where a filter's configuration comes from
//! A listener names its filters in order; a route configuration, a virtual host, a route and a member of a weighted
//! choice may each override a filter by its *name*. The most specific override wins whole; nothing is merged.

mod actions;
mod cors;
pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;
mod fault;
pub(in crate::resource) mod lease;
mod local_rate_limit;
mod rate_limit;
mod session;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::json;
use super::matcher::{Fraction, HeaderMatcher, QueryParameterMatcher, StringMatcher};
use super::route::HeaderAddition;

pub(in crate::resource) use actions::{decode as decode_actions, encode as encode_actions};

/// The name under which control planes list the CORS filter.
pub const CORS: &str = "envoy.filters.http.cors";
/// The name under which control planes list the fault filter.
pub const FAULT: &str = "envoy.filters.http.fault";
/// The name under which control planes list the local rate limit filter.
pub const LOCAL_RATE_LIMIT: &str = "envoy.filters.http.local_ratelimit";
/// The name under which control planes list the shared rate limit filter.
pub const RATE_LIMIT: &str = "envoy.filters.http.ratelimit";
/// The name under which control planes list the session filter.
pub const STATEFUL_SESSION: &str = "envoy.filters.http.stateful_session";

/// One filter of a connection manager, in its place. The router is not one of them; it is always last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpFilter {
    /// By which overrides name it; unique in its list.
    pub name: Arc<str>,
    /// Does nothing unless a route's override switches it on.
    pub disabled: bool,
    /// What it is and what it does where nothing overrides it.
    pub config: FilterConfig,
}

/// Filters of a closed set: an unknown one is refused unless marked optional.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterConfig {
    /// `envoy.extensions.filters.http.cors.v3.CorsPolicy`. `None` in a listener's list (`Cors {}`), which has no policy.
    Cors(Option<Arc<Cors>>),
    /// `envoy.extensions.filters.http.fault.v3.HTTPFault`
    Fault(Arc<Fault>),
    /// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.extensions.filters.http.ratelimit.v3.RateLimit`; only in a listener's list.
    RateLimit(Arc<RateLimitService>),
    /// `envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute`; only in an override.
    RateLimitPerRoute(Arc<RateLimitPerRoute>),
    /// `envoy.extensions.filters.http.stateful_session.v3.StatefulSession`. `None`: switched off here.
    StatefulSession(Option<Arc<StatefulSession>>),
}

/// `typed_per_filter_config`: overrides by filter name.
pub type FilterOverrides = BTreeMap<Arc<str>, FilterOverride>;

/// What a level says to one filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterOverride {
    /// The filter does nothing here.
    pub disabled: bool,
    /// Replaces the filter's configuration; `None` (only with `disabled` or to switch a disabled filter on): keeps it.
    pub config: Option<FilterConfig>,
}

/// Cross-origin resource sharing, as the Fetch standard has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cors {
    /// Origins that may; any match suffices.
    pub allow_origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`; empty: not sent.
    pub allow_methods: Arc<str>,
    /// `access-control-allow-headers`; empty: not sent.
    pub allow_headers: Arc<str>,
    /// `access-control-expose-headers`; empty: not sent.
    pub expose_headers: Arc<str>,
    /// `access-control-max-age`; empty: not sent.
    pub max_age: Arc<str>,
    /// `access-control-allow-credentials: true`
    pub allow_credentials: bool,
    /// For this share of requests.
    pub enabled: Fraction,
    /// A preflight from an origin that does not match is forwarded (Envoy's default) or answered without CORS fields.
    pub forward_not_matching_preflights: bool,
    /// `access-control-allow-private-network` is answered.
    pub allow_private_network_access: bool,
}

/// Faults that are injected on purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fault {
    /// Wait before going on.
    pub delay: Option<FaultDelay>,
    /// Answer instead of forwarding.
    pub abort: Option<FaultAbort>,
    /// Slow the answer's body down.
    pub bandwidth: Option<FaultBandwidth>,
    /// Only for requests that match all of these.
    pub headers: Vec<HeaderMatcher>,
    /// Only for requests to this cluster.
    pub upstream_cluster: Option<Arc<str>>,
    /// Only for callers with one of these node ids (`x-envoy-downstream-service-node`); empty: for all.
    pub downstream_nodes: Vec<Arc<str>>,
    /// At most so many requests under a fault at once.
    pub active_max: Option<u32>,
    /// Ours, carried in `filter_metadata["tidegate"].expires_at` (seconds since 1970): without effect from then on.
    pub expires_at_unix_s: Option<u64>,
    /// Ours, carried in `filter_metadata["tidegate"].applies_to` = `upstream`: acts on each attempt, below retries and
    /// timeouts, instead of once above them.
    pub per_attempt: bool,
}

/// A delay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultDelay {
    /// How long; `None`: as the request's `x-envoy-fault-delay-request` says, in milliseconds.
    #[serde(serialize_with = "json::optional_duration")]
    pub fixed: Option<Duration>,
    /// For this share of requests.
    pub percentage: Fraction,
}

/// An abort.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultAbort {
    /// With what.
    pub with: FaultAnswer,
    /// For this share of requests.
    pub percentage: Fraction,
}

/// What an aborted request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAnswer {
    /// An HTTP status, 200 to 599.
    Http(u16),
    /// A gRPC status.
    Grpc(u32),
    /// As the request's `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says.
    Header,
    /// Ours, carried in `filter_metadata["tidegate"].reset`: the connection (or stream) is reset without an answer.
    Reset,
}

/// A limit of the answer's speed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultBandwidth {
    /// KiB per second; `None`: as the request's `x-envoy-fault-throughput-response` says.
    pub kib_per_second: Option<u64>,
    /// For this share of requests.
    pub percentage: Fraction,
}

/// A token bucket: holds `capacity` at most, starts full, gains `refill` every `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokenBucket {
    /// Most tokens; a burst of so many passes at once. Zero lets nothing through.
    pub capacity: u32,
    /// Tokens gained at a time.
    pub refill: NonZeroU32,
    /// How often; 50 ms or more.
    #[serde(serialize_with = "json::duration")]
    pub interval: Duration,
}

/// A rate limit that each proxy keeps by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalRateLimit {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// The answer to who is over the limit; 429 unless said otherwise. Statuses below 400 count as 429.
    pub status: u16,
    /// For all requests; `None`: no limit unless a descriptor matches.
    pub bucket: Option<TokenBucket>,
    /// For which share of requests the limit is asked. Absent on the wire means *none*, as in Envoy.
    pub enabled: Fraction,
    /// For which share of those it is also enforced. Absent on the wire means *none*.
    pub enforced: Fraction,
    /// Added to requests that were over the limit and let through.
    pub request_headers_when_not_enforced: Vec<HeaderAddition>,
    /// Added to the refusal.
    pub response_headers: Vec<HeaderAddition>,
    /// Buckets for requests that [`RateLimitActions`] describe so. All that match must let the request through.
    pub descriptors: Vec<LocalDescriptor>,
    /// Only actions of this stage count.
    pub stage: u32,
    /// One bucket for each downstream connection.
    pub per_connection: bool,
    /// `x-ratelimit-limit`, `-remaining`, `-reset` in answers.
    pub ratelimit_headers: bool,
    /// Takes from `bucket` even if a descriptor matched.
    pub always_consume_default: bool,
    /// gRPC callers get `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`.
    pub resource_exhausted: bool,
    /// Actions of the filter itself; when there are any, those of the route do not count.
    pub rate_limits: Vec<RateLimitActions>,
    /// How many buckets the wildcard descriptors may make; the least recently used one goes first.
    pub dynamic_descriptors_max: u32,
    /// `retry-after` in refusals.
    pub retry_after: bool,
    /// Whether route's or virtual host's actions count.
    pub virtual_host_limits: VirtualHostLimits,
}

/// A bucket for requests with these entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalDescriptor {
    /// Key and value, in order, as the actions gave them. An empty value stands for any: one bucket for each value.
    pub entries: Vec<(Arc<str>, Arc<str>)>,
    /// Its bucket.
    pub bucket: TokenBucket,
}

/// A rate limit that a service (`envoy.service.ratelimit.v3.RateLimitService`) keeps for many proxies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimitService {
    /// Namespace of the descriptors.
    pub domain: Arc<str>,
    /// Only actions of this stage count.
    pub stage: u32,
    /// Which requests are asked about.
    pub request_type: RequestType,
    /// How long the service may take; 20 ms when absent on the wire.
    #[serde(serialize_with = "json::duration")]
    pub timeout: Duration,
    /// When the service does not answer, requests are refused with `status_on_error`.
    pub failure_mode_deny: bool,
    /// gRPC callers get `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`.
    pub resource_exhausted: bool,
    /// The cluster of the service (`grpc_service.envoy_grpc.cluster_name`).
    pub cluster: Arc<str>,
    /// `x-ratelimit-*` in answers.
    pub ratelimit_headers: bool,
    /// `x-envoy-ratelimited` is left out.
    pub without_ratelimited_header: bool,
    /// The refusal's status; 429.
    pub status: u16,
    /// Added to the refusal.
    pub response_headers: Vec<HeaderAddition>,
    /// The status when the service fails and `failure_mode_deny`; 500.
    pub status_on_error: u16,
    /// `retry-after` in refusals.
    pub retry_after: bool,
    /// For which share of requests the service is asked; all when absent on the wire.
    pub enabled: Fraction,
    /// For which share of those its word is also enforced; all when absent on the wire.
    pub enforced: Fraction,
    /// Actions of the filter itself; when there are any, those of the route do not count.
    pub rate_limits: Vec<RateLimitActions>,
}

/// Requests that a rate limit service is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestType {
    /// All.
    #[default]
    Both,
    /// With `x-envoy-internal: true`.
    Internal,
    /// Without.
    External,
}

/// What a route says to the shared rate limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimitPerRoute {
    /// Whether the virtual host's actions count as well.
    pub virtual_host_limits: VirtualHostLimits,
    /// Replaces the route's actions when not empty.
    pub rate_limits: Vec<RateLimitActions>,
    /// Replaces the filter's domain.
    pub domain: Option<Arc<str>>,
}

/// Whether a virtual host's actions count beside a route's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VirtualHostLimits {
    /// Only if the route has none.
    #[default]
    Override,
    /// Always.
    Include,
    /// Never.
    Ignore,
}

/// `envoy.config.route.v3.RateLimit`: how a request is described. One action without a result and there is no
/// description at all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimitActions {
    /// Filters ask for one stage.
    pub stage: u32,
    /// In order; each gives one entry.
    pub actions: Vec<RateLimitAction>,
    /// How many tokens a request takes; 1 when absent on the wire.
    pub hits: u32,
    /// Ours, carried in the metadata of a `generic_key`-led list by the control plane: the limit that stands behind this
    /// description, so that a proxy can keep it by quota leases and by itself. Travels only where the first action is a
    /// [`RateLimitAction::GenericKey`], by whose value it is found, in the actions of a route, of a virtual host and of
    /// their [`RateLimitPerRoute`]; its interval in whole milliseconds.
    pub lease: Option<Arc<Lease>>,
}

/// One entry of a description.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitAction {
    /// `source_cluster`: the node's cluster.
    SourceCluster,
    /// `destination_cluster`: the chosen cluster.
    DestinationCluster,
    /// A request header's value.
    RequestHeader { header: Arc<str>, key: Arc<str>, skip_if_absent: bool },
    /// A query parameter's value.
    QueryParameter { parameter: Arc<str>, key: Arc<str>, skip_if_absent: bool },
    /// `remote_address`: the trusted address of the caller.
    RemoteAddress,
    /// `masked_remote_address`: its network.
    MaskedRemoteAddress { v4_prefix: u8, v6_prefix: u8 },
    /// A constant.
    GenericKey { key: Arc<str>, value: Arc<str> },
    /// `value` if the headers match (or do not).
    HeaderValueMatch { key: Arc<str>, value: Arc<str>, expect_match: bool, headers: Vec<HeaderMatcher> },
    /// `value` if the query parameters match (or do not).
    QueryParameterValueMatch {
        key: Arc<str>,
        value: Arc<str>,
        expect_match: bool,
        parameters: Vec<QueryParameterMatcher>,
    },
}

/// A shared limit of ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lease {
    /// For all proxies together.
    pub limit: TokenBucket,
    /// What happens while the control plane cannot be asked.
    pub on_unavailable: OnUnavailable,
    /// Counts and never refuses.
    pub shadow: bool,
    /// What who is over it is told.
    #[serde(skip_serializing_if = "Refusal::is_default")]
    pub refusal: Refusal,
}

/// The answer to who is over a limit of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// 429 unless said otherwise; 400 to 599.
    pub status: u16,
    /// For callers that speak gRPC; `RESOURCE_EXHAUSTED` (8) unless said otherwise; at most 16.
    pub grpc_status: u32,
    /// Written in this order, after everything else that a refusal says.
    pub fields: Vec<RefusalField>,
}

/// One field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalField {
    /// Its name.
    pub name: Arc<str>,
    /// As it is: nothing in it is evaluated.
    pub value: Arc<str>,
    /// Others of its name stay.
    pub append: bool,
}

impl Refusal {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Refusal {
    fn default() -> Self {
        Self { status: 429, grpc_status: 8, fields: Vec::new() }
    }
}

/// What a shared limit does while nobody keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    /// The last lease goes on; a proxy that never had one keeps the whole limit by itself.
    #[default]
    FallbackPerProxy,
    /// Everything passes.
    Allow,
    /// Everything is refused.
    Deny,
}

/// A session that stays with an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatefulSession {
    /// Where the caller carries it.
    pub carrier: SessionCarrier,
    /// An endpoint that is gone is an error (503) instead of a new choice.
    pub strict: bool,
}

/// How a caller carries its session.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionCarrier {
    /// A cookie that the proxy sets.
    Cookie {
        name: Arc<str>,
        path: Arc<str>,
        /// `None` or zero: until the browser closes.
        #[serde(serialize_with = "json::optional_duration")]
        ttl: Option<Duration>,
    },
    /// A header, in both directions.
    Header { name: Arc<str> },
}
