//! Random route tables: everything that a route can say, from small pools, so that requests meet what was said.
//!
//! Shares are all or nothing and weighted choices are drawn from a header: chance itself is not compared.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use tidegate_xds::resource::RouteConfiguration;
use tidegate_xds::resource::filter::{
    self, Fault, FaultAbort, FaultAnswer, FaultDelay, FilterConfig, FilterOverride, FilterOverrides, LocalDescriptor,
    LocalRateLimit, RateLimitAction, RateLimitActions, TokenBucket, VirtualHostLimits,
};
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{
    AppendAction, ClusterSpecifier, DirectResponse, Forward, HeaderAddition, HeaderMutations, HostRewrite, Mirror,
    PathMatcher, PathRewrite, Redirect, RedirectPath, RetryOn, RetryPolicy, Route, RouteAction, RouteMatch,
    VirtualHost, WeightDraw, WeightedCluster, WeightedClusters,
};

/// Where requests go.
pub(super) const CLUSTERS: [&str; 3] = ["c0", "c1", "c2"];
/// Where copies go.
pub(super) const MIRROR: &str = "copies";
/// The host that answers with the number of the table.
pub(super) const PROBE: &str = "probe.internal";
/// A weighted choice's number.
pub(super) const DRAW: &str = "x-draw";
/// The one configuration.
pub(super) const ROUTES: &str = "routes";

const DOMAINS: [&str; 10] = [
    "a.example",
    "b.example",
    "*.example",
    "*.a.example",
    "*-x.example",
    "a.*",
    "deep.a.example",
    "b.example:8080",
    "only.test",
    "*",
];
const PATHS: [&str; 9] = ["/a", "/a/b", "/A/b", "/api/v1", "/api/v1/", "/api/v10", "/items/12", "/items/x", "/a/b/c"];
const PATTERNS: [&str; 4] = ["/items/[0-9]+", "/a(/.*)?", "/API/v[0-9]+", "/.*b"];
const NAMES: [&str; 3] = ["x-color", "x-number", "x-flag"];
const VALUES: [&str; 6] = ["red", "Red", "blue", "12", "-3", "red,blue"];

/// How long a route gives, where it gives a limit.
pub(super) const TIMEOUT: Duration = Duration::from_millis(150);
const TRY_TIMEOUT: Duration = Duration::from_millis(60);
const DELAY: Duration = Duration::from_millis(15);
/// A bucket does not fill again while a table is in use.
const REFILL: Duration = Duration::from_secs(3600);

const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
const NONE: Fraction = Fraction { numerator: 0, denominator: 100 };

/// Makes tables.
pub(super) struct Tables<'r> {
    rng: &'r mut StdRng,
}

impl<'r> Tables<'r> {
    pub(super) fn new(rng: &'r mut StdRng) -> Self {
        Self { rng }
    }

    /// A table; its number is what [`PROBE`] answers.
    pub(super) fn table(&mut self, number: u64) -> RouteConfiguration {
        let mut domains = DOMAINS;
        domains.shuffle(self.rng);
        let mut rest = &domains[..];
        let mut hosts = vec![probe(number)];
        while !rest.is_empty() {
            let (mine, others) = rest.split_at(self.rng.random_range(1..=3.min(rest.len())));
            rest = others;
            hosts.push(self.host(&format!("{number}-{}", hosts.len()), mine));
        }
        RouteConfiguration {
            name: ROUTES.into(),
            virtual_hosts: hosts,
            ignore_port_in_host_matching: self.rng.random_bool(0.3),
            request_headers: self.mutations(0.3, false),
            response_headers: self.mutations(0.3, true),
            most_specific_header_mutations_wins: self.rng.random_bool(0.3),
            filters: self.filters(0.05),
        }
    }

    /// No two tables have a name in common: in ours a limit keeps its tokens over a change of configuration, and is known by
    /// the names of its place.
    fn host(&mut self, name: &str, domains: &[&str]) -> VirtualHost {
        let count = self.rng.random_range(2..=7);
        let mut routes: Vec<Route> = (0..count).map(|i| self.route(&format!("{name}-{i}"))).collect();
        if self.rng.random_bool(0.7) {
            // What no condition keeps out, so that few requests end with "no route".
            let mut last = self.route(&format!("{name}-last"));
            last.matches = everything();
            routes.push(last);
        }
        VirtualHost {
            name: format!("host-{name}").into(),
            domains: domains.iter().map(|d| Arc::from(*d)).collect(),
            routes,
            request_headers: self.mutations(0.3, false),
            response_headers: self.mutations(0.3, true),
            include_request_attempt_count: self.rng.random_bool(0.3),
            filters: self.filters(0.1),
            rate_limits: Vec::new(),
            virtual_clusters: Vec::new(),
            written: Default::default(),
        }
    }

