//! HTTPRoute: parents, hostnames and rules as written.

use std::sync::Arc;

use super::{GROUP, hostname};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::retry::Retry;
use crate::ir::route::{PathMatch, PathRewrite, RequestMatch};
use crate::ir::session::SessionPersistence;
use crate::ir::timeout::Timeouts;
use crate::pattern::Patterns;
use crate::schema::{Fields, duration, integer, list_up_to, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node};

pub(crate) mod condition;
mod cors;
pub(super) mod filter;
mod mirror;
mod resilience;

pub(super) use condition::grpc_headers;
pub(crate) use filter::Filters;
pub(crate) use mirror::MirrorRef;
pub(crate) use resilience::session;

/// Most matches of a route, as the API server has it.
const MATCHES_MAX: usize = 128;

/// A route, nothing looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct HttpRoute {
    pub(crate) parents: Vec<Parent>,
    pub(crate) hostnames: Vec<Spanned<Arc<str>>>,
    pub(crate) rules: Vec<Rule>,
}

/// What a route attaches to.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) kind: ParentKind,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) section: Option<Spanned<Arc<str>>>,
    pub(crate) port: Option<Spanned<u16>>,
}

/// Kinds of parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentKind {
    Gateway,
    ListenerSet,
    Service,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) span: Span,
    pub(crate) name: Arc<str>,
    /// Alternatives; at least one.
    pub(crate) matches: Vec<RequestMatch>,
    pub(crate) filters: Filters,
    pub(crate) backends: Vec<BackendRef>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Option<Spanned<Retry>>,
    pub(crate) session: Option<Spanned<SessionPersistence>>,
}

/// A backend with its share.
#[derive(Clone, Debug)]
pub(crate) struct BackendRef {
    pub(crate) group: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) port: Option<Spanned<u16>>,
    pub(crate) weight: u32,
    pub(crate) filters: Filters,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<HttpRoute> {
    let mut fields = spec(document, "an HTTPRoute", cx)?;
    let Context { report, patterns, .. } = cx;
    let parents = fields.list_up_to(32, "parentRefs", report, parent);
    let hostnames = fields.list_up_to(16, "hostnames", report, hostname);
    fields.unsupported(&["useDefaultGateways"], "name the gateway in `parentRefs`", report);
    let span = fields.span();
    let rules_at = fields.entry("rules");
    let rules = match rules_at {
        Some(entry) => list_up_to(16, &entry.value, "rules", report, |node, report| rule(node, patterns, report)),
        // As the API server fills it in: everything, to no backend.
        None => vec![Rule::answering_nothing(span, RequestMatch::default())],
    };
    fields.finish(report);
    check(&parents, &rules, span, report);
    Some(HttpRoute { parents, hostnames, rules })
}

/// What all kinds of routes are checked for.
pub(super) fn check(parents: &[Parent], rules: &[Rule], span: Span, report: &mut Report) {
    if parents.is_empty() {
        report
            .add(Code::FieldWithoutEffect, span, "the route has no parent, so it has no effect")
            .help("add `parentRefs` with a Gateway or a Service");
    }
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches >= MATCHES_MAX {
        report
            .add(Code::InvalidRule, span, "total number of matches across all rules in a route must be less than 128")
            .help("split the route");
    }
    check_names(rules, report);
    check_parents(parents, report);
}

fn check_names(rules: &[Rule], report: &mut Report) {
    for (index, rule) in rules.iter().enumerate() {
        let first = rules.iter().take(index).find(|other| !rule.name.is_empty() && other.name == rule.name);
        if let Some(first) = first {
            report
                .add(Code::InvalidRule, rule.span, "Rule name must be unique within the route")
                .also(first.span, "the other rule")
                .help("give one of them another name");
        }
    }
}

