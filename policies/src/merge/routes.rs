//! Rules for calls inside the mesh: hosts and destinations looked up, objects of one service merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::order::{self, Placed};
use super::world::{World, speaks_http, unknown_port};
use crate::diagnostic::Code;
use crate::dialect::istio::Headers;
use crate::dialect::istio::virtual_service::{
    Action, HttpRule, MirrorShape, TcpRule, VirtualService, WeightedDestination,
};
use crate::dialect::{Context, Object};
use crate::head::{Head, Kind};
use crate::ir::mirror::Mirror;
use crate::ir::route::{
    Backend, HeaderChanges, PathRewrite, RequestMatch, RouteEntry, RouteRule, RuleAction, RulePolicies,
};
use crate::ir::split::{Destination, Split};
use crate::ir::timeout::Timeouts;
use crate::ir::world::{Protocol, Service};
use crate::ir::{MeshRoutes, ObjectName, PolicySet, Stated};
use crate::source::{Span, Spanned};
use crate::spelling;

/// The rules of one object for one service.
pub(super) struct Attachment {
    pub(super) head: Head,
    pub(super) span: Span,
    pub(super) port: Option<u16>,
    pub(super) consumer: Option<Arc<str>>,
    pub(super) rules: Vec<Placed>,
}

/// All rules, by service.
#[derive(Default)]
pub(super) struct Attachments {
    by_service: BTreeMap<ObjectName, Vec<Attachment>>,
}

pub(super) fn virtual_services(
    objects: &[Object<VirtualService>],
    world: &mut World,
    set: &PolicySet,
    attachments: &mut Attachments,
    cx: &mut Context<'_>,
) {
    for Object { head, spec } in objects {
        let mut lowering = Lowering { head, world, set, cx };
        let http: Vec<Placed> = spec.http.iter().flat_map(|rule| lowering.http(rule)).collect();
        let tcp: Vec<(&TcpRule, Placed)> =
            spec.tcp.iter().filter_map(|rule| Some((rule, lowering.tcp(rule)?))).collect();
        let mut seen = BTreeSet::new();
        for host in &spec.hosts {
            let Some(service) = world.service(host, &head.name.namespace, &set.services, &mut cx.report) else {
                continue;
            };
            if !seen.insert(service.name.clone()) {
                continue;
            }
            let list = attachments.by_service.entry(service.name.clone()).or_default();
            let attachment =
                |port, rules| Attachment { head: head.clone(), span: host.span, port, consumer: None, rules };
            if !spec.http.is_empty() && cx.admits_entries(http.len(), host.span) {
                if !speaks_http(service) {
                    not_http(host.span, service, cx);
                }
                list.push(attachment(None, http.clone()));
            }
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
                let fits =
                    |rule: &TcpRule| rule.ports.is_empty() || rule.ports.iter().any(|wanted| wanted.value == port.port);
                let rules: Vec<Placed> = tcp
                    .iter()
                    .filter(|(rule, _)| fits(rule))
                    .map(|(rule, placed)| {
                        let mut placed = placed.clone();
                        placed.entry.matches.port = (!rule.ports.is_empty()).then_some(port.port);
                        placed
                    })
                    .collect();
                if !rules.is_empty() && cx.admits_entries(rules.len(), host.span) {
                    list.push(attachment(Some(port.port), rules));
                }
            }
            warn_of_other_ports(&spec.tcp, service, cx);
        }
    }
}

/// Ports that carry no plain connections, at which a rule for connections waits in vain.
fn warn_of_other_ports(rules: &[TcpRule], service: &Service, cx: &mut Context<'_>) {
    for port in rules.iter().flat_map(|rule| &rule.ports) {
        if !service.ports.iter().any(|known| known.port == port.value && known.protocol == Protocol::Tcp) {
            let message = format!("no port {} of service {} carries plain connections", port.value, service.name);
            cx.report
                .add(Code::FieldWithoutEffect, port.span, message)
                .help("name a port of the service; one whose name begins with `tcp` is plain");
        }
    }
}

pub(super) fn not_http(span: Span, service: &Service, cx: &mut Context<'_>) {
    cx.report
        .add(Code::NotHttp, span, format!("HTTP rules have no effect: no port of {} speaks HTTP", service.name))
        .help("begin the name of the service's port with `http`, `http2` or `grpc`, or set its `appProtocol`");
}

/// Turns the rules of one VirtualService into the IR.
struct Lowering<'a, 'c, 'm> {
    head: &'a Head,
    world: &'a mut World,
    set: &'a PolicySet,
    cx: &'c mut Context<'m>,
}

