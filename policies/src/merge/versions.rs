//! Versions where clients of some namespaces are under rules of their own.
//!
//! # Why a version is lent
//! Rules for clients of one namespace replace everybody's, whole, and most of them say nothing about versions. A route that
//! leads to a version would have no cluster for those clients, which elsewhere is a 503 at run time. Which endpoints a version
//! has is hardly meant to depend on who calls, so it is taken from everybody's rules; how it is called is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clients::{NAMED_MAX, namespaces_of_clients};
use super::world::World;
use crate::diagnostic::Code;
use crate::dialect::Context;
use crate::ir::load_balancing::{Subset, TrafficSettings};
use crate::ir::route::{Backend, RouteRule, RuleAction};
use crate::ir::{ObjectName, PolicySet};

/// Versions that clients of a namespace have from everybody's rules.
pub(super) struct Lent {
    service: ObjectName,
    namespace: Arc<str>,
    versions: Vec<Arc<str>>,
}

/// Gives clients the versions that only everybody's rules define.
pub(super) fn lend(set: &mut PolicySet) -> Vec<Lent> {
    let mut lent = Vec::new();
    for (service, of_clients) in &mut set.client_backends {
        let Some(everybody) = set.backends.get(service) else { continue };
        for (namespace, settings) in of_clients {
            let mut versions = Vec::new();
            for (version, Subset { origin, labels, .. }) in &everybody.subsets {
                if settings.subsets.contains_key(version) {
                    continue;
                }
                // A version that a route names by its label alone is nobody's in particular.
                if origin.kind == "DestinationRule" {
                    versions.push(Arc::clone(version));
                }
                let (origin, labels) = (origin.clone(), labels.clone());
                let own = Subset { origin, labels, traffic: TrafficSettings::default(), ports: BTreeMap::new() };
                settings.subsets.insert(Arc::clone(version), own);
            }
            lent.push(Lent { service: service.clone(), namespace: Arc::clone(namespace), versions });
        }
    }
    lent
}

/// Versions that are lent and used, and versions that some callers of a rule do not have.
pub(super) fn check(lent: &[Lent], world: &World, set: &PolicySet, cx: &mut Context<'_>) {
    if set.client_backends.is_empty() {
        return;
    }
    let clients = namespaces_of_clients(set, set.gateways.keys());
    for Lent { service, namespace, versions } in lent.iter().filter(|lent| clients.contains(&*lent.namespace)) {
        let used = versions.iter().filter(|version| world.is_used(service, Some(version)));
        let used: Vec<String> = used.map(|version| format!("`{version}`")).collect();
        let own = set.client_backends.get(service).and_then(|of_clients| of_clients.get(namespace));
        let Some(rule) = own.map(|own| &own.origin).filter(|_| !used.is_empty()) else { continue };
        let Some(span) = cx.map.line_span(&rule.file, rule.line) else { continue };
        let used = used.join(", ");
        let message = format!("{} {} does not define subset {used} of {service}", rule.kind, rule.object);
        cx.report
            .add(Code::VersionLent, span, message)
            .say(format!("clients of namespace `{namespace}` are sent to everybody's {used}"))
            .help("define the subset here too, if other endpoints are meant");
    }
    let mut missing = Missing { set, reported: BTreeSet::new(), cx };
    for routes in set.mesh_routes.values().flatten() {
        for entry in &routes.rules {
            let client = entry.matches.client.namespace.as_ref().or(routes.consumer_namespace.as_ref());
            missing.look(&entry.rule, client.map(|client| &**client));
        }
    }
    for gateway in set.gateways.values() {
        for host in gateway.listeners.iter().flat_map(|listener| &listener.hosts) {
            host.rules.iter().for_each(|entry| missing.look(&entry.rule, Some(&gateway.name.namespace)));
        }
    }
}

struct Missing<'s, 'c, 'm> {
    set: &'s PolicySet,
    /// A rule may be in force at several places.
    reported: BTreeSet<(Arc<str>, u32, Arc<str>)>,
    cx: &'c mut Context<'m>,
}

impl Missing<'_, '_, '_> {
    /// Looks whether the versions that a rule leads to exist for clients of a namespace, or for everybody.
    fn look(&mut self, rule: &RouteRule, client: Option<&str>) {
        let mirrors = rule.policies.mirrors.iter().map(|mirror| &mirror.value.backend);
        let destinations = match &rule.action {
            RuleAction::Split(split) => split.destinations.as_slice(),
            RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => &[],
        };
        for backend in destinations.iter().map(|destination| &destination.backend).chain(mirrors) {
            let Backend::Service { service, subset: Some(version), .. } = backend else { continue };
            let known = self.set.backend(service, client);
            if !known.is_some_and(|known| known.subsets.contains_key(version)) {
                self.report(rule, service, version, client);
            }
        }
    }

    fn report(&mut self, rule: &RouteRule, service: &ObjectName, version: &Arc<str>, client: Option<&str>) {
        let origin = &rule.origin;
        if !self.reported.insert((Arc::clone(&origin.file), origin.line, Arc::clone(version))) {
            return;
        }
        let Some(span) = self.cx.map.line_span(&origin.file, origin.line) else { return };
        let having = self.set.ways(service).filter(|(_, all)| all.is_some_and(|all| all.subsets.contains_key(version)));
        let namespaces: Vec<String> =
            having.filter_map(|(namespace, _)| Some(format!("`{}`", namespace?))).take(NAMED_MAX).collect();
        let namespaces = namespaces.join(", ");
        let whom = client.map_or_else(|| "everybody".to_owned(), |client| format!("clients of namespace `{client}`"));
        self.cx
            .report
            .add(
                Code::UnknownSubset,
                span,
                format!("subset `{version}` of {service} is for clients of namespace {namespaces} alone"),
            )
            .say(format!("this rule is for {whom}"))
            .help(format!(
                "define the subset in a DestinationRule of namespace `{}`, or limit the rule by `sourceNamespace`",
                service.namespace
            ));
    }
}
