//! Says in a line or two what a change of policy means, for the person who watches it spread.
//!
//! A shifted weight is the change that people make most and look at hardest, so splits are compared share by share.
//! Objects that came or went are named. The rest is counted: a diff of everything is what version control is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_policies::ir::load_balancing::TrafficSettings;
use tidegate_policies::ir::route::{Backend, RouteEntry, RouteRule, RuleAction, RulePolicies};
use tidegate_policies::ir::split::Split;
use tidegate_policies::ir::{MeshRoutes, ObjectName, Origin, PolicySet, Stated};

/// Lines given for one change; what is beyond them is counted in a last line.
const LINES_MAX: usize = 20;

/// What is different in `new`.
pub fn describe(old: &PolicySet, new: &PolicySet) -> Vec<String> {
    let (old, new) = (without_places(old), without_places(new));
    let mut lines = Vec::new();
    let mut explained = BTreeSet::new();
    for name in union(&old.mesh_routes, &new.mesh_routes) {
        let shown = format!("{}.{}", name.name, name.namespace);
        let (was, is) = (mesh_splits(&old, name), mesh_splits(&new, name));
        if compare_splits(&shown, &was, &is, &mut lines) {
            explained.insert(("rules", name.clone()));
        }
    }
    for name in union(&old.gateways, &new.gateways) {
        let before = lines.len();
        compare_gateway(name, &old, &new, &mut lines);
        if lines.len() > before {
            explained.insert(("gateway", name.clone()));
        }
    }
    let mut others = 0;
    let mut count = |kind: &'static str, name: &ObjectName, fate: Fate| match fate {
        Fate::Changed if explained.contains(&(kind, name.clone())) => {}
        Fate::Changed => others += 1,
        Fate::Added => lines.push(format!("{kind} {name} added")),
        Fate::Removed => lines.push(format!("{kind} {name} removed")),
    };
    fates(&old.services, &new.services, |name, fate| count("service", name, fate));
    fates(&old.workloads, &new.workloads, |name, fate| count("workload", name, fate));
    fates(&old.gateways, &new.gateways, |name, fate| count("gateway", name, fate));
    fates(&old.mesh_routes, &new.mesh_routes, |name, fate| count("rules", name, fate));
    fates(&old.backends, &new.backends, |name, fate| count("settings", name, fate));
    for name in union(&old.client_backends, &new.client_backends) {
        let (was, is) = (old.client_backends.get(name), new.client_backends.get(name));
        let nobody = BTreeMap::new();
        fates(was.unwrap_or(&nobody), is.unwrap_or(&nobody), |client, fate| match fate {
            Fate::Changed => others += 1,
            Fate::Added => lines.push(format!("settings {name} for clients of {client} added")),
            Fate::Removed => lines.push(format!("settings {name} for clients of {client} removed")),
        });
    }
    for (name, credential) in &new.credentials {
        if old.credentials.get(name).is_some_and(|was| was != credential) {
            lines.push(format!("{name} renewed"));
        }
    }
    others += usize::from(old.endpoint_slices != new.endpoint_slices);
    others += usize::from(old.workload_limits != new.workload_limits);
    if old.mesh != new.mesh {
        lines.push("defaults of the mesh changed".to_owned());
    }
    match others {
        0 => {}
        1 => lines.push("1 object changed".to_owned()),
        n => lines.push(format!("{n} objects changed")),
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        lines.push("nothing that proxies can see".to_owned());
    }
    lines
}

/// What became of an object.
enum Fate {
    Added,
    Removed,
    Changed,
}

fn fates<K: Ord, V: PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>, mut report: impl FnMut(&K, Fate)) {
    for name in union(old, new) {
        match (old.get(name), new.get(name)) {
            (None, _) => report(name, Fate::Added),
            (_, None) => report(name, Fate::Removed),
            (was, is) if was != is => report(name, Fate::Changed),
            _ => {}
        }
    }
}

