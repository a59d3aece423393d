//! VirtualService: rules for calls to a host.
//!
//! # Semantics kept from Istio
//! Match blocks of a rule are alternatives, the conditions inside one all hold; the first rule that matches is taken;
//! `prefix: /v1` also matches `/v10`; patterns match the whole value; a weight left out beside others is zero.

use std::sync::Arc;

use super::{Headers, Host, export_to, headers};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::cors::Cors;
use crate::ir::fault::Fault;
use crate::ir::retry::Retry;
use crate::ir::route::{PathMatch, PathRewrite, Redirect, RedirectPort, RequestMatch};
use crate::ir::timeout::Timeouts;
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, duration, integer, list, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node};

mod condition;
mod cors;
mod fault;
mod mirror;
mod retry;

pub(crate) use mirror::MirrorShape;

/// A VirtualService, its hosts and destinations not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct VirtualService {
    pub(crate) hosts: Vec<Host>,
    pub(crate) http: Vec<HttpRule>,
    pub(crate) tcp: Vec<TcpRule>,
}

/// A rule for HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpRule {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    /// Alternatives; empty: every request.
    pub(crate) matches: Vec<RequestMatch>,
    pub(crate) action: Action,
    pub(crate) headers: Headers,
    /// A replacement for the path, or for the matched prefix of it.
    pub(crate) rewrite_uri: Option<Arc<str>>,
    pub(crate) rewrite_regex: Option<(Arc<str>, Arc<str>)>,
    pub(crate) rewrite_authority: Option<Arc<str>>,
    pub(crate) timeouts: Timeouts,
    pub(crate) fault: Option<Spanned<Fault>>,
    pub(crate) retry: Option<Spanned<Retry>>,
    pub(crate) mirrors: Vec<MirrorShape>,
    pub(crate) cors: Option<Spanned<Cors>>,
}

/// What an HTTP rule does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Route(Vec<WeightedDestination>),
    Redirect(Redirect),
    DirectResponse { status: u16, body: Arc<str> },
}

/// A rule for TCP.
#[derive(Clone, Debug)]
pub(crate) struct TcpRule {
    pub(crate) span: Span,
    /// Ports of the service that it is for; empty: all that carry plain connections.
    pub(crate) ports: Vec<Spanned<u16>>,
    pub(crate) route: Vec<WeightedDestination>,
}