impl Lowering<'_, '_, '_> {
    fn http(&mut self, rule: &HttpRule) -> Vec<Placed> {
        let action = match &rule.action {
            Action::Route(destinations) => match self.split(destinations, true) {
                Some(split) => RuleAction::Split(split),
                None => return Vec::new(),
            },
            Action::Redirect(redirect) => RuleAction::Redirect(redirect.clone()),
            Action::DirectResponse { status, body } => {
                RuleAction::DirectResponse { status: *status, body: Arc::clone(body) }
            }
        };
        let policies = self.policies(rule);
        let matches = if rule.matches.is_empty() { vec![RequestMatch::default()] } else { rule.matches.clone() };
        let mut lowered: Option<Arc<RouteRule>> = None;
        let mut entries = Vec::new();
        for condition in matches {
            let path_rewrite = rule.path_rewrite(&condition);
            // The rewrite may depend on the match; otherwise the alternatives share one rule.
            let shared = lowered.take().filter(|shared| shared.path_rewrite == path_rewrite);
            let shared = shared.unwrap_or_else(|| {
                Arc::new(RouteRule {
                    origin: self.cx.origin(self.head, rule.span),
                    name: Arc::clone(&rule.name),
                    action: action.clone(),
                    request_headers: rule.headers.request.clone(),
                    response_headers: rule.headers.response.clone(),
                    path_rewrite,
                    host_rewrite: rule.rewrite_authority.clone().or_else(|| rule.headers.host.clone()),
                    timeouts: rule.timeouts,
                    policies: policies.clone(),
                })
            });
            lowered = Some(Arc::clone(&shared));
            entries.push(Placed { entry: RouteEntry { matches: condition, rule: shared }, span: rule.span });
        }
        entries
    }

    /// What the rule says besides routing, each stanza with its own place.
    fn policies(&mut self, rule: &HttpRule) -> RulePolicies {
        let mirrors = rule.mirrors.iter().filter_map(|mirror| self.mirror(mirror)).collect();
        RulePolicies {
            fault: rule.fault.as_ref().map(|fault| self.cx.stated(self.head, fault)),
            retry: rule.retry.as_ref().map(|retry| self.cx.stated(self.head, retry)),
            mirrors,
            cors: rule.cors.as_ref().map(|cors| self.cx.stated(self.head, cors)),
            ..RulePolicies::default()
        }
    }

    fn mirror(&mut self, shape: &MirrorShape) -> Option<Stated<Mirror>> {
        let (host, subset, port) = shape.target.clone();
        let target = WeightedDestination { host, subset, port, weight: 1, headers: Headers::default() };
        let backend = self.destination(&target, true)?.backend;
        let mirror =
            Mirror { backend, share: shape.share, request_headers: HeaderChanges::default(), host_rewrite: None };
        Some(self.cx.stated(self.head, &Spanned { value: mirror, span: shape.span }))
    }

    fn tcp(&mut self, rule: &TcpRule) -> Option<Placed> {
        let split = self.split(&rule.route, false)?;
        let rule_ir = RouteRule {
            origin: self.cx.origin(self.head, rule.span),
            name: Arc::from(""),
            action: RuleAction::Split(split),
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            path_rewrite: PathRewrite::Keep,
            host_rewrite: None,
            timeouts: Timeouts::default(),
            policies: RulePolicies::default(),
        };
        Some(Placed {
            entry: RouteEntry { matches: RequestMatch::default(), rule: Arc::new(rule_ir) },
            span: rule.span,
        })
    }

    /// `None` when a destination does not resolve or all weights are zero; both are reported.
    fn split(&mut self, destinations: &[WeightedDestination], http: bool) -> Option<Split> {
        let lowered: Vec<Option<Destination>> =
            destinations.iter().map(|destination| self.destination(destination, http)).collect();
        let destinations: Option<Vec<Destination>> = lowered.into_iter().collect();
        let destinations = destinations?;
        destinations.iter().any(|destination| destination.weight > 0).then_some(Split { destinations })
    }

    fn destination(&mut self, shape: &WeightedDestination, http: bool) -> Option<Destination> {
        let report = &mut self.cx.report;
        let service = self.world.service(&shape.host, &self.head.name.namespace, &self.set.services, report)?;
        let name = service.name.clone();
        let subset = match &shape.subset {
            None => None,
            Some(subset) => {
                let known = self.set.backends.get(&name).map(|backend| &backend.subsets);
                if !known.is_some_and(|known| known.contains_key(&subset.value)) {
                    let finding = report.add(
                        Code::UnknownSubset,
                        subset.span,
                        format!("service {name} has no subset `{}`", subset.value),
                    );
                    let known: Vec<&str> =
                        known.map_or_else(Vec::new, |known| known.keys().map(|name| &**name).collect());
                    match spelling::nearest(&subset.value, known.iter().copied()) {
                        Some(near) => finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
                        None if known.is_empty() => {
                            finding.help(format!("define it in a DestinationRule with host: {}", name.name))
                        }
                        None => finding.help(format!(
                            "it has {}; define the subset in a DestinationRule",
                            crate::schema::enumerate(&known)
                        )),
                    };
                    return None;
                }
                Some(Arc::clone(&subset.value))
            }
        };
        let port = self.port(shape, service, http)?;
        if shape.weight > 0 {
            self.world.uses(&name, subset.as_ref(), shape.host.span);
        }
        Some(Destination {
            backend: Backend::Service { service: name, port, subset },
            weight: shape.weight,
            request_headers: shape.headers.request.clone(),
            response_headers: shape.headers.response.clone(),
            host_rewrite: shape.headers.host.clone(),
        })
    }

    /// The port written, or the only one that can be meant.
    fn port(&mut self, shape: &WeightedDestination, service: &Service, http: bool) -> Option<u16> {
        let report = &mut self.cx.report;
        if let Some(port) = &shape.port {
            if service.ports.iter().any(|known| known.port == port.value) {
                return Some(port.value);
            }
            unknown_port(port, service, report);
            return None;
        }
        let mut fitting = service.ports.iter().filter(|port| (port.protocol != Protocol::Tcp) == http);
        match (&service.ports[..], fitting.next(), fitting.next()) {
            ([only], ..) => Some(only.port),
            (_, Some(only), None) => Some(only.port),
            (all, ..) => {
                let ports: Vec<String> = all.iter().map(|port| port.port.to_string()).collect();
                let finding = report.add(
                    Code::PortNeeded,
                    shape.host.span,
                    format!("service {} has several ports, and the destination does not say which", service.name),
                );
                finding.help(format!("add `port: {{number: N}}` with one of {}", ports.join(", ")));
                None
            }
        }
    }
}

