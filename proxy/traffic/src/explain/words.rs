//! Conditions, actions and places in words.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate_xds::resource::endpoint::{Health, Locality};
use tidegate_xds::resource::listener::{Listener, ListenerKind};
use tidegate_xds::resource::matcher::{
    Fraction, HeaderCondition, HeaderMatcher, QueryParameterCondition, QueryParameterMatcher, StringMatcher,
};
use tidegate_xds::resource::route::{
    ClusterSpecifier, HostRewrite, PathMatcher, PathRewrite, RedirectPath, RouteAction, RouteMatch,
};

use super::Question;
use crate::matcher::first_parameter;
use crate::request::{RequestView as _, Source};

/// All conditions of a route.
pub(super) fn matches(matches: &RouteMatch) -> String {
    let mut parts = vec![path(&matches.path)];
    if matches.grpc {
        parts.push("gRPC".to_owned());
    }
    parts.extend(matches.headers.iter().map(header));
    parts.extend(matches.query_parameters.iter().map(query));
    parts.join(", ")
}

/// The condition that fails, and what the request has instead.
pub(super) fn unmet(matches: &RouteMatch, unmet: super::Unmet, question: &Question) -> String {
    use super::Unmet;
    match unmet {
        Unmet::Path => format!("{}, request has {}", path(&matches.path), question.path),
        Unmet::Share => "another share of requests".to_owned(),
        Unmet::Grpc => "only gRPC, request has no content-type application/grpc".to_owned(),
        Unmet::Header(at) => {
            let Some(matcher) = matches.headers.get(at) else { return String::new() };
            format!("{}, request has {}", header(matcher), value_of(matcher, question))
        }
        Unmet::Query(at) => {
            let Some(matcher) = matches.query_parameters.get(at) else { return String::new() };
            let value = question.query.as_deref().and_then(|q| first_parameter(q, &matcher.name));
            format!("{}, request has {}", query(matcher), value.unwrap_or("none"))
        }
    }
}

