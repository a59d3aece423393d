//! What is held for versions, services, namespaces and the mesh, put into the settings of backends.
//!
//! # What a version inherits
//! A version has only what is attached to the version; a service has what is attached to it, then to its namespace, then to
//! the mesh. That a version without a stanza has its service's is a rule of the IR, so nothing is copied down to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::workloads::Index;
use super::{Claim, Held, Holdings, Place, count, overridden};
use crate::diagnostic::Code;
use crate::dialect::Context;
use crate::ir::circuit_breaker::{BreakerLimits, RetryBudget};
use crate::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use crate::ir::world::Service;
use crate::ir::{ObjectName, Origin, PolicySet, Stated};
use crate::merge::world::{World, speaks_http};

pub(super) fn apply(holdings: &Holdings, world: &World, set: &mut PolicySet, cx: &mut Context<'_>) {
    let mut backends = std::mem::take(&mut set.backends);
    let mut client_backends = std::mem::take(&mut set.client_backends);
    let index = Index::new(set);
    for (name, service) in &set.services {
        let own = holdings.held(&Place::Service(name.clone()));
        let namespace = holdings.held(&Place::Namespace(Arc::clone(&name.namespace)));
        let mesh = holdings.held(&Place::Mesh);
        let versions = holdings.versions.get(name);
        if own.is_none() && namespace.is_none() && mesh.is_none() && versions.is_none() {
            continue;
        }
        let governing = Governing { holdings, world, index: &index, service, own, larger: [namespace, mesh], versions };
        let Some(known) = governing.settings(backends.remove(name), cx) else { break };
        if let Some(settings) = known {
            backends.insert(name.clone(), settings);
        }
        for settings in client_backends.get_mut(name).into_iter().flat_map(BTreeMap::values_mut) {
            let governed = cx.again(|cx| governing.settings(Some(settings.clone()), cx));
            let Some(Some(governed)) = governed else { break };
            *settings = governed;
            forget_arrivals(settings);
        }
    }
    set.backends = backends;
    set.client_backends = client_backends;
}

/// Limits of what arrives are the same whoever calls, so they are with everybody's settings alone.
fn forget_arrivals(settings: &mut BackendSettings) {
    settings.traffic.rate_limits.clear();
    settings.subsets.values_mut().for_each(|subset| subset.traffic.rate_limits.clear());
}

/// What is held for a service.
struct Governing<'h> {
    holdings: &'h Holdings,
    world: &'h World,
    index: &'h Index<'h>,
    service: &'h Service,
    own: Option<&'h Held>,
    /// Its namespace and the mesh.
    larger: [Option<&'h Held>; 2],
    versions: Option<&'h BTreeSet<Arc<str>>>,
}

impl Governing<'_> {
    /// One way in which the service is called, governed. `None`: there is too much; within it, that nothing is said.
    fn settings(&self, known: Option<BackendSettings>, cx: &mut Context<'_>) -> Option<Option<BackendSettings>> {
        let Self { holdings, world, index, service, own, larger, versions } = *self;
        let name = &service.name;
        let [namespace, _] = larger;
        let limits = namespace.map_or(0, |held| held.rate_limits.len());
        let span = namespace.and_then(|held| held.targets.first());
        if span.is_some_and(|span| !cx.admits_entries(limits, *span)) {
            return None;
        }
        let http = speaks_http(service);
        let (origin, mut traffic, ports, mut subsets) = match known {
            Some(known) => (Some(known.origin), known.traffic, known.ports, known.subsets),
            None => (None, TrafficSettings::default(), BTreeMap::new(), BTreeMap::new()),
        };
        let mut governed = Governed { traffic: &mut traffic, budget: None, http, cx: &mut *cx };
        if let Some(held) = own {
            governed.replace(held, &Place::Service(name.clone()).describe());
            report_service(held, service, index, governed.cx);
        }
        for held in larger.into_iter().flatten() {
            governed.fill(held);
        }
        let budget = governed.budget.take();
        give_budget(&mut traffic, budget.as_ref());
        for version in versions.into_iter().flatten() {
            let place = Place::Version(name.clone(), Arc::clone(version));
            let Some(held) = holdings.held(&place) else { continue };
            let Some(subset) = subset(&mut subsets, service, version, held, index, cx) else { continue };
            let mut governed = Governed { traffic: &mut subset.traffic, budget: None, http, cx: &mut *cx };
            governed.replace(held, &place.describe());
            let own_budget = governed.budget.take();
            give_budget(&mut subset.traffic, own_budget.as_ref());
            if !held.only_counts() && !world.is_used(name, Some(version)) {
                report_unrouted(held, name, version, cx);
            }
        }
        // What its service asks already, a version need not ask again.
        for subset in subsets.values_mut() {
            let asked =
                |limit: &Stated<_>| traffic.rate_limits.iter().any(|known| Arc::ptr_eq(&known.value, &limit.value));
            subset.traffic.rate_limits.retain(|limit| !asked(limit));
        }
        // Limits of a version replace its service's, and with them the budget of the retries that it inherits.
        for Subset { traffic, .. } in subsets.values_mut() {
            if traffic.retry.is_none() && traffic.limits.is_some() {
                give_budget(traffic, budget.as_ref());
            }
        }
        let origin = origin.or_else(|| first_origin(&traffic, &subsets));
        Some(origin.map(|origin| BackendSettings { origin, traffic, ports, subsets }))
    }
}

