//! Strategies for proptest: any resource that the types and their documentation allow.

mod cluster;
mod filter;
mod tls;

pub(super) use cluster::{cluster, endpoints};

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::sample::{CHAIN, KEY};
use crate::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnectionManager, Listener, ListenerKind, NetworkFilter,
    RouteSource, ServerHeader, SocketListener, TcpProxy,
};
use crate::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use crate::resource::route::{
    AppendAction, ClusterSpecifier, DirectResponse, Forward, HashPolicy, HashSource, HeaderAddition, HeaderMutations,
    HostRewrite, Mirror, PathMatcher, PathRewrite, RateLimitedBackOff, Redirect, RedirectPath, ResetHeader, RetryOn,
    RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, Upgrade, VirtualCluster, VirtualHost, WeightDraw,
    WeightedCluster, WeightedClusters,
};
use crate::resource::secret::{Secret, SecretKind};

fn text(pattern: &'static str) -> impl Strategy<Value = Arc<str>> {
    pattern.prop_map(Arc::from)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    text("[a-z][a-z0-9|._-]{0,8}")
}

fn maybe_empty() -> impl Strategy<Value = Arc<str>> {
    text("[a-zA-Z0-9 /_-]{0,6}")
}

fn header() -> impl Strategy<Value = Arc<str>> {
    text("x-[a-z0-9-]{0,6}")
}

fn value() -> impl Strategy<Value = Arc<str>> {
    text("([ -$&-~é]|%%|%REQ\\(:path\\):3%|%PROTOCOL%){1,6}")
}

fn pattern() -> impl Strategy<Value = Arc<str>> {
    select(vec!["a+", "^/(x|y)/([0-9]+)$", "(?i)jason", ".*", "[[:alpha:]]{3}"]).prop_map(Arc::from)
}

fn duration() -> impl Strategy<Value = Duration> {
    (0_u64..100_000, 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))
}

fn positive() -> impl Strategy<Value = Duration> {
    duration().prop_map(|d| d + Duration::from_nanos(1))
}

fn positive_u32() -> impl Strategy<Value = NonZeroU32> {
    (1_u32..100_000).prop_filter_map("zero", NonZeroU32::new)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), 1_u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn fraction() -> impl Strategy<Value = Fraction> {
    (select(vec![100_u32, 10_000, 1_000_000]), 0_u32..=100)
        .prop_map(|(denominator, numerator)| Fraction { numerator, denominator })
}

fn string_matcher() -> impl Strategy<Value = StringMatcher> {
    let part = || (text("[a-zA-Z0-9/]{1,6}"), any::<bool>());
    prop_oneof![
        (maybe_empty(), any::<bool>()).prop_map(|(value, ignore_case)| StringMatcher::Exact { value, ignore_case }),
        part().prop_map(|(value, ignore_case)| StringMatcher::Prefix { value, ignore_case }),
        part().prop_map(|(value, ignore_case)| StringMatcher::Suffix { value, ignore_case }),
        part().prop_map(|(value, ignore_case)| StringMatcher::Contains { value, ignore_case }),
        pattern().prop_map(StringMatcher::Regex),
    ]
}

fn header_matcher() -> BoxedStrategy<HeaderMatcher> {
    let name = prop_oneof![header(), select(vec![":method", ":path", ":authority", ":scheme"]).prop_map(Arc::from)];
    let condition = prop_oneof![
        any::<bool>().prop_map(HeaderCondition::Present),
        string_matcher().prop_map(HeaderCondition::Value),
        (-9_i64..9, 10_i64..20).prop_map(|(start, end)| HeaderCondition::Range { start, end }),
    ];
    (name, condition, any::<bool>(), any::<bool>())
        .prop_map(|(name, condition, invert, missing_as_empty)| HeaderMatcher {
            name,
            condition,
            invert,
            missing_as_empty,
        })
        .boxed()
}

fn query_matcher() -> BoxedStrategy<QueryParameterMatcher> {
    let condition = prop_oneof![
        any::<bool>().prop_map(QueryParameterCondition::Present),
        string_matcher().prop_map(QueryParameterCondition::Value),
    ];
    (name(), condition).prop_map(|(name, condition)| QueryParameterMatcher { name, condition }).boxed()
}

