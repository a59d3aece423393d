//! VirtualService: rules for calls to a host.
//!
//! # Semantics kept from Istio
//! Match blocks of a rule are alternatives, the conditions inside one all hold; the first rule that matches is taken;
//! `prefix: /v1` also matches `/v10`; patterns match the whole value; a weight left out beside others is zero.

use std::sync::Arc;

use super::{Headers, Host, export_to, headers};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::route::{PathRewrite, Redirect, RedirectPort, RequestMatch};
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, integer, list, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node};

pub(crate) mod binding;
mod condition;
mod cors;
mod delegate;
mod fault;
mod mirror;
mod retry;
mod rewrite;
mod settings;

pub(crate) use delegate::Delegation;
pub(crate) use mirror::MirrorShape;
pub(crate) use rewrite::Rewrite;
pub(crate) use settings::Settings;

/// A VirtualService, its hosts and destinations not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct VirtualService {
    /// `None`: a delegate, which has rules for the hosts of whoever delegates to it.
    pub(crate) hosts: Option<Vec<Host>>,
    pub(crate) http: Vec<Rule>,
    pub(crate) tcp: Vec<TcpRule>,
    /// For TLS that goes through gateways.
    pub(crate) tls: Vec<binding::TlsRule>,
    pub(crate) binding: binding::Binding,
}

/// A rule for HTTP as written.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    Own(HttpRule),
    /// The rules of another object stand here.
    Delegated(Delegation),
}

/// A rule for HTTP that says itself what to do.
#[derive(Clone, Debug)]
pub(crate) struct HttpRule {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    /// Alternatives; empty: every request.
    pub(crate) matches: Vec<Spanned<RequestMatch>>,
    pub(crate) action: Action,
    pub(crate) settings: Settings,
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
    let written = |entry: &&Entry| !matches!(&entry.value.content, Content::List(items) if items.is_empty());
    let hosts_at = fields.entry("hosts").filter(written);
    let hosts = hosts_at.map(|entry| list(&entry.value, "hosts", report, word));
    let gateways_at = fields.entry("gateways");
    export_to(&mut fields, report);
    let http_entry = fields.entry("http");
    let tcp_entry = fields.entry("tcp");
    let tls_entry = fields.entry("tls");
    if http_entry.is_none() && tcp_entry.is_none() && tls_entry.is_none() {
        report
            .add(Code::InvalidRule, fields.span(), "http, tcp or tls must be provided in virtual service")
            .help("add `http:` with at least one rule, or remove the object");
    }
    if hosts.is_none() {
        delegate::check(gateways_at, tls_entry, tcp_entry, report);
    }
    let binding = binding::read(gateways_at.filter(|_| hosts.is_some()), report);
    let hosts: Option<Vec<Host>> = hosts.map(|hosts| {
        if binding.mesh {
            hosts.into_iter().filter(|host| mesh_host(host, report)).collect()
        } else {
            binding::hosts(hosts, report)
        }
    });
    let tls = match (tls_entry, &hosts) {
        (Some(entry), Some(hosts)) => binding::tls(entry, hosts, &binding, report),
        _ => Vec::new(),
    };
    let http = http_entry.map_or_else(Vec::new, |entry| {
        list(&entry.value, "http", report, |node, report| http_rule(node, patterns, report))
    });
    let tcp = tcp_entry.map_or_else(Vec::new, |entry| list(&entry.value, "tcp", report, tcp_rule));
    fields.finish(report);
    Some(VirtualService { hosts, http, tcp, tls, binding })
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

fn http_rule(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Rule> {
    let mut fields = Fields::open(node, "the HTTP rule", report)?;
    let span = fields.span();
    let name = fields.read("name", report, text).map_or_else(|| Arc::from(""), |name| name.value);
    let matches = fields.list("match", report, |node, report| {
        condition::read(node, patterns, report).map(|value| Spanned { value, span: node.span })
    });
    let delegate = fields.entry("delegate");
    let route = fields.entry("route");
    let redirect = fields.entry("redirect");
    let direct_response = fields.entry("directResponse");
    let (settings, places) = settings::read(&mut fields, patterns, report);
    fields.ignore(&["statPrefix"]);
    fields.finish(report);
    if let Some(retry) = &settings.retry {
        retry::warn_of_repeats(&retry.value, retry.span, &matches, report);
    }
    let others = [route, redirect, direct_response];
    if let Some(entry) = delegate {
        let target = delegate::read(&entry.value, report);
        delegate::alone(&name, entry, others, report);
        // With something beside it the rule is refused, and what stands there may have mistakes of its own.
        if others.iter().all(Option::is_none) {
            let target = target?;
            return Some(Rule::Delegated(Delegation { span, name, matches, at: entry.key_span, target, settings }));
        }
    }
    let action = action(span, route, redirect, direct_response, report)?;
    places.check(&action, report);
    Some(Rule::Own(HttpRule { span, name, matches, action, settings }))
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
