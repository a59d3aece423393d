//! Protobuf to route configuration: hosts, routes and their matches. What a route does is in `action`.
#![expect(deprecated, reason = "a field that was deprecated is still sent, and must be decided on like any other")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::action::{self, Inherited};
use super::hosts::Apart;
use super::{PathMatcher, Route, RouteConfiguration, RouteMatch, VirtualCluster, VirtualHost, Written, mirror, ours};
use crate::proto::route;
use crate::resource::filter::decode::overrides;
use crate::resource::filter::decode_actions;
use crate::resource::header::mutations;
use crate::resource::matcher::decode as matcher;
use crate::resource::path::{At, Checked, each, ignored, refused};
use crate::resource::scalar::{if_true, label, name, runtime_fraction};

/// A direct response's body may be this long unless the configuration says otherwise; Envoy's default.
const DIRECT_RESPONSE_BODY_BYTES_DEFAULT: usize = 4096;

/// An answer of RDS.
pub(in crate::resource) fn decode(at: &At<'_>, bytes: &[u8]) -> Checked<RouteConfiguration> {
    let apart = Apart::take(at, bytes)?;
    if apart.message.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let (message, hosts) = apart.into_parts(at);
    configuration(at, message, hosts)
}

/// A configuration written in its listener, where it needs no name.
pub(in crate::resource) fn inline(at: &At<'_>, mut message: route::RouteConfiguration) -> Checked<RouteConfiguration> {
    let hosts = std::mem::take(&mut message.virtual_hosts);
    configuration(at, message, hosts.into_iter().map(Ok))
}

/// `virtual_hosts` are not in the message any more.
fn configuration(
    at: &At<'_>,
    message: route::RouteConfiguration,
    virtual_hosts: impl ExactSizeIterator<Item = Checked<route::VirtualHost>>,
) -> Checked<RouteConfiguration> {
    let route::RouteConfiguration {
        name,
        virtual_hosts: _,
        vhds,
        internal_only_headers,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_add,
        request_headers_to_remove,
        most_specific_header_mutations_wins,
        validate_clusters,
        max_direct_response_body_size_bytes,
        cluster_specifier_plugins,
        request_mirror_policies,
        ignore_port_in_host_matching,
        vhost_header,
        ignore_path_parameters_in_path_matching,
        typed_per_filter_config,
        metadata,
        route_specifiers,
    } = message;
    refused!(at;
        vhds, internal_only_headers, cluster_specifier_plugins, vhost_header, ignore_path_parameters_in_path_matching,
        route_specifiers
    );
    // A route to an unknown cluster is the data plane's to answer, whatever the control plane would have it check.
    let validate_clusters = if_true(validate_clusters);
    ignored!(at; validate_clusters, metadata);
    let mut inherited = Inherited {
        body_bytes_max: max_direct_response_body_size_bytes
            .map_or(DIRECT_RESPONSE_BODY_BYTES_DEFAULT, |max| usize::try_from(max.value).unwrap_or(usize::MAX)),
        mirrors: mirror::decode(at, request_mirror_policies)?,
        retry: None,
    };
    let mut hosts = Vec::with_capacity(virtual_hosts.len());
    for (i, host) in virtual_hosts.enumerate() {
        hosts.push(virtual_host(&at.item("virtual_hosts", i), host?, &mut inherited)?);
    }
    unique(at, &hosts)?;
    Ok(RouteConfiguration {
        name: label(at, "name", name)?,
        virtual_hosts: hosts,
        ignore_port_in_host_matching,
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
        most_specific_header_mutations_wins,
        filters: overrides(at, typed_per_filter_config)?,
    })
}

