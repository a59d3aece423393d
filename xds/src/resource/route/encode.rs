//! Route configuration to protobuf.

use super::{
    ClusterSpecifier, DirectResponse, Forward, HashPolicy, HashSource, HostRewrite, PathMatcher, PathRewrite,
    RateLimitedBackOff, Redirect, RedirectPath, ResetHeader, RetryPolicy, Route, RouteAction, RouteConfiguration,
    RouteMatch, Upgrade, VirtualCluster, VirtualHost, WeightDraw, WeightedClusters, mirror, ours,
};
use crate::proto::route::{self, route_action};
use crate::proto::{core, previous_hosts};
use crate::resource::extension::pack;
use crate::resource::filter::{encode::overrides, encode_actions};
use crate::resource::header::{encode_additions, encode_removals};
use crate::resource::matcher::encode as matcher;
use crate::resource::scalar::{encode_bool, encode_duration, encode_fraction, encode_limit, encode_u32};

/// Bodies up to this length need no permission.
const DIRECT_RESPONSE_BODY_BYTES_DEFAULT: usize = 4096;

pub(in crate::resource) fn encode(value: &RouteConfiguration) -> route::RouteConfiguration {
    let routes = value.virtual_hosts.iter().flat_map(|host| &host.routes);
    let bodies = routes.filter_map(|route| match &route.action {
        RouteAction::DirectResponse(response) => Some(response.body.len()),
        RouteAction::Forward(_) | RouteAction::Redirect(_) => None,
    });
    let body_max = bodies.max().filter(|len| *len > DIRECT_RESPONSE_BODY_BYTES_DEFAULT);
    route::RouteConfiguration {
        name: value.name.to_string(),
        virtual_hosts: value.virtual_hosts.iter().map(virtual_host).collect(),
        request_headers_to_add: encode_additions(&value.request_headers),
        request_headers_to_remove: encode_removals(&value.request_headers),
        response_headers_to_add: encode_additions(&value.response_headers),
        response_headers_to_remove: encode_removals(&value.response_headers),
        most_specific_header_mutations_wins: value.most_specific_header_mutations_wins,
        max_direct_response_body_size_bytes: body_max.map(|len| encode_u32(u32::try_from(len).unwrap_or(u32::MAX))),
        ignore_port_in_host_matching: value.ignore_port_in_host_matching,
        typed_per_filter_config: overrides(&value.filters),
        ..Default::default()
    }
}

fn virtual_host(value: &VirtualHost) -> route::VirtualHost {
    route::VirtualHost {
        name: value.name.to_string(),
        domains: value.domains.iter().map(ToString::to_string).collect(),
        routes: value.routes.iter().map(route).collect(),
        request_headers_to_add: encode_additions(&value.request_headers),
        request_headers_to_remove: encode_removals(&value.request_headers),
        response_headers_to_add: encode_additions(&value.response_headers),
        response_headers_to_remove: encode_removals(&value.response_headers),
        include_request_attempt_count: value.include_request_attempt_count,
        typed_per_filter_config: overrides(&value.filters),
        rate_limits: encode_actions(&value.rate_limits),
        virtual_clusters: value.virtual_clusters.iter().map(virtual_cluster).collect(),
        metadata: ours::encode_host(value),
        ..Default::default()
    }
}

fn virtual_cluster(value: &VirtualCluster) -> route::VirtualCluster {
    route::VirtualCluster { headers: value.headers.iter().map(matcher::header).collect(), name: value.name.to_string() }
}

fn route(value: &Route) -> route::Route {
    let action = match &value.action {
        RouteAction::Forward(forward) => route::route::Action::Route(self::forward(forward)),
        RouteAction::Redirect(redirect) => route::route::Action::Redirect(self::redirect(redirect)),
        RouteAction::DirectResponse(response) => route::route::Action::DirectResponse(direct_response(response)),
    };
    route::Route {
        name: value.name.to_string(),
        r#match: Some(route_match(&value.matches)),
        metadata: ours::encode(value),
        typed_per_filter_config: overrides(&value.filters),
        request_headers_to_add: encode_additions(&value.request_headers),
        request_headers_to_remove: encode_removals(&value.request_headers),
        response_headers_to_add: encode_additions(&value.response_headers),
        response_headers_to_remove: encode_removals(&value.response_headers),
        action: Some(action),
        ..Default::default()
    }
}

