//! Route configurations: which request goes where, and what is changed on the way.

pub(in crate::resource) mod action;
pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;
mod hosts;
mod mirror;
mod ours;
mod retry;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::filter::{FilterOverrides, RateLimitActions};
use super::json;
use super::matcher::{Fraction, HeaderMatcher, QueryParameterMatcher};
pub use retry::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy};

/// Which of our policies stand behind what a resource says, by kind (`fault`, `rate_limit`, `retry`, …): the object and
/// where it was written (`shop/slow reviews.yaml:12`); of a cluster only the object, see [`Written`]. Carried in
/// `metadata.filter_metadata["tidegate"].policies`.
pub type Policies = BTreeMap<Arc<str>, Arc<str>>;

/// Where the policies behind clusters are written (`reviews.yaml:12`), by cluster and kind. Carried in
/// `metadata.filter_metadata["tidegate"].written`.
///
/// # Why not with the cluster
/// A line that is put above a policy moves the policy. If that changed the cluster, data planes would make the cluster anew,
/// with its connections and its first health checks, for a comment. Routes are swapped and nobody notices.
pub type Written = BTreeMap<Arc<str>, Policies>;

/// `envoy.config.route.v3.RouteConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteConfiguration {
    /// The name by which a listener asks for it.
    pub name: Arc<str>,
    /// Hosts. No domain appears in two of them.
    pub virtual_hosts: Vec<VirtualHost>,
    /// `reviews:9080` matches the domain `reviews`.
    pub ignore_port_in_host_matching: bool,
    /// Applied after the route's and the host's own mutations, unless `most_specific_header_mutations_wins`.
    pub request_headers: HeaderMutations,
    /// The same for the answer.
    pub response_headers: HeaderMutations,
    /// Reverses the order of the levels, so that the route's mutation is applied last.
    pub most_specific_header_mutations_wins: bool,
    /// Overrides of the listener's filters for all hosts.
    pub filters: FilterOverrides,
}

/// `envoy.config.route.v3.VirtualHost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VirtualHost {
    /// Unique in its configuration; appears in logs and statistics.
    pub name: Arc<str>,
    /// Lower-case: `host`, `*.suffix`, `prefix.*`, `*`. Not empty.
    pub domains: Vec<Arc<str>>,
    /// The first that matches wins.
    pub routes: Vec<Route>,
    /// Applied after the routes' mutations.
    pub request_headers: HeaderMutations,
    /// The same for the answer.
    pub response_headers: HeaderMutations,
    /// Adds `x-envoy-attempt-count` to the request.
    pub include_request_attempt_count: bool,
    /// Overrides of filters for all routes of the host.
    pub filters: FilterOverrides,
    /// How its requests are described to rate limits.
    pub rate_limits: Vec<RateLimitActions>,
    /// For statistics: names for sets of requests, first match wins.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// Where the policies behind the clusters of its routes are written.
    pub written: Written,
}

/// `envoy.config.route.v3.VirtualCluster`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirtualCluster {
    /// Its name in statistics.
    pub name: Arc<str>,
    /// All must match.
    pub headers: Vec<HeaderMatcher>,
}

/// `envoy.config.route.v3.Route`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// For logs and statistics; may be empty.
    pub name: Arc<str>,
    /// When it applies.
    pub matches: RouteMatch,
    /// What it does.
    pub action: RouteAction,
    /// Applied after a weighted cluster's mutations.
    pub request_headers: HeaderMutations,
    /// The same for the answer.
    pub response_headers: HeaderMutations,
    /// Where the route was written (`FILE:LINE`), carried in `metadata.filter_metadata["tidegate"].source`.
    pub source: Option<Arc<str>>,
    /// Which policies act here.
    pub policies: Policies,
    /// Overrides of filters for this route.
    pub filters: FilterOverrides,
}

impl Route {
    /// A route without a name, changes and policies.
    pub fn new(matches: RouteMatch, action: RouteAction) -> Self {
        Self {
            name: "".into(),
            matches,
            action,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            source: None,
            policies: Policies::new(),
            filters: FilterOverrides::new(),
        }
    }
}

/// `envoy.config.route.v3.RouteMatch`. All parts must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteMatch {
    /// On the path without query and fragment.
    pub path: PathMatcher,
    /// Conditions on headers.
    pub headers: Vec<HeaderMatcher>,
    /// Conditions on query parameters.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// `content-type` is `application/grpc` or `application/grpc+…`.
    pub grpc: bool,
    /// Only for this share of requests.
    pub fraction: Option<Fraction>,
}

