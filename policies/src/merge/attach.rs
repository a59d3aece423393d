//! Our policies, put to what they are attached to; conflicts decided.
//!
//! # One rule to remember
//! The most specific target counts, for each stanza as a whole: rule, route, listener, gateway, version, service, namespace,
//! mesh. Of two policies for one target the older one counts, then the first by name. Rate limits are added up.
//!
//! # Two steps
//! Here every policy claims its stanzas at its places, so that a conflict is found once, with both places. [`services`] and
//! [`rules`] then go through what there is and take what is held for it.

mod rules;
mod services;
pub(super) mod workloads;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::world::World;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::reference_grant::ReferenceGrant;
use crate::dialect::tidegate::{Policy, Stanzas, Target, TargetKind};
use crate::dialect::{Context, Object, Objects};
use crate::head::Head;
use crate::ir::circuit_breaker::{BreakerLimits, Outlier, RetryBudget};
use crate::ir::fault::Fault;
use crate::ir::health_check::HealthCheck;
use crate::ir::load_balancing::{ConnectionSettings, LoadBalancing};
use crate::ir::locality::LocalitySettings;
use crate::ir::rate_limit::RateLimit;
use crate::ir::retry::Retry;
use crate::ir::session::SessionPersistence;
use crate::ir::timeout::Timeouts;
use crate::ir::{ObjectName, Origin, PolicySet, Stated};
use crate::source::{Span, Spanned};

/// The group of our kinds, for grants.
const OUR_GROUP: &str = "tidegate.io";

