//! HTTPRoutes: rules lowered, backends resolved, grants asked.
//!
//! # What is answered with 500
//! Gateway API wants a route with a backend that does not exist, or that it may not use, to be served all the same: that
//! backend's share of requests gets 500. So these are warnings, and the IR says [`Backend::Invalid`] with the reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::order::{Placed, Specificity};
use super::routes::{Attachment, Attachments, not_http};
use super::world::{World, speaks_http};
use crate::diagnostic::Code;
use crate::dialect::gateway_api::GROUP;
use crate::dialect::gateway_api::http_route::{BackendRef, HttpRoute, MirrorRef, Parent, ParentKind, Rule};
use crate::dialect::gateway_api::reference_grant::ReferenceGrant;
use crate::dialect::gateway_api::tcp_route::{self, TcpRoute};
use crate::dialect::{Context, Object, Objects};
use crate::head::{Head, Kind};
use crate::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use crate::ir::mirror::Mirror;
use crate::ir::route::{
    Backend, HeaderChanges, PathRewrite, RequestMatch, RouteEntry, RouteRule, RuleAction, RulePolicies,
};
use crate::ir::share::Share;
use crate::ir::split::{Destination, Split};
use crate::ir::timeout::Timeouts;
use crate::ir::world::{Protocol, Service};
use crate::ir::{ObjectName, Origin, PolicySet, Stated};
use crate::source::{Span, Spanned};

/// The group of our backend kind [`VERSION`].
const OUR_GROUP: &str = "tidegate.io";

/// A backend kind: `service/version`, the endpoints of a service with that label `version`.
const VERSION: &str = "Version";

/// A route that sends to a port says that HTTP is spoken there (HTTP/2 for gRPC), when nothing else does.
pub(super) fn declare_protocols(objects: &Objects, set: &mut PolicySet) {
    let mut http: BTreeSet<(ObjectName, Option<u16>)> = BTreeSet::new();
    let mut grpc: BTreeSet<(ObjectName, Option<u16>)> = BTreeSet::new();
    for Object { head, spec } in &objects.http_routes {
        let found = if head.kind == Kind::GrpcRoute { &mut grpc } else { &mut http };
        let backends = spec.rules.iter().flat_map(Rule::all_backends).filter(|backend| backend.group.is_empty());
        found.extend(backends.map(|backend| {
            (named(head, backend.namespace.as_ref(), &backend.name.value), backend.port.map(|port| port.value))
        }));
        let parents = spec.parents.iter().filter(|parent| parent.kind == ParentKind::Service);
        found.extend(parents.map(|parent| {
            (named(head, parent.namespace.as_ref(), &parent.name.value), parent.port.map(|port| port.value))
        }));
    }
    for Object { head, spec } in &objects.services {
        let Some(service) = set.services.get_mut(&head.name) else { continue };
        // A parent without port means every port, but only where that is all there is to go by.
        let silent = !speaks_http(service);
        let named = |routes: &BTreeSet<(ObjectName, Option<u16>)>, port: u16| {
            (silent && routes.contains(&(head.name.clone(), None))) || routes.contains(&(head.name.clone(), Some(port)))
        };
        for port in service.ports.iter_mut().filter(|port| spec.undeclared.contains(&port.port)) {
            // Calls of gRPC need HTTP/2, which carries other requests as well.
            if named(&grpc, port.port) {
                port.protocol = Protocol::Http2;
            } else if named(&http, port.port) {
                port.protocol = Protocol::Http;
            }
        }
    }
}