fn value_of(matcher: &HeaderMatcher, question: &Question) -> String {
    let values: Vec<String> = match Source::parse(&matcher.name) {
        Ok(Source::Field(name)) => {
            question.header(&name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
        }
        Ok(part) => part.first(question).map(|v| String::from_utf8_lossy(&v).into_owned()).into_iter().collect(),
        Err(_) => Vec::new(),
    };
    if values.is_empty() { "none".to_owned() } else { values.join(",") }
}

fn path(matcher: &PathMatcher) -> String {
    let case = |sensitive: &bool| if *sensitive { "" } else { " (any case)" };
    match matcher {
        PathMatcher::Connect => "CONNECT".to_owned(),
        PathMatcher::Exact { path, case_sensitive } => format!("path: exact {path}{}", case(case_sensitive)),
        PathMatcher::Prefix { prefix, case_sensitive } if &**prefix == "/" => {
            format!("any path{}", case(case_sensitive).trim_end_matches(" (any case)"))
        }
        PathMatcher::Prefix { prefix, case_sensitive } => format!("path: prefix {prefix}{}", case(case_sensitive)),
        PathMatcher::Regex(pattern) => format!("path: regex {pattern}"),
        PathMatcher::SeparatedPrefix { prefix, case_sensitive } => {
            format!("path: {prefix} or below{}", case(case_sensitive))
        }
    }
}

pub(super) fn string(matcher: &StringMatcher) -> String {
    let (how, value, any_case) = match matcher {
        StringMatcher::Exact { value, ignore_case } => ("exact", value, *ignore_case),
        StringMatcher::Prefix { value, ignore_case } => ("prefix", value, *ignore_case),
        StringMatcher::Suffix { value, ignore_case } => ("suffix", value, *ignore_case),
        StringMatcher::Contains { value, ignore_case } => ("contains", value, *ignore_case),
        StringMatcher::Regex(pattern) => ("regex", pattern, false),
    };
    format!("{how} {value}{}", if any_case { " (any case)" } else { "" })
}

/// `header end-user: exact jason`, `method: exact POST`.
pub(super) fn header(matcher: &HeaderMatcher) -> String {
    let HeaderMatcher { name, condition, invert, missing_as_empty } = matcher;
    let mut text = match name.strip_prefix(':') {
        Some(part) => format!("{part}: "),
        None => format!("header {name}: "),
    };
    if *invert {
        text.push_str("not ");
    }
    match condition {
        HeaderCondition::Present(true) => text.push_str("present"),
        HeaderCondition::Present(false) => text.push_str("absent"),
        HeaderCondition::Value(value) => text.push_str(&string(value)),
        // Writing to a string cannot fail.
        HeaderCondition::Range { start, end } => write!(text, "number from {start} below {end}").unwrap_or_default(),
    }
    if *missing_as_empty {
        text.push_str(" (missing is empty)");
    }
    text
}

fn query(matcher: &QueryParameterMatcher) -> String {
    let name = &matcher.name;
    match &matcher.condition {
        QueryParameterCondition::Present(true) => format!("query {name}: present"),
        QueryParameterCondition::Present(false) => format!("query {name}: absent"),
        QueryParameterCondition::Value(value) => format!("query {name}: {}", string(value)),
    }
}

/// `10 %`
pub(super) fn fraction(fraction: Fraction) -> String {
    let Fraction { numerator, denominator } = fraction;
    let percent = f64::from(numerator) * 100.0 / f64::from(denominator.max(1));
    let text = format!("{percent:.4}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `1.5s`, `250ms`.
pub(super) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) && duration.subsec_nanos().is_multiple_of(1_000_000) && !duration.is_zero() {
        return format!("{}ms", duration.as_millis());
    }
    let text = format!("{:.3}", duration.as_secs_f64());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn action(action: &RouteAction) -> String {
    match action {
        RouteAction::Forward(forward) => {
            let mut text = match &forward.cluster {
                ClusterSpecifier::Cluster(_) => "forwards".to_owned(),
                ClusterSpecifier::ClusterHeader(header) => format!("forwards to the cluster that {header} names"),
                ClusterSpecifier::Weighted(weighted) => {
                    format!("forwards to one of {} by weight", weighted.clusters.len())
                }
            };
            text.push_str(&rewrites(&forward.path_rewrite, &forward.host_rewrite));
            text
        }
        RouteAction::Redirect(redirect) => {
            let mut text = format!("answers {} with a redirect", redirect.status);
            let host = redirect.host.as_deref().map(|host| format!("host {host}"));
            let scheme = redirect.scheme.as_deref().map(|scheme| format!("scheme {scheme}"));
            let port = redirect.port.map(|port| format!("port {port}"));
            let path = match &redirect.path {
                RedirectPath::Keep => None,
                RedirectPath::Full(path) => Some(format!("path {path}")),
                RedirectPath::Prefix(prefix) => Some(format!("prefix {prefix}")),
                RedirectPath::Regex { pattern, substitution } => Some(format!("path {pattern} -> {substitution}")),
            };
            let parts: Vec<String> = [scheme, host, port, path].into_iter().flatten().collect();
            if !parts.is_empty() {
                write!(text, " to {}", parts.join(", ")).unwrap_or_default();
            }
            text
        }
        RouteAction::DirectResponse(direct) => {
            format!("answers {} itself ({} bytes)", direct.status, direct.body.len())
        }
    }
}

fn rewrites(path: &PathRewrite, host: &HostRewrite) -> String {
    let path = match path {
        PathRewrite::Keep => String::new(),
        PathRewrite::Prefix(prefix) => format!(", matched prefix becomes {prefix}"),
        PathRewrite::Regex { pattern, substitution } => format!(", path: {pattern} becomes {substitution}"),
    };
    let host = match host {
        HostRewrite::Keep => String::new(),
        HostRewrite::Literal(host) => format!(", host becomes {host}"),
        HostRewrite::Header(header) => format!(", host becomes the value of {header}"),
        HostRewrite::Endpoint => ", host becomes the endpoint's".to_owned(),
    };
    path + &host
}

pub(super) fn listener(listener: &Listener) -> String {
    match &listener.kind {
        ListenerKind::Socket(socket) => format!("{} ({})", listener.name, socket.address),
        ListenerKind::Api(_) => format!("{} (API listener)", listener.name),
    }
}

/// Where a listener listens.
pub(super) fn port(listener: &Listener) -> Option<u16> {
    match &listener.kind {
        ListenerKind::Socket(socket) => Some(socket.address.port()),
        ListenerKind::Api(_) => None,
    }
}

pub(super) fn locality(locality: &Locality) -> String {
    let Locality { region, zone, sub_zone } = locality;
    let parts: Vec<&str> = [region, zone, sub_zone].into_iter().map(|part| &**part).collect();
    parts.join("/").trim_end_matches('/').to_owned()
}

/// `name;namespace;…` as `namespace/name`.
pub(super) fn workload(text: &str) -> String {
    let mut parts = text.split(';');
    match (parts.next(), parts.next()) {
        (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
        _ => text.to_owned(),
    }
}

pub(super) fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Draining => "draining",
        Health::Unhealthy => "unhealthy",
    }
}
