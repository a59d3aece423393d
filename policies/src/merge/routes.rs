//! Rules for calls inside the mesh: hosts and destinations looked up, objects of one service merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::delegates::Delegates;
use super::order::{self, Placed};
use super::world::{World, speaks_http, unknown_port};
use crate::diagnostic::Code;
use crate::dialect::istio::Headers;
use crate::dialect::istio::virtual_service::binding::TlsRule;
use crate::dialect::istio::virtual_service::{
    Action, HttpRule, MirrorShape, Rewrite, Rule, Settings, TcpRule, VirtualService, WeightedDestination,
};
use crate::dialect::{Context, Object};
use crate::head::{Head, Kind};
use crate::ir::cors::Cors;
use crate::ir::fault::Fault;
use crate::ir::mirror::Mirror;
use crate::ir::retry::Retry;
use crate::ir::route::{
    Backend, DelegatedBy, HeaderChanges, PathRewrite, RequestMatch, RouteEntry, RouteRule, RuleAction, RulePolicies,
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

/// What a VirtualService says at gateways.
pub(super) struct Bound<'o> {
    pub(super) head: &'o Head,
    pub(super) spec: &'o VirtualService,
    pub(super) http: Vec<Placed>,
    pub(super) tcp: Vec<(&'o TcpRule, Placed)>,
    pub(super) tls: Vec<(&'o TlsRule, Placed)>,
}

/// Lowers all rules: those for the mesh into `attachments`, those for gateways into what is returned.
pub(super) fn virtual_services<'o>(
    objects: &'o [Object<VirtualService>],
    world: &mut World,
    set: &PolicySet,
    attachments: &mut Attachments,
    cx: &mut Context<'_>,
) -> Vec<Bound<'o>> {
    let mut bound = Vec::new();
    let mut delegates = Delegates::new(objects, cx);
    for Object { head, spec } in objects {
        let Some(hosts) = &spec.hosts else { continue };
        let mut lowering = Lowering { head, world, set, cx };
        let http: Vec<Placed> = spec
            .http
            .iter()
            .flat_map(|rule| match rule {
                Rule::Own(rule) => lowering.http(rule),
                Rule::Delegated(delegation) => delegates.rules(delegation, &mut lowering),
            })
            .collect();
        let tcp: Vec<(&TcpRule, Placed)> =
            spec.tcp.iter().filter_map(|rule| Some((rule, lowering.connections(rule.span, &rule.route)?))).collect();
        if !spec.binding.gateways.is_empty() {
            let tls = spec.tls.iter();
            let tls = tls.filter_map(|rule| Some((rule, lowering.connections(rule.span, &rule.route)?))).collect();
            bound.push(Bound { head, spec, http: http.clone(), tcp: tcp.clone(), tls });
        }
        let mut seen = BTreeSet::new();
        for host in hosts.iter().filter(|_| spec.binding.mesh) {
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
    delegates.finish(cx);
    bound
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
pub(super) struct Lowering<'a, 'c, 'm> {
    pub(super) head: &'a Head,
    world: &'a mut World,
    set: &'a PolicySet,
    pub(super) cx: &'c mut Context<'m>,
}

/// A rule with everything looked up, still without matches.
#[derive(Clone)]
pub(super) struct Lowered<'o> {
    head: &'o Head,
    pub(super) rule: &'o HttpRule,
    action: RuleAction,
    said: Said,
    delegated_by: Option<Arc<DelegatedBy>>,
}

/// What a rule says besides routing, each stanza with its own place.
#[derive(Clone, Default)]
pub(super) struct Said {
    headers: Option<Headers>,
    rewrite: Option<Rewrite>,
    timeout: Option<Duration>,
    fault: Option<Stated<Fault>>,
    retry: Option<Stated<Retry>>,
    mirrors: Option<Vec<Stated<Mirror>>>,
    cors: Option<Stated<Cors>>,
}

impl<'m> Lowering<'_, '_, 'm> {
    /// The same for another object.
    pub(super) fn of<'s>(&'s mut self, head: &'s Head) -> Lowering<'s, 's, 'm> {
        Lowering { head, world: self.world, set: self.set, cx: self.cx }
    }

    fn http(&mut self, rule: &HttpRule) -> Vec<Placed> {
        let Some(lowered) = self.lower(self.head, rule) else { return Vec::new() };
        let matches = match &rule.matches[..] {
            [] => vec![RequestMatch::default()],
            some => some.iter().map(|one| one.value.clone()).collect(),
        };
        lowered.entries(matches, self.cx)
    }

    /// `None` when a destination cannot be looked up.
    pub(super) fn lower<'o>(&mut self, head: &'o Head, rule: &'o HttpRule) -> Option<Lowered<'o>> {
        let action = match &rule.action {
            Action::Route(destinations) => RuleAction::Split(self.split(destinations, true)?),
            Action::Redirect(redirect) => RuleAction::Redirect(redirect.clone()),
            Action::DirectResponse { status, body } => {
                RuleAction::DirectResponse { status: *status, body: Arc::clone(body) }
            }
        };
        Some(Lowered { head, rule, action, said: self.said(&rule.settings), delegated_by: None })
    }

    pub(super) fn said(&mut self, settings: &Settings) -> Said {
        let mirrors =
            settings.mirrors.as_ref().map(|all| all.iter().filter_map(|mirror| self.mirror(mirror)).collect());
        Said {
            headers: settings.headers.clone(),
            rewrite: settings.rewrite.clone(),
            timeout: settings.timeout,
            fault: settings.fault.as_ref().map(|fault| self.cx.stated(self.head, fault)),
            retry: settings.retry.as_ref().map(|retry| self.cx.stated(self.head, retry)),
            mirrors,
            cors: settings.cors.as_ref().map(|cors| self.cx.stated(self.head, cors)),
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

    fn connections(&mut self, span: Span, route: &[WeightedDestination]) -> Option<Placed> {
        let split = self.split(route, false)?;
        let rule_ir = RouteRule {
            origin: self.cx.origin(self.head, span),
            name: Arc::from(""),
            action: RuleAction::Split(split),
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            path_rewrite: PathRewrite::Keep,
            host_rewrite: None,
            timeouts: Timeouts::default(),
            policies: RulePolicies::default(),
            delegated_by: None,
        };
        Some(Placed { entry: RouteEntry { matches: RequestMatch::default(), rule: Arc::new(rule_ir) }, span })
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
                // Whether it is there for whoever the rule is for is looked at when that is known.
                let ways = || self.set.ways(&name).filter_map(|(_, backend)| Some(&backend?.subsets));
                if !ways().any(|known| known.contains_key(&subset.value)) {
                    let finding = report.add(
                        Code::UnknownSubset,
                        subset.span,
                        format!("service {name} has no subset `{}`", subset.value),
                    );
                    let known: BTreeSet<&str> = ways().flat_map(BTreeMap::keys).map(|name| &**name).collect();
                    let known: Vec<&str> = known.into_iter().collect();
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

impl Lowered<'_> {
    /// The same, with what a root says for rules that leave it open.
    pub(super) fn for_root(&self, root: &Said, by: &Arc<DelegatedBy>) -> Self {
        let own = &self.said;
        let mut said = Said {
            headers: own.headers.clone().or_else(|| root.headers.clone()),
            fault: own.fault.clone().or_else(|| root.fault.clone()),
            cors: own.cors.clone().or_else(|| root.cors.clone()),
            ..own.clone()
        };
        // A rule that answers by itself sends nothing on that could be rewritten, tried again, copied or waited for.
        if let RuleAction::Split(_) = &self.action {
            said.rewrite = said.rewrite.or_else(|| root.rewrite.clone());
            said.timeout = said.timeout.or(root.timeout);
            said.retry = said.retry.or_else(|| root.retry.clone());
            said.mirrors = said.mirrors.or_else(|| root.mirrors.clone());
        }
        Self { said, delegated_by: Some(Arc::clone(by)), ..self.clone() }
    }

    /// One entry for each alternative.
    pub(super) fn entries(&self, matches: Vec<RequestMatch>, cx: &Context<'_>) -> Vec<Placed> {
        let mut lowered: Option<Arc<RouteRule>> = None;
        let mut entries = Vec::new();
        for condition in matches {
            let path_rewrite = self.said.rewrite.as_ref().map_or(PathRewrite::Keep, |rewrite| rewrite.path(&condition));
            // The rewrite may depend on the match; otherwise the alternatives share one rule.
            let shared = lowered.take().filter(|shared| shared.path_rewrite == path_rewrite);
            let shared = shared.unwrap_or_else(|| Arc::new(self.rule(path_rewrite, cx)));
            lowered = Some(Arc::clone(&shared));
            entries.push(Placed { entry: RouteEntry { matches: condition, rule: shared }, span: self.rule.span });
        }
        entries
    }

    fn rule(&self, path_rewrite: PathRewrite, cx: &Context<'_>) -> RouteRule {
        let Said { headers, rewrite, timeout, fault, retry, mirrors, cors } = self.said.clone();
        let headers = headers.unwrap_or_default();
        // A rule without a name is known by that of the rule that delegates to it.
        let by = self.delegated_by.as_ref().filter(|_| self.rule.name.is_empty());
        RouteRule {
            origin: cx.origin(self.head, self.rule.span),
            name: by.map_or_else(|| Arc::clone(&self.rule.name), |by| Arc::clone(&by.name)),
            action: self.action.clone(),
            request_headers: headers.request,
            response_headers: headers.response,
            path_rewrite,
            host_rewrite: rewrite.and_then(|rewrite| rewrite.authority).or(headers.host),
            // An explicit zero means no limit, as in Istio.
            timeouts: Timeouts { request: timeout.filter(|timeout| !timeout.is_zero()), backend_request: None },
            policies: RulePolicies {
                fault,
                retry,
                mirrors: mirrors.unwrap_or_default(),
                cors,
                ..RulePolicies::default()
            },
            delegated_by: self.delegated_by.clone(),
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
