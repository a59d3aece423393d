//! The share of requests that each destination of a split got in the last minute.
//!
//! # Whose requests
//! Everybody's who calls one of the split's services, as the topology has them: a split that holds for some callers or some
//! requests only is seen among all others. Where nobody called, nothing is said.

use std::collections::HashMap;

use crate::api::model::SplitReport;
use crate::topology::model::View;

/// Writes the shares into the reports. `view` is of versions of applications.
pub(crate) fn observe(splits: &mut [SplitReport], view: &View) {
    let versions: HashMap<&str, &str> = view.nodes.iter().map(|node| (&*node.id, &*node.version)).collect();
    let mut requests: HashMap<(&str, &str), u64> = HashMap::new();
    for edge in &view.edges {
        let version = versions.get(&*edge.destination).copied().unwrap_or_default();
        *requests.entry((&edge.service, version)).or_default() += edge.requests;
    }
    let towards = |service: &str, version: Option<&str>| -> u64 {
        let fits = |(of, seen): (&str, &str)| of == service && version.is_none_or(|version| version == seen);
        requests.iter().filter(|(key, _)| fits(**key)).map(|(_, count)| count).sum()
    };
    for split in splits {
        let counts = split.destinations.iter().map(|d| towards(&d.service, d.version.as_deref()));
        let counts: Vec<u64> = counts.collect();
        let total: u64 = counts.iter().sum();
        for (destination, count) in split.destinations.iter_mut().zip(counts) {
            #[expect(clippy::cast_precision_loss, reason = "a share of a minute's requests")]
            let share = count as f64 / total as f64;
            destination.observed = (total > 0).then_some(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    fn view(edges: &[(&str, &str, u64)]) -> View {
        let node = |version: &str| {
            json!({"id": format!("shop/reviews/{version}"), "kind": "app", "namespace": "shop", "name": "reviews",
                   "version": version, "workloads": [], "services": [], "health": "healthy", "requests": 0, "rps": 0.0,
                   "errors": 0, "error_share": 0.0, "latency_ms": {}})
        };
        let reported = json!({"requests": 0, "errors": 0, "latency_ms": {}, "request_bytes": 0, "response_bytes": 0,
                              "connections_opened": 0, "connections_closed": 0});
        let edge = |(source, version, requests): &(&str, &str, u64)| {
            json!({"id": format!("{source}>{version}"), "source": source, "destination": format!("shop/reviews/{version}"),
                   "protocol": "http", "service": "reviews.shop.svc.cluster.local", "mtls": "unknown",
                   "requests": requests, "rps": 0.0, "errors": 0, "error_share": 0.0, "share": null, "codes": {}, "flags": {},
                   "latency_ms": {}, "request_bytes": 0, "response_bytes": 0, "connections_opened": 0,
                   "connections_closed": 0, "health": "healthy",
                   "reporters": {"source": reported, "destination": reported}})
        };
        let edges: Vec<_> = edges.iter().map(edge).collect();
        let view = json!({"window": "1m", "seconds": 60.0, "at": "", "since": "", "type": "versionedApp",
                          "nodes": [node("v1"), node("v2")], "edges": edges, "folded": {"edges": 0, "requests": 0}});
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn shares_are_of_the_requests_of_all_callers_and_nothing_is_said_of_none() {
        let mut splits = [split()];
        observe(
            &mut splits,
            &view(&[("shop/web/v1", "v1", 60), ("shop/web/v1", "v2", 10), ("shop/cart/v1", "v1", 30)]),
        );
        let shares: Vec<_> = splits[0].destinations.iter().map(|d| d.observed).collect();
        assert_eq!(shares, [Some(0.9), Some(0.1)]);

        observe(&mut splits, &view(&[]));
        assert!(splits[0].destinations.iter().all(|d| d.observed.is_none()));
    }
}
