//! GRPCRoute: calls of gRPC by service and method.
//!
//! # Why it becomes an HTTPRoute
//! A call is a request for `/package.Service/Method`, so a condition on service and method is one on the path, and the order
//! that the specification asks for (longer service, longer method, more headers) is the order of such paths. What remains is
//! that the rules take nothing but gRPC, which each match says.

use std::sync::Arc;

use super::hostname;
use super::http_route::{self, HttpRoute, Rule, filter, grpc_headers};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::route::{PathMatch, RequestMatch};
use crate::ir::timeout::Timeouts;
use crate::pattern::Patterns;
use crate::schema::{Fields, choice, list_up_to, text, word};
use crate::source::Spanned;
use crate::tree::Node;

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<HttpRoute> {
    let mut fields = spec(document, "a GRPCRoute", cx)?;
    let Context { report, patterns, .. } = cx;
    let parents = fields.list_up_to(32, "parentRefs", report, http_route::parent);
    let hostnames = fields.list_up_to(16, "hostnames", report, hostname);
    fields.unsupported(&["useDefaultGateways"], "name the gateway in `parentRefs`", report);
    let span = fields.span();
    let rules = match fields.entry("rules") {
        Some(entry) => list_up_to(16, &entry.value, "rules", report, |node, report| rule(node, patterns, report)),
        None => vec![Rule::answering_nothing(span, every_call())],
    };
    fields.finish(report);
    http_route::check(&parents, &rules, span, report);
    Some(HttpRoute { parents, hostnames, rules })
}

fn every_call() -> RequestMatch {
    RequestMatch { grpc: true, ..RequestMatch::default() }
}

fn rule(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Rule> {
    let mut fields = Fields::open(node, "the rule", report)?;
    let span = fields.span();
    let name = fields.read("name", report, word).map_or_else(|| Arc::from(""), |name| name.value);
    let mut matches = fields.list_up_to(64, "matches", report, |node, report| condition(node, patterns, report));
    let mut filters = fields.read("filters", report, filter::read_grpc).unwrap_or_default();
    let backends_at = fields.entry("backendRefs");
    let mut backends = backends_at
        .map_or_else(Vec::new, |entry| list_up_to(16, &entry.value, "backendRefs", report, http_route::grpc_backend));
    let session = http_route::session_of(&mut fields, report);
    fields.finish(report);
    if matches.is_empty() {
        matches.push(every_call());
    }
    http_route::check_weights(backends_at, &backends, report);
    http_route::hoist(&mut filters, &mut backends, &matches, report);
    Some(Rule { span, name, matches, filters, backends, timeouts: Timeouts::default(), retry: None, session })
}

fn condition(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<RequestMatch> {
    let mut fields = Fields::open(node, "the match", report)?;
    let path = fields.take("method").map(|node| method(node, patterns, report));
    let headers = grpc_headers(&mut fields, patterns, report);
    fields.finish(report);
    let path = match path {
        None => PathMatch::Any,
        Some(path) => path?,
    };
    Some(RequestMatch { path, headers, ..every_call() })
}

/// `{type, service, method}` as a condition on the path.
fn method(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<PathMatch> {
    let mut fields = Fields::open(node, "the method", report)?;
    let span = fields.span();
    let kind = fields.read("type", report, |node, report| choice(node, &["Exact", "RegularExpression"], report));
    let service = fields.read("service", report, text).filter(|service| !service.value.is_empty());
    let method = fields.read("method", report, text).filter(|method| !method.value.is_empty());
    fields.finish(report);
    if service.is_none() && method.is_none() {
        report
            .add(Code::InvalidRule, span, "One or both of 'service' or 'method' must be specified")
            .help("add `service: package.Service`, `method: Method`, or leave `method` out for every call");
        return None;
    }
    if kind.is_some_and(|kind| kind.value == "RegularExpression") {
        return pattern(service.as_ref(), method.as_ref(), patterns, report).map(PathMatch::Regex);
    }
    let good_service = service.as_ref().is_none_or(|service| valid_service(service, report));
    let good_method = method.as_ref().is_none_or(|method| valid_method(method, report));
    if !(good_service && good_method) {
        return None;
    }
    Some(match (service, method) {
        (Some(service), Some(method)) => {
            PathMatch::Exact { value: Arc::from(format!("/{}/{}", service.value, method.value)), ignore_case: false }
        }
        (Some(service), None) => PathMatch::SegmentPrefix(Arc::from(format!("/{}", service.value))),
        (None, method) => {
            let method = method.map_or_else(String::new, |method| regex_syntax::escape(&method.value));
            let pattern = Spanned { value: Arc::from(format!("/[^/]+/{method}")), span };
            PathMatch::Regex(patterns.check(&pattern, report)?)
        }
    })
}

/// Both patterns are checked by themselves first, so that a finding points at the one that is wrong.
fn pattern(
    service: Option<&Spanned<Arc<str>>>,
    method: Option<&Spanned<Arc<str>>>,
    patterns: &mut Patterns,
    report: &mut Report,
) -> Option<Arc<str>> {
    let span = service.or(method)?.span;
    let mut part = |written: Option<&Spanned<Arc<str>>>| match written {
        None => Some(Arc::from("[^/]+")),
        Some(written) => patterns.check(written, report),
    };
    let (service, method) = (part(service), part(method));
    let whole = Spanned { value: Arc::from(format!("/(?:{})/(?:{})", service?, method?)), span };
    patterns.check(&whole, report)
}

fn valid_service(service: &Spanned<Arc<str>>, report: &mut Report) -> bool {
    let text = service.value.strip_prefix('.').unwrap_or(&service.value);
    let good = text.split('.').all(identifier);
    if !good {
        report
            .add(
                Code::BadValue,
                service.span,
                r"service must only contain valid characters (matching ^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)",
            )
            .help("write the service with its package, e.g. shop.v1.Reviews");
    }
    good
}

fn valid_method(method: &Spanned<Arc<str>>, report: &mut Report) -> bool {
    let good = identifier(&method.value);
    if !good {
        report
            .add(
                Code::BadValue,
                method.span,
                "method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)",
            )
            .help("write the method alone, e.g. GetReview");
    }
    good
}

fn identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