fn route_match(value: &RouteMatch) -> route::RouteMatch {
    use route::route_match::{ConnectMatcher, GrpcRouteMatchOptions, PathSpecifier};
    let (specifier, case_sensitive) = match &value.path {
        PathMatcher::Connect => (PathSpecifier::ConnectMatcher(ConnectMatcher {}), true),
        PathMatcher::Exact { path, case_sensitive } => (PathSpecifier::Path(path.to_string()), *case_sensitive),
        PathMatcher::Prefix { prefix, case_sensitive } => (PathSpecifier::Prefix(prefix.to_string()), *case_sensitive),
        PathMatcher::Regex(pattern) => (PathSpecifier::SafeRegex(matcher::regex(pattern)), true),
        PathMatcher::SeparatedPrefix { prefix, case_sensitive } => {
            (PathSpecifier::PathSeparatedPrefix(prefix.to_string()), *case_sensitive)
        }
    };
    route::RouteMatch {
        case_sensitive: (!case_sensitive).then(|| encode_bool(false)),
        runtime_fraction: value.fraction.map(encode_fraction),
        headers: value.headers.iter().map(matcher::header).collect(),
        query_parameters: value.query_parameters.iter().map(matcher::query_parameter).collect(),
        grpc: value.grpc.then_some(GrpcRouteMatchOptions {}),
        path_specifier: Some(specifier),
        ..Default::default()
    }
}

#[expect(deprecated, reason = "max_grpc_timeout alone can say: honour grpc-timeout, and keep the route's timeout")]
fn forward(value: &Forward) -> route::RouteAction {
    use route_action::ClusterNotFoundResponseCode as Code;
    let not_found = match value.cluster_not_found_status {
        404 => Code::NotFound,
        500 => Code::InternalServerError,
        _ => Code::ServiceUnavailable,
    };
    let (prefix_rewrite, regex_rewrite) = match &value.path_rewrite {
        PathRewrite::Keep => (String::new(), None),
        PathRewrite::Prefix(prefix) => (prefix.to_string(), None),
        PathRewrite::Regex { pattern, substitution } => (String::new(), Some(matcher::rewrite(pattern, substitution))),
    };
    let (stream_duration, max_grpc_timeout) = match value.max_stream_duration {
        Some(max) => {
            let message = route_action::MaxStreamDuration {
                max_stream_duration: Some(encode_duration(max)),
                grpc_timeout_header_max: value.grpc_timeout_max.map(encode_duration),
                ..Default::default()
            };
            (Some(message), None)
        }
        None => (None, value.grpc_timeout_max.map(encode_duration)),
    };
    route::RouteAction {
        cluster_not_found_response_code: not_found.into(),
        prefix_rewrite,
        regex_rewrite,
        append_x_forwarded_host: value.append_x_forwarded_host,
        timeout: Some(encode_limit(value.timeout)),
        idle_timeout: value.idle_timeout.map(encode_duration),
        retry_policy: value.retry.as_ref().map(retry),
        request_mirror_policies: value.mirrors.iter().map(mirror::encode).collect(),
        hash_policy: value.hash_policy.iter().map(hash_policy).collect(),
        rate_limits: encode_actions(&value.rate_limits),
        include_vh_rate_limits: value.include_virtual_host_rate_limits.then(|| encode_bool(true)),
        max_grpc_timeout,
        upgrade_configs: value.upgrades.iter().map(upgrade).collect(),
        max_stream_duration: stream_duration,
        cluster_specifier: Some(cluster(&value.cluster)),
        host_rewrite_specifier: host_rewrite(&value.host_rewrite),
        ..Default::default()
    }
}

fn cluster(value: &ClusterSpecifier) -> route_action::ClusterSpecifier {
    match value {
        ClusterSpecifier::Cluster(name) => route_action::ClusterSpecifier::Cluster(name.to_string()),
        ClusterSpecifier::ClusterHeader(header) => route_action::ClusterSpecifier::ClusterHeader(header.to_string()),
        ClusterSpecifier::Weighted(clusters) => route_action::ClusterSpecifier::WeightedClusters(weighted(clusters)),
    }
}

fn weighted(value: &WeightedClusters) -> route::WeightedCluster {
    use route::weighted_cluster::{ClusterWeight, RandomValueSpecifier, cluster_weight::HostRewriteSpecifier};
    let clusters = value.clusters.iter().map(|cluster| ClusterWeight {
        name: cluster.name.to_string(),
        weight: Some(encode_u32(cluster.weight)),
        request_headers_to_add: encode_additions(&cluster.request_headers),
        request_headers_to_remove: encode_removals(&cluster.request_headers),
        response_headers_to_add: encode_additions(&cluster.response_headers),
        response_headers_to_remove: encode_removals(&cluster.response_headers),
        host_rewrite_specifier: cluster
            .host_rewrite
            .as_ref()
            .map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_string())),
        typed_per_filter_config: overrides(&cluster.filters),
        ..Default::default()
    });
    let draw = match &value.draw {
        WeightDraw::Random => None,
        WeightDraw::Hash => Some(RandomValueSpecifier::UseHashPolicy(encode_bool(true))),
        WeightDraw::Header(header) => Some(RandomValueSpecifier::HeaderName(header.to_string())),
    };
    route::WeightedCluster { clusters: clusters.collect(), random_value_specifier: draw, ..Default::default() }
}