/// Versions named as backends become subsets, unless a DestinationRule has defined them.
pub(super) fn derive_versions(objects: &Objects, set: &mut PolicySet, cx: &Context<'_>) {
    let http = objects.http_routes.iter().map(|Object { head, spec }| {
        (head, spec.rules.iter().flat_map(Rule::all_backends).collect::<Vec<&BackendRef>>())
    });
    let tcp = objects.tcp_routes.iter().map(|Object { head, spec }| {
        (head, spec.rule.iter().flat_map(|rule| &rule.backends).collect::<Vec<&BackendRef>>())
    });
    let tls = objects.tls_routes.iter().map(|Object { head, spec }| {
        (head, spec.rule.iter().flat_map(|rule| &rule.backends).collect::<Vec<&BackendRef>>())
    });
    for (head, backends) in http.chain(tcp).chain(tls) {
        for backend in backends {
            let Some((service, version)) = version_of(head, backend) else { continue };
            if !set.services.contains_key(&service) {
                continue;
            }
            let origin = cx.origin(head, backend.name.span);
            let settings = set.backends.entry(service).or_insert_with(|| BackendSettings {
                origin: origin.clone(),
                traffic: TrafficSettings::default(),
                ports: std::collections::BTreeMap::new(),
                subsets: std::collections::BTreeMap::new(),
            });
            let labels = [(Arc::from("version"), Arc::clone(&version))].into_iter().collect();
            // Clients with rules of their own are lent it.
            settings.subsets.entry(version).or_insert_with(|| Subset {
                origin,
                labels,
                traffic: TrafficSettings::default(),
                ports: std::collections::BTreeMap::new(),
            });
        }
    }
}

fn version_of(head: &Head, backend: &BackendRef) -> Option<(ObjectName, Arc<str>)> {
    if &*backend.group != OUR_GROUP || &*backend.kind != VERSION {
        return None;
    }
    let (service, version) = backend.name.value.split_once('/')?;
    Some((named(head, backend.namespace.as_ref(), service), Arc::from(version)))
}

fn named(head: &Head, namespace: Option<&Arc<str>>, name: &str) -> ObjectName {
    ObjectName { namespace: Arc::clone(namespace.unwrap_or(&head.name.namespace)), name: Arc::from(name) }
}

/// Who may refer to whose services.
pub(super) struct Grants<'a> {
    grants: &'a [Object<ReferenceGrant>],
}

impl<'a> Grants<'a> {
    pub(super) fn new(grants: &'a [Object<ReferenceGrant>]) -> Self {
        Self { grants }
    }

    /// Whether routes of a kind in `namespace` may send to `service`.
    fn allow(&self, kind: &str, namespace: &str, service: &ObjectName) -> bool {
        self.grant(kind, namespace, "Service", service)
    }

    /// Whether a kind of object in `namespace` may use what `object`, a Secret or ConfigMap, holds.
    pub(super) fn allow_certificate(&self, kind: &str, namespace: &str, target: &str, object: &ObjectName) -> bool {
        self.grant(kind, namespace, target, object)
    }

    fn grant(&self, kind: &str, namespace: &str, target: &str, object: &ObjectName) -> bool {
        self.grants.iter().filter(|grant| grant.head.name.namespace == object.namespace).any(
            |Object { spec, .. }| {
                let from = spec
                    .from
                    .iter()
                    .any(|from| &*from.group == GROUP && &*from.kind == kind && &*from.namespace == namespace);
                let names = |name: Option<&Arc<str>>| name.is_none_or(|name| *name == object.name);
                from && spec.to.iter().any(|to| to.group.is_empty() && *to.kind == *target && names(to.name.as_ref()))
            },
        )
    }
}

/// What lowering looks things up in.
pub(super) struct Lowering<'a, 'c, 'm> {
    pub(super) world: &'a mut World,
    pub(super) set: &'a PolicySet,
    pub(super) grants: &'a Grants<'a>,
    pub(super) cx: &'c mut Context<'m>,
    /// A route with several parents is lowered for each, but reported once.
    pub(super) reported: BTreeSet<Span>,
}

