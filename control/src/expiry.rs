//! Faults end by themselves.
//!
//! # Why twice
//! A proxy is told when a fault ends and stops by its own clock, also when nobody is there to tell it to. The control
//! plane drops it as well, so that what it shows and hands out is what acts, and so that data planes that do not read
//! our end are relieved of the fault, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_policies::ir::fault::Fault;
use tidegate_policies::ir::route::{RouteEntry, RouteRule};
use tidegate_policies::ir::{Origin, PolicySet, Stated};

use crate::clock::Timestamp;

/// A policy set at a moment.
#[derive(Clone, Debug)]
pub struct AtMoment {
    /// Without what has expired. The same one if nothing has.
    pub policies: Arc<PolicySet>,
    /// The faults that have.
    pub expired: Vec<Arc<Origin>>,
    /// When the next will.
    pub next: Option<Timestamp>,
}

/// What holds at `now`.
pub fn at(policies: &Arc<PolicySet>, now: Timestamp) -> AtMoment {
    let ends = |fault: &Fault| fault.expires_at.map(Timestamp);
    let mut expired: Vec<Arc<Origin>> = Vec::new();
    let mut next: Option<Timestamp> = None;
    for stated in faults(policies) {
        let Some(end) = ends(&stated.value) else { continue };
        if end > now {
            next = Some(next.map_or(end, |known| known.min(end)));
        } else if !expired.contains(&stated.origin) {
            // A rule with several matches, and one for several hosts, is there more than once.
            expired.push(stated.origin.clone());
        }
    }
    if expired.is_empty() {
        return AtMoment { policies: policies.clone(), expired, next };
    }
    let has_ended = |stated: &Stated<Fault>| ends(&stated.value).is_some_and(|end| end <= now);
    let mut left = (**policies).clone();
    for (_, backend) in left.all_backends_mut() {
        backend.traffic.fault.take_if(|stated| has_ended(stated));
        for subset in backend.subsets.values_mut() {
            subset.traffic.fault.take_if(|stated| has_ended(stated));
        }
    }
    // Matches of one rule share it, and go on sharing it.
    let mut relieved: BTreeMap<*const RouteRule, Arc<RouteRule>> = BTreeMap::new();
    for entry in entries_mut(&mut left) {
        if entry.rule.policies.fault.as_ref().is_some_and(has_ended) {
            let without = relieved.entry(Arc::as_ptr(&entry.rule)).or_insert_with(|| {
                let mut rule = (*entry.rule).clone();
                rule.policies.fault = None;
                Arc::new(rule)
            });
            entry.rule = without.clone();
        }
    }
    AtMoment { policies: Arc::new(left), expired, next }
}

fn faults(policies: &PolicySet) -> impl Iterator<Item = &Stated<Fault>> {
    let of_services = policies
        .all_backends()
        .flat_map(|(_, b)| std::iter::once(&b.traffic).chain(b.subsets.values().map(|subset| &subset.traffic)));
    let of_mesh = policies.mesh_routes.values().flatten().flat_map(|routes| &routes.rules);
    let hosts = policies.gateways.values().flat_map(|gateway| &gateway.listeners).flat_map(|l| &l.hosts);
    let rules = of_mesh.chain(hosts.flat_map(|host| &host.rules)).map(|entry: &RouteEntry| &entry.rule.policies);
    of_services.filter_map(|traffic| traffic.fault.as_ref()).chain(rules.filter_map(|p| p.fault.as_ref()))
}

fn entries_mut(policies: &mut PolicySet) -> impl Iterator<Item = &mut RouteEntry> {
    let of_mesh = policies.mesh_routes.values_mut().flatten().flat_map(|routes| &mut routes.rules);
    let listeners = policies.gateways.values_mut().flat_map(|gateway| &mut gateway.listeners);
    of_mesh.chain(listeners.flat_map(|l| &mut l.hosts).flat_map(|host| &mut host.rules))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_policies::ir::fault::Fault;
    use tidegate_policies::ir::route::RequestMatch;

    use super::at;
    use crate::clock::Timestamp;
    use crate::fixture::{backend, entry, fault, for_all, mesh, named, rule, split, stated};

    fn until(ms: u64) -> Fault {
        Fault { expires_at: Some(Timestamp::from_unix_ms(ms).0), ..fault() }
    }

    #[test]
    fn an_expired_fault_is_dropped_wherever_it_stands_and_the_others_stay() {
        let mut set = mesh();
        let settings = set.backends.get_mut(&named("reviews")).unwrap();
        settings.traffic.fault = Some(stated("Fault", "early", until(1_000)));
        settings.subsets.get_mut("v1").unwrap().traffic.fault = Some(stated("Fault", "late", until(3_000)));
        settings.subsets.get_mut("v2").unwrap().traffic.fault = Some(stated("Fault", "permanent", fault()));
        let mut slow = rule("VirtualService", 1, split(&[(backend("reviews", 9080, None), 1)]));
        slow.policies.fault = Some(stated("Fault", "route", until(2_000)));
        let shared = entry(RequestMatch::default(), slow);
        set.mesh_routes.insert(named("reviews"), for_all(vec![shared.clone(), shared]));
        let set = Arc::new(set);

        let before = at(&set, Timestamp::from_unix_ms(999));
        let between = at(&set, Timestamp::from_unix_ms(2_000));
        let after = at(&set, Timestamp::from_unix_ms(9_000));

        assert!(Arc::ptr_eq(&before.policies, &set) && before.expired.is_empty());
        assert_eq!(before.next, Some(Timestamp::from_unix_ms(1_000)));
        let names: Vec<String> = between.expired.iter().map(|origin| origin.object.to_string()).collect();
        assert_eq!(names, ["shop/early", "shop/route"]);
        assert_eq!(between.next, Some(Timestamp::from_unix_ms(3_000)));
        let settings = &between.policies.backends[&named("reviews")];
        assert_eq!(settings.traffic.fault, None);
        assert!(settings.subsets.values().all(|subset| subset.traffic.fault.is_some()));
        let rules = &between.policies.mesh_routes[&named("reviews")][0].rules;
        assert!(rules.iter().all(|entry| entry.rule.policies.fault.is_none()));
        assert!(Arc::ptr_eq(&rules[0].rule, &rules[1].rule), "what was shared is shared");
        assert_eq!((after.expired.len(), after.next), (3, None));
        assert!(after.policies.backends[&named("reviews")].subsets["v2"].traffic.fault.is_some());
    }
}