    fn route(&mut self, name: &str) -> Route {
        let matches = self.matches();
        let action = match self.rng.random_range(0..100) {
            0..12 => RouteAction::Redirect(Box::new(self.redirect(&matches.path))),
            12..22 => RouteAction::DirectResponse(DirectResponse {
                status: *self.pick(&[200, 204, 404, 418, 503]),
                body: b"by the route"[..].into(),
            }),
            _ => RouteAction::Forward(Box::new(self.forward(&matches.path))),
        };
        let limited = matches!(action, RouteAction::Forward(_));
        Route {
            name: name.into(),
            request_headers: self.mutations(0.4, false),
            response_headers: self.mutations(0.4, true),
            filters: if limited { self.filters(0.25) } else { FilterOverrides::new() },
            ..Route::new(matches, action)
        }
    }

    fn matches(&mut self) -> RouteMatch {
        let case_sensitive = self.rng.random_bool(0.7);
        let path: Arc<str> = (*self.pick(&PATHS)).into();
        let path = match self.rng.random_range(0..10) {
            0..3 => PathMatcher::Exact { path, case_sensitive },
            3..5 => PathMatcher::Prefix { prefix: path, case_sensitive },
            5..7 => PathMatcher::SeparatedPrefix { prefix: path.trim_end_matches('/').into(), case_sensitive },
            7..8 => PathMatcher::Regex((*self.pick(&PATTERNS)).into()),
            _ => PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        };
        let fraction = match self.rng.random_range(0..20) {
            0 => Some(NONE),
            1 => Some(ALL),
            _ => None,
        };
        RouteMatch {
            path,
            headers: (0..self.few(0.35)).map(|_| self.header_matcher()).collect(),
            query_parameters: (0..self.few(0.15)).map(|_| self.query_matcher()).collect(),
            grpc: self.rng.random_bool(0.03),
            fraction,
        }
    }

    fn header_matcher(&mut self) -> HeaderMatcher {
        if self.rng.random_bool(0.15) {
            let value: Arc<str> = (*self.pick(&["GET", "POST", "HEAD"])).into();
            return HeaderMatcher {
                name: ":method".into(),
                condition: HeaderCondition::Value(StringMatcher::Exact { value, ignore_case: false }),
                invert: self.rng.random_bool(0.2),
                missing_as_empty: false,
            };
        }
        let condition = match self.rng.random_range(0..10) {
            0..2 => HeaderCondition::Present(self.rng.random()),
            2 => HeaderCondition::Range { start: -5, end: 12 + i64::from(self.rng.random_range(0..2_u8)) },
            _ => HeaderCondition::Value(self.string_matcher()),
        };
        let name = (*self.pick(&NAMES)).into();
        HeaderMatcher {
            name,
            condition,
            invert: self.rng.random_bool(0.25),
            missing_as_empty: self.rng.random_bool(0.2),
        }
    }

    fn query_matcher(&mut self) -> QueryParameterMatcher {
        let condition = match self.rng.random_bool(0.3) {
            true => QueryParameterCondition::Present(true),
            false => QueryParameterCondition::Value(self.string_matcher()),
        };
        QueryParameterMatcher { name: (*self.pick(&["q", "r"])).into(), condition }
    }

    fn string_matcher(&mut self) -> StringMatcher {
        let ignore_case = self.rng.random_bool(0.3);
        let value: Arc<str> = (*self.pick(&VALUES)).into();
        match self.rng.random_range(0..6) {
            0..2 => StringMatcher::Exact { value, ignore_case },
            2 => StringMatcher::Prefix { value: value[..2].into(), ignore_case },
            3 => StringMatcher::Suffix { value: value[1..].into(), ignore_case },
            4 => StringMatcher::Contains { value: value[1..2].into(), ignore_case },
            _ => StringMatcher::Regex((*self.pick(&["r.d", "[0-9]+", "(red|blue)(,.*)?"])).into()),
        }
    }