impl Lowering<'_, '_, '_> {
    /// The rules in Gateway API's order. Services in `trusted` need no grant: inside the mesh a consumer's route for a
    /// service may of course send to that service.
    pub(super) fn route(&mut self, head: &Head, route: &HttpRoute, trusted: &str) -> Vec<Placed> {
        let mut placed: Vec<Placed> = route.rules.iter().flat_map(|rule| self.rule(head, rule, trusted)).collect();
        placed.sort_by_key(|placed| std::cmp::Reverse(Specificity::of(&placed.entry.matches)));
        placed
    }

    fn rule(&mut self, head: &Head, rule: &Rule, trusted: &str) -> Vec<Placed> {
        let action = match &rule.filters.redirect {
            Some((redirect, _)) => RuleAction::Redirect(redirect.clone()),
            None if rule.backends.is_empty() => RuleAction::DirectResponse { status: 500, body: Arc::from("") },
            None => match self.split(head, &rule.backends, trusted) {
                Some(split) => RuleAction::Split(split),
                None => return Vec::new(),
            },
        };
        let policies = self.policies(head, rule, trusted);
        let lowered = Arc::new(RouteRule {
            origin: self.cx.origin(head, rule.span),
            name: Arc::clone(&rule.name),
            action,
            request_headers: rule.filters.request.clone(),
            response_headers: rule.filters.response.clone(),
            path_rewrite: rule.filters.path_rewrite.as_ref().map_or(PathRewrite::Keep, |(path, _)| path.clone()),
            host_rewrite: rule.filters.host_rewrite.clone(),
            timeouts: rule.timeouts,
            policies,
            delegated_by: None,
        });
        let place = |matches: &RequestMatch| Placed {
            entry: RouteEntry { matches: matches.clone(), rule: Arc::clone(&lowered) },
            span: rule.span,
        };
        rule.matches.iter().map(place).collect()
    }

    /// What the rule says besides routing, each stanza with its own place.
    fn policies(&mut self, head: &Head, rule: &Rule, trusted: &str) -> RulePolicies {
        let mirrors = rule.filters.mirrors.iter().filter_map(|mirror| self.mirror(head, mirror, trusted)).collect();
        RulePolicies {
            retry: rule.retry.as_ref().map(|retry| self.cx.stated(head, retry)),
            mirrors,
            cors: rule.filters.cors.as_ref().map(|cors| self.cx.stated(head, cors)),
            session: rule.session.as_ref().map(|session| self.cx.stated(head, session)),
            ..RulePolicies::default()
        }
    }

    /// A copy that has nowhere to go, or a share of nothing, is left out.
    fn mirror(&mut self, head: &Head, shape: &MirrorRef, trusted: &str) -> Option<Stated<Mirror>> {
        let backend = match self.backend(head, &shape.backend, trusted) {
            Ok(backend) => backend,
            Err((code, why, cure)) => {
                if self.reported.insert(shape.backend.name.span) {
                    self.cx.report.add(code, shape.backend.name.span, why).say("no copy is sent").help(cure);
                }
                return None;
            }
        };
        if let Backend::Service { service, subset, .. } = &backend {
            self.world.uses(service, subset.as_ref(), shape.backend.name.span);
        }
        let mirror =
            Mirror { backend, share: shape.share, request_headers: HeaderChanges::default(), host_rewrite: None };
        (shape.share != Share::NONE).then(|| self.cx.stated(head, &Spanned { value: mirror, span: shape.span }))
    }

    /// `None` when all weights are zero, which has been reported.
    pub(super) fn split(&mut self, head: &Head, backends: &[BackendRef], trusted: &str) -> Option<Split> {
        let destinations: Vec<Destination> =
            backends.iter().map(|backend| self.destination(head, backend, trusted)).collect();
        destinations.iter().any(|destination| destination.weight > 0).then_some(Split { destinations })
    }

    fn destination(&mut self, head: &Head, shape: &BackendRef, trusted: &str) -> Destination {
        let backend = match self.backend(head, shape, trusted) {
            Ok(backend) => backend,
            Err((code, why, cure)) => {
                if self.reported.insert(shape.name.span) {
                    self.cx
                        .report
                        .add(code, shape.name.span, why.clone())
                        .say(if matches!(head.kind, Kind::TcpRoute | Kind::TlsRoute) {
                            "its share of connections is closed"
                        } else {
                            "its share of requests is answered with 500"
                        })
                        .help(cure);
                }
                Backend::Invalid(Arc::from(why))
            }
        };
        if let (Backend::Service { service, subset, .. }, true) = (&backend, shape.weight > 0) {
            self.world.uses(service, subset.as_ref(), shape.name.span);
        }
        Destination {
            backend,
            weight: shape.weight,
            request_headers: shape.filters.request.clone(),
            response_headers: shape.filters.response.clone(),
            host_rewrite: shape.filters.host_rewrite.clone(),
        }
    }

    fn backend(&self, head: &Head, shape: &BackendRef, trusted: &str) -> Result<Backend, (Code, String, String)> {
        let (name, subset) = match (&*shape.group, &*shape.kind) {
            ("", "Service") => (named(head, shape.namespace.as_ref(), &shape.name.value), None),
            (OUR_GROUP, VERSION) => match version_of(head, shape) {
                Some((service, version)) => (service, Some(version)),
                None => {
                    let why = format!("\"{}\" is not a version of a service", shape.name.value);
                    return Err((
                        Code::UnresolvedBackend,
                        why,
                        "write name: SERVICE/VERSION, e.g. reviews/v2".to_owned(),
                    ));
                }
            },
            ("multicluster.x-k8s.io", "ServiceImport") => {
                let why = "backends of kind ServiceImport are not yet supported".to_owned();
                return Err((
                    Code::UnresolvedBackend,
                    why,
                    "send to a Service; for another cluster, write a ServiceEntry or an EndpointSlice for it"
                        .to_owned(),
                ));
            }
            (group, kind) => {
                let why = format!("backends of kind {kind} in group \"{group}\" are not known");
                return Err((
                    Code::UnresolvedBackend,
                    why,
                    "use a Service, or {group: tidegate.io, kind: Version}".to_owned(),
                ));
            }
        };
        let own = name.namespace == head.name.namespace || &*name.namespace == trusted;
        let kind = head.kind.as_str();
        if !own && !self.grants.allow(kind, &head.name.namespace, &name) {
            let why = format!(
                "namespace {} does not let {kind}s of namespace {} refer to service {}",
                name.namespace, head.name.namespace, name.name
            );
            let cure = format!(
                "add a ReferenceGrant in namespace {}, from {kind} in {}, to Service",
                name.namespace, head.name.namespace
            );
            return Err((Code::NotGranted, why, cure));
        }
        let Some(service) = self.set.services.get(&name).filter(|service| service.origin.kind == "Service") else {
            return Err((
                Code::UnresolvedBackend,
                format!("there is no service {name}"),
                "add the Service, or correct the name".to_owned(),
            ));
        };
        let port = match shape.port {
            Some(port) if service.ports.iter().any(|known| known.port == port.value) => port.value,
            Some(port) => {
                let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
                let why = format!("service {name} has no port {}", port.value);
                return Err((Code::UnresolvedBackend, why, format!("it has {}", ports.join(", "))));
            }
            None => only_port(service)?,
        };
        Ok(Backend::Service { service: name, port, subset })
    }
}

