//! `GET /debug/syncz`: who is in sync, in the words of Istio's control plane, for Kiali.
//!
//! # What sent and acked are here
//! Whoever reads this compares the two: equal is in sync, an empty `sent` is nothing sent, and anything else is stale. Istio
//! writes nonces, here it is the generation of the last response. A proxy that came back with what it would have been sent is in
//! sync without one; then both say the generation up to which it has answered everything.
//!
//! # What is left out
//! `proxy_version` and `istio_version`: proxies do not say theirs.

use serde::Serialize;

use super::model::{Answers, ProxyKind, ProxyStatus, SyncState};
use super::{Answer, json};
use crate::fleet::Fleet;

/// What Istio calls the only cluster there is.
const CLUSTER: &str = "Kubernetes";

#[derive(Debug, Serialize)]
struct SyncStatus {
    cluster_id: &'static str,
    proxy: String,
    proxy_type: &'static str,
    cluster_sent: String,
    cluster_acked: String,
    listener_sent: String,
    listener_acked: String,
    route_sent: String,
    route_acked: String,
    endpoint_sent: String,
    endpoint_acked: String,
    extensionconfig_sent: String,
    extensionconfig_acked: String,
}

/// All connected proxies.
pub(super) fn proxies(fleet: &Fleet) -> Answer {
    json(&fleet.status().proxies.iter().map(of_proxy).collect::<Vec<_>>())
}

fn of_proxy(proxy: &ProxyStatus) -> SyncStatus {
    let of = |name: &str| proxy.types.get(name).map(|answers| pair(answers, proxy)).unwrap_or_default();
    let (cluster_sent, cluster_acked) = of("CDS");
    let (listener_sent, listener_acked) = of("LDS");
    let (route_sent, route_acked) = of("RDS");
    let (endpoint_sent, endpoint_acked) = of("EDS");
    SyncStatus {
        cluster_id: CLUSTER,
        proxy: name(&proxy.node).to_owned(),
        proxy_type: match proxy.kind {
            ProxyKind::Sidecar | ProxyKind::Other => "sidecar",
            ProxyKind::Gateway => "router",
        },
        cluster_sent,
        cluster_acked,
        listener_sent,
        listener_acked,
        route_sent,
        route_acked,
        endpoint_sent,
        endpoint_acked,
        extensionconfig_sent: String::new(),
        extensionconfig_acked: String::new(),
    }
}

/// `NAME.NAMESPACE`, also of a node id in Istio's own form.
fn name(node: &str) -> &str {
    node.split('~').nth(2).unwrap_or(node)
}

fn pair(answers: &Answers, proxy: &ProxyStatus) -> (String, String) {
    let text = |generation: Option<u64>| generation.map(|generation| generation.to_string()).unwrap_or_default();
    match answers.state {
        SyncState::Synced => {
            let generation = answers.sent_generation.unwrap_or(proxy.settled_generation);
            (generation.to_string(), generation.to_string())
        }
        SyncState::Stale => (text(answers.sent_generation), text(answers.acked_generation)),
        // A refusal of some resources is answered in part; it must not look as if all were taken.
        SyncState::Nacked => {
            let acked = answers.acked_generation.filter(|acked| Some(*acked) != answers.sent_generation);
            (text(answers.sent_generation), text(acked))
        }
        SyncState::NotSent => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn answers(state: SyncState, sent: Option<u64>, acked: Option<u64>) -> Answers {
        Answers { state, subscribed: 1, wildcard: false, sent_generation: sent, acked_generation: acked, nack: None }
    }

    fn proxy(node: &str, kind: ProxyKind, types: BTreeMap<String, Answers>) -> ProxyStatus {
        ProxyStatus {
            node: node.to_owned(),
            kind,
            workload: None,
            mode: "delta".to_owned(),
            connected_since: String::new(),
            address: String::new(),
            settled_generation: 6,
            generation: 7,
            types,
        }
    }

    #[test]
    fn only_who_has_everything_reads_as_in_sync() {
        let types = [
            ("CDS", answers(SyncState::Synced, Some(7), Some(7))),
            ("EDS", answers(SyncState::Synced, None, None)),
            ("LDS", answers(SyncState::NotSent, None, None)),
            ("RDS", answers(SyncState::Nacked, Some(7), Some(7))),
        ];
        let types = types.into_iter().map(|(name, answers)| (name.to_owned(), answers)).collect();

        let shown = serde_json::to_value(of_proxy(&proxy("web-1.shop", ProxyKind::Sidecar, types))).unwrap();

        let expected = serde_json::json!({
            "cluster_id": "Kubernetes", "proxy": "web-1.shop", "proxy_type": "sidecar",
            "cluster_sent": "7", "cluster_acked": "7", "endpoint_sent": "6", "endpoint_acked": "6",
            "listener_sent": "", "listener_acked": "", "route_sent": "7", "route_acked": "",
            "extensionconfig_sent": "", "extensionconfig_acked": "",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_answer_that_is_awaited_is_stale_and_a_gateway_is_a_router() {
        let types = BTreeMap::from([("CDS".to_owned(), answers(SyncState::Stale, Some(7), Some(6)))]);

        let shown = of_proxy(&proxy("router~10.0.0.7~front.shop~d", ProxyKind::Gateway, types));

        assert_eq!((&*shown.proxy, shown.proxy_type), ("front.shop", "router"));
        assert_eq!((&*shown.cluster_sent, &*shown.cluster_acked), ("7", "6"));
    }
}