/// Settings that are being governed.
struct Governed<'t, 'c, 'm> {
    traffic: &'t mut TrafficSettings,
    /// Of the policy whose retries count.
    budget: Option<Stated<RetryBudget>>,
    http: bool,
    cx: &'c mut Context<'m>,
}

impl Governed<'_, '_, '_> {
    /// What is attached to the same thing that another dialect may have spoken about.
    fn replace(&mut self, held: &Held, place: &str) {
        if !self.http {
            self.report_not_http(held, place);
        }
        let Self { traffic, cx, .. } = self;
        replace(&mut traffic.load_balancing, &held.load_balancing, "loadBalancer", place, cx);
        replace(&mut traffic.connection, &held.connection, "connection", place, cx);
        replace(&mut traffic.limits, &held.limits, "limits", place, cx);
        replace(&mut traffic.outlier, &held.outlier, "outlier", place, cx);
        replace(&mut traffic.health_check, &held.health_check, "healthCheck", place, cx);
        replace(&mut traffic.locality, &held.locality, "locality", place, cx);
        if self.http {
            replace(&mut traffic.session, &held.session, "sessionPersistence", place, cx);
            replace(&mut traffic.timeouts, &held.timeouts, "timeouts", place, cx);
            replace(&mut traffic.fault, &held.fault, "the fault", place, cx);
            replace(&mut traffic.retry, &held.retry, "retry", place, cx);
            self.budget = held.retry_budget.as_ref().map(|claim| claim.stated.clone());
            count(&mut self.traffic.rate_limits, held);
        }
    }

    /// What is attached to something larger.
    fn fill(&mut self, held: &Held) {
        let traffic = &mut *self.traffic;
        fill(&mut traffic.load_balancing, &held.load_balancing);
        fill(&mut traffic.connection, &held.connection);
        fill(&mut traffic.limits, &held.limits);
        fill(&mut traffic.outlier, &held.outlier);
        fill(&mut traffic.health_check, &held.health_check);
        fill(&mut traffic.locality, &held.locality);
        if self.http {
            fill(&mut traffic.session, &held.session);
            fill(&mut traffic.timeouts, &held.timeouts);
            fill(&mut traffic.fault, &held.fault);
            if fill(&mut traffic.retry, &held.retry) {
                self.budget = held.retry_budget.as_ref().map(|claim| claim.stated.clone());
            }
            count(&mut self.traffic.rate_limits, held);
        }
    }

    fn report_not_http(&mut self, held: &Held, place: &str) {
        let spans = [
            held.session.as_ref().map(|claim| claim.span),
            held.timeouts.as_ref().map(|claim| claim.span),
            held.fault.as_ref().map(|claim| claim.span),
            held.retry.as_ref().map(|claim| claim.span),
        ];
        let limits = held.rate_limits.iter().map(|claim| claim.span);
        for span in spans.into_iter().flatten().chain(limits) {
            self.cx
                .report
                .add(Code::NotHttp, span, format!("this is about requests, and no port of {place} speaks HTTP"))
                .say("has no effect")
                .help("begin the name of the service's port with `http`, `http2` or `grpc`, or set its `appProtocol`");
        }
    }
}

fn replace<T: Clone>(
    slot: &mut Option<Stated<T>>,
    held: &Option<Claim<T>>,
    what: &str,
    place: &str,
    cx: &mut Context<'_>,
) {
    let Some(claim) = held else { return };
    if let Some(old) = slot {
        overridden(claim.span, what, place, &old.origin, cx);
    }
    *slot = Some(claim.stated.clone());
}

fn fill<T: Clone>(slot: &mut Option<Stated<T>>, held: &Option<Claim<T>>) -> bool {
    let Some(claim) = held.as_ref().filter(|_| slot.is_none()) else { return false };
    *slot = Some(claim.stated.clone());
    true
}

/// The budget counts where our limits do not say how many retries there may be; another dialect's word it replaces.
fn give_budget(traffic: &mut TrafficSettings, budget: Option<&Stated<RetryBudget>>) {
    let Some(budget) = budget else { return };
    let (origin, limits) = match &traffic.limits {
        Some(limits) => (&limits.origin, *limits.value),
        None => (&budget.origin, BreakerLimits::default()),
    };
    let ours = matches!(origin.kind, "CircuitBreaker" | "MeshDefaults");
    if ours && (limits.max_retries.is_some() || limits.retry_budget.is_some()) {
        return;
    }
    let limits = BreakerLimits { max_retries: None, retry_budget: Some(*budget.value), ..limits };
    traffic.limits = Some(Stated { origin: Arc::clone(origin), value: Arc::new(limits) });
}

