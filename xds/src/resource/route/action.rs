//! Protobuf to what a route does: forward, redirect, answer.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::sync::Arc;
use std::time::Duration;

use super::{
    ClusterSpecifier, DirectResponse, Forward, HashPolicy, HashSource, HostRewrite, Mirror, PathRewrite, Redirect,
    RedirectPath, RetryPolicy, RouteAction, Upgrade, WeightDraw, WeightedCluster, WeightedClusters, mirror,
};
use crate::proto::route::{self, route_action};
use crate::resource::filter::{decode::overrides, decode_actions};
use crate::resource::header::{header_name, header_value, mutations};
use crate::resource::matcher::decode as matcher;
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{inline_data, limit, name, optional_duration, port, unless_zero};

/// The time of a whole exchange when a route says nothing; Envoy's default.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// What a route has from the levels above it unless it says otherwise.
pub(super) struct Inherited {
    pub(super) body_bytes_max: usize,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) retry: Option<RetryPolicy>,
}

pub(super) fn decode(at: &At<'_>, action: Option<route::route::Action>, inherited: &Inherited) -> Checked<RouteAction> {
    use route::route::Action;
    Ok(match action.ok_or_else(|| at.error("has no action"))? {
        Action::Route(action) => RouteAction::Forward(Box::new(forward(&at.field("route"), action, inherited)?)),
        Action::Redirect(action) => RouteAction::Redirect(Box::new(redirect(&at.field("redirect"), action)?)),
        Action::DirectResponse(action) => RouteAction::DirectResponse(direct_response(
            &at.field("direct_response"),
            action,
            inherited.body_bytes_max,
        )?),
        Action::FilterAction(_) => return Err(at.field("filter_action").unsupported()),
        Action::NonForwardingAction(_) => return Err(at.field("non_forwarding_action").unsupported()),
    })
}

fn forward(at: &At<'_>, action: route::RouteAction, inherited: &Inherited) -> Checked<Forward> {
    let route::RouteAction {
        cluster_not_found_response_code,
        metadata_match,
        prefix_rewrite,
        regex_rewrite,
        path_rewrite_policy,
        path_rewrite,
        append_x_forwarded_host,
        timeout,
        idle_timeout,
        flush_timeout,
        early_data_policy,
        retry_policy,
        retry_policy_typed_config,
        request_mirror_policies,
        priority,
        rate_limits,
        include_vh_rate_limits,
        hash_policy,
        cors,
        max_grpc_timeout,
        grpc_timeout_offset,
        upgrade_configs,
        internal_redirect_policy,
        internal_redirect_action,
        max_internal_redirects,
        hedge_policy,
        max_stream_duration,
        cluster_specifier,
        host_rewrite_specifier,
    } = action;
    let grpc_timeout_offset = unless_zero(grpc_timeout_offset);
    refused!(at;
        path_rewrite_policy, path_rewrite, retry_policy_typed_config, priority, cors, grpc_timeout_offset,
        internal_redirect_policy, internal_redirect_action, hedge_policy
    );
    // Subsets are chosen by `metadata_match` only in clusters with `lb_subset_config`, and those are refused.
    ignored!(at; metadata_match, flush_timeout, early_data_policy, max_internal_redirects);
    let max_grpc_timeout = optional_duration(at, "max_grpc_timeout", max_grpc_timeout)?;
    let (max_stream_duration, grpc_timeout_max) = match max_stream_duration {
        Some(message) => stream_duration(&at.field("max_stream_duration"), message)?,
        None => (None, max_grpc_timeout),
    };
    let retry = retry_policy.map(|policy| super::retry::decode(&at.field("retry_policy"), policy)).transpose()?;
    let mut mirrors = mirror::decode(at, request_mirror_policies)?;
    if mirrors.is_empty() {
        mirrors.clone_from(&inherited.mirrors);
    }
    Ok(Forward {
        cluster: cluster(at, cluster_specifier)?,
        cluster_not_found_status: not_found_status(at, cluster_not_found_response_code)?,
        path_rewrite: rewrite(at, prefix_rewrite, regex_rewrite)?,
        host_rewrite: host_rewrite(at, host_rewrite_specifier)?,
        append_x_forwarded_host,
        timeout: limit(at, "timeout", timeout, Some(TIMEOUT_DEFAULT))?,
        idle_timeout: optional_duration(at, "idle_timeout", idle_timeout)?,
        max_stream_duration,
        grpc_timeout_max,
        upgrades: upgrades(at, upgrade_configs)?,
        retry: retry.or_else(|| inherited.retry.clone()),
        mirrors,
        hash_policy: hash_policies(at, hash_policy)?,
        rate_limits: decode_actions(at, rate_limits)?,
        include_virtual_host_rate_limits: include_vh_rate_limits.is_some_and(|flag| flag.value),
    })
}

