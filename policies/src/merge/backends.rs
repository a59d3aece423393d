//! How services are called: DestinationRules of one host are put together.
//!
//! Istio appends subsets and takes the first traffic policy, silently. Here a subset defined twice is an error, and a stanza
//! set twice a warning that names the winner.
//!
//! # Whose namespace
//! Istio looks in the client's namespace, then in the service's, then in its root namespace, and takes the first that has a
//! rule. The last two are done here; a rule for the clients of one namespace alone is refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::world::{World, unknown_port};
use crate::diagnostic::Code;
use crate::dialect::gateway_api::backend_traffic_policy::BackendTrafficPolicy;
use crate::dialect::istio::destination_rule::{DestinationRule, TrafficShape, duplicate_subset};
use crate::dialect::{Context, Object};
use crate::head::Head;
use crate::ir::circuit_breaker::BreakerLimits;
use crate::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use crate::ir::world::Service;
use crate::ir::{ObjectName, PolicySet, Stated};
use crate::source::{Span, Spanned};

/// Where Istio keeps what is for the whole mesh.
const ROOT_NAMESPACE: &str = "istio-system";

pub(super) fn destination_rules(
    rules: &[Object<DestinationRule>],
    world: &World,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let mut subset_spans: HashMap<(ObjectName, &str), Span> = HashMap::new();
    let mut policy_spans: HashMap<ObjectName, Span> = HashMap::new();
    for (Object { head, spec }, service) in in_force(rules, world, set, cx) {
        let origin = cx.origin(head, head.span);
        let settings = set.backends.entry(service.clone()).or_insert_with(|| BackendSettings {
            origin,
            traffic: TrafficSettings::default(),
            ports: BTreeMap::new(),
            subsets: BTreeMap::new(),
        });
        if let Some(traffic) = &spec.traffic {
            let first = *policy_spans.entry(service.clone()).or_insert(traffic.span);
            let mut conflict = combine(&mut settings.traffic, stated(&traffic.value, head, cx));
            for (port, traffic) in ports(&traffic.value, &service, &set.services, head, cx) {
                conflict |= settings.ports.insert(port, traffic).is_some();
            }
            if conflict {
                cx.report
                    .add(
                        Code::ConflictingSettings,
                        traffic.span,
                        format!("an older DestinationRule already sets the same for {service}"),
                    )
                    .say("has no effect where both set the same")
                    .also(first, "this one counts")
                    .help("set it in one place");
            }
        }
        for shape in &spec.subsets {
            match subset_spans.get(&(service.clone(), &*shape.name.value)) {
                Some(first) => duplicate_subset(&shape.name, *first, &mut cx.report),
                None => {
                    subset_spans.insert((service.clone(), &shape.name.value), shape.name.span);
                    let origin = crate::ir::Origin {
                        kind: "DestinationRule",
                        object: head.name.clone(),
                        file: cx.map.path(shape.name.span.file),
                        line: cx.map.line(shape.name.span),
                    };
                    let ports = ports(&shape.traffic, &service, &set.services, head, cx);
                    let traffic = stated(&shape.traffic, head, cx);
                    settings.subsets.insert(
                        shape.name.value.clone(),
                        Subset { origin, labels: shape.labels.clone(), traffic, ports },
                    );
                }
            }
        }
    }
    set.backends.values_mut().for_each(complete_limits);
}

/// The rules that act, the oldest first, each with its service. A rule of the service's own namespace goes before those of
/// [`ROOT_NAMESPACE`]: whole, nothing of theirs is added to it.
fn in_force<'r>(
    rules: &'r [Object<DestinationRule>],
    world: &World,
    set: &PolicySet,
    cx: &mut Context<'_>,
) -> Vec<(&'r Object<DestinationRule>, ObjectName)> {
    let mut rules: Vec<&Object<DestinationRule>> = rules.iter().collect();
    rules.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut own = Vec::new();
    let mut of_mesh = Vec::new();
    let mut nearer: HashMap<ObjectName, Span> = HashMap::new();
    for rule in rules {
        let Object { head, spec } = rule;
        let Some(service) = world.service(&spec.host, &head.name.namespace, &set.services, &mut cx.report) else {
            continue;
        };
        let service = service.name.clone();
        if service.namespace == head.name.namespace {
            nearer.entry(service.clone()).or_insert(spec.host.span);
            own.push((rule, service));
        } else if &*head.name.namespace == ROOT_NAMESPACE {
            of_mesh.push((rule, service));
        } else {
            cx.report
                .add(
                    Code::ForeignNamespace,
                    spec.host.span,
                    format!("{service} is in another namespace than this DestinationRule, which is not yet supported"),
                )
                .say(format!("lives in namespace `{}`", service.namespace))
                .help(format!(
                    "move the DestinationRule to namespace `{}`, or to `{ROOT_NAMESPACE}` if the service has none of its own",
                    service.namespace
                ));
        }
    }
    for (rule, service) in of_mesh {
        let Some(first) = nearer.get(&service) else {
            own.push((rule, service));
            continue;
        };
        cx.report
            .add(
                Code::ConflictingSettings,
                rule.spec.host.span,
                format!(
                    "{service} has a DestinationRule in its own namespace, which goes before one of `{ROOT_NAMESPACE}`"
                ),
            )
            .say("has no effect")
            .also(*first, "this one counts")
            .help("write it into the DestinationRule of the service's namespace, or remove that one");
    }
    own
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
            let origin = cx.origin(head, head.span);
            let settings = set.backends.entry(name).or_insert_with(|| BackendSettings {
                origin,
                traffic: TrafficSettings::default(),
                ports: BTreeMap::new(),
                subsets: BTreeMap::new(),
            });
            if let Some(session) = &spec.session {
                settings.traffic.session = Some(cx.stated(head, session));
            }
            let Some(budget) = &spec.budget else { continue };
            let limits = settings.traffic.limits.as_ref();
            let known = limits.map(|limits| *limits.value).unwrap_or_default();
            let value = BreakerLimits { retry_budget: Some(budget.value), ..known };
            settings.traffic.limits = Some(match limits {
                Some(limits) => Stated { origin: Arc::clone(&limits.origin), value: Arc::new(value) },
                None => cx.stated(head, &Spanned { value, span: budget.span }),
            });
        }
    }
    set.backends.values_mut().for_each(complete_limits);
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
fn ports(
    shape: &TrafficShape,
    service: &ObjectName,
    services: &BTreeMap<ObjectName, Service>,
    head: &Head,
    cx: &mut Context<'_>,
) -> BTreeMap<u16, TrafficSettings> {
    let mut ports = BTreeMap::new();
    let Some(service) = services.get(service) else { return ports };
    for settings in &shape.ports {
        if service.ports.iter().any(|known| known.port == settings.port.value) {
            ports.insert(settings.port.value, stated(&settings.traffic, head, cx));
        } else {
            unknown_port(&settings.port, service, &mut cx.report);
        }
    }
    ports
}
