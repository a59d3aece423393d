//! What is held for rules, routes, listeners and gateways, put into the rules.
//!
//! # What a rule says itself
//! A rule's own word is as specific as a policy attached to that rule, and more than any attached to something larger: the
//! first replaces it with a warning, the others only fill what it leaves open.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Claim, Held, Holdings, Place, count, overridden};
use crate::diagnostic::Code;
use crate::dialect::Context;
use crate::ir::route::{DelegatedBy, RouteEntry, RouteRule};
use crate::ir::timeout::Timeouts;
use crate::ir::world::Protocol;
use crate::ir::{PolicySet, Stated};
use crate::source::Span;

pub(super) fn apply(holdings: &Holdings, set: &mut PolicySet, cx: &mut Context<'_>) {
    if !holdings.places.keys().any(Place::is_on_the_way) {
        return;
    }
    let mut walk = Walk { holdings, met: BTreeSet::new(), reported: BTreeSet::new(), cx };
    let PolicySet { services, mesh_routes, gateways, .. } = set;
    for (name, lists) in mesh_routes {
        for routes in lists {
            // Connections that carry bytes are shared out by rules too; nothing of ours is about them.
            let ports = services.get(name).map_or(&[][..], |service| &service.ports);
            let is_tcp = |port| ports.iter().any(|known| known.port == port && known.protocol == Protocol::Tcp);
            if !routes.port.is_some_and(is_tcp) {
                walk.entries(&mut routes.rules, &[]);
            }
        }
    }
    for gateway in gateways.values_mut() {
        for listener in &mut gateway.listeners {
            let places = [
                Place::Listener(gateway.name.clone(), Arc::clone(&listener.name)),
                Place::Gateway(gateway.name.clone()),
            ];
            for host in &mut listener.hosts {
                walk.entries(&mut host.rules, &places);
            }
        }
    }
    walk.report_unmet();
}

struct Walk<'a, 'c, 'm> {
    holdings: &'a Holdings,
    /// Rules that exist.
    met: BTreeSet<Place>,
    /// A rule may be in force at several places, and is reported once.
    reported: BTreeSet<(Span, u32)>,
    cx: &'c mut Context<'m>,
}

impl Walk<'_, '_, '_> {
    fn entries(&mut self, entries: &mut [RouteEntry], around: &[Place]) {
        // Alternatives of a rule share it, before and after. The old one is kept, so that no new one gets its address.
        let mut rebuilt: HashMap<*const RouteRule, (Arc<RouteRule>, Arc<RouteRule>)> = HashMap::new();
        for entry in entries {
            let key = Arc::as_ptr(&entry.rule);
            if let Some((_, new)) = rebuilt.get(&key) {
                entry.rule = Arc::clone(new);
                continue;
            }
            let origin = &entry.rule.origin;
            let rule = Place::Rule(origin.kind, origin.object.clone(), Arc::clone(&entry.rule.name));
            let route = Place::Route(origin.kind, origin.object.clone());
            // A rule that delegates, and its object, have their say after the delegate's.
            let by = entry.rule.delegated_by.as_ref().map(|by| {
                let DelegatedBy { origin, name } = &**by;
                let rule = Place::Rule(origin.kind, origin.object.clone(), Arc::clone(name));
                [rule, Place::Route(origin.kind, origin.object.clone())]
            });
            self.met.extend(by.iter().flatten().filter(|place| self.holdings.held(place).is_some()).cloned());
            let own = self.holdings.held(&rule);
            let places = std::iter::once(&route).chain(by.iter().flatten()).chain(around);
            let larger: Vec<&Held> = places.filter_map(|place| self.holdings.held(place)).collect();
            let Some(first) = own.or_else(|| larger.first().copied()) else { continue };
            let limits: usize = own.into_iter().chain(larger.iter().copied()).map(|held| held.rate_limits.len()).sum();
            if !first.targets.first().is_some_and(|span| self.cx.admits_entries(limits, *span)) {
                return;
            }
            let old = Arc::clone(&entry.rule);
            let mut new = RouteRule::clone(&old);
            if let Some(held) = own {
                self.replace(&mut new, held, &rule);
                self.met.insert(rule);
            }
            for held in larger {
                fill(&mut new, held);
            }
            entry.rule = Arc::new(new);
            rebuilt.insert(key, (old, Arc::clone(&entry.rule)));
        }
    }

    /// What is attached to the rule itself.
    fn replace(&mut self, rule: &mut RouteRule, held: &Held, place: &Place) {
        let line = rule.origin.line;
        let place = place.describe();
        self.one(&mut rule.policies.fault, &held.fault, "the fault", line, &place);
        self.one(&mut rule.policies.retry, &held.retry, "retry", line, &place);
        self.one(&mut rule.policies.session, &held.session, "sessionPersistence", line, &place);
        if let Some(claim) = &held.timeouts {
            if rule.timeouts != Timeouts::default() && self.reported.insert((claim.span, line)) {
                overridden(claim.span, "timeouts", &place, &rule.origin, self.cx);
            }
            limit(rule, claim);
        }
        count(&mut rule.policies.rate_limits, held);
    }

    fn one<T: Clone>(
        &mut self,
        slot: &mut Option<Stated<T>>,
        held: &Option<Claim<T>>,
        what: &str,
        line: u32,
        place: &str,
    ) {
        let Some(claim) = held else { return };
        if let Some(old) = slot
            && self.reported.insert((claim.span, line))
        {
            overridden(claim.span, what, place, &old.origin, self.cx);
        }
        *slot = Some(claim.stated.clone());
    }

    /// Rules by a name that no rule has.
    fn report_unmet(self) {
        let mut missing: Vec<(&Place, &Held)> = self
            .holdings
            .places
            .iter()
            .filter(|(place, _)| matches!(place, Place::Rule(..)) && !self.met.contains(place))
            .collect();
        missing.sort_by_key(|(place, _)| *place);
        for (place, held) in missing {
            for span in &held.targets {
                self.cx
                    .report
                    .add(Code::TargetNotFound, *span, format!("there is no {} in force", place.describe()))
                    .say("the policy has no effect here")
                    .help("give the rule this `name`, or leave `sectionName` out to mean the whole route");
            }
        }
    }
}

/// What is attached to something larger than the rule.
fn fill(rule: &mut RouteRule, held: &Held) {
    let policies = &mut rule.policies;
    open(&mut policies.fault, &held.fault);
    open(&mut policies.retry, &held.retry);
    open(&mut policies.session, &held.session);
    count(&mut policies.rate_limits, held);
    let said = rule.timeouts != Timeouts::default() || policies.timeouts_from.is_some();
    if let Some(claim) = held.timeouts.as_ref().filter(|_| !said) {
        limit(rule, claim);
    }
}

fn limit(rule: &mut RouteRule, claim: &Claim<Timeouts>) {
    rule.timeouts = *claim.stated.value;
    rule.policies.timeouts_from = Some(Arc::clone(&claim.stated.origin));
}

fn open<T: Clone>(slot: &mut Option<Stated<T>>, held: &Option<Claim<T>>) {
    if slot.is_none() {
        *slot = held.as_ref().map(|claim| claim.stated.clone());
    }
}