fn additions() -> BoxedStrategy<Vec<HeaderAddition>> {
    let append = select(vec![
        AppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists,
    ]);
    let addition = (text("[A-Z]-[A-Za-z]{0,4}"), value(), append, any::<bool>())
        .prop_map(|(name, value, append, keep_empty)| HeaderAddition { name, value, append, keep_empty });
    vec(addition, 0..3).boxed()
}

fn mutations() -> BoxedStrategy<HeaderMutations> {
    (vec(header(), 0..2), additions()).prop_map(|(remove, add)| HeaderMutations { remove, add }).boxed()
}

fn path_matcher() -> impl Strategy<Value = PathMatcher> {
    let path = || (text("/[a-zA-Z0-9/]{0,6}"), any::<bool>());
    prop_oneof![
        Just(PathMatcher::Connect),
        pattern().prop_map(PathMatcher::Regex),
        path().prop_map(|(path, case_sensitive)| PathMatcher::Exact { path, case_sensitive }),
        path().prop_map(|(prefix, case_sensitive)| PathMatcher::Prefix { prefix, case_sensitive }),
        (text("/[a-z/]{0,4}[a-z]"), any::<bool>())
            .prop_map(|(prefix, case_sensitive)| PathMatcher::SeparatedPrefix { prefix, case_sensitive }),
    ]
}

fn route_match() -> BoxedStrategy<RouteMatch> {
    (path_matcher(), vec(header_matcher(), 0..3), vec(query_matcher(), 0..2), any::<bool>(), of(fraction()))
        .prop_map(|(path, headers, query_parameters, grpc, fraction)| RouteMatch {
            path,
            headers,
            query_parameters,
            grpc,
            fraction,
        })
        .boxed()
}

/// Boxed, like others below: a strategy is as large as all its parts, and a thread's stack is not.
fn cluster_specifier() -> BoxedStrategy<ClusterSpecifier> {
    let member = (name(), 1_u32..1000, mutations(), mutations(), of(name()), filter::overrides()).prop_map(
        |(name, weight, request_headers, response_headers, host_rewrite, filters)| WeightedCluster {
            name,
            weight,
            request_headers,
            response_headers,
            host_rewrite,
            filters,
        },
    );
    let draw = prop_oneof![Just(WeightDraw::Random), Just(WeightDraw::Hash), header().prop_map(WeightDraw::Header)];
    prop_oneof![
        name().prop_map(ClusterSpecifier::Cluster),
        header().prop_map(ClusterSpecifier::ClusterHeader),
        (vec(member, 1..4), draw).prop_map(|(members, draw)| {
            let clusters = WeightedClusters::new(members).expect("each weight is above zero");
            ClusterSpecifier::Weighted(WeightedClusters { draw, ..clusters })
        }),
    ]
    .boxed()
}

fn rewrites() -> impl Strategy<Value = (PathRewrite, HostRewrite)> {
    let path = prop_oneof![
        Just(PathRewrite::Keep),
        text("/[a-z/]{0,6}").prop_map(PathRewrite::Prefix),
        Just(PathRewrite::Regex { pattern: "^/(a)".into(), substitution: r"/\1\\".into() }),
    ];
    let host = prop_oneof![
        Just(HostRewrite::Keep),
        Just(HostRewrite::Endpoint),
        name().prop_map(HostRewrite::Literal),
        header().prop_map(HostRewrite::Header),
    ];
    (path, host)
}

fn upgrades() -> impl Strategy<Value = Vec<Upgrade>> {
    (subsequence(vec!["websocket", "connect", "tailscale"], 0..=3), any::<bool>())
        .prop_map(|(kinds, enabled)| kinds.into_iter().map(|k| Upgrade { kind: k.into(), enabled }).collect())
}