/// The message's presence alone takes the route's timeout out of force, hence zero ("no bound") for its absent part.
fn stream_duration(
    at: &At<'_>,
    message: route_action::MaxStreamDuration,
) -> Checked<(Option<Duration>, Option<Duration>)> {
    let route_action::MaxStreamDuration { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset } =
        message;
    let grpc_timeout_header_offset = unless_zero(grpc_timeout_header_offset);
    refused!(at; grpc_timeout_header_offset);
    let max = optional_duration(at, "max_stream_duration", max_stream_duration)?.unwrap_or_default();
    Ok((Some(max), optional_duration(at, "grpc_timeout_header_max", grpc_timeout_header_max)?))
}

fn not_found_status(at: &At<'_>, code: i32) -> Checked<u16> {
    use route_action::ClusterNotFoundResponseCode as Code;
    match Code::try_from(code) {
        Ok(Code::ServiceUnavailable) => Ok(503),
        Ok(Code::NotFound) => Ok(404),
        Ok(Code::InternalServerError) => Ok(500),
        Err(_) => Err(at.field("cluster_not_found_response_code").error(format_args!("{code} is not known"))),
    }
}

fn cluster(at: &At<'_>, specifier: Option<route_action::ClusterSpecifier>) -> Checked<ClusterSpecifier> {
    use route_action::ClusterSpecifier as Specifier;
    Ok(match specifier.ok_or_else(|| at.error("names no cluster"))? {
        Specifier::Cluster(cluster) => ClusterSpecifier::Cluster(name(at, "cluster", cluster)?),
        Specifier::ClusterHeader(header) => {
            header_name(&at.field("cluster_header"), &header)?;
            ClusterSpecifier::ClusterHeader(header.to_ascii_lowercase().into())
        }
        Specifier::WeightedClusters(clusters) => {
            ClusterSpecifier::Weighted(weighted(&at.field("weighted_clusters"), clusters)?)
        }
        Specifier::ClusterSpecifierPlugin(_) => return Err(at.field("cluster_specifier_plugin").unsupported()),
        Specifier::InlineClusterSpecifierPlugin(_) => {
            return Err(at.field("inline_cluster_specifier_plugin").unsupported());
        }
    })
}

fn weighted(at: &At<'_>, message: route::WeightedCluster) -> Checked<WeightedClusters> {
    use route::weighted_cluster::RandomValueSpecifier;
    let route::WeightedCluster { clusters, total_weight, runtime_key_prefix, random_value_specifier } = message;
    ignored!(at; runtime_key_prefix);
    let draw = match random_value_specifier {
        Some(RandomValueSpecifier::UseHashPolicy(flag)) if flag.value => WeightDraw::Hash,
        None | Some(RandomValueSpecifier::UseHashPolicy(_)) => WeightDraw::Random,
        Some(RandomValueSpecifier::HeaderName(header)) => {
            header_name(&at.field("header_name"), &header)?;
            WeightDraw::Header(header.to_ascii_lowercase().into())
        }
    };
    if clusters.is_empty() {
        return Err(at.field("clusters").missing());
    }
    let clusters = each(at, "clusters", clusters, cluster_weight)?;
    let sum: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
    let choice = WeightedClusters::new(clusters).ok_or_else(|| {
        at.error(if sum == 0 { "weights are all zero" } else { "the weights add up to more than 2^32 - 1" })
    })?;
    match total_weight {
        Some(total) if u64::from(total.value) != sum => {
            Err(at.field("total_weight").error(format_args!("is {}, but the weights add up to {sum}", total.value)))
        }
        _ => Ok(WeightedClusters { draw, ..choice }),
    }
}

fn cluster_weight(at: &At<'_>, message: route::weighted_cluster::ClusterWeight) -> Checked<WeightedCluster> {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let route::weighted_cluster::ClusterWeight {
        name: cluster,
        cluster_header,
        weight,
        metadata_match,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config,
        host_rewrite_specifier,
    } = message;
    refused!(at; cluster_header);
    ignored!(at; metadata_match);
    let host_rewrite = match host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => non_empty(host),
    };
    Ok(WeightedCluster {
        name: name(at, "name", cluster)?,
        weight: weight.ok_or_else(|| at.field("weight").missing())?.value,
        request_headers: mutations(
            at,
            ("request_headers_to_add", request_headers_to_add),
            ("request_headers_to_remove", request_headers_to_remove),
        )?,
        response_headers: mutations(
            at,
            ("response_headers_to_add", response_headers_to_add),
            ("response_headers_to_remove", response_headers_to_remove),
        )?,
        host_rewrite: host_rewrite.map(|host| value(at, "host_rewrite_literal", host)).transpose()?,
        filters: overrides(at, typed_per_filter_config)?,
    })
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