/// For a version without port: the only port, or the only one that speaks HTTP.
fn only_port(service: &Service) -> Result<u16, (Code, String, String)> {
    let mut http = service.ports.iter().filter(|port| port.protocol != Protocol::Tcp);
    match (&service.ports[..], http.next(), http.next()) {
        ([only], ..) => Ok(only.port),
        (_, Some(only), None) => Ok(only.port),
        _ => Err((
            Code::UnresolvedBackend,
            format!("service {} has several ports", service.name),
            "add `port: N`".to_owned(),
        )),
    }
}

/// Routes whose parent is a service: calls inside the mesh.
pub(super) fn attach_to_services(
    routes: &[&Object<HttpRoute>],
    lowering: &mut Lowering<'_, '_, '_>,
    attachments: &mut Attachments,
) {
    for Object { head, spec } in routes {
        for parent in spec.parents.iter().filter(|parent| parent.kind == ParentKind::Service) {
            let name = named(head, parent.namespace.as_ref(), &parent.name.value);
            if !accepts(parent, &name, lowering) {
                continue;
            }
            let rules = lowering.route(head, spec, &name.namespace);
            // A route from elsewhere is its namespace's own view of the service.
            let consumer = (name.namespace != head.name.namespace).then(|| Arc::clone(&head.name.namespace));
            let port = parent.port.map(|port| port.value);
            if lowering.cx.admits_entries(rules.len(), parent.name.span) {
                attachments.add(name, Attachment { head: head.clone(), span: parent.name.span, port, consumer, rules });
            }
        }
    }
}