fn retry() -> BoxedStrategy<RetryPolicy> {
    let conditions = vec![
        RetryOn::FiveXx,
        RetryOn::Cancelled,
        RetryOn::ConnectFailure,
        RetryOn::DeadlineExceeded,
        RetryOn::GatewayError,
        RetryOn::Internal,
        RetryOn::RateLimited,
        RetryOn::RefusedStream,
        RetryOn::Reset,
        RetryOn::ResetBeforeRequest,
        RetryOn::ResourceExhausted,
        RetryOn::Retriable4xx,
        RetryOn::RetriableHeaders,
        RetryOn::RetriableStatusCodes,
        RetryOn::Unavailable,
    ];
    let back_off = (positive(), duration());
    let reset = (header(), any::<bool>()).prop_map(|(name, unix_timestamp)| ResetHeader { name, unix_timestamp });
    let rate_limited = (vec(reset, 1..3), positive()).prop_map(|(headers, max)| RateLimitedBackOff { headers, max });
    let headers = (vec(header_matcher(), 0..2), vec(header_matcher(), 0..2));
    (
        subsequence(conditions, 0..=15),
        0_u32..9,
        (of(positive()), of(positive())),
        vec(100_u16..600, 0..3),
        (back_off, of(rate_limited), headers),
        any::<bool>(),
        1_u32..9,
    )
        .prop_map(|(retry_on, num_retries, per_try, status_codes, more, avoid, attempts)| RetryPolicy {
            retry_on,
            num_retries,
            per_try_timeout: per_try.0,
            per_try_idle_timeout: per_try.1,
            retriable_headers: more.2.0,
            retriable_request_headers: more.2.1,
            rate_limited_back_off: more.1,
            status_codes,
            back_off_base: more.0.0,
            back_off_max: more.0.0 + more.0.1,
            avoid_previous_hosts: avoid,
            host_selection_attempts: attempts,
        })
        .boxed()
}

fn mirror() -> impl Strategy<Value = Mirror> {
    (name(), fraction(), any::<bool>(), mutations(), of(name())).prop_map(
        |(cluster, fraction, shadow_host_suffix, request_headers, host_rewrite)| Mirror {
            cluster,
            fraction,
            shadow_host_suffix,
            request_headers,
            host_rewrite,
        },
    )
}

fn hash_policy() -> impl Strategy<Value = HashPolicy> {
    let source = prop_oneof![
        header().prop_map(HashSource::Header),
        (text("[a-z]{1,5}"), of(duration()), text("[a-z/]{0,5}"), vec((name(), maybe_empty()), 0..3))
            .prop_map(|(name, ttl, path, attributes)| HashSource::Cookie { name, ttl, path, attributes }),
        Just(HashSource::SourceIp),
        name().prop_map(HashSource::QueryParameter),
    ];
    (source, any::<bool>()).prop_map(|(source, terminal)| HashPolicy { source, terminal })
}

fn forward() -> BoxedStrategy<Forward> {
    let limits = (of(positive()), of(duration()), of(duration()), of(duration()));
    let lists = (upgrades(), of(retry()), vec(mirror(), 0..2), vec(hash_policy(), 0..2));
    let limited = (filter::leased_actions(), any::<bool>());
    let status = select(vec![503_u16, 404, 500]);
    (cluster_specifier(), status, rewrites(), any::<bool>(), limits, lists, limited)
        .prop_map(|(cluster, status, (path_rewrite, host_rewrite), append, limits, lists, limited)| {
            let (timeout, idle_timeout, max_stream_duration, grpc_timeout_max) = limits;
            let (upgrades, retry, mirrors, hash_policy) = lists;
            Forward {
                cluster,
                cluster_not_found_status: status,
                path_rewrite,
                host_rewrite,
                append_x_forwarded_host: append,
                timeout,
                idle_timeout,
                max_stream_duration,
                grpc_timeout_max,
                upgrades,
                retry,
                mirrors,
                hash_policy,
                rate_limits: limited.0,
                include_virtual_host_rate_limits: limited.1,
            }
        })
        .boxed()
}