/// How the path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatcher {
    /// `CONNECT` requests.
    Connect,
    /// The whole path is equal.
    Exact { path: Arc<str>, case_sensitive: bool },
    /// The path starts with the string: `/v1` matches `/v10`.
    Prefix { prefix: Arc<str>, case_sensitive: bool },
    /// The whole path matches (RE2 syntax); always case sensitive.
    Regex(Arc<str>),
    /// The path is `prefix` or below it: `/v1` matches `/v1` and `/v1/x`, not `/v10`. Has no trailing slash.
    SeparatedPrefix { prefix: Arc<str>, case_sensitive: bool },
}

/// What a matched route does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// Send the request to a cluster.
    Forward(Box<Forward>),
    /// Answer with a redirect.
    Redirect(Box<Redirect>),
    /// Answer with a fixed response.
    DirectResponse(DirectResponse),
}

/// `envoy.config.route.v3.RouteAction`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// Where to.
    pub cluster: ClusterSpecifier,
    /// The answer when the cluster is not known: 503 unless the resource says 404 or 500.
    pub cluster_not_found_status: u16,
    /// Changes the path before it is sent.
    pub path_rewrite: PathRewrite,
    /// Changes the host before it is sent.
    pub host_rewrite: HostRewrite,
    /// Records the host before the rewrite in `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// Time for the whole exchange, retries included. `None` is no limit. An absent field on the wire means 15 s.
    #[serde(serialize_with = "json::optional_duration")]
    pub timeout: Option<Duration>,
    /// Time without a byte in either direction. `None`: the connection manager's. Zero: no limit.
    #[serde(serialize_with = "json::optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// Upper bound of the stream's life (`max_stream_duration`); replaces `timeout` when set. Zero: no bound, and no
    /// `timeout` either.
    #[serde(serialize_with = "json::optional_duration")]
    pub max_stream_duration: Option<Duration>,
    /// A gRPC client's `grpc-timeout` is honoured up to this (`grpc_timeout_header_max`; zero: no upper bound).
    #[serde(serialize_with = "json::optional_duration")]
    pub grpc_timeout_max: Option<Duration>,
    /// Upgrades that this route allows or forbids, over the connection manager's list.
    pub upgrades: Vec<Upgrade>,
    /// Which failures are tried again. `None`: only what was never sent.
    pub retry: Option<RetryPolicy>,
    /// Copies of the request that go elsewhere and are forgotten.
    pub mirrors: Vec<Mirror>,
    /// What a consistent hash is computed from, in order.
    pub hash_policy: Vec<HashPolicy>,
    /// How its requests are described to rate limits.
    pub rate_limits: Vec<RateLimitActions>,
    /// The virtual host's descriptions count beside the route's.
    pub include_virtual_host_rate_limits: bool,
}

impl Forward {
    /// Sends requests there, without a limit of time and without changing them.
    pub fn to(cluster: ClusterSpecifier) -> Self {
        Self {
            cluster,
            cluster_not_found_status: 503,
            path_rewrite: PathRewrite::Keep,
            host_rewrite: HostRewrite::Keep,
            append_x_forwarded_host: false,
            timeout: None,
            idle_timeout: None,
            max_stream_duration: None,
            grpc_timeout_max: None,
            upgrades: Vec::new(),
            retry: None,
            mirrors: Vec::new(),
            hash_policy: Vec::new(),
            rate_limits: Vec::new(),
            include_virtual_host_rate_limits: false,
        }
    }
}

/// Which cluster serves a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterSpecifier {
    /// This one.
    Cluster(Arc<str>),
    /// The one named by a request header.
    ClusterHeader(Arc<str>),
    /// One of several, by weight.
    Weighted(WeightedClusters),
}

/// A weighted choice. The sum of weights is in `total`; it fits u32 and is not zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightedClusters {
    /// In list order; half-open cumulative intervals.
    pub clusters: Vec<WeightedCluster>,
    /// Sum of the weights.
    pub total: NonZeroU64,
    /// What the draw is made from.
    pub draw: WeightDraw,
}

/// What a weighted choice is drawn from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDraw {
    /// Chance.
    #[default]
    Random,
    /// The hash of the route's `hash_policy`, so that equal requests go the same way; chance for requests without one.
    Hash,
    /// The number in this request header (its only value, decimal); chance for requests without one.
    Header(Arc<str>),
}

impl WeightedClusters {
    /// A choice among `clusters`; `None` when the weights sum to zero or to more than `u32::MAX`.
    pub fn new(clusters: Vec<WeightedCluster>) -> Option<Self> {
        let sum: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
        let total = NonZeroU64::new(sum).filter(|t| t.get() <= u64::from(u32::MAX))?;
        Some(Self { clusters, total, draw: WeightDraw::Random })
    }
}

