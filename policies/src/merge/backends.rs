//! How services are called: DestinationRules of one host are put together.
//!
//! Istio appends subsets and takes the first traffic policy, silently. Here a subset defined twice is an error, and a stanza
//! set twice a warning that names the winner.
//!
//! # Once for everybody, once for each namespace with rules of its own
//! Which rules a client is under is decided in [`super::clients`]. Clients of a namespace that are under others get settings of
//! their own, complete, so that nobody after here has to put two together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::clients::{self, InForce};
use super::world::{World, unknown_port};
use crate::diagnostic::Code;
use crate::dialect::gateway_api::backend_traffic_policy::BackendTrafficPolicy;
use crate::dialect::istio::destination_rule::{DestinationRule, TrafficShape, duplicate_subset};
use crate::dialect::{Context, Object, Objects};
use crate::head::Head;
use crate::ir::circuit_breaker::BreakerLimits;
use crate::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use crate::ir::world::Service;
use crate::ir::{ObjectName, Origin, PolicySet, Stated};
use crate::source::{Span, Spanned};

pub(super) fn destination_rules(objects: &Objects, world: &World, set: &mut PolicySet, cx: &mut Context<'_>) {
    for InForce { service, everybody, of_clients } in clients::in_force(objects, world, set, cx) {
        let Some(known) = set.services.get(&service) else { continue };
        if let Some(settings) = merged(&everybody, known, cx) {
            set.backends.insert(service.clone(), settings);
        }
        for (namespace, rules) in of_clients {
            let own = cx.again(|cx| merged(&rules, known, cx));
            // Further rules may say nothing that the oldest does not.
            if let Some(settings) = own.filter(|own| Some(own) != set.backends.get(&service)) {
                set.client_backends.entry(service.clone()).or_default().insert(namespace, settings);
            }
        }
    }
}

/// What rules for one service, the oldest first, say together.
fn merged(rules: &[&Object<DestinationRule>], service: &Service, cx: &mut Context<'_>) -> Option<BackendSettings> {
    let head = &rules.first()?.head;
    let mut settings = nothing_but(cx.origin(head, head.span));
    let mut subset_spans: HashMap<&str, Span> = HashMap::new();
    let mut policy_span: Option<Span> = None;
    for Object { head, spec } in rules {
        if let Some(traffic) = &spec.traffic {
            let first = *policy_span.get_or_insert(traffic.span);
            let mut conflict = combine(&mut settings.traffic, stated(&traffic.value, head, cx));
            for (port, traffic) in ports(&traffic.value, service, head, cx) {
                conflict |= settings.ports.insert(port, traffic).is_some();
            }
            if conflict {
                cx.report
                    .add(
                        Code::ConflictingSettings,
                        traffic.span,
                        format!("an older DestinationRule already sets the same for {}", service.name),
                    )
                    .say("has no effect where both set the same")
                    .also(first, "this one counts")
                    .help("set it in one place");
            }
        }
        for shape in &spec.subsets {
            if let Some(first) = subset_spans.get(&*shape.name.value) {
                duplicate_subset(&shape.name, *first, &mut cx.report);
                continue;
            }
            subset_spans.insert(&shape.name.value, shape.name.span);
            let subset = Subset {
                origin: cx.origin(head, shape.name.span),
                labels: shape.labels.clone(),
                traffic: stated(&shape.traffic, head, cx),
                ports: ports(&shape.traffic, service, head, cx),
            };
            settings.subsets.insert(shape.name.value.clone(), subset);
        }
    }
    complete_limits(&mut settings);
    Some(settings)
}

/// Settings that say nothing yet.
fn nothing_but(origin: Origin) -> BackendSettings {
    BackendSettings { origin, traffic: TrafficSettings::default(), ports: BTreeMap::new(), subsets: BTreeMap::new() }
}

/// Gateway API's policies for services: Gateway API goes before a dialect, the older policy before the newer.
pub(super) fn traffic_policies(policies: &[Object<BackendTrafficPolicy>], set: &mut PolicySet, cx: &mut Context<'_>) {
    let mut policies: Vec<&Object<BackendTrafficPolicy>> = policies.iter().collect();
    policies.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut winners: HashMap<ObjectName, Span> = HashMap::new();
    for Object { head, spec } in policies {
        for target in &spec.targets {
            let name = ObjectName { namespace: Arc::clone(&head.name.namespace), name: Arc::clone(&target.value) };
            if set.services.get(&name).is_none_or(|service| service.origin.kind != "Service") {
                cx.report
                    .add(Code::UnknownParent, target.span, format!("there is no service {name}"))
                    .say("the policy has no effect here")
                    .help("add the Service, or correct the name");
                continue;
            }
            if let Some(first) = winners.get(&name) {
                cx.report
                    .add(
                        Code::ConflictingSettings,
                        target.span,
                        format!("an older XBackendTrafficPolicy is for {name} already"),
                    )
                    .say("has no effect here")
                    .also(*first, "this one counts")
                    .help("set it in one place");
                continue;
            }
            winners.insert(name.clone(), target.span);
            let of_clients = set.client_backends.get_mut(&name).into_iter().flat_map(BTreeMap::values_mut);
            let everybody = set.backends.entry(name).or_insert_with(|| nothing_but(cx.origin(head, head.span)));
            std::iter::once(everybody).chain(of_clients).for_each(|settings| govern(settings, head, spec, cx));
        }
    }
    set.all_backends_mut().for_each(|(_, settings)| complete_limits(settings));
}