/// Routes of connections whose parent is a service.
pub(super) fn attach_tcp_to_services(
    routes: &[&Object<TcpRoute>],
    lowering: &mut Lowering<'_, '_, '_>,
    attachments: &mut Attachments,
) {
    for Object { head, spec } in routes {
        for parent in spec.parents.iter().filter(|parent| parent.kind == ParentKind::Service) {
            let name = named(head, parent.namespace.as_ref(), &parent.name.value);
            let span = parent.name.span;
            if !names_a_port(parent, &name, lowering) {
                continue;
            }
            let ports: Vec<u16> = lowering.set.services.get(&name).map_or_else(Vec::new, |service| {
                let plain = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
                plain.map(|port| port.port).filter(|port| parent.port.is_none_or(|only| only.value == *port)).collect()
            });
            if ports.is_empty() {
                lowering
                    .cx
                    .report
                    .add(Code::NotAttached, span, format!("no such port of service {name} carries plain connections"))
                    .say("the route has no effect here")
                    .help("where HTTP is spoken, use an HTTPRoute or GRPCRoute; a port named `tcp-...` is plain");
                continue;
            }
            let Some(rule) = &spec.rule else { continue };
            let Some(split) = lowering.split(head, &rule.backends, &name.namespace) else { continue };
            let placed = Placed { entry: connections(head, rule, split, lowering.cx), span: rule.span };
            let consumer = (name.namespace != head.name.namespace).then(|| Arc::clone(&head.name.namespace));
            for port in ports {
                if lowering.cx.admits_entries(1, span) {
                    let (consumer, rules) = (consumer.clone(), vec![placed.clone()]);
                    let attachment = Attachment { head: head.clone(), span, port: Some(port), consumer, rules };
                    attachments.add(name.clone(), attachment);
                }
            }
        }
    }
}

fn connections(head: &Head, rule: &tcp_route::Rule, split: Split, cx: &Context<'_>) -> RouteEntry {
    let rule = RouteRule {
        origin: cx.origin(head, rule.span),
        name: Arc::clone(&rule.name),
        action: RuleAction::Split(split),
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        path_rewrite: PathRewrite::Keep,
        host_rewrite: None,
        timeouts: Timeouts::default(),
        policies: RulePolicies::default(),
        delegated_by: None,
    };
    RouteEntry { matches: RequestMatch::default(), rule: Arc::new(rule) }
}

fn accepts(parent: &Parent, name: &ObjectName, lowering: &mut Lowering<'_, '_, '_>) -> bool {
    if !names_a_port(parent, name, lowering) {
        return false;
    }
    if let Some(service) = lowering.set.services.get(name).filter(|service| !speaks_http(service)) {
        not_http(parent.name.span, service, lowering.cx);
    }
    true
}

/// Whether the parent is a service, and a port that it has.
fn names_a_port(parent: &Parent, name: &ObjectName, lowering: &mut Lowering<'_, '_, '_>) -> bool {
    let span = parent.name.span;
    let Some(service) = lowering.set.services.get(name).filter(|service| service.origin.kind == "Service") else {
        lowering
            .cx
            .report
            .add(Code::UnknownParent, span, format!("there is no service {name}"))
            .say("the route has no effect here")
            .help("add the Service, or correct the name");
        return false;
    };
    if let Some(port) = &parent.port
        && !service.ports.iter().any(|known| known.port == port.value)
    {
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        let finding =
            lowering.cx.report.add(Code::NotAttached, port.span, format!("service {name} has no port {}", port.value));
        finding.say("the route has no effect here").help(format!("it has {}", ports.join(", ")));
        return false;
    }
    true
}

/// The origin of an object as a whole.
pub(super) fn origin(head: &Head, cx: &Context<'_>) -> Origin {
    cx.origin(head, head.span)
}