fn host_rewrite(value: &HostRewrite) -> Option<route_action::HostRewriteSpecifier> {
    use route_action::HostRewriteSpecifier as Specifier;
    match value {
        HostRewrite::Keep => None,
        HostRewrite::Literal(host) => Some(Specifier::HostRewriteLiteral(host.to_string())),
        HostRewrite::Header(header) => Some(Specifier::HostRewriteHeader(header.to_string())),
        HostRewrite::Endpoint => Some(Specifier::AutoHostRewrite(encode_bool(true))),
    }
}

fn upgrade(value: &Upgrade) -> route_action::UpgradeConfig {
    route_action::UpgradeConfig {
        upgrade_type: value.kind.to_string(),
        enabled: Some(encode_bool(value.enabled)),
        ..Default::default()
    }
}

fn retry(value: &RetryPolicy) -> route::RetryPolicy {
    use route::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType};
    let predicate = || RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&previous_hosts::PreviousHostsPredicate {}))),
    };
    let conditions: Vec<_> = value.retry_on.iter().map(|condition| condition.as_str()).collect();
    route::RetryPolicy {
        retry_on: conditions.join(","),
        num_retries: Some(encode_u32(value.num_retries)),
        per_try_timeout: value.per_try_timeout.map(encode_duration),
        per_try_idle_timeout: value.per_try_idle_timeout.map(encode_duration),
        retriable_headers: value.retriable_headers.iter().map(matcher::header).collect(),
        retriable_request_headers: value.retriable_request_headers.iter().map(matcher::header).collect(),
        rate_limited_retry_back_off: value.rate_limited_back_off.as_ref().map(rate_limited),
        retry_host_predicate: value.avoid_previous_hosts.then(predicate).into_iter().collect(),
        host_selection_retry_max_attempts: i64::from(value.host_selection_attempts),
        retriable_status_codes: value.status_codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(encode_duration(value.back_off_base)),
            max_interval: Some(encode_duration(value.back_off_max)),
        }),
        ..Default::default()
    }
}

fn rate_limited(value: &RateLimitedBackOff) -> route::retry_policy::RateLimitedRetryBackOff {
    use route::retry_policy::{self, ResetHeaderFormat};
    let header = |header: &ResetHeader| retry_policy::ResetHeader {
        name: header.name.to_string(),
        format: if header.unix_timestamp { ResetHeaderFormat::UnixTimestamp } else { ResetHeaderFormat::Seconds }
            .into(),
    };
    retry_policy::RateLimitedRetryBackOff {
        reset_headers: value.headers.iter().map(header).collect(),
        max_interval: Some(encode_duration(value.max)),
    }
}

fn hash_policy(value: &HashPolicy) -> route_action::HashPolicy {
    use route_action::hash_policy::{
        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
    };
    let specifier = match &value.source {
        HashSource::Header(header) => {
            PolicySpecifier::Header(Header { header_name: header.to_string(), regex_rewrite: None })
        }
        HashSource::Cookie { name, ttl, path, attributes } => PolicySpecifier::Cookie(Cookie {
            name: name.to_string(),
            ttl: ttl.map(encode_duration),
            path: path.to_string(),
            attributes: attributes
                .iter()
                .map(|(name, value)| CookieAttribute { name: name.to_string(), value: value.to_string() })
                .collect(),
        }),
        HashSource::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashSource::QueryParameter(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() }),
    };
    route_action::HashPolicy { terminal: value.terminal, policy_specifier: Some(specifier) }
}

fn redirect(value: &Redirect) -> route::RedirectAction {
    use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier};
    let code = match value.status {
        302 => Code::Found,
        303 => Code::SeeOther,
        307 => Code::TemporaryRedirect,
        308 => Code::PermanentRedirect,
        _ => Code::MovedPermanently,
    };
    let path = match &value.path {
        RedirectPath::Keep => None,
        RedirectPath::Full(path) => Some(PathRewriteSpecifier::PathRedirect(path.to_string())),
        RedirectPath::Prefix(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_string())),
        RedirectPath::Regex { pattern, substitution } => {
            Some(PathRewriteSpecifier::RegexRewrite(matcher::rewrite(pattern, substitution)))
        }
    };
    route::RedirectAction {
        host_redirect: value.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: value.port.map_or(0, u32::from),
        response_code: code.into(),
        strip_query: value.strip_query,
        scheme_rewrite_specifier: value
            .scheme
            .as_ref()
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string())),
        path_rewrite_specifier: path,
    }
}

fn direct_response(value: &DirectResponse) -> route::DirectResponseAction {
    let body = (!value.body.is_empty()).then(|| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(value.body.to_vec())),
        ..Default::default()
    });
    route::DirectResponseAction { status: u32::from(value.status), body, body_format: None }
}