/// A name or a domain that two hosts have would make the outcome depend on their order.
fn unique(at: &At<'_>, hosts: &[VirtualHost]) -> Checked<()> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut domains: HashMap<&str, usize> = HashMap::new();
    for (i, host) in hosts.iter().enumerate() {
        let at = &at.item("virtual_hosts", i);
        match names.entry(&host.name) {
            Entry::Occupied(first) => {
                return Err(at.field("name").error(format_args!(
                    "{:?} is already the name of virtual_hosts[{}]",
                    host.name,
                    first.get()
                )));
            }
            Entry::Vacant(entry) => entry.insert(i),
        };
        for (j, domain) in host.domains.iter().enumerate() {
            match domains.entry(domain) {
                Entry::Occupied(first) => {
                    return Err(at
                        .item("domains", j)
                        .error(format_args!("{domain:?} is already a domain of virtual_hosts[{}]", first.get())));
                }
                Entry::Vacant(entry) => entry.insert(i),
            };
        }
    }
    Ok(())
}

fn virtual_host(at: &At<'_>, message: route::VirtualHost, inherited: &mut Inherited) -> Checked<VirtualHost> {
    let route::VirtualHost {
        name: host_name,
        domains,
        routes,
        matcher,
        require_tls,
        virtual_clusters,
        rate_limits,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        cors,
        typed_per_filter_config,
        include_request_attempt_count,
        include_attempt_count_in_response,
        retry_policy,
        retry_policy_typed_config,
        hedge_policy,
        include_is_timeout_retry_header,
        per_request_buffer_limit_bytes,
        request_body_buffer_limit,
        request_mirror_policies,
        metadata,
        route_specifiers,
    } = message;
    refused!(at;
        matcher, require_tls, cors, include_attempt_count_in_response, retry_policy_typed_config, hedge_policy,
        include_is_timeout_retry_header, route_specifiers
    );
    ignored!(at; per_request_buffer_limit_bytes, request_body_buffer_limit);
    if domains.is_empty() {
        return Err(at.field("domains").missing());
    }
    let domains = domains.into_iter().enumerate();
    let domains = domains.map(|(i, d)| domain(&at.item("domains", i), &d)).collect::<Checked<Vec<_>>>()?;

    // What the host says holds for those of its routes that say nothing.
    inherited.retry = retry_policy.map(|policy| super::retry::decode(&at.field("retry_policy"), policy)).transpose()?;
    let mirrors = mirror::decode(at, request_mirror_policies)?;
    let outer = (!mirrors.is_empty()).then(|| std::mem::replace(&mut inherited.mirrors, mirrors));
    let routes = each(at, "routes", routes, |at, message| route(at, message, inherited))?;
    if let Some(outer) = outer {
        inherited.mirrors = outer;
    }
    let mut host = VirtualHost {
        name: name(at, "name", host_name)?,
        domains,
        routes,
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
        include_request_attempt_count,
        filters: overrides(at, typed_per_filter_config)?,
        rate_limits: decode_actions(at, rate_limits)?,
        virtual_clusters: self::virtual_clusters(at, virtual_clusters)?,
        written: Written::new(),
    };
    ours::decode_host(at, metadata, &mut host)?;
    Ok(host)
}

fn virtual_clusters(at: &At<'_>, messages: Vec<route::VirtualCluster>) -> Checked<Vec<VirtualCluster>> {
    let one = |(i, message): (usize, route::VirtualCluster)| {
        let at = &at.item("virtual_clusters", i);
        let route::VirtualCluster { headers, name: cluster_name } = message;
        if headers.is_empty() {
            return Err(at.field("headers").missing());
        }
        Ok(VirtualCluster {
            name: name(at, "name", cluster_name)?,
            headers: each(at, "headers", headers, matcher::header)?,
        })
    };
    messages.into_iter().enumerate().map(one).collect()
}

