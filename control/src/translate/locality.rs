//! Nearness as priorities, and shares of localities as weights.
//!
//! # Why priorities
//! A client's proxy uses the nearest endpoints as long as they are well, and the next nearest as they become fewer. It needs
//! to be told only once which are near: moving over happens where the failure is seen, without outlier detection if
//! there is none, and also when the control plane is away.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use tidegate_policies::ir::locality::{Distribution, LocalitySettings};
use tidegate_xds::resource::endpoint::{Endpoint, Locality, LocalityEndpoints};

use super::endpoint::Candidate;
use crate::place::{Place, label_name, part_of};

/// Weights of localities are this many for each percent, so that a percent can be split among many.
const WEIGHTS_OF_PERCENT: u64 = 10_000;
/// Nothing but the mesh in common.
const ELSEWHERE: u32 = 4;
/// In a region that takes over from the client's.
const TAKES_OVER: u32 = 3;

/// Endpoints as a client at `place` is given them: by nearness and locality, both in order, so that equal input gives equal
/// bytes.
pub(super) fn grouped<'c>(
    candidates: impl Iterator<Item = &'c Candidate<'c>>,
    settings: Option<&LocalitySettings>,
    place: &Place,
) -> Vec<LocalityEndpoints> {
    let shares = settings.filter(|s| s.enabled).and_then(|s| distribution(s, place));
    let near = |candidate: &Candidate<'_>| match settings {
        Some(settings) if !settings.enabled || !settings.distribute.is_empty() => 0,
        settings => distance(candidate, settings, place),
    };
    let mut groups: BTreeMap<(u32, Locality), Vec<Endpoint>> = BTreeMap::new();
    for candidate in candidates {
        groups.entry((near(candidate), candidate.locality.clone())).or_default().push(candidate.endpoint.clone());
    }
    // Priorities have no gaps.
    let distances: BTreeSet<u32> = groups.keys().map(|(distance, _)| *distance).collect();
    let ranks: BTreeMap<u32, u32> = distances.into_iter().zip(0..).collect();
    let mut localities: Vec<LocalityEndpoints> = groups
        .into_iter()
        .map(|((distance, locality), mut endpoints)| {
            endpoints.sort_by_key(|e| e.address);
            let sum = endpoints.iter().fold(0_u32, |sum, e| sum.saturating_add(e.weight.get()));
            let priority = ranks.get(&distance).copied().unwrap_or(0);
            // gRPC clients drop a locality without a weight.
            LocalityEndpoints { locality, priority, weight: NonZeroU32::new(sum), endpoints }
        })
        .collect();
    if let Some(shares) = shares {
        share_out(&mut localities, shares);
    }
    localities
}

/// How far an endpoint is; only the order counts.
fn distance(candidate: &Candidate<'_>, settings: Option<&LocalitySettings>, place: &Place) -> u32 {
    if let Some(labels) = settings.map(|s| s.failover_priority.as_slice()).filter(|labels| !labels.is_empty()) {
        return by_labels(candidate, labels, place);
    }
    let [region, zone, sub_zone] = &place.locality;
    let there = &candidate.locality;
    if region.is_empty() && zone.is_empty() && sub_zone.is_empty() {
        return 0;
    }
    if there.region == *region && there.zone == *zone {
        return u32::from(there.sub_zone != *sub_zone);
    }
    if there.region == *region {
        return 2;
    }
    let heirs: Vec<&Arc<str>> =
        settings.into_iter().flat_map(|s| &s.failover).filter(|(from, _)| from == region).map(|(_, to)| to).collect();
    if heirs.is_empty() || heirs.contains(&&there.region) { TAKES_OVER } else { ELSEWHERE }
}

/// How many of the labels, from the least important up, do not hold: the first that differs ends the comparison.
fn by_labels(candidate: &Candidate<'_>, labels: &[Arc<str>], place: &Place) -> u32 {
    let there =
        [candidate.locality.region.clone(), candidate.locality.zone.clone(), candidate.locality.sub_zone.clone()];
    let holds = |key: &&Arc<str>| {
        let name = label_name(key);
        let is = candidate.labels.get(name).map(|value| &**value).or_else(|| part_of(&there, name));
        is.is_some() && is == place.wanted(key)
    };
    let equal = labels.iter().take_while(holds).count();
    u32::try_from(labels.len() - equal).unwrap_or(u32::MAX)
}

/// The shares for callers at a place: of the most exact pattern that it fits.
fn distribution<'s>(settings: &'s LocalitySettings, place: &Place) -> Option<&'s [(Arc<str>, u32)]> {
    let here = place.locality.each_ref().map(|part| &**part);
    let fitting = settings.distribute.iter().filter(|d: &&Distribution| fits(&d.from, here));
    // The first of several that are equally exact: `max_by_key` would take the last.
    let best = fitting.rev().max_by_key(|d| exactness(&d.from));
    best.map(|d| d.to.as_slice())
}

/// Gives each locality its share; what is in none is not used. Localities of one pattern share by their endpoints.
fn share_out(localities: &mut Vec<LocalityEndpoints>, shares: &[(Arc<str>, u32)]) {
    let named = |l: &Locality| {
        let parts = [&*l.region, &*l.zone, &*l.sub_zone];
        let fitting = shares.iter().enumerate().filter(|(_, (pattern, _))| fits(pattern, parts));
        fitting.rev().max_by_key(|(_, (pattern, _))| exactness(pattern)).map(|(at, (_, percent))| (at, *percent))
    };
    let mut totals: BTreeMap<usize, u64> = BTreeMap::new();
    for locality in localities.iter() {
        if let Some((at, _)) = named(&locality.locality) {
            *totals.entry(at).or_default() += u64::from(locality.weight.map_or(0, NonZeroU32::get));
        }
    }
    localities.retain_mut(|locality| {
        let Some((at, percent)) = named(&locality.locality) else { return false };
        let own = u64::from(locality.weight.map_or(0, NonZeroU32::get));
        let total = totals.get(&at).copied().unwrap_or(0).max(1);
        let weight = u64::from(percent) * WEIGHTS_OF_PERCENT * own / total;
        locality.weight = u32::try_from(weight).ok().and_then(NonZeroU32::new);
        locality.weight.is_some()
    });
}

/// Whether a locality is one that `region/zone/sub_zone` means; parts from the right may be `*` or missing.
fn fits(pattern: &str, parts: [&str; 3]) -> bool {
    pattern.split('/').zip(parts).all(|(wanted, part)| wanted == "*" || wanted == part)
}

fn exactness(pattern: &str) -> usize {
    pattern.split('/').filter(|part| *part != "*" && !part.is_empty()).count()
}