/// The same parent twice must be told apart.
fn check_parents(parents: &[Parent], report: &mut Report) {
    let same = |a: &Parent, b: &Parent| a.kind == b.kind && a.name.value == b.name.value && a.namespace == b.namespace;
    let section = |parent: &Parent| parent.section.as_ref().map(|section| Arc::clone(&section.value));
    let port = |parent: &Parent| parent.port.map(|port| port.value);
    for (index, parent) in parents.iter().enumerate() {
        let Some(first) = parents.iter().take(index).find(|other| same(other, parent)) else { continue };
        let unnamed = |parent: &Parent| section(parent).is_none() && port(parent).is_none();
        let message = if unnamed(first) || unnamed(parent) {
            "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent"
        } else if section(first) == section(parent) && port(first) == port(parent) {
            "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent"
        } else {
            continue;
        };
        report
            .add(Code::InvalidRule, parent.name.span, message)
            .also(first.name.span, "the other reference")
            .help("remove one, or give both a `sectionName`");
    }
}

pub(super) fn parent(node: &Node, report: &mut Report) -> Option<Parent> {
    let mut fields = Fields::open(node, "the parent", report)?;
    let group = fields.read("group", report, text);
    let kind = fields.read("kind", report, word);
    let namespace = fields.read("namespace", report, word);
    let name = fields.require("name", report, word);
    let section = fields.read("sectionName", report, word);
    let number = fields.read("port", report, port);
    fields.finish(report);
    let name = name?;
    let group_name = group.as_ref().map_or(GROUP, |group| &*group.value);
    let kind_name = kind.as_ref().map_or("Gateway", |kind| &*kind.value);
    let kind = match (group_name, kind_name) {
        (GROUP, "Gateway") => ParentKind::Gateway,
        ("", "Service") => ParentKind::Service,
        (GROUP, "ListenerSet") => ParentKind::ListenerSet,
        ("gateway.networking.x-k8s.io", _) => {
            let cure = "attach to a Gateway or a ListenerSet";
            not_supported(name.span, &format!("a parent of kind `{kind_name}`"), cure, report);
            return None;
        }
        (GROUP, "Service") => {
            report
                .add(Code::BadValue, name.span, "a parent of kind Service needs `group: \"\"`")
                .help("add group: \"\", the group of Service");
            return None;
        }
        (group, kind) => {
            let shown = crate::tree::shortened(kind);
            report
                .add(
                    Code::UnknownParent,
                    name.span,
                    format!(
                        "nothing is known of parents of kind `{shown}` in group \"{}\"",
                        crate::tree::shortened(group)
                    ),
                )
                .help("parents are Gateways, ListenerSets and Services");
            return None;
        }
    };
    Some(Parent { kind, namespace: namespace.map(|namespace| namespace.value), name, section, port: number })
}

fn rule(node: &Node, patterns: &mut Patterns, report: &mut Report) -> Option<Rule> {
    let mut fields = Fields::open(node, "the rule", report)?;
    let span = fields.span();
    let name = fields.read("name", report, word).map_or_else(|| Arc::from(""), |name| name.value);
    let mut matches = fields.list_up_to(64, "matches", report, |node, report| condition::read(node, patterns, report));
    let mut filters = fields.read("filters", report, filter::read).unwrap_or_default();
    let backends_at = fields.entry("backendRefs");
    let mut backends =
        backends_at.map_or_else(Vec::new, |entry| list_up_to(16, &entry.value, "backendRefs", report, backend));
    let timeouts = fields.read("timeouts", report, timeouts).unwrap_or_default();
    let retry = fields.entry("retry").and_then(|entry| at(entry, resilience::retry(&entry.value, report)));
    let session = session_of(&mut fields, report);
    fields.finish(report);
    if matches.is_empty() {
        matches.push(RequestMatch::default());
    }
    if let (Some((_, redirect)), Some(entry)) = (&filters.redirect, backends_at) {
        report
            .add(Code::InvalidRule, *redirect, "RequestRedirect filter must not be used together with backendRefs")
            .also(entry.key_span, "the backends")
            .help("remove one of the two");
    }
    filters.check_prefix(&matches, "", report);
    check_weights(backends_at, &backends, report);
    hoist(&mut filters, &mut backends, &matches, report);
    if filters.redirect.is_some() {
        let mirror = filters.mirrors.first().map(|mirror| ("RequestMirror", mirror.span));
        let retry = retry.as_ref().map(|retry| ("retry", retry.span));
        let session = session.as_ref().map(|session| ("sessionPersistence", session.span));
        for (name, span) in [mirror, retry, session].into_iter().flatten() {
            report
                .add(Code::FieldWithoutEffect, span, format!("`{name}` has no effect in a rule that redirects"))
                .help("remove it");
        }
    }
    Some(Rule { span, name, matches, filters, backends, timeouts, retry, session })
}

