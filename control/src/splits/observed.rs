//! The share of requests that each destination of a split got in the last minute.
//!
//! # Whose requests
//! Everybody's who calls one of the split's services, as their proxies count them: a split that holds for some callers or some
//! requests only is seen among all others. Where nobody called, nothing is said.

use std::collections::HashSet;

use crate::api::model::SplitReport;
use crate::topology::Called;

/// The services whose requests the shares are made of.
pub(crate) fn services(splits: &[SplitReport]) -> HashSet<&str> {
    splits.iter().flat_map(|split| &split.destinations).map(|destination| &*destination.service).collect()
}

/// Writes the shares into the reports.
pub(crate) fn observe(splits: &mut [SplitReport], called: &Called) {
    for split in splits {
        let counts = split.destinations.iter().map(|d| called.of(&d.service, d.version.as_deref()));
        let counts: Vec<u64> = counts.collect();
        let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        for (destination, count) in split.destinations.iter_mut().zip(counts) {
            #[expect(clippy::cast_precision_loss, reason = "a share of a minute's requests")]
            let share = count as f64 / total as f64;
            destination.observed = (total > 0).then_some(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::SplitDestination;

    fn destination(version: &str, desired: f64) -> SplitDestination {
        SplitDestination {
            name: version.to_owned(),
            service: "reviews.shop.svc.cluster.local".to_owned(),
            version: Some(version.to_owned()),
            desired,
            acknowledged: None,
            acknowledged_by: 0,
            of: 0,
            observed: None,
        }
    }

    fn split() -> SplitReport {
        SplitReport {
            host: "reviews.shop.svc.cluster.local".to_owned(),
            gateway: None,
            namespace: "shop".to_owned(),
            name: "reviews".to_owned(),
            kind: "VirtualService".to_owned(),
            route: String::new(),
            source: "reviews.yaml:3".to_owned(),
            destinations: vec![destination("v1", 0.9), destination("v2", 0.1)],
        }
    }

    fn called(counts: &[(&str, u64)]) -> Called {
        let mut called = Called::default();
        counts.iter().for_each(|(version, count)| called.add("reviews.shop.svc.cluster.local", version, *count));
        called
    }

    #[test]
    fn shares_are_of_the_requests_of_all_callers_and_nothing_is_said_of_none() {
        let mut splits = [split()];
        observe(&mut splits, &called(&[("v1", 60), ("v2", 10), ("v1", 30)]));
        let shares: Vec<_> = splits[0].destinations.iter().map(|d| d.observed).collect();
        assert_eq!(shares, [Some(0.9), Some(0.1)]);

        observe(&mut splits, &called(&[]));
        assert!(splits[0].destinations.iter().all(|d| d.observed.is_none()));
    }
}