/// Where stanzas are held, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    /// A named rule of a route of this kind.
    Rule(&'static str, ObjectName, Arc<str>),
    Route(&'static str, ObjectName),
    Listener(ObjectName, Arc<str>),
    Gateway(ObjectName),
    Version(ObjectName, Arc<str>),
    Service(ObjectName),
    Namespace(Arc<str>),
    Mesh,
}

impl Place {
    /// For messages.
    fn describe(&self) -> String {
        match self {
            Place::Rule(kind, name, rule) => format!("rule `{rule}` of {kind} {name}"),
            Place::Route(kind, name) => format!("{kind} {name}"),
            Place::Listener(name, listener) => format!("listener `{listener}` of gateway {name}"),
            Place::Gateway(name) => format!("gateway {name}"),
            Place::Version(name, version) => format!("version {version} of service {name}"),
            Place::Service(name) => format!("service {name}"),
            Place::Namespace(name) => format!("namespace {name}"),
            Place::Mesh => "the mesh".to_owned(),
        }
    }

    /// Requests pass here on their way to services that are decided later.
    fn is_on_the_way(&self) -> bool {
        matches!(self, Place::Rule(..) | Place::Route(..) | Place::Listener(..) | Place::Gateway(..))
    }
}

/// A stanza that somebody holds.
#[derive(Clone, Debug)]
struct Claim<T> {
    span: Span,
    stated: Stated<T>,
}

/// What is held for one place.
#[derive(Default)]
struct Held {
    /// Where the policies name the place.
    targets: Vec<Span>,
    rate_limits: Vec<Claim<RateLimit>>,
    fault: Option<Claim<Fault>>,
    limits: Option<Claim<BreakerLimits>>,
    outlier: Option<Claim<Outlier>>,
    load_balancing: Option<Claim<LoadBalancing>>,
    session: Option<Claim<SessionPersistence>>,
    locality: Option<Claim<LocalitySettings>>,
    timeouts: Option<Claim<Timeouts>>,
    retry: Option<Claim<Retry>>,
    /// Of whoever holds `retry`.
    retry_budget: Option<Claim<RetryBudget>>,
    connection: Option<Claim<ConnectionSettings>>,
    health_check: Option<Claim<HealthCheck>>,
}

/// All that is held.
#[derive(Default)]
struct Holdings {
    places: HashMap<Place, Held>,
    /// The versions that anything is attached to.
    versions: BTreeMap<ObjectName, BTreeSet<Arc<str>>>,
    defaults: Option<(Span, ObjectName)>,
}

/// Attaches every policy. Comes last: routes, gateways and backends stand by now.
pub(super) fn attach(objects: &Objects, world: &World, set: &mut PolicySet, cx: &mut Context<'_>) {
    if objects.policies.is_empty() {
        return;
    }
    let mut policies: Vec<&Object<Policy>> = objects.policies.iter().collect();
    policies.sort_by(|a, b| (a.head.age(), a.head.kind).cmp(&(b.head.age(), b.head.kind)));
    let written: HashSet<(&'static str, ObjectName)> =
        cx.written.iter().map(|written| (written.kind.as_str(), written.name.clone())).collect();
    let mut holdings = Holdings::default();
    for Object { head, spec } in policies {
        let said = said(head, &spec.stanzas, cx);
        let mut places = BTreeSet::new();
        for target in &spec.targets {
            if let TargetKind::Workloads(labels) = &target.kind {
                workloads::limit(head, target, labels, &said, set, cx);
                continue;
            }
            let Some(place) = look_up(head, target, &objects.reference_grants, &written, set, cx) else { continue };
            if place == Place::Mesh && !holdings.takes_defaults(head, spec, set, cx) {
                continue;
            }
            // Naming a target twice is no conflict.
            if places.insert(place.clone()) {
                holdings.claim(head, target, place, &said, cx);
            }
        }
    }
    rules::apply(&holdings, set, cx);
    services::apply(&holdings, world, set, cx);
}

/// The stanzas of a policy, each stated once and shared by all its targets.
fn said(head: &Head, stanzas: &Stanzas, cx: &Context<'_>) -> Held {
    fn one<T: Clone>(head: &Head, stanza: &Option<Spanned<T>>, cx: &Context<'_>) -> Option<Claim<T>> {
        stanza.as_ref().map(|stanza| Claim { span: stanza.span, stated: cx.stated(head, stanza) })
    }
    Held {
        targets: Vec::new(),
        rate_limits: stanzas
            .rate_limits
            .iter()
            .map(|limit| Claim { span: limit.span, stated: cx.stated(head, limit) })
            .collect(),
        fault: one(head, &stanzas.fault, cx),
        limits: one(head, &stanzas.limits, cx),
        outlier: one(head, &stanzas.outlier, cx),
        load_balancing: one(head, &stanzas.load_balancing, cx),
        session: one(head, &stanzas.session, cx),
        locality: one(head, &stanzas.locality, cx),
        timeouts: one(head, &stanzas.timeouts, cx),
        retry: one(head, &stanzas.retry, cx),
        retry_budget: one(head, &stanzas.retry_budget, cx),
        connection: one(head, &stanzas.connection, cx),
        health_check: one(head, &stanzas.health_check, cx),
    }
}

/// The place that a target means, or a finding.
fn look_up(
    head: &Head,
    target: &Target,
    grants: &[Object<ReferenceGrant>],
    written: &HashSet<(&'static str, ObjectName)>,
    set: &PolicySet,
    cx: &mut Context<'_>,
) -> Option<Place> {
    let namespace = target.namespace.as_ref().unwrap_or(&head.name.namespace);
    let named = |name: &Arc<str>| ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(name) };
    let mut missing = |what: String| {
        cx.report
            .add(Code::TargetNotFound, target.span, format!("there is no {what}"))
            .say("the policy has no effect here")
            .help("add it, or correct name and namespace");
        None
    };
    let (place, group, kind, name) = match &target.kind {
        TargetKind::Service { kind, name, version } => {
            let name = named(name);
            if set.services.get(&name).is_none_or(|service| service.origin.kind != *kind) {
                return missing(format!("{kind} {name}"));
            }
            let group = if *kind == "Service" { "" } else { "networking.istio.io" };
            let place = match version {
                Some(version) => Place::Version(name.clone(), Arc::clone(&version.value)),
                None => Place::Service(name.clone()),
            };
            (place, group, *kind, name)
        }
        TargetKind::Route { kind, name, rule } => {
            let name = named(name);
            if !written.contains(&(*kind, name.clone())) {
                return missing(format!("{kind} {name}"));
            }
            let group = if *kind == "VirtualService" { "networking.istio.io" } else { "gateway.networking.k8s.io" };
            let place = match rule {
                Some(rule) => Place::Rule(kind, name.clone(), Arc::clone(&rule.value)),
                None => Place::Route(kind, name.clone()),
            };
            (place, group, *kind, name)
        }
        TargetKind::Gateway { name, listener } => {
            let name = named(name);
            let Some(gateway) = set.gateways.get(&name) else { return missing(format!("gateway {name}")) };
            let place = match listener {
                Some(listener) if !gateway.listeners.iter().any(|known| known.name == listener.value) => {
                    return missing(format!("listener `{}` of gateway {name}", listener.value));
                }
                Some(listener) => Place::Listener(name.clone(), Arc::clone(&listener.value)),
                None => Place::Gateway(name.clone()),
            };
            (place, "gateway.networking.k8s.io", "Gateway", name)
        }
        TargetKind::Namespace { name } => {
            if !set.namespaces.contains_key(name) {
                return missing(format!("namespace {name}"));
            }
            let own = ObjectName { namespace: Arc::clone(name), name: Arc::clone(name) };
            (Place::Namespace(Arc::clone(name)), "", "Namespace", own)
        }
        TargetKind::Mesh => return Some(Place::Mesh),
        TargetKind::Workloads(_) => return None,
    };
    if name.namespace == head.name.namespace || granted(head, (group, kind), &name, grants) {
        return Some(place);
    }
    cx.report
        .add(
            Code::TargetNotGranted,
            target.span,
            format!(
                "namespace {} does not let a {} of namespace {} govern {}",
                name.namespace,
                head.kind.as_str(),
                head.name.namespace,
                place.describe()
            ),
        )
        .say("the policy has no effect here")
        .help(format!(
            "add a ReferenceGrant in namespace {}, from {} of group {OUR_GROUP} in {}, to {kind}",
            name.namespace,
            head.kind.as_str(),
            head.name.namespace
        ));
    None
}

fn granted(head: &Head, (group, kind): (&str, &str), name: &ObjectName, grants: &[Object<ReferenceGrant>]) -> bool {
    grants.iter().filter(|grant| grant.head.name.namespace == name.namespace).any(|Object { spec, .. }| {
        let from = spec.from.iter().any(|from| {
            &*from.group == OUR_GROUP && &*from.kind == head.kind.as_str() && from.namespace == head.name.namespace
        });
        let names = |wanted: Option<&Arc<str>>| wanted.is_none_or(|wanted| *wanted == name.name);
        from && spec.to.iter().any(|to| &*to.group == group && &*to.kind == kind && names(to.name.as_ref()))
    })
}

impl Holdings {
    /// Whether these are the first MeshDefaults.
    fn takes_defaults(&mut self, head: &Head, spec: &Policy, set: &mut PolicySet, cx: &mut Context<'_>) -> bool {
        if let Some((first, name)) = &self.defaults {
            cx.report
                .add(
                    Code::PolicyConflict,
                    head.span,
                    format!("there can be one MeshDefaults; MeshDefaults {name} counts"),
                )
                .say("has no effect")
                .also(*first, "this one counts")
                .help("put both into one object");
            return false;
        }
        self.defaults = Some((head.span, head.name.clone()));
        if let Some(error_header) = spec.error_header {
            set.mesh.error_header = error_header.value;
        }
        true
    }

    fn claim(&mut self, head: &Head, target: &Target, place: Place, said: &Held, cx: &mut Context<'_>) {
        if let Place::Version(service, version) = &place {
            self.versions.entry(service.clone()).or_default().insert(Arc::clone(version));
        }
        let on_the_way = place.is_on_the_way();
        let mut claiming = Claiming { head, place: place.describe(), on_the_way, cx };
        let held = self.places.entry(place).or_default();
        held.targets.push(target.span);
        held.rate_limits.extend(said.rate_limits.iter().cloned());
        claiming.one(&mut held.fault, &said.fault, "the fault", true);
        claiming.one(&mut held.session, &said.session, "sessionPersistence", true);
        claiming.one(&mut held.timeouts, &said.timeouts, "timeouts", true);
        let won = claiming.one(&mut held.retry, &said.retry, "retry", true);
        if won {
            claiming.one(&mut held.retry_budget, &said.retry_budget, "budget", false);
        }
        claiming.one(&mut held.limits, &said.limits, "limits", false);
        claiming.one(&mut held.outlier, &said.outlier, "outlier", false);
        claiming.one(&mut held.load_balancing, &said.load_balancing, "loadBalancer", false);
        claiming.one(&mut held.locality, &said.locality, "locality", false);
        claiming.one(&mut held.connection, &said.connection, "connection", false);
        claiming.one(&mut held.health_check, &said.health_check, "healthCheck", false);
    }

    fn held(&self, place: &Place) -> Option<&Held> {
        self.places.get(place)
    }
}

/// One policy at one place.
struct Claiming<'a, 'c, 'm> {
    head: &'a Head,
    place: String,
    on_the_way: bool,
    cx: &'c mut Context<'m>,
}

impl Claiming<'_, '_, '_> {
    /// True when the stanza is now held by this policy.
    fn one<T: Clone>(
        &mut self,
        slot: &mut Option<Claim<T>>,
        said: &Option<Claim<T>>,
        what: &str,
        requests: bool,
    ) -> bool {
        let Some(claim) = said else { return false };
        if self.on_the_way && !requests {
            self.cx
                .report
                .add(
                    Code::StanzaNotApplicable,
                    claim.span,
                    format!("`{what}` is about backends and cannot act on {}", self.place),
                )
                .say("has no effect there")
                .help("attach it to a Service, a version of it, or a Namespace");
            return false;
        }
        if let Some(first) = slot {
            let winner = &first.stated.origin;
            self.cx
                .report
                .add(
                    Code::PolicyConflict,
                    claim.span,
                    format!(
                        "{what} of {} is decided by {} {}, not by {} {}",
                        self.place,
                        winner.kind,
                        winner.object,
                        self.head.kind.as_str(),
                        self.head.name
                    ),
                )
                .say("has no effect there")
                .also(first.span, "this one counts")
                .help("say it in one of the two; the older one counts, then the first by name");
            return false;
        }
        *slot = Some(claim.clone());
        true
    }
}

/// Adds limits. One that reaches the same requests by two ways is still one limit and counts a request once.
fn count(limits: &mut Vec<Stated<RateLimit>>, held: &Held) {
    for claim in &held.rate_limits {
        if !limits.iter().any(|known| Arc::ptr_eq(&known.value, &claim.stated.value)) {
            limits.push(claim.stated.clone());
        }
    }
}

/// One of our stanzas takes the place of another dialect's.
fn overridden(span: Span, what: &str, place: &str, other: &Origin, cx: &mut Context<'_>) {
    let at = cx.map.line_span(&other.file, other.line);
    let finding = cx.report.add(
        Code::PolicyOverrides,
        span,
        format!("{what} of {place} is also said by {} {}; this one counts", other.kind, other.object),
    );
    if let Some(at) = at {
        finding.also(at, "has no effect");
    }
    finding.help("say it in one place");
}