fn redirect() -> BoxedStrategy<Redirect> {
    let path = prop_oneof![
        Just(RedirectPath::Keep),
        text("/[a-z?=]{0,6}").prop_map(RedirectPath::Full),
        text("/[a-z]{0,6}").prop_map(RedirectPath::Prefix),
        Just(RedirectPath::Regex { pattern: "(a)(b)".into(), substitution: r"\2\1\0".into() }),
    ];
    let scheme = of(select(vec!["http", "https"]).prop_map(Arc::from));
    (scheme, of(name()), of(1_u16..), path, select(vec![301_u16, 302, 303, 307, 308]), any::<bool>())
        .prop_map(|(scheme, host, port, path, status, strip_query)| Redirect {
            scheme,
            host,
            port,
            path,
            status,
            strip_query,
        })
        .boxed()
}

fn action() -> BoxedStrategy<RouteAction> {
    prop_oneof![
        4 => forward().prop_map(|forward| RouteAction::Forward(Box::new(forward))),
        1 => redirect().prop_map(|redirect| RouteAction::Redirect(Box::new(redirect))),
        1 => (200_u16..600, vec(any::<u8>(), 0..20), select(vec![1_usize, 500])).prop_map(|(status, body, times)| {
            // Up to ten thousand bytes: on both sides of what needs no permission.
            RouteAction::DirectResponse(DirectResponse { status, body: body.repeat(times).into() })
        }),
    ]
    .boxed()
}

fn route() -> BoxedStrategy<Route> {
    let ours = (of(name()), filter::policies(), filter::overrides());
    (maybe_empty(), route_match(), action(), mutations(), mutations(), ours)
        .prop_map(|(name, matches, action, request_headers, response_headers, (source, policies, filters))| Route {
            name,
            matches,
            action,
            request_headers,
            response_headers,
            source,
            policies,
            filters,
        })
        .boxed()
}

fn virtual_host() -> BoxedStrategy<VirtualHost> {
    let cluster = (name(), vec(header_matcher(), 1..3)).prop_map(|(name, headers)| VirtualCluster { name, headers });
    let named = filter::policies().prop_filter("a cluster without places is not said", |places| !places.is_empty());
    let written = btree_map(name(), named, 0..3);
    let filters = (filter::overrides(), filter::leased_actions(), vec(cluster, 0..2), written);
    (vec(route(), 0..3), mutations(), mutations(), any::<bool>(), filters)
        .prop_map(|(routes, request_headers, response_headers, include_request_attempt_count, filters)| VirtualHost {
            // Set by the configuration, where they have to differ.
            name: "".into(),
            domains: Vec::new(),
            routes,
            request_headers,
            response_headers,
            include_request_attempt_count,
            filters: filters.0,
            rate_limits: filters.1,
            virtual_clusters: filters.2,
            written: filters.3,
        })
        .boxed()
}

pub(super) fn routes() -> BoxedStrategy<RouteConfiguration> {
    let flags = (any::<bool>(), any::<bool>());
    (name(), vec(virtual_host(), 0..3), mutations(), mutations(), flags, filter::overrides())
        .prop_map(|(name, mut virtual_hosts, request_headers, response_headers, (ignore_port, specific), filters)| {
            for (i, host) in virtual_hosts.iter_mut().enumerate() {
                host.name = format!("host-{i}").into();
                let forms = [format!("h{i}"), format!("*.h{i}"), format!("*-x.h{i}"), format!("h{i}.*")];
                host.domains = forms.into_iter().map(Arc::from).collect();
                if i == 0 {
                    host.domains.push("*".into());
                }
            }
            RouteConfiguration {
                name,
                virtual_hosts,
                ignore_port_in_host_matching: ignore_port,
                request_headers,
                response_headers,
                most_specific_header_mutations_wins: specific,
                filters,
            }
        })
        .boxed()
}

fn server_header() -> impl Strategy<Value = ServerHeader> {
    prop_oneof![
        Just(ServerHeader::PassThrough),
        name().prop_map(ServerHeader::Overwrite),
        name().prop_map(ServerHeader::AppendIfAbsent),
    ]
}