/// One member of a weighted choice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: Arc<str>,
    /// Its share of the total; may be zero.
    pub weight: u32,
    /// Applied before the route's own mutations.
    pub request_headers: HeaderMutations,
    /// The same for the answer.
    pub response_headers: HeaderMutations,
    /// Replaces the host when this member is chosen.
    pub host_rewrite: Option<Arc<str>>,
    /// Overrides of filters when this member is chosen.
    pub filters: FilterOverrides,
}

/// How the path is changed. The query stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRewrite {
    /// Not at all.
    #[default]
    Keep,
    /// The matched prefix (or the whole matched path) is swapped.
    Prefix(Arc<str>),
    /// Every match of the pattern is replaced; `\1` names a group.
    Regex { pattern: Arc<str>, substitution: Arc<str> },
}

/// How the host is changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostRewrite {
    /// Not at all.
    #[default]
    Keep,
    /// To this.
    Literal(Arc<str>),
    /// To the value of this request header, if it is there.
    Header(Arc<str>),
    /// To the chosen endpoint's hostname, if it has one.
    Endpoint,
}

/// An upgrade (`websocket`, `CONNECT`) that is allowed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Lower-case value of the `Upgrade` field.
    pub kind: Arc<str>,
    /// Allowed.
    pub enabled: bool,
}

/// `RouteAction.RequestMirrorPolicy`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mirror {
    /// Where the copy goes.
    pub cluster: Arc<str>,
    /// For which share of requests.
    pub fraction: Fraction,
    /// Appends `-shadow` to the copy's host.
    pub shadow_host_suffix: bool,
    /// Changes to the copy's head.
    pub request_headers: HeaderMutations,
    /// Replaces the copy's host.
    pub host_rewrite: Option<Arc<str>>,
}

impl Mirror {
    /// A copy of every request, unchanged.
    pub fn to(cluster: Arc<str>) -> Self {
        Self {
            cluster,
            fraction: Fraction { numerator: 100, denominator: 100 },
            shadow_host_suffix: false,
            request_headers: HeaderMutations::default(),
            host_rewrite: None,
        }
    }
}

/// `RouteAction.HashPolicy`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Stop here when this policy gave a hash.
    pub terminal: bool,
}

/// What a hash is computed from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashSource {
    /// A request header.
    Header(Arc<str>),
    /// A cookie; made by the proxy when `ttl` is set and the cookie is missing.
    Cookie {
        name: Arc<str>,
        #[serde(serialize_with = "json::optional_duration")]
        ttl: Option<Duration>,
        path: Arc<str>,
        /// Further attributes of a cookie that the proxy makes (`SameSite` = `Lax`).
        attributes: Vec<(Arc<str>, Arc<str>)>,
    },
    /// The caller's address.
    SourceIp,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

/// `envoy.config.route.v3.RedirectAction`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Redirect {
    /// New scheme (`https_redirect` is `https`).
    pub scheme: Option<Arc<str>>,
    /// New host.
    pub host: Option<Arc<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: RedirectPath,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Drops the query.
    pub strip_query: bool,
}

/// How a redirect changes the path.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectPath {
    /// Not at all.
    #[default]
    Keep,
    /// To this; a `?` in it replaces the query too.
    Full(Arc<str>),
    /// The matched prefix is swapped.
    Prefix(Arc<str>),
    /// As [`PathRewrite::Regex`].
    Regex { pattern: Arc<str>, substitution: Arc<str> },
}

/// `envoy.config.route.v3.DirectResponseAction`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// The body, at most 4096 bytes unless `max_direct_response_body_size_bytes` allowed more.
    #[serde(serialize_with = "json::text")]
    pub body: Arc<[u8]>,
}

/// Changes to a head. Removals come first, then additions in order; all values are computed from the original head.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderMutations {
    /// Lower-case names. Never `host` or a pseudo-header.
    pub remove: Vec<Arc<str>>,
    /// In order.
    pub add: Vec<HeaderAddition>,
}

impl HeaderMutations {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// One header to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderAddition {
    /// As it is written on an HTTP/1.1 wire.
    pub name: Arc<str>,
    /// Its value: literal text and `%OPERATOR%`s as in Envoy's access log; `%%` is a percent sign.
    pub value: Arc<str>,
    /// What happens when the header is there already.
    pub append: AppendAction,
    /// Written even when the value is empty.
    pub keep_empty: bool,
}

/// `HeaderValueOption.HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendAction {
    /// Adds a further field line.
    AppendIfExistsOrAdd,
    /// Only if it is missing.
    AddIfAbsent,
    /// Replaces what is there.
    OverwriteIfExistsOrAdd,
    /// Only if it is there.
    OverwriteIfExists,
}