pub(super) fn session_of(fields: &mut Fields<'_>, report: &mut Report) -> Option<Spanned<SessionPersistence>> {
    fields.entry("sessionPersistence").and_then(|entry| at(entry, session(&entry.value, report)))
}

/// Weights that are all zero.
pub(super) fn check_weights(backends_at: Option<&Entry>, backends: &[BackendRef], report: &mut Report) {
    // A backend that could not be read may carry the weight that is missing.
    if let Some(entry) = backends_at
        && matches!(&entry.value.content, Content::List(items) if items.len() == backends.len())
        && !backends.is_empty()
        && backends.iter().all(|backend| backend.weight == 0)
    {
        report
            .add(Code::WeightsZero, entry.key_span, "the weights of all backends are zero")
            .help("give at least one backend a weight above 0");
    }
}

/// A stanza with the place of its name.
fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    Some(Spanned { value: value?, span: entry.key_span })
}

/// Redirects, path rewrites, copies and CORS of a backend are the rule's when it is the only backend; a split cannot carry
/// them.
pub(super) fn hoist(filters: &mut Filters, backends: &mut [BackendRef], matches: &[RequestMatch], report: &mut Report) {
    let alone = backends.len() == 1;
    for backend in backends {
        backend.filters.check_prefix(matches, "Within backendRefs, ", report);
        let redirect = backend.filters.redirect.take();
        let path = std::mem::take(&mut backend.filters.path_rewrite);
        let mirrors = std::mem::take(&mut backend.filters.mirrors);
        let cors = backend.filters.cors.take();
        if alone {
            filters.mirrors.extend(mirrors);
            if let (Some(first), Some(second)) = (&filters.cors, &cors) {
                report
                    .add(Code::InvalidRule, second.span, "CORS is written twice, for the rule and for its backend")
                    .also(first.span, "for the rule")
                    .help("keep one");
            }
            filters.cors = filters.cors.take().or(cors);
            filters.redirect = filters.redirect.take().or(redirect);
            if let Some((rewrite, span)) = path {
                if filters.path_rewrite.is_some() {
                    report
                        .add(Code::InvalidRule, span, "the path is rewritten twice, for the rule and for its backend")
                        .help("keep one");
                }
                filters.path_rewrite = Some((rewrite, span));
            }
        } else if let Some(span) = redirect
            .map(|(_, span)| span)
            .or_else(|| path.map(|(_, span)| span))
            .or_else(|| mirrors.first().map(|mirror| mirror.span))
            .or_else(|| cors.map(|cors| cors.span))
        {
            not_supported(
                span,
                "a redirect, path rewrite, mirror or CORS for one of several backends",
                "write a rule of its own for it",
                report,
            );
        }
    }
}

fn timeouts(node: &Node, report: &mut Report) -> Option<Timeouts> {
    let mut fields = Fields::open(node, "timeouts", report)?;
    let request = fields.read("request", report, duration);
    let backend = fields.read("backendRequest", report, duration);
    fields.finish(report);
    if let (Some(request), Some(backend)) = (request, backend)
        && !request.value.is_zero()
        && backend.value > request.value
    {
        report
            .add(Code::InvalidRule, backend.span, "backendRequest timeout cannot be longer than request timeout")
            .also(request.span, "the whole request")
            .help("lower backendRequest, or raise request");
    }
    let limit = |timeout: Option<Spanned<std::time::Duration>>| {
        timeout.map(|timeout| timeout.value).filter(|timeout| !timeout.is_zero())
    };
    Some(Timeouts { request: limit(request), backend_request: limit(backend) })
}