fn manager() -> BoxedStrategy<HttpConnectionManager> {
    let source = prop_oneof![
        name().prop_map(RouteSource::Rds),
        routes().prop_map(|routes| RouteSource::Inline(Arc::new(routes))),
    ];
    let codec = select(vec![Codec::Auto, Codec::Http1, Codec::Http2]);
    let limits = (of(positive()), of(positive()), of(positive()), of(positive()));
    let flags = (any::<bool>(), any::<bool>(), 0_u32..5);
    (name(), codec, source, filter::listed(), upgrades(), limits, flags, server_header())
        .prop_map(|(stat_prefix, codec, routes, http_filters, upgrades, limits, flags, server_header)| {
            HttpConnectionManager {
                stat_prefix,
                codec,
                routes,
                http_filters,
                upgrades,
                stream_idle_timeout: limits.0,
                idle_timeout: limits.1,
                request_headers_timeout: limits.2,
                request_timeout: limits.3,
                use_remote_address: flags.0,
                xff_num_trusted_hops: flags.2,
                generate_request_id: flags.1,
                server_header,
            }
        })
        .boxed()
}

fn chain() -> BoxedStrategy<FilterChain> {
    let range = prop_oneof![
        (any::<std::net::Ipv4Addr>(), 0_u8..=32).prop_map(|(ip, len)| (IpAddr::from(ip), len)),
        (any::<std::net::Ipv6Addr>(), 0_u8..=128).prop_map(|(ip, len)| (IpAddr::from(ip), len)),
    ];
    let matches = (
        vec(range, 0..2),
        vec(text("(\\*\\.)?[a-z]{1,5}"), 0..2),
        select(vec!["", "raw_buffer", "tls"]).prop_map(Arc::from),
        vec(text("h2c|http/1\\.1"), 0..2),
    );
    let tcp = (name(), vec((name(), 1_u32..9), 1..3), of(positive()))
        .prop_map(|(stat_prefix, clusters, idle_timeout)| TcpProxy { stat_prefix, clusters, idle_timeout });
    let filter = prop_oneof![
        manager().prop_map(|manager| NetworkFilter::Http(Box::new(manager))),
        tcp.prop_map(NetworkFilter::Tcp),
    ];
    (maybe_empty(), matches, of(tls::downstream()), filter)
        .prop_map(|(name, (prefix_ranges, server_names, transport, alpn), tls, filter)| {
            let matches = FilterChainMatch {
                destination_port: None,
                prefix_ranges,
                server_names,
                transport_protocol: transport,
                application_protocols: alpn,
            };
            FilterChain { name, matches, tls, filter }
        })
        .boxed()
}

fn socket() -> BoxedStrategy<SocketListener> {
    (address(), any::<bool>(), any::<bool>(), vec(chain(), 1..3), of(chain()), of(duration()))
        .prop_map(|(address, bind_to_port, use_original_dst, mut chains, default_filter_chain, detection_timeout)| {
            for (port, chain) in (1..).zip(&mut chains) {
                // What makes them different from each other.
                chain.matches.destination_port = Some(port);
            }
            SocketListener {
                address,
                bind_to_port,
                use_original_dst,
                filter_chains: chains,
                default_filter_chain,
                detection_timeout,
            }
        })
        .boxed()
}

pub(super) fn listener() -> impl Strategy<Value = Listener> {
    let kind = prop_oneof![
        2 => socket().prop_map(|socket| ListenerKind::Socket(Box::new(socket))),
        1 => manager().prop_map(|manager| ListenerKind::Api(Box::new(manager))),
    ];
    let direction = select(vec![Direction::Unspecified, Direction::Inbound, Direction::Outbound]);
    (name(), kind, direction, any::<bool>(), of(name())).prop_map(|(name, kind, direction, error_header, workload)| {
        Listener { name, kind, direction, error_header, workload }
    })
}

pub(super) fn secret() -> impl Strategy<Value = Secret> {
    (name(), any::<bool>()).prop_map(|(name, certificate)| {
        let kind = if certificate {
            SecretKind::Certificate { chain_pem: CHAIN.into(), key_pem: KEY.into() }
        } else {
            SecretKind::Validation { roots_pem: CHAIN.into() }
        };
        Secret { name, kind }
    })
}
