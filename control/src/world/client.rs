//! Clients, as far as they are told apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_policies::ir::route::{Backend, ClientMatch, RouteRule, RuleAction};
use tidegate_policies::ir::world::Labels;

use super::World;

/// Who asks, as far as rules can tell clients apart. Clients of one class get identical routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientClass {
    /// The client's namespace; `None`: a client outside every namespace.
    pub namespace: Option<Arc<str>>,
    /// The client selectors named by rules that hold for it.
    pub selectors: BTreeSet<Labels>,
}

impl ClientClass {
    /// Whether a rule limited to `clients` is for this class.
    pub fn admits(&self, clients: &ClientMatch) -> bool {
        let here = clients.namespace.is_none() || clients.namespace == self.namespace;
        here && (clients.labels.is_empty() || self.selectors.contains(&clients.labels))
    }

    /// The class as far as `service` can tell: what its rules never ask for is left out, so that clients of many
    /// namespaces share the translation of a service that treats them alike. What acts on a route is also a matter of how the
    /// services that it leads to are called.
    pub fn as_seen_by(&self, service: &ObjectName, world: &World) -> Self {
        let routes = world.policies.mesh_routes.get(service).map(Vec::as_slice).unwrap_or_default();
        let entries = || routes.iter().flat_map(|r| &r.rules);
        let clients = || entries().map(|entry| &entry.matches.client);
        let known = |namespace: &Arc<str>| {
            *namespace == service.namespace
                || routes.iter().any(|r| r.consumer_namespace.as_ref() == Some(namespace))
                || clients().any(|c| c.namespace.as_ref() == Some(namespace))
                || (world.tells_apart(namespace)
                    && std::iter::once(service)
                        .chain(entries().flat_map(|entry| targets(&entry.rule)))
                        .any(|target| world.client_of(target, Some(namespace)).is_some()))
        };
        let asked: BTreeSet<&Labels> = clients().map(|c| &c.labels).collect();
        Self {
            namespace: self.namespace.clone().filter(known),
            selectors: self.selectors.iter().filter(|s| asked.contains(s)).cloned().collect(),
        }
    }
}

/// The services that a rule leads to.
fn targets(rule: &RouteRule) -> impl Iterator<Item = &ObjectName> {
    let destinations = match &rule.action {
        RuleAction::Split(split) => split.destinations.as_slice(),
        RuleAction::Redirect(_) | RuleAction::DirectResponse { .. } => &[],
    };
    destinations.iter().filter_map(|destination| match &destination.backend {
        Backend::Service { service, .. } => Some(service),
        Backend::Invalid(_) => None,
    })
}