/// Text that ends up in a head.
fn value(at: &At<'_>, field: &str, text: String) -> Checked<Arc<str>> {
    header_value(&at.field(field), &text)?;
    Ok(text.into())
}

fn rewrite(
    at: &At<'_>,
    prefix: String,
    regex: Option<crate::proto::matcher::RegexMatchAndSubstitute>,
) -> Checked<PathRewrite> {
    match (non_empty(prefix), regex) {
        (None, None) => Ok(PathRewrite::Keep),
        (Some(prefix), None) => Ok(PathRewrite::Prefix(value(at, "prefix_rewrite", prefix)?)),
        (None, Some(regex)) => {
            let (pattern, substitution) = matcher::rewrite(&at.field("regex_rewrite"), regex)?;
            Ok(PathRewrite::Regex { pattern, substitution })
        }
        (Some(_), Some(_)) => Err(at.field("regex_rewrite").error("excludes prefix_rewrite")),
    }
}

fn host_rewrite(at: &At<'_>, specifier: Option<route_action::HostRewriteSpecifier>) -> Checked<HostRewrite> {
    use route_action::HostRewriteSpecifier as Specifier;
    Ok(match specifier {
        None => HostRewrite::Keep,
        Some(Specifier::HostRewriteLiteral(host)) => match non_empty(host) {
            Some(host) => HostRewrite::Literal(value(at, "host_rewrite_literal", host)?),
            None => HostRewrite::Keep,
        },
        Some(Specifier::AutoHostRewrite(flag)) if flag.value => HostRewrite::Endpoint,
        Some(Specifier::AutoHostRewrite(_)) => HostRewrite::Keep,
        Some(Specifier::HostRewriteHeader(header)) => {
            header_name(&at.field("host_rewrite_header"), &header)?;
            HostRewrite::Header(header.to_ascii_lowercase().into())
        }
        Some(Specifier::HostRewritePathRegex(_)) => return Err(at.field("host_rewrite_path_regex").unsupported()),
        Some(Specifier::HostRewrite(_)) => return Err(at.field("host_rewrite").unsupported()),
    })
}

fn upgrades(at: &At<'_>, configs: Vec<route_action::UpgradeConfig>) -> Checked<Vec<Upgrade>> {
    let mut upgrades = Vec::with_capacity(configs.len());
    for (i, config) in configs.into_iter().enumerate() {
        let at = &at.item("upgrade_configs", i);
        let route_action::UpgradeConfig { upgrade_type, enabled, connect_config } = config;
        refused!(at; connect_config);
        add_upgrade(at, &mut upgrades, &upgrade_type, enabled.is_none_or(|flag| flag.value))?;
    }
    Ok(upgrades)
}

/// Adds an upgrade to a list in which each kind appears once.
pub(in crate::resource) fn add_upgrade(
    at: &At<'_>,
    upgrades: &mut Vec<Upgrade>,
    kind: &str,
    enabled: bool,
) -> Checked<()> {
    let at = &at.field("upgrade_type");
    header_name(at, kind)?;
    let kind: Arc<str> = kind.to_ascii_lowercase().into();
    if upgrades.iter().any(|known| known.kind == kind) {
        return Err(at.error(format_args!("{kind:?} is in the list twice")));
    }
    upgrades.push(Upgrade { kind, enabled });
    Ok(())
}

fn hash_policies(at: &At<'_>, policies: Vec<route_action::HashPolicy>) -> Checked<Vec<HashPolicy>> {
    let mut decoded = Vec::with_capacity(policies.len());
    for (i, policy) in policies.into_iter().enumerate() {
        let at = &at.item("hash_policy", i);
        let route_action::HashPolicy { terminal, policy_specifier } = policy;
        match hash_source(at, policy_specifier)? {
            Some(source) => decoded.push(HashPolicy { source, terminal }),
            None => at.ignore_here(),
        }
    }
    Ok(decoded)
}

