//! What is asked of the control plane by name, and what is dropped when nothing names it any more.

use std::collections::BTreeSet;

use super::{Applier, Effect, Names, kept};
use crate::config::snapshot::{eds_service, route_names};

impl Applier {
    /// Drops assignments and routes that nothing names any more. What nothing has named yet stays: it may have come before
    /// its listener.
    pub(super) fn forget_unnamed(&mut self) {
        let desired = &mut self.desired;
        let services = kept::services(&desired.clusters, &self.active);
        let once = &self.subscribed.endpoints;
        desired.assignments.retain(|name, _| services.contains(name) || !once.contains(name));
        let names = kept::routes(&desired.listeners, &self.active);
        let once = &self.subscribed.routes;
        desired.routes.retain(|name, _| names.contains(name) || !once.contains(name));
        self.forget_material();
    }

    pub(super) fn subscribe(&mut self) {
        let endpoints: BTreeSet<_> =
            self.desired.clusters.values().filter_map(|wanted| eds_service(&wanted.config)).cloned().collect();
        let routes: BTreeSet<_> =
            self.desired.listeners.values().flat_map(|wanted| route_names(&wanted.config)).cloned().collect();
        self.given_up.retain_routes(&routes);
        let names = Names { endpoints, routes, secrets: self.secret_names() };
        if names != self.subscribed {
            self.subscribed = names.clone();
            self.effects.push(Effect::Subscribe(names));
        }
    }
}