fn backend(node: &Node, report: &mut Report) -> Option<BackendRef> {
    weighted(node, Some(filter::read), report)
}

/// A backend of a GRPCRoute.
pub(super) fn grpc_backend(node: &Node, report: &mut Report) -> Option<BackendRef> {
    weighted(node, Some(filter::read_grpc), report)
}

/// A backend of a TCPRoute, which has no filters.
pub(super) fn plain_backend(node: &Node, report: &mut Report) -> Option<BackendRef> {
    weighted(node, None, report)
}

type ReadFilters = fn(&Node, &mut Report) -> Option<Filters>;

fn weighted(node: &Node, filters: Option<ReadFilters>, report: &mut Report) -> Option<BackendRef> {
    let mut fields = Fields::open(node, "the backend", report)?;
    let found = reference(&mut fields, report);
    let weight = fields.take("weight").map(|node| integer(node, 0, 1_000_000, report));
    let filters = filters.and_then(|read| fields.read("filters", report, read)).unwrap_or_default();
    fields.finish(report);
    let weight = match weight {
        None => 1,
        Some(weight) => u32::try_from(weight?.value).ok()?,
    };
    Some(BackendRef { weight, filters, ..found? })
}

/// The fields that name a backend.
fn reference(fields: &mut Fields<'_>, report: &mut Report) -> Option<BackendRef> {
    let group = fields.read("group", report, text).map_or_else(|| Arc::from(""), |group| group.value);
    let kind = fields.read("kind", report, word).map_or_else(|| Arc::from("Service"), |kind| kind.value);
    let name = fields.require("name", report, word);
    let namespace = fields.read("namespace", report, word).map(|namespace| namespace.value);
    let number = fields.read("port", report, port);
    let name = name?;
    if group.is_empty() && &*kind == "Service" && number.is_none() {
        report.add(Code::InvalidRule, name.span, "Must have port for Service reference").help("add `port: N`");
        return None;
    }
    Some(BackendRef { group, kind, name, namespace, port: number, weight: 1, filters: Filters::default() })
}

impl Rule {
    /// As the API server fills it in where there are no rules: everything, to no backend.
    pub(super) fn answering_nothing(span: Span, matches: RequestMatch) -> Self {
        Self {
            span,
            name: Arc::from(""),
            matches: vec![matches],
            filters: Filters::default(),
            backends: Vec::new(),
            timeouts: Timeouts::default(),
            retry: None,
            session: None,
        }
    }

    /// Where its requests and their copies go.
    pub(crate) fn all_backends(&self) -> impl Iterator<Item = &BackendRef> {
        self.backends.iter().chain(self.filters.mirrors.iter().map(|mirror| &mirror.backend))
    }
}

impl Filters {
    /// A replaced prefix needs a prefix that was matched.
    fn check_prefix(&self, matches: &[RequestMatch], within: &str, report: &mut Report) {
        let one_prefix = matches!(matches, [only] if matches!(only.path, PathMatch::SegmentPrefix(_) | PathMatch::Any));
        let redirect = self.redirect.as_ref().map(|(redirect, span)| (&redirect.path, *span, "RequestRedirect"));
        let rewrite = self.path_rewrite.as_ref().map(|(path, span)| (path, *span, "URLRewrite"));
        for (path, span, filter) in redirect.into_iter().chain(rewrite) {
            if matches!(path, PathRewrite::Prefix(_)) && !one_prefix {
                report
                    .add(Code::InvalidRule, span, format!("{within}When using {filter} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"))
                    .help("write one rule for each prefix");
            }
        }
    }
}
