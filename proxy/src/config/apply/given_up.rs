//! What waited too long and was refused: asked for again as soon as it lacks nothing.
//!
//! # Why it is not simply taken then
//! Whoever refused a version has the one before, and the control plane knows that. If it goes back to that one it has nothing
//! to say, and we would put up something that nobody wants any more. So the control plane is asked, and its answer is what
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::tls::DownstreamTls;

use super::{Applier, Effect, assemble};
use crate::config::snapshot::{ActiveRoutes, chains};

/// A listener with its inline routes.
type WithRoutes = (Arc<Listener>, Vec<Arc<ActiveRoutes>>);

/// One version of each name at most: of routes and listeners, which are bounded by what the control plane may name.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    routes: BTreeMap<Arc<str>, Arc<ActiveRoutes>>,
    listeners: BTreeMap<Arc<str>, WithRoutes>,
}

impl GivenUp {
    /// Something else is said of this name.
    pub(super) fn forget(&mut self, resource_type: ResourceType, name: &str) {
        match resource_type {
            ResourceType::Route => drop(self.routes.remove(name)),
            ResourceType::Listener => drop(self.listeners.remove(name)),
            ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => {}
        }
    }

    /// Routes that nobody asks for any more.
    pub(super) fn retain_routes(&mut self, named: &BTreeSet<Arc<str>>) {
        self.routes.retain(|name, _| named.contains(name));
    }

    /// What its listeners are to shake hands with: it has to be asked for, or it never comes.
    pub(super) fn terminations(&self) -> impl Iterator<Item = &DownstreamTls> {
        self.listeners.values().flat_map(|(listener, _)| chains(listener)).filter_map(|chain| chain.tls.as_ref())
    }
}

impl Applier {
    /// Remembers what is about to be given up.
    pub(super) fn remember(&mut self, resource_type: ResourceType, name: &Arc<str>) {
        match resource_type {
            ResourceType::Route => {
                let wanted = self.desired.routes.get(name).map(|wanted| Arc::clone(&wanted.config));
                self.given_up.routes.extend(wanted.map(|wanted| (Arc::clone(name), wanted)));
            }
            ResourceType::Listener => {
                let wanted = self.desired.listeners.get(name).map(|wanted| Arc::clone(&wanted.config));
                let inline = self.desired.inline.get(name).cloned().unwrap_or_default();
                self.given_up.listeners.extend(wanted.map(|wanted| (Arc::clone(name), (wanted, inline))));
            }
            ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => {}
        }
    }

    /// Asks for what was given up and lacks nothing now.
    pub(super) fn ask_again(&mut self) {
        let desired = &self.desired;
        let lacks_nothing = |routes: &Arc<ActiveRoutes>| assemble::route_lacks(desired, routes).is_none();
        let listener_lacks_nothing =
            |(listener, inline): &WithRoutes| assemble::listener_lacks(desired, listener, inline).is_none();
        let routes = self.given_up.routes.extract_if(.., |_, routes| lacks_nothing(routes));
        let routes = routes.map(|(name, _)| (ResourceType::Route, name));
        let listeners = self.given_up.listeners.extract_if(.., |_, listener| listener_lacks_nothing(listener));
        let listeners = listeners.map(|(name, _)| (ResourceType::Listener, name));
        let whole = routes.chain(listeners);
        self.effects.extend(whole.map(|(resource_type, name)| Effect::AskAgain { resource_type, name }));
    }
}