    fn forward(&mut self, path: &PathMatcher) -> Forward {
        let cluster = match self.rng.random_range(0..10) {
            0 => ClusterSpecifier::ClusterHeader("x-cluster".into()),
            1..4 => ClusterSpecifier::Weighted(self.weighted()),
            _ => ClusterSpecifier::Cluster((*self.pick(&CLUSTERS)).into()),
        };
        let mut forward = Forward::to(cluster);
        forward.path_rewrite = self.path_rewrite(path);
        forward.host_rewrite = match self.rng.random_range(0..10) {
            0 => HostRewrite::Literal("rewritten.example".into()),
            1 => HostRewrite::Header("x-host".into()),
            _ => HostRewrite::Keep,
        };
        forward.append_x_forwarded_host = self.rng.random_bool(0.2);
        forward.cluster_not_found_status = *self.pick(&[503, 404, 500]);
        forward.timeout = self.rng.random_bool(0.1).then_some(TIMEOUT);
        forward.retry = self.rng.random_bool(0.25).then(|| self.retry());
        if self.rng.random_bool(0.12) {
            forward.mirrors = vec![Mirror {
                fraction: if self.rng.random_bool(0.8) { ALL } else { NONE },
                shadow_host_suffix: self.rng.random(),
                ..Mirror::to(MIRROR.into())
            }];
        }
        if self.rng.random_bool(0.3) {
            forward.rate_limits = vec![RateLimitActions {
                stage: 0,
                actions: vec![RateLimitAction::RequestHeader {
                    header: "x-color".into(),
                    key: "color".into(),
                    skip_if_absent: false,
                }],
                hits: 1,
                lease: None,
            }];
        }
        forward
    }

    fn weighted(&mut self) -> WeightedClusters {
        let members = CLUSTERS.iter().map(|name| WeightedCluster {
            name: (*name).into(),
            weight: *self.pick(&[0, 1, 20, 50, 100]),
            request_headers: self.mutations(0.3, false),
            response_headers: self.mutations(0.3, true),
            host_rewrite: self.rng.random_bool(0.1).then(|| "member.example".into()),
            filters: FilterOverrides::new(),
        });
        let mut members: Vec<_> = members.collect();
        if members.iter().all(|m| m.weight == 0) {
            members[0].weight = 1;
        }
        let mut weighted = WeightedClusters::new(members).expect("one weight is not zero");
        weighted.draw = WeightDraw::Header(DRAW.into());
        weighted
    }

    fn path_rewrite(&mut self, path: &PathMatcher) -> PathRewrite {
        match self.rng.random_range(0..10) {
            // Envoy swaps the prefix of what matched; a pattern has none.
            0..2 if !matches!(path, PathMatcher::Regex(_)) => {
                PathRewrite::Prefix((*self.pick(&["/new", "/n/", "/"])).into())
            }
            2 => PathRewrite::Regex { pattern: "^/([a-z]+)/(.*)$".into(), substitution: r"/\2/\1".into() },
            _ => PathRewrite::Keep,
        }
    }

    fn retry(&mut self) -> RetryPolicy {
        let mut conditions = [
            RetryOn::FiveXx,
            RetryOn::GatewayError,
            RetryOn::Retriable4xx,
            RetryOn::RetriableStatusCodes,
            RetryOn::Reset,
            RetryOn::ConnectFailure,
        ];
        conditions.shuffle(self.rng);
        let count = self.rng.random_range(1..=3);
        RetryPolicy {
            retry_on: conditions[..count].to_vec(),
            num_retries: self.rng.random_range(0..=3),
            per_try_timeout: self.rng.random_bool(0.2).then_some(TRY_TIMEOUT),
            status_codes: vec![418, 503],
            back_off_base: Duration::from_millis(1),
            back_off_max: Duration::from_millis(2),
            ..RetryPolicy::default()
        }
    }

    fn redirect(&mut self, path: &PathMatcher) -> Redirect {
        let pattern = matches!(path, PathMatcher::Regex(_));
        Redirect {
            scheme: self.rng.random_bool(0.3).then(|| "https".into()),
            host: self.rng.random_bool(0.5).then(|| "elsewhere.example".into()),
            port: self.rng.random_bool(0.3).then(|| *self.pick(&[80, 443, 8443])),
            path: match self.rng.random_range(0..5) {
                0 => RedirectPath::Full((*self.pick(&["/there", "/there?x=1"])).into()),
                1 if !pattern => RedirectPath::Prefix("/swapped".into()),
                2 => RedirectPath::Regex { pattern: "/([a-z]+)".into(), substitution: r"/x-\1".into() },
                _ => RedirectPath::Keep,
            },
            status: *self.pick(&[301, 302, 303, 307, 308]),
            strip_query: self.rng.random_bool(0.3),
        }
    }