/// The version's settings; a version that nobody defined is that of the label. `None`: there is no such version.
fn subset<'s>(
    subsets: &'s mut BTreeMap<Arc<str>, Subset>,
    service: &Service,
    version: &Arc<str>,
    held: &Held,
    index: &Index<'_>,
    cx: &mut Context<'_>,
) -> Option<&'s mut Subset> {
    let labels = match subsets.get(version) {
        Some(subset) => subset.labels.clone(),
        None => [(Arc::from("version"), Arc::clone(version))].into_iter().collect(),
    };
    let facts = index.facts(service, Some(&labels));
    if !subsets.contains_key(version) && facts.endpoints == Some(0) {
        for span in &held.targets {
            cx.report
                .add(Code::TargetNotFound, *span, format!("no endpoint of {} has version {version}", service.name))
                .say("the policy has no effect here")
                .help("compare with the label `version` of the workloads");
        }
        return None;
    }
    report_nobody_counts(held, facts.sidecar, &format!("version {version} of service {}", service.name), cx);
    let origin = held.first_origin()?;
    Some(subsets.entry(Arc::clone(version)).or_insert_with(|| Subset {
        origin,
        labels,
        traffic: TrafficSettings::default(),
        ports: BTreeMap::new(),
    }))
}

fn report_unrouted(held: &Held, name: &ObjectName, version: &str, cx: &mut Context<'_>) {
    for span in &held.targets {
        cx.report
            .add(Code::VersionNotRouted, *span, format!("no route sends to version {version} of {name}"))
            .help("name the version in a route, or attach the policy to the service");
    }
}

/// What cannot act on this service, for want of endpoints or sidecars.
fn report_service(held: &Held, service: &Service, index: &Index<'_>, cx: &mut Context<'_>) {
    if held.rate_limits.is_empty() && held.outlier.is_none() {
        return;
    }
    let facts = index.facts(service, None);
    report_nobody_counts(held, facts.sidecar, &format!("service {}", service.name), cx);
    if let (Some(claim), Some(1)) = (&held.outlier, facts.endpoints) {
        cx.report
            .add(Code::SingleEndpoint, claim.span, format!("service {} has a single endpoint", service.name))
            .say("it is never ejected")
            .help("add endpoints, or remove the stanza");
    }
}

fn report_nobody_counts(held: &Held, sidecar: bool, place: &str, cx: &mut Context<'_>) {
    if sidecar {
        return;
    }
    for claim in &held.rate_limits {
        cx.report
            .add(Code::NobodyCounts, claim.span, format!("no workload of {place} has a sidecar, so nobody counts"))
            .say("has no effect there")
            .help("give the workloads a sidecar, or attach the limit to the route or gateway before them");
    }
}

impl Held {
    /// Nothing but limits of what arrives.
    fn only_counts(&self) -> bool {
        self.stanza_origin().is_none()
    }

    /// Of any stanza.
    fn first_origin(&self) -> Option<Origin> {
        self.stanza_origin().or_else(|| self.rate_limits.first().map(|claim| Origin::clone(&claim.stated.origin)))
    }

    fn stanza_origin(&self) -> Option<Origin> {
        fn of<T>(claim: &Option<Claim<T>>) -> Option<Origin> {
            claim.as_ref().map(|claim| Origin::clone(&claim.stated.origin))
        }
        of(&self.load_balancing)
            .or_else(|| of(&self.connection))
            .or_else(|| of(&self.limits))
            .or_else(|| of(&self.outlier))
            .or_else(|| of(&self.health_check))
            .or_else(|| of(&self.locality))
            .or_else(|| of(&self.session))
            .or_else(|| of(&self.timeouts))
            .or_else(|| of(&self.fault))
            .or_else(|| of(&self.retry))
    }
}

/// Of settings that only policies made: the first stanza's. `None`: nothing applies, so there is no need for an entry.
fn first_origin(traffic: &TrafficSettings, subsets: &BTreeMap<Arc<str>, Subset>) -> Option<Origin> {
    fn of<T>(stated: Option<&Stated<T>>) -> Option<Origin> {
        stated.map(|stated| Origin::clone(&stated.origin))
    }
    of(traffic.load_balancing.as_ref())
        .or_else(|| of(traffic.connection.as_ref()))
        .or_else(|| of(traffic.limits.as_ref()))
        .or_else(|| of(traffic.outlier.as_ref()))
        .or_else(|| of(traffic.health_check.as_ref()))
        .or_else(|| of(traffic.locality.as_ref()))
        .or_else(|| of(traffic.session.as_ref()))
        .or_else(|| of(traffic.timeouts.as_ref()))
        .or_else(|| of(traffic.fault.as_ref()))
        .or_else(|| of(traffic.retry.as_ref()))
        .or_else(|| of(traffic.rate_limits.first()))
        .or_else(|| subsets.values().next().map(|subset| subset.origin.clone()))
}