fn union<'m, K: Ord, V>(old: &'m BTreeMap<K, V>, new: &'m BTreeMap<K, V>) -> BTreeSet<&'m K> {
    old.keys().chain(new.keys()).collect()
}

/// The splits among rules, each under a key that stays the same when only its weights change.
type Splits = BTreeMap<String, String>;

fn mesh_splits(policies: &PolicySet, service: &ObjectName) -> Splits {
    let routes: &[MeshRoutes] = policies.mesh_routes.get(service).map(Vec::as_slice).unwrap_or_default();
    let mut splits = Splits::new();
    for (position, part) in routes.iter().enumerate() {
        collect_splits(&format!("{position}"), &part.rules, Some(service), &mut splits);
    }
    splits
}

/// One entry for each rule that shares requests out; a rule with several matches is one rule.
fn collect_splits(prefix: &str, rules: &[RouteEntry], service: Option<&ObjectName>, splits: &mut Splits) {
    let mut rule_number = 0;
    let mut last: Option<&Arc<RouteRule>> = None;
    for entry in rules {
        if last.is_none_or(|rule| !Arc::ptr_eq(rule, &entry.rule) && **rule != *entry.rule) {
            rule_number += 1;
        }
        last = Some(&entry.rule);
        if let RuleAction::Split(split) = &entry.rule.action {
            let name =
                if entry.rule.name.is_empty() { format!("rule {rule_number}") } else { entry.rule.name.to_string() };
            splits.entry(format!("{prefix}/{rule_number:04}/{name}")).or_insert_with(|| shares(split, service));
        }
    }
}

/// `v1 90 % / v2 10 %`
fn shares(split: &Split, service: Option<&ObjectName>) -> String {
    let total: u64 = split.destinations.iter().map(|d| u64::from(d.weight)).sum();
    let mut text = String::new();
    for destination in &split.destinations {
        let label = match &destination.backend {
            Backend::Service { service: of, subset: Some(subset), .. } if service == Some(of) => subset.to_string(),
            Backend::Service { service: of, subset: Some(subset), .. } => format!("{} {subset}", of.name),
            Backend::Service { service: of, subset: None, .. } => of.name.to_string(),
            Backend::Invalid(_) => "invalid".to_owned(),
        };
        let separator = if text.is_empty() { "" } else { " / " };
        let percent = percent(u64::from(destination.weight), total);
        // Writing to a string cannot fail.
        write!(text, "{separator}{label} {percent} %").unwrap_or_default();
    }
    text
}