impl Attachments {
    pub(super) fn add(&mut self, service: ObjectName, attachment: Attachment) {
        self.by_service.entry(service).or_default().push(attachment);
    }

    /// Merges what is attached to each service.
    pub(super) fn finish(self, world: &World, set: &mut PolicySet, cx: &mut Context<'_>) {
        let mut unreachable = BTreeSet::new();
        for (service, mut attachments) in self.by_service {
            attachments.sort_by(|a, b| (a.head.age(), a.head.kind).cmp(&(b.head.age(), b.head.kind)));
            let consumers: BTreeSet<Option<Arc<str>>> =
                attachments.iter().map(|attachment| attachment.consumer.clone()).collect();
            let mut routes = Vec::new();
            for consumer in consumers {
                let mine: Vec<&Attachment> =
                    attachments.iter().filter(|attachment| attachment.consumer == consumer).collect();
                report_merge(&service, &mine, cx);
                let ports: BTreeSet<Option<u16>> = mine.iter().map(|attachment| attachment.port).collect();
                for port in ports {
                    // A port of its own also gets what is for every HTTP port.
                    let http = port.is_none_or(|port| is_http(set, &service, port));
                    let fits = |a: &&&Attachment| a.port == port || (http && a.port.is_none());
                    let entries = mine.iter().filter(fits).map(|a| a.rules.len()).sum();
                    if !mine.first().is_some_and(|first| cx.admits_entries(entries, first.span)) {
                        continue;
                    }
                    let placed = order::merge(mine.iter().filter(fits).map(|a| a.rules.clone()).collect());
                    report_unreachable(&placed, &mut unreachable, cx);
                    let rules = placed.into_iter().map(|placed| placed.entry).collect();
                    routes.push(MeshRoutes { port, consumer_namespace: consumer.clone(), rules });
                }
            }
            if world.span(&service).is_some() {
                set.mesh_routes.insert(service, routes);
            }
        }
    }
}

fn is_http(set: &PolicySet, service: &ObjectName, port: u16) -> bool {
    set.services
        .get(service)
        .is_some_and(|service| service.ports.iter().any(|known| known.port == port && known.protocol != Protocol::Tcp))
}

fn report_merge(service: &ObjectName, attachments: &[&Attachment], cx: &mut Context<'_>) {
    let mut heads: Vec<&Attachment> = Vec::new();
    for attachment in attachments {
        if !heads.iter().any(|known| known.head.kind == attachment.head.kind && known.head.name == attachment.head.name)
        {
            heads.push(attachment);
        }
    }
    let [first, rest @ ..] = &heads[..] else { return };
    // Two routes of one parent are the ordinary case in Gateway API.
    let route = |kind| matches!(kind, Kind::HttpRoute | Kind::GrpcRoute | Kind::TcpRoute);
    if rest.is_empty() || heads.iter().all(|attachment| route(attachment.head.kind)) {
        return;
    }
    let finding = cx.report.add(
        Code::MergedRoutes,
        first.span,
        format!("{} objects have rules for service {service}; they are merged", heads.len()),
    );
    for other in rest.iter().take(8) {
        finding.also(other.span, format!("{} {}", other.head.kind.as_str(), other.head.name));
    }
    finding.help("the most specific rule is tried first; each object keeps its own order");
}

/// Rules behind one that takes everything.
pub(super) fn report_unreachable(placed: &[Placed], reported: &mut BTreeSet<Span>, cx: &mut Context<'_>) {
    let Some(at) = placed.iter().position(|placed| placed.entry.matches == RequestMatch::default()) else { return };
    let taker = placed[at].span;
    for hidden in &placed[at + 1..] {
        // One alternative of the rule that takes everything is no second rule.
        if hidden.span == taker || !reported.insert(hidden.span) {
            continue;
        }
        cx.report
            .add(Code::UnreachableRule, hidden.span, "this rule is never reached")
            .also(taker, "this one takes every request")
            .help("move the rule without conditions to the end");
    }
}