/// `host`, `*.suffix` (or `*-suffix`), `prefix.*`, `*`; lower-case from here on.
fn domain(at: &At<'_>, domain: &str) -> Checked<Arc<str>> {
    let fixed = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => "",
        (Some(suffix), _) => suffix,
        (None, Some(prefix)) => prefix,
        (None, None) => domain,
    };
    if domain.is_empty() {
        return Err(at.error("is empty"));
    }
    if fixed.contains('*') {
        return Err(at.error(format_args!("{domain:?} may have one * only, at its start or its end")));
    }
    if domain.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(at.error(format_args!("{domain:?} has a character that no host has")));
    }
    Ok(domain.to_ascii_lowercase().into())
}

fn route(at: &At<'_>, message: route::Route, inherited: &Inherited) -> Checked<Route> {
    let route::Route {
        name,
        r#match: matches,
        metadata,
        decorator,
        typed_per_filter_config,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        tracing,
        per_request_buffer_limit_bytes,
        stat_prefix,
        request_body_buffer_limit,
        route_specifiers,
        action,
    } = message;
    refused!(at; route_specifiers);
    ignored!(at; decorator, tracing, per_request_buffer_limit_bytes, stat_prefix, request_body_buffer_limit);
    let ours = ours::decode(at, metadata)?;
    let matches = matches.ok_or_else(|| at.field("match").missing())?;
    let mut route = Route {
        name: label(at, "name", name)?,
        matches: route_match(&at.field("match"), matches)?,
        action: action::decode(at, action, inherited)?,
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
        source: ours.source,
        policies: ours.policies,
        filters: overrides(at, typed_per_filter_config)?,
    };
    ours::attach_to_route(at, &ours.leases, &mut route);
    Ok(route)
}

fn route_match(at: &At<'_>, message: route::RouteMatch) -> Checked<RouteMatch> {
    let route::RouteMatch {
        case_sensitive,
        runtime_fraction: fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = message;
    refused!(at; cookies, tls_context, dynamic_metadata, filter_state);
    let headers = each(at, "headers", headers, matcher::header)?;
    let parameters = each(at, "query_parameters", query_parameters, matcher::query_parameter)?;
    let case_sensitive = case_sensitive.is_none_or(|flag| flag.value);
    let path_specifier = path_specifier.ok_or_else(|| at.error("has no path specifier"))?;
    Ok(RouteMatch {
        path: path(at, path_specifier, case_sensitive)?,
        headers,
        query_parameters: parameters,
        grpc: grpc.is_some_and(|route::route_match::GrpcRouteMatchOptions {}| true),
        fraction: fraction.map(|f| runtime_fraction(&at.field("runtime_fraction"), f)).transpose()?,
    })
}

fn path(at: &At<'_>, specifier: route::route_match::PathSpecifier, case_sensitive: bool) -> Checked<PathMatcher> {
    use route::route_match::{ConnectMatcher, PathSpecifier};
    let without_case = |matcher: PathMatcher| {
        if !case_sensitive {
            at.ignore("case_sensitive");
        }
        matcher
    };
    Ok(match specifier {
        PathSpecifier::Prefix(prefix) => PathMatcher::Prefix { prefix: label(at, "prefix", prefix)?, case_sensitive },
        PathSpecifier::Path(path) => PathMatcher::Exact { path: label(at, "path", path)?, case_sensitive },
        PathSpecifier::SafeRegex(regex) => {
            without_case(PathMatcher::Regex(matcher::regex(&at.field("safe_regex"), regex)?))
        }
        PathSpecifier::ConnectMatcher(ConnectMatcher {}) => without_case(PathMatcher::Connect),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            if prefix.len() < 2 || prefix.ends_with('/') || prefix.contains(['?', '#']) {
                let at = at.field("path_separated_prefix");
                return Err(at.error(format_args!("{prefix:?} may not be /, end in /, or contain ? or #")));
            }
            PathMatcher::SeparatedPrefix { prefix: label(at, "path_separated_prefix", prefix)?, case_sensitive }
        }
        PathSpecifier::PathMatchPolicy(_) => return Err(at.field("path_match_policy").unsupported()),
    })
}
