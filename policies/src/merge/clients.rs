//! Whose DestinationRules a client is under.
//!
//! # Where they are looked for
//! As Istio does: in the client's namespace, then in the service's, then in the root namespace. The first place that has rules
//! for the client counts, whole: nothing of the others is added to it. `exportTo` says whose clients a rule is for.
//!
//! # Clients of the root namespace
//! What stands there is meant for the whole mesh, and the gateways that often run there shall not lose a service's own rules
//! for it. So for them the first place has only what is exported to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::World;
use crate::diagnostic::Code;
use crate::dialect::istio::Audience;
use crate::dialect::istio::destination_rule::DestinationRule;
use crate::dialect::{Context, Object, Objects};
use crate::ir::{ObjectName, PolicySet};

/// Where Istio keeps what is for the whole mesh.
const ROOT_NAMESPACE: &str = "istio-system";
/// Namespaces named in one message.
pub(super) const NAMED_MAX: usize = 3;

type Rule<'r> = &'r Object<DestinationRule>;

/// The rules for one service that act, the oldest first.
pub(super) struct InForce<'r> {
    pub(super) service: ObjectName,
    /// For everybody who is not in `of_clients`.
    pub(super) everybody: Vec<Rule<'r>>,
    /// For clients of one namespace.
    pub(super) of_clients: BTreeMap<Arc<str>, Vec<Rule<'r>>>,
}

/// What acts, by service, and findings about what does not.
pub(super) fn in_force<'r>(
    objects: &'r Objects,
    world: &World,
    set: &PolicySet,
    cx: &mut Context<'_>,
) -> Vec<InForce<'r>> {
    let mut rules: Vec<Rule<'r>> = objects.destination_rules.iter().collect();
    rules.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut by_service: BTreeMap<ObjectName, Vec<Rule<'r>>> = BTreeMap::new();
    for rule in rules {
        let Object { head, spec } = rule;
        let found = world.service(&spec.host, &head.name.namespace, &set.services, &mut cx.report);
        if let Some(service) = found {
            by_service.entry(service.name.clone()).or_default().push(rule);
        }
    }
    let clients = namespaces_of_clients(set, objects.gateways.iter().map(|gateway| &gateway.head.name));
    by_service
        .into_iter()
        .map(|(service, rules)| {
            let places = Places { service: &service, rules: &rules };
            let found = places.found(cx);
            places.report_idle(&found, &clients, cx);
            let Found { everybody, of_clients } = found;
            let named = |positions: Vec<usize>| positions.iter().filter_map(|at| rules.get(*at).copied()).collect();
            InForce {
                everybody: named(everybody),
                of_clients: of_clients.into_iter().map(|(namespace, found)| (namespace, named(found))).collect(),
                service: service.clone(),
            }
        })
        .collect()
}

/// The namespaces that have clients.
pub(super) fn namespaces_of_clients<'n>(
    set: &'n PolicySet,
    gateways: impl Iterator<Item = &'n ObjectName>,
) -> BTreeSet<&'n str> {
    let with_sidecar = set.workloads.values().filter(|workload| workload.sidecar.is_some());
    with_sidecar.map(|workload| &workload.name).chain(gateways).map(|name| &*name.namespace).collect()
}

/// Positions of rules that act.
struct Found {
    everybody: Vec<usize>,
    of_clients: BTreeMap<Arc<str>, Vec<usize>>,
}

/// All rules for one service.
struct Places<'p, 'r> {
    service: &'p ObjectName,
    rules: &'p [Rule<'r>],
}

impl Places<'_, '_> {
    fn found(&self, cx: &mut Context<'_>) -> Found {
        let everybody = self.for_client(None);
        let mut of_clients = BTreeMap::new();
        for namespace in self.told_apart() {
            let span = self.rules.first().map(|rule| rule.head.span);
            if !span.is_some_and(|span| cx.admits_entries(self.rules.len(), span)) {
                break;
            }
            let own = self.for_client(Some(&namespace));
            if own != everybody {
                of_clients.insert(namespace, own);
            }
        }
        Found { everybody, of_clients }
    }

    /// The only namespaces whose clients may be under other rules than everybody.
    fn told_apart(&self) -> BTreeSet<Arc<str>> {
        let mut namespaces = BTreeSet::new();
        for Object { head, spec } in self.rules {
            let own = &head.name.namespace;
            match &spec.audience {
                Audience::Public if *own == self.service.namespace || &**own == ROOT_NAMESPACE => {}
                Audience::Public => {
                    namespaces.insert(Arc::clone(own));
                }
                Audience::Namespaces(named) => namespaces.extend(named.iter().chain([own]).cloned()),
            }
        }
        namespaces
    }