fn hash_source(
    at: &At<'_>,
    specifier: Option<route_action::hash_policy::PolicySpecifier>,
) -> Checked<Option<HashSource>> {
    use route_action::hash_policy::{ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter};
    Ok(Some(match specifier.ok_or_else(|| at.error("names nothing to hash"))? {
        PolicySpecifier::Header(Header { header_name: header, regex_rewrite }) => {
            let at = &at.field("header");
            refused!(at; regex_rewrite);
            header_name(&at.field("header_name"), &header)?;
            HashSource::Header(header.to_ascii_lowercase().into())
        }
        PolicySpecifier::Cookie(Cookie { name: cookie, ttl, path, attributes }) => {
            let at = &at.field("cookie");
            header_name(&at.field("name"), &cookie)?;
            let attributes = attributes.into_iter().enumerate();
            HashSource::Cookie {
                name: cookie.into(),
                ttl: optional_duration(at, "ttl", ttl)?,
                path: value(at, "path", path)?,
                attributes: attributes
                    .map(|(i, attribute)| cookie_attribute(&at.item("attributes", i), attribute))
                    .collect::<Checked<_>>()?,
            }
        }
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }) => HashSource::SourceIp,
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: false }) => return Ok(None),
        PolicySpecifier::QueryParameter(QueryParameter { name: parameter }) => {
            HashSource::QueryParameter(name(&at.field("query_parameter"), "name", parameter)?)
        }
        PolicySpecifier::FilterState(_) => return Err(at.field("filter_state").unsupported()),
    }))
}

/// Ends up in `set-cookie`, where a semicolon would begin the next attribute.
fn cookie_attribute(
    at: &At<'_>,
    attribute: route_action::hash_policy::CookieAttribute,
) -> Checked<(Arc<str>, Arc<str>)> {
    let route_action::hash_policy::CookieAttribute { name, value: text } = attribute;
    header_name(&at.field("name"), &name)?;
    if text.contains(';') {
        return Err(at.field("value").error("contains a semicolon"));
    }
    Ok((name.into(), value(at, "value", text)?))
}

fn redirect(at: &At<'_>, action: route::RedirectAction) -> Checked<Redirect> {
    use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier};
    let route::RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = action;
    let status = match Code::try_from(response_code) {
        Ok(Code::MovedPermanently) => 301,
        Ok(Code::Found) => 302,
        Ok(Code::SeeOther) => 303,
        Ok(Code::TemporaryRedirect) => 307,
        Ok(Code::PermanentRedirect) => 308,
        Err(_) => return Err(at.field("response_code").error(format_args!("{response_code} is not known"))),
    };
    let scheme = match scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => non_empty(scheme),
    };
    let path = match path_rewrite_specifier {
        None => RedirectPath::Keep,
        Some(PathRewriteSpecifier::PathRedirect(path)) => match non_empty(path) {
            Some(path) => RedirectPath::Full(value(at, "path_redirect", path)?),
            None => RedirectPath::Keep,
        },
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => match non_empty(prefix) {
            Some(prefix) => RedirectPath::Prefix(value(at, "prefix_rewrite", prefix)?),
            None => RedirectPath::Keep,
        },
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            let (pattern, substitution) = matcher::rewrite(&at.field("regex_rewrite"), regex)?;
            RedirectPath::Regex { pattern, substitution }
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => return Err(at.field("path_rewrite").unsupported()),
    };
    let port = if port_redirect == 0 { None } else { Some(port(at, "port_redirect", port_redirect)?) };
    Ok(Redirect {
        scheme: scheme.map(|scheme| value(at, "scheme_redirect", scheme)).transpose()?,
        host: non_empty(host_redirect).map(|host| value(at, "host_redirect", host)).transpose()?,
        port,
        path,
        status,
        strip_query,
    })
}

fn direct_response(at: &At<'_>, action: route::DirectResponseAction, body_bytes_max: usize) -> Checked<DirectResponse> {
    let route::DirectResponseAction { status, body, body_format } = action;
    refused!(at; body_format);
    let status = u16::try_from(status)
        .ok()
        .filter(|s| (200..600).contains(s))
        .ok_or_else(|| at.field("status").error(format_args!("{status} is not a status from 200 to 599")))?;
    let body = match body {
        Some(body) => inline_data(at, "body", body)?,
        None => Arc::default(),
    };
    if body.len() > body_bytes_max {
        let at = at.field("body");
        return Err(at.error(format_args!("is {} bytes long, more than the {body_bytes_max} allowed", body.len())));
    }
    Ok(DirectResponse { status, body })
}