/// A destination with its share.
#[derive(Clone, Debug)]
pub(crate) struct WeightedDestination {
    pub(crate) host: Host,
    pub(crate) subset: Option<Spanned<Arc<str>>>,
    pub(crate) port: Option<Spanned<u16>>,
    pub(crate) weight: u32,
    pub(crate) headers: Headers,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<VirtualService> {
    let mut fields = spec(document, "a VirtualService", cx)?;
    let Context { report, patterns, .. } = cx;
    let hosts = fields.list("hosts", report, word);
    for gateway in fields.list("gateways", report, word) {
        if &*gateway.value != "mesh" {
            not_supported(
                gateway.span,
                "a gateway other than `mesh`",
                "for traffic from outside use a Gateway API Gateway with HTTPRoutes; leave `gateways` out for calls inside the mesh",
                report,
            );
        }
    }
    export_to(&mut fields, report);
    let http_entry = fields.entry("http");
    let tcp_entry = fields.entry("tcp");
    let tls_entry = fields.entry("tls");
    if http_entry.is_none() && tcp_entry.is_none() && tls_entry.is_none() {
        report
            .add(Code::InvalidRule, fields.span(), "http, tcp or tls must be provided in virtual service")
            .help("add `http:` with at least one rule, or remove the object");
    }
    if let Some(tls) = tls_entry {
        not_supported(tls.key_span, "`tls` of a VirtualService", "remove it; it would not be enforced", report);
    }
    let http = http_entry.map_or_else(Vec::new, |entry| {
        list(&entry.value, "http", report, |node, report| http_rule(node, patterns, report))
    });
    let tcp = tcp_entry.map_or_else(Vec::new, |entry| list(&entry.value, "tcp", report, tcp_rule));
    fields.finish(report);
    if hosts.is_empty() {
        report
            .add(Code::MissingField, document.span, "virtual service must have at least one host")
            .help("add `hosts:` with the name of a service");
    }
    Some(VirtualService { hosts: hosts.into_iter().filter(|host| mesh_host(host, report)).collect(), http, tcp })
}

fn mesh_host(host: &Host, report: &mut Report) -> bool {
    if &*host.value == "*" {
        report
            .add(
                Code::WildcardHost,
                host.span,
                "wildcard host * is not allowed for virtual services bound to the mesh gateway",
            )
            .help("name each service the rules are for");
        return false;
    }
    if host.value.contains('*') {
        not_supported(
            host.span,
            "a wildcard among the hosts of a VirtualService",
            "name each service the rules are for",
            report,
        );
        return false;
    }
    true
}

fn http_rule(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<HttpRule> {
    let mut fields = Fields::open(node, "the HTTP rule", report)?;
    let span = fields.span();
    let name = fields.read("name", report, text).map_or_else(|| Arc::from(""), |name| name.value);
    let matches = fields.list("match", report, |node, report| condition::read(node, patterns, report));
    let route = fields.entry("route");
    let redirect = fields.entry("redirect");
    let direct_response = fields.entry("directResponse");
    let rewrite_entry = fields.entry("rewrite");
    let rewrite = rewrite_entry.and_then(|entry| rewrite(&entry.value, patterns, report)).unwrap_or_default();
    let timeout = fields.read("timeout", report, duration);
    let headers = fields.read("headers", report, headers).unwrap_or_default();
    let fault_at = fields.entry("fault");
    let fault = fault_at.and_then(|entry| at(entry, fault::read(&entry.value, report)));
    let mirrors_at = mirror::Written::take(&mut fields);
    let mirror_at = mirrors_at.place();
    let mirrors = mirrors_at.read(report);
    let retry_at = fields.entry("retries");
    let retry = retry_at.and_then(|entry| at(entry, retry::read(&entry.value, report)));
    let cors_at = fields.entry("corsPolicy");
    let cors = cors_at.and_then(|entry| at(entry, cors::read(&entry.value, patterns, report)));
    fields.ignore(&["statPrefix"]);
    fields.unsupported(&["delegate"], "write the delegate's rules here", report);
    fields.finish(report);
    let action = action(span, route, redirect, direct_response, report)?;
    if let (Some(entry), Action::Redirect(_) | Action::DirectResponse { .. }) = (rewrite_entry, &action) {
        report
            .add(Code::InvalidRule, entry.key_span, "`rewrite` has no meaning in a rule that answers by itself")
            .help("remove it, or give the redirect its own `uri`");
    }
    check_fault(fault_at, &action, report);
    if !matches!(action, Action::Route(_)) {
        for entry in [mirror_at, retry_at].into_iter().flatten() {
            report
                .add(
                    Code::FieldWithoutEffect,
                    entry.key_span,
                    format!("`{}` has no effect in a rule that answers by itself", entry.key),
                )
                .help("remove it");
        }
    }
    // An explicit zero means no limit, as in Istio.
    let timeout = timeout.map(|timeout| timeout.value).filter(|timeout| !timeout.is_zero());
    if let Some(retry) = &retry {
        retry::warn_of_repeats(&retry.value, retry.span, &matches, report);
    }
    Some(HttpRule {
        span,
        name,
        matches,
        action,
        rewrite_uri: rewrite.uri,
        rewrite_regex: rewrite.regex,
        rewrite_authority: rewrite.authority,
        headers,
        timeouts: Timeouts { request: timeout, backend_request: None },
        fault,
        retry,
        mirrors,
        cors,
    })
}

/// A stanza with the place of its name.
fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    Some(Spanned { value: value?, span: entry.key_span })
}

/// A rule that answers by itself injects nothing.
fn check_fault(fault: Option<&Entry>, action: &Action, report: &mut Report) {
    let other = match action {
        Action::Route(_) => return,
        Action::Redirect(_) => "redirect",
        Action::DirectResponse { .. } => "direct_response",
    };
    if let Some(entry) = fault {
        report
            .add(Code::InvalidRule, entry.key_span, format!("HTTP route cannot contain both fault and {other}"))
            .help("keep one of them");
    }
}

/// Exactly one of the three.
fn action(
    span: Span,
    route: Option<&Entry>,
    redirect: Option<&Entry>,
    direct: Option<&Entry>,
    report: &mut Report,
) -> Option<Action> {
    match (route, redirect, direct) {
        (Some(entry), None, None) => {
            let destinations = destinations(&entry.value, "route", report);
            if destinations.is_empty() {
                if entry.value.is_null() || matches!(&entry.value.content, Content::List(items) if items.is_empty()) {
                    report
                        .add(Code::MissingField, entry.key_span, "`route` names no destination")
                        .help("add `- destination: {host: NAME}`");
                }
                return None;
            }
            check_weights(entry, &destinations, report);
            Some(Action::Route(destinations.into_iter().map(|(destination, _)| destination).collect()))
        }
        (None, Some(entry), None) => self::redirect(&entry.value, report).map(Action::Redirect),
        (None, None, Some(entry)) => direct_response(&entry.value, report),
        (None, None, None) => {
            report
                .add(Code::InvalidRule, span, "HTTP route, redirect or direct_response is required")
                .help("say what to do with the request: add `route`");
            None
        }
        (Some(first), Some(second), _) => {
            contradiction(first, second, "HTTP route cannot contain both route and redirect", report);
            None
        }
        (Some(first), None, Some(second)) => {
            contradiction(first, second, "HTTP route cannot contain both route and direct_response", report);
            None
        }
        (None, Some(first), Some(second)) => {
            contradiction(first, second, "HTTP route cannot contain both redirect and direct_response", report);
            None
        }
    }
}

fn contradiction(first: &Entry, second: &Entry, message: &str, report: &mut Report) {
    report
        .add(Code::InvalidRule, second.key_span, message)
        .also(first.key_span, "the other is here")
        .help("keep one of them, or write two rules");
}

/// Weights: written ones are kept; the only destination gets everything; one left out beside others gets nothing.
fn destinations(node: &Node, name: &str, report: &mut Report) -> Vec<(WeightedDestination, Option<Span>)> {
    let alone = matches!(&node.content, Content::List(items) if items.len() == 1);
    list(node, name, report, |node, report| {
        let mut fields = Fields::open(node, "the route", report)?;
        let destination = fields.require("destination", report, destination);
        let weight = fields.take("weight");
        let weight_span = weight.map(|weight| weight.span);
        let weight = weight.map(|node| self::weight(node, report));
        let headers = fields.read("headers", report, headers).unwrap_or_default();
        fields.finish(report);
        let (host, subset, port) = destination?;
        let weight = match weight {
            Some(weight) => weight?,
            None => u32::from(alone),
        };
        Some((WeightedDestination { host, subset, port, weight, headers }, weight_span))
    })
}

fn weight(node: &Node, report: &mut Report) -> Option<u32> {
    let number = integer(node, i64::from(i32::MIN), i64::from(i32::MAX), report)?;
    match u32::try_from(number.value) {
        Ok(weight) => Some(weight),
        Err(_) => {
            report
                .add(Code::BadValue, number.span, format!("weight {} < 0", number.value))
                .help("weights are zero or more");
            None
        }
    }
}

fn check_weights(entry: &Entry, destinations: &[(WeightedDestination, Option<Span>)], report: &mut Report) {
    // A destination that could not be read may carry the weight that is missing.
    if !matches!(&entry.value.content, Content::List(items) if items.len() == destinations.len()) {
        return;
    }
    let total: u64 = destinations.iter().map(|(destination, _)| u64::from(destination.weight)).sum();
    let spans = destinations.iter().filter_map(|(destination, span)| span.map(|span| (destination, span)));
    if total == 0 {
        let finding = report.add(Code::WeightsZero, entry.key_span, "total destination weight = 0");
        for (_, span) in spans {
            finding.also(span, "0");
        }
        finding.help("give at least one destination a weight above 0");
        return;
    }
    if destinations.len() > 1 && total != 100 {
        let finding =
            report.add(Code::WeightsNotHundred, entry.key_span, format!("the weights add up to {total}, not 100"));
        for (destination, span) in spans {
            let share = f64::from(destination.weight) * 100.0 / total as f64;
            finding.also(span, format!("gets {share:.1} %"));
        }
        finding.help("shares are relative, so this works; change a weight if percentages were meant");
    }
}

/// Host, subset and port of a destination.
pub(crate) type Target = (Host, Option<Spanned<Arc<str>>>, Option<Spanned<u16>>);

fn destination(node: &Node, report: &mut Report) -> Option<Target> {
    let mut fields = Fields::open(node, "the destination", report)?;
    let host = fields.require("host", report, word);
    let subset = fields.read("subset", report, text).filter(|subset| !subset.value.is_empty());
    let number = fields.read("port", report, |node, report| {
        let mut fields = Fields::open(node, "the port", report)?;
        let number = fields.require("number", report, port);
        fields.finish(report);
        number
    });
    fields.finish(report);
    Some((host?, subset, number))
}

fn redirect(node: &Node, report: &mut Report) -> Option<Redirect> {
    let mut fields = Fields::open(node, "the redirect", report)?;
    let span = fields.span();
    let uri = fields.read("uri", report, text);
    let prefix = fields.read("prefixRewrite", report, text);
    let authority = fields.read("authority", report, word).map(|authority| authority.value);
    let number = fields.read("port", report, port);
    let derived = fields.read("derivePort", report, |node, report| {
        choice(node, &["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"], report)
    });
    let scheme = fields.read("scheme", report, |node, report| choice(node, &["http", "https"], report));
    let status = fields.read("redirectCode", report, |node, report| integer(node, 0, 999, report));
    fields.finish(report);
    if uri.is_some() && prefix.is_some() {
        report
            .add(Code::InvalidRule, span, "only one of uri and prefixRewrite can be given in a redirect")
            .help("keep one");
    }
    if number.is_some() && derived.is_some() {
        report
            .add(Code::InvalidRule, span, "only one of port and derivePort can be given in a redirect")
            .help("keep one");
    }
    let status = match status {
        None => 301,
        Some(status) => {
            match u16::try_from(status.value).ok().filter(|code| matches!(code, 301 | 302 | 303 | 307 | 308)) {
                Some(code) => code,
                None => {
                    report
                        .add(Code::BadValue, status.span, format!("{} is not a status of a redirect", status.value))
                        .help("use 301, 302, 303, 307 or 308");
                    return None;
                }
            }
        }
    };
    let port = match (number, derived.map(|derived| derived.value)) {
        (Some(number), _) => RedirectPort::Number(number.value),
        (None, Some("FROM_PROTOCOL_DEFAULT")) => RedirectPort::SchemeDefault,
        (None, _) => RedirectPort::Request,
    };
    let path = match (uri, prefix) {
        (Some(uri), _) => PathRewrite::Full(uri.value),
        (None, Some(prefix)) => PathRewrite::Prefix(prefix.value),
        (None, None) => PathRewrite::Keep,
    };
    Some(Redirect { scheme: scheme.map(|scheme| Arc::from(scheme.value)), host: authority, port, path, status })
}

fn direct_response(node: &Node, report: &mut Report) -> Option<Action> {
    let mut fields = Fields::open(node, "directResponse", report)?;
    let status = fields.require("status", report, |node, report| integer(node, 0, i64::from(u32::MAX), report));
    let body = fields.read("body", report, |node, report| {
        let mut fields = Fields::open(node, "the body", report)?;
        let body = fields.read("string", report, text);
        fields.unsupported(&["bytes"], "write the body as `string`", report);
        fields.finish(report);
        body
    });
    fields.finish(report);
    let status = status?;
    match u16::try_from(status.value).ok().filter(|code| (200..=599).contains(code)) {
        Some(code) => {
            Some(Action::DirectResponse { status: code, body: body.map_or_else(|| Arc::from(""), |body| body.value) })
        }
        None => {
            report.add(Code::BadValue, status.span, format!("HTTP status {} is not in range 200-599", status.value));
            None
        }
    }
}

#[derive(Default)]
struct Rewrite {
    uri: Option<Arc<str>>,
    authority: Option<Arc<str>>,
    regex: Option<(Arc<str>, Arc<str>)>,
}

fn rewrite(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Rewrite> {
    let mut fields = Fields::open(node, "the rewrite", report)?;
    let span = fields.span();
    let uri = fields.read("uri", report, word).map(|uri| uri.value);
    let authority = fields.read("authority", report, word).map(|authority| authority.value);
    let regex = fields.read("uriRegexRewrite", report, |node, report| {
        let mut fields = Fields::open(node, "uriRegexRewrite", report)?;
        let pattern = fields.require("match", report, word);
        let substitution = fields.require("rewrite", report, text);
        fields.finish(report);
        Some((patterns.check(&pattern?, report)?, substitution?.value))
    });
    fields.finish(report);
    if uri.is_some() && regex.is_some() {
        report.add(Code::InvalidRule, span, "rewrite may only contain one of uri or uriRegexRewrite").help("keep one");
    }
    Some(Rewrite { uri, authority, regex })
}

fn tcp_rule(node: &Node, report: &mut Report) -> Option<TcpRule> {
    let mut fields = Fields::open(node, "the TCP rule", report)?;
    let span = fields.span();
    let matches_at = fields.entry("match");
    let matches = matches_at.map(|entry| list(&entry.value, "match", report, tcp_match));
    let route = fields.entry("route");
    if route.is_none() {
        report.add(Code::InvalidRule, span, "TCP route is required").help("add `route` with a destination");
    }
    fields.finish(report);
    let entry = route?;
    let destinations = destinations(&entry.value, "route", report);
    if destinations.is_empty() {
        return None;
    }
    check_weights(entry, &destinations, report);
    // One alternative without a port takes every connection.
    let ports = matches.unwrap_or_default().into_iter().collect::<Option<Vec<_>>>().unwrap_or_default();
    Some(TcpRule { span, ports, route: destinations.into_iter().map(|(destination, _)| destination).collect() })
}

/// A condition on a connection: its port, or nothing.
fn tcp_match(node: &Node, report: &mut Report) -> Option<Option<Spanned<u16>>> {
    let mut fields = Fields::open(node, "the match", report)?;
    let number = fields.take("port").map(|node| port(node, report));
    for gateway in fields.list("gateways", report, word) {
        if &*gateway.value != "mesh" {
            not_supported(gateway.span, "a gateway other than `mesh`", "leave `gateways` out", report);
        }
    }
    fields.unsupported(
        &["destinationSubnets", "sourceLabels", "sourceNamespace", "sourceSubnet"],
        "a connection inside the mesh is told apart by its port",
        report,
    );
    fields.finish(report);
    match number {
        None => Some(None),
        Some(number) => Some(Some(number?)),
    }
}

impl HttpRule {
    /// The rewrite for one of the matches: `uri` replaces the prefix where a prefix was matched, else the path.
    pub(crate) fn path_rewrite(&self, condition: &RequestMatch) -> PathRewrite {
        match (&self.rewrite_uri, &self.rewrite_regex) {
            (Some(uri), _) => match &condition.path {
                PathMatch::StringPrefix { .. } => PathRewrite::Prefix(Arc::clone(uri)),
                PathMatch::Any | PathMatch::Exact { .. } | PathMatch::SegmentPrefix(_) | PathMatch::Regex(_) => {
                    PathRewrite::Full(Arc::clone(uri))
                }
            },
            (None, Some((pattern, substitution))) => {
                PathRewrite::Regex { pattern: Arc::clone(pattern), substitution: Arc::clone(substitution) }
            }
            (None, None) => PathRewrite::Keep,
        }
    }
}