    /// The rules for clients of a namespace; `None`: for those outside every namespace.
    fn for_client(&self, client: Option<&str>) -> Vec<usize> {
        let of = |namespace: &str, exported: bool| -> Vec<usize> {
            let here = |rule: &Rule<'_>| {
                *rule.head.name.namespace == *namespace
                    && rule.spec.audience.admits(client)
                    && (!exported || !is_private(rule))
            };
            self.rules.iter().enumerate().filter(|(_, rule)| here(rule)).map(|(at, _)| at).collect()
        };
        let mut found = client.map_or_else(Vec::new, |client| of(client, false));
        if client == Some(ROOT_NAMESPACE) {
            found.retain(|at| self.rules.get(*at).is_some_and(|rule| is_private(rule)));
        }
        for namespace in [&*self.service.namespace, ROOT_NAMESPACE] {
            if found.is_empty() {
                found = of(namespace, true);
            }
        }
        found
    }

    /// Rules that nobody is under.
    fn report_idle(&self, found: &Found, clients: &BTreeSet<&str>, cx: &mut Context<'_>) {
        let counted: BTreeSet<usize> = found.everybody.iter().copied().collect();
        for (at, rule) in self.rules.iter().enumerate().filter(|(at, _)| !counted.contains(at)) {
            let under: Vec<&Arc<str>> =
                found.of_clients.iter().filter(|(_, all)| all.contains(&at)).map(|(namespace, _)| namespace).collect();
            if under.is_empty() {
                self.report_unheard(rule, found, cx);
            } else if !under.iter().any(|namespace| clients.contains(&***namespace)) {
                let more = if under.len() > NAMED_MAX { " and others" } else { "" };
                let named: Vec<String> =
                    under.iter().take(NAMED_MAX).map(|namespace| format!("`{namespace}`")).collect();
                let message = format!(
                    "this DestinationRule is for clients of namespace {}{more} alone, where there are none",
                    named.join(", ")
                );
                let wider = if rule.head.name.namespace == self.service.namespace {
                    "leave `exportTo` out to mean everybody".to_owned()
                } else {
                    format!("move the rule to namespace `{}` to mean everybody", self.service.namespace)
                };
                cx.report
                    .add(Code::NoClients, rule.head.span, message)
                    .say("has no effect")
                    .help(format!("start a workload with a sidecar, or a gateway, there; or {wider}"));
            }
        }
    }

    /// A rule that counts for no client, wherever it may be.
    fn report_unheard(&self, rule: Rule<'_>, found: &Found, cx: &mut Context<'_>) {
        let service = self.service;
        let own = &rule.head.name.namespace;
        let mut audience: Vec<Option<&str>> = match &rule.spec.audience {
            Audience::Public => vec![None],
            Audience::Namespaces(named) => named.iter().map(|namespace| Some(&**namespace)).collect(),
        };
        if *own != service.namespace && &**own != ROOT_NAMESPACE {
            audience.retain(|namespace| *namespace == Some(own));
        }
        let counting = audience.into_iter().find_map(|namespace| {
            let own = namespace.and_then(|namespace| found.of_clients.get(namespace));
            let first = own.unwrap_or(&found.everybody).first()?;
            Some((namespace, self.rules.get(*first)?))
        });
        let Some((namespace, winner)) = counting else {
            let message = format!("only clients of namespace `{own}` look here, and `exportTo` does not name it");
            cx.report
                .add(Code::NoClients, rule.head.span, message)
                .say("has no effect")
                .help("add `.` to `exportTo`, or leave `exportTo` out");
            return;
        };
        let message = if winner.head.name.namespace == service.namespace && &**own == ROOT_NAMESPACE {
            format!("{service} has a DestinationRule in its own namespace, which goes before one of `{ROOT_NAMESPACE}`")
        } else {
            let namespace = namespace.unwrap_or_default();
            format!("clients of namespace `{namespace}` have a DestinationRule for {service} that goes before this one")
        };
        cx.report
            .add(Code::ConflictingSettings, rule.spec.host.span, message)
            .say("has no effect")
            .also(winner.spec.host.span, "this one counts")
            .help(format!(
                "write it into the DestinationRule of namespace `{}`, or remove that one",
                winner.head.name.namespace
            ));
    }
}

/// Whether a rule is for clients of its own namespace alone.
fn is_private(rule: &Object<DestinationRule>) -> bool {
    match &rule.spec.audience {
        Audience::Public => false,
        Audience::Namespaces(named) => named.iter().all(|namespace| *namespace == rule.head.name.namespace),
    }
}