/// A share with one decimal where it has one.
pub(crate) fn percent(weight: u64, total: u64) -> String {
    let tenths = (weight * 1_000 + total / 2).checked_div(total).unwrap_or(0);
    if tenths.is_multiple_of(10) { format!("{}", tenths / 10) } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// Adds a line for each split whose shares differ; whether that is all that differs cannot be told, so any line counts
/// as an explanation.
fn compare_splits(of: &str, old: &Splits, new: &Splits, lines: &mut Vec<String>) -> bool {
    let before = lines.len();
    for (key, is) in new {
        let Some(was) = old.get(key).filter(|was| *was != is) else { continue };
        let name = key.rsplit('/').next().unwrap_or_default();
        let qualified = if new.len() == 1 { of.to_owned() } else { format!("{of} ({name})") };
        lines.push(format!("{qualified}: {was} -> {is}"));
    }
    lines.len() > before
}

fn compare_gateway(name: &ObjectName, old: &PolicySet, new: &PolicySet, lines: &mut Vec<String>) {
    let (Some(was), Some(is)) = (old.gateways.get(name), new.gateways.get(name)) else { return };
    for listener in &is.listeners {
        let Some(before) = was.listeners.iter().find(|l| l.name == listener.name) else { continue };
        for host in &listener.hosts {
            let Some(host_before) = before.hosts.iter().find(|h| h.host == host.host) else { continue };
            let (mut was, mut is) = (Splits::new(), Splits::new());
            collect_splits("", &host_before.rules, None, &mut was);
            collect_splits("", &host.rules, None, &mut is);
            compare_splits(&format!("gateway {name}, host {}", host.host), &was, &is, lines);
        }
    }
}

/// The same policies as if all had been written in one place, so that a line inserted above an object is no change of it.
fn without_places(policies: &PolicySet) -> PolicySet {
    let mut set = policies.clone();
    let clear_rules = |rules: &mut Vec<RouteEntry>| {
        for entry in rules {
            let mut rule = (*entry.rule).clone();
            clear(&mut rule.origin);
            clear_policies(&mut rule.policies);
            if let Some(by) = &mut rule.delegated_by {
                clear(&mut Arc::make_mut(by).origin);
            }
            entry.rule = Arc::new(rule);
        }
    };
    set.services.values_mut().for_each(|s| clear(&mut s.origin));
    set.workloads.values_mut().for_each(|w| clear(&mut w.origin));
    set.endpoint_slices.iter_mut().for_each(|s| clear(&mut s.origin));
    for (_, backend) in set.all_backends_mut() {
        clear(&mut backend.origin);
        std::iter::once(&mut backend.traffic).chain(backend.ports.values_mut()).for_each(clear_traffic);
        for subset in backend.subsets.values_mut() {
            clear(&mut subset.origin);
            std::iter::once(&mut subset.traffic).chain(subset.ports.values_mut()).for_each(clear_traffic);
        }
    }
    set.workload_limits.iter_mut().flat_map(|l| &mut l.limits).for_each(forget_place);
    set.mesh_routes.values_mut().flatten().for_each(|routes| clear_rules(&mut routes.rules));
    for gateway in set.gateways.values_mut() {
        clear(&mut gateway.origin);
        for listener in &mut gateway.listeners {
            listener.tcp.iter_mut().for_each(|rule| clear(&mut rule.origin));
            listener.servers.iter_mut().for_each(|server| clear(&mut server.rule.origin));
            listener.tls.iter_mut().for_each(|tls| clear(&mut tls.origin));
        }
        gateway.listeners.iter_mut().flat_map(|l| &mut l.hosts).for_each(|host| clear_rules(&mut host.rules));
    }
    set
}

fn clear(origin: &mut Origin) {
    origin.line = 0;
    origin.file = Arc::default();
}

fn forget_place<T>(stated: &mut Stated<T>) {
    clear(Arc::make_mut(&mut stated.origin));
}

fn clear_policies(policies: &mut RulePolicies) {
    let RulePolicies { fault, rate_limits, retry, mirrors, cors, session, timeouts_from } = policies;
    timeouts_from.iter_mut().for_each(|origin| clear(Arc::make_mut(origin)));
    fault.iter_mut().for_each(forget_place);
    rate_limits.iter_mut().for_each(forget_place);
    retry.iter_mut().for_each(forget_place);
    mirrors.iter_mut().for_each(forget_place);
    cors.iter_mut().for_each(forget_place);
    session.iter_mut().for_each(forget_place);
}

fn clear_traffic(traffic: &mut TrafficSettings) {
    let TrafficSettings {
        load_balancing,
        connection,
        limits,
        outlier,
        health_check,
        locality,
        session,
        retry,
        timeouts,
        fault,
        rate_limits,
        tls,
        tls_of_ports,
    } = traffic;
    load_balancing.iter_mut().for_each(forget_place);
    connection.iter_mut().for_each(forget_place);
    limits.iter_mut().for_each(forget_place);
    outlier.iter_mut().for_each(forget_place);
    health_check.iter_mut().for_each(forget_place);
    locality.iter_mut().for_each(forget_place);
    session.iter_mut().for_each(forget_place);
    retry.iter_mut().for_each(forget_place);
    timeouts.iter_mut().for_each(forget_place);
    fault.iter_mut().for_each(forget_place);
    rate_limits.iter_mut().for_each(forget_place);
    tls.iter_mut().chain(tls_of_ports.values_mut()).for_each(forget_place);
}

#[cfg(test)]
mod tests;