fn govern(settings: &mut BackendSettings, head: &Head, spec: &BackendTrafficPolicy, cx: &Context<'_>) {
    if let Some(session) = &spec.session {
        settings.traffic.session = Some(cx.stated(head, session));
    }
    let Some(budget) = &spec.budget else { return };
    let limits = settings.traffic.limits.as_ref();
    let known = limits.map(|limits| *limits.value).unwrap_or_default();
    let value = BreakerLimits { retry_budget: Some(budget.value), ..known };
    settings.traffic.limits = Some(match limits {
        Some(limits) => Stated { origin: Arc::clone(&limits.origin), value: Arc::new(value) },
        None => cx.stated(head, &Spanned { value, span: budget.span }),
    });
}

/// A version's budget replaces the host's budget, and a version's pool the host's pool; the other half stays the host's.
fn complete_limits(settings: &mut BackendSettings) {
    let BackendSettings { traffic, subsets, .. } = settings;
    let Some(host) = &traffic.limits else { return };
    for subset in subsets.values_mut() {
        let Some(own) = &mut subset.traffic.limits else { continue };
        let budget_alone = BreakerLimits { retry_budget: own.value.retry_budget, ..BreakerLimits::default() };
        let completed = if *own.value == budget_alone && own.value.retry_budget.is_some() {
            BreakerLimits { retry_budget: own.value.retry_budget, ..*host.value }
        } else {
            BreakerLimits { retry_budget: own.value.retry_budget.or(host.value.retry_budget), ..*own.value }
        };
        own.value = Arc::new(completed);
    }
}

/// Fills what is unset; true when both set the same stanza.
fn combine(older: &mut TrafficSettings, newer: TrafficSettings) -> bool {
    let mut conflict = false;
    fill(&mut older.load_balancing, newer.load_balancing, &mut conflict);
    fill(&mut older.connection, newer.connection, &mut conflict);
    fill(&mut older.limits, newer.limits, &mut conflict);
    fill(&mut older.outlier, newer.outlier, &mut conflict);
    fill(&mut older.locality, newer.locality, &mut conflict);
    fill(&mut older.tls, newer.tls, &mut conflict);
    conflict
}

fn fill<T>(older: &mut Option<Stated<T>>, newer: Option<Stated<T>>, conflict: &mut bool) {
    match older {
        Some(_) => *conflict |= newer.is_some(),
        None => *older = newer,
    }
}

/// A traffic policy with the place of each stanza.
fn stated(shape: &TrafficShape, head: &Head, cx: &Context<'_>) -> TrafficSettings {
    TrafficSettings {
        load_balancing: shape.load_balancing.as_ref().map(|stanza| cx.stated(head, stanza)),
        locality: shape.locality.as_ref().map(|stanza| cx.stated(head, stanza)),
        connection: shape.connection.as_ref().map(|stanza| cx.stated(head, stanza)),
        limits: limits(shape).map(|stanza| cx.stated(head, &stanza)),
        outlier: shape.outlier.as_ref().map(|stanza| cx.stated(head, stanza)),
        tls: shape.tls.as_ref().map(|stanza| cx.stated(head, &stanza.of_namespace(&head.name.namespace))),
        ..TrafficSettings::default()
    }
}

/// The limits of the pool and the budget are one stanza here.
fn limits(shape: &TrafficShape) -> Option<Spanned<BreakerLimits>> {
    let Some(budget) = shape.retry_budget else { return shape.limits };
    let Spanned { value, span } =
        shape.limits.unwrap_or_else(|| Spanned { value: BreakerLimits::default(), span: budget.span });
    Some(Spanned { value: BreakerLimits { retry_budget: Some(budget.value), ..value }, span })
}

/// The settings of single ports.
fn ports(shape: &TrafficShape, service: &Service, head: &Head, cx: &mut Context<'_>) -> BTreeMap<u16, TrafficSettings> {
    let mut ports = BTreeMap::new();
    for settings in &shape.ports {
        if service.ports.iter().any(|known| known.port == settings.port.value) {
            ports.insert(settings.port.value, stated(&settings.traffic, head, cx));
        } else {
            unknown_port(&settings.port, service, &mut cx.report);
        }
    }
    ports
}