    /// Changes of a head, with this probability.
    fn mutations(&mut self, probability: f64, response: bool) -> HeaderMutations {
        if !self.rng.random_bool(probability) {
            return HeaderMutations::default();
        }
        // What a later level may see of an earlier one's work is a difference of its own (see the traffic package), so
        // formats read only what no level changes.
        let formats = [
            "plain",
            "%REQ(x-flag)%",
            "a-%REQ(x-missing?x-cluster)%",
            "100%%",
            "%PROTOCOL%",
            if response { "%ROUTE_NAME%" } else { "%REQ(:METHOD)% %REQ(:PATH)%" },
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        ];
        let actions = [
            AppendAction::AppendIfExistsOrAdd,
            AppendAction::AddIfAbsent,
            AppendAction::OverwriteIfExistsOrAdd,
            AppendAction::OverwriteIfExists,
        ];
        let names =
            if response { ["x-backend-says", "x-added", "x-color"] } else { ["x-color", "x-added", "x-number"] };
        let add = (0..self.rng.random_range(0..3_u8)).map(|_| HeaderAddition {
            name: (*names.choose(self.rng).expect("three names")).into(),
            value: (*formats.choose(self.rng).expect("some formats")).into(),
            append: *actions.choose(self.rng).expect("four actions"),
            keep_empty: false,
        });
        let add = add.collect();
        let remove = if self.rng.random_bool(0.3) { vec![(*self.pick(&names)).into()] } else { Vec::new() };
        HeaderMutations { remove, add }
    }

    fn filters(&mut self, probability: f64) -> FilterOverrides {
        let mut overrides = BTreeMap::new();
        let with = |config| FilterOverride { disabled: false, config: Some(config) };
        if self.rng.random_bool(probability) {
            overrides.insert(filter::FAULT.into(), with(FilterConfig::Fault(Arc::new(self.fault()))));
        }
        if self.rng.random_bool(probability) {
            let limit = self.local_rate_limit();
            overrides.insert(filter::LOCAL_RATE_LIMIT.into(), with(FilterConfig::LocalRateLimit(Arc::new(limit))));
        }
        overrides
    }

    fn fault(&mut self) -> Fault {
        let share = |rng: &mut StdRng| if rng.random_bool(0.8) { ALL } else { NONE };
        let delay = self.rng.random_bool(0.5);
        Fault {
            delay: delay.then(|| FaultDelay { fixed: Some(DELAY), percentage: share(self.rng) }),
            abort: (!delay || self.rng.random()).then(|| FaultAbort {
                with: FaultAnswer::Http(*self.pick(&[418, 500, 503])),
                percentage: share(self.rng),
            }),
            headers: (0..self.few(0.7)).map(|_| self.header_matcher()).collect(),
            upstream_cluster: self.rng.random_bool(0.1).then(|| "c1".into()),
            ..Fault::default()
        }
    }

    fn local_rate_limit(&mut self) -> LocalRateLimit {
        let bucket = |capacity| TokenBucket { capacity, refill: NonZeroU32::MIN, interval: REFILL };
        let descriptors = self.rng.random_bool(0.4);
        LocalRateLimit {
            stat_prefix: "limit".into(),
            status: *self.pick(&[429, 503]),
            bucket: Some(bucket(self.rng.random_range(1..=6))),
            enabled: if self.rng.random_bool(0.9) { ALL } else { NONE },
            enforced: if self.rng.random_bool(0.9) { ALL } else { NONE },
            request_headers_when_not_enforced: Vec::new(),
            response_headers: Vec::new(),
            descriptors: if descriptors {
                vec![LocalDescriptor {
                    entries: vec![("color".into(), "red".into())],
                    bucket: bucket(self.rng.random_range(1..=3)),
                }]
            } else {
                Vec::new()
            },
            stage: 0,
            per_connection: false,
            ratelimit_headers: self.rng.random(),
            always_consume_default: self.rng.random_bool(0.7),
            resource_exhausted: false,
            rate_limits: Vec::new(),
            dynamic_descriptors_max: 20,
            retry_after: false,
            virtual_host_limits: VirtualHostLimits::Override,
        }
    }

    fn pick<'v, T>(&mut self, from: &'v [T]) -> &'v T {
        from.choose(self.rng).expect("a pool is not empty")
    }

    /// None, one or two, the first with this probability.
    fn few(&mut self, probability: f64) -> usize {
        usize::from(self.rng.random_bool(probability)) + usize::from(self.rng.random_bool(probability / 4.0))
    }
}

fn everything() -> RouteMatch {
    RouteMatch {
        path: PathMatcher::Prefix { prefix: "/".into(), case_sensitive: true },
        headers: Vec::new(),
        query_parameters: Vec::new(),
        grpc: false,
        fraction: None,
    }
}

fn probe(number: u64) -> VirtualHost {
    let body = number.to_string().into_bytes().into();
    let route = Route::new(everything(), RouteAction::DirectResponse(DirectResponse { status: 200, body }));
    // Whatever the whole table says: the probe is asked until it answers.
    let off = || FilterOverride { disabled: true, config: None };
    VirtualHost {
        name: "probe".into(),
        domains: vec![PROBE.into()],
        routes: vec![route],
        filters: [(filter::FAULT.into(), off()), (filter::LOCAL_RATE_LIMIT.into(), off())].into(),
        ..VirtualHost::default()
    }
}
