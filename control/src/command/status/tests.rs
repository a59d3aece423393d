//! What `tidegate status` shows.

use std::collections::BTreeMap;

use super::{is_in_force, table};
use crate::api::model::{Answers, ConfigState, Nack, ProxyKind, ProxyStatus, Status, StatusConfig, SyncState};

fn answers(state: SyncState) -> Answers {
    let nack = (state == SyncState::Nacked)
        .then(|| Nack { message: "virtual_hosts[0]: weights are all zero".to_owned(), age_ms: 12 });
    Answers { state, subscribed: 1, wildcard: false, sent_generation: Some(3), acked_generation: Some(3), nack }
}

fn proxy(node: &str, settled_generation: u64, routes: SyncState) -> ProxyStatus {
    let states = [("CDS", SyncState::Synced), ("EDS", SyncState::Synced), ("LDS", SyncState::Synced), ("RDS", routes)];
    ProxyStatus {
        node: node.to_owned(),
        kind: ProxyKind::Sidecar,
        workload: None,
        mode: "delta".to_owned(),
        connected_since: "2026-01-01T00:00:00.000Z".to_owned(),
        address: "127.0.0.1:4".to_owned(),
        settled_generation,
        generation: 3,
        types: states.into_iter().map(|(name, state)| (name.to_owned(), answers(state))).collect::<BTreeMap<_, _>>(),
    }
}

fn status(proxies: Vec<ProxyStatus>) -> Status {
    let config = StatusConfig {
        directory: "mesh".to_owned(),
        state: ConfigState::Current,
        since: "2026-01-01T00:00:00.000Z".to_owned(),
        files: 2,
        diagnostics: Vec::new(),
    };
    Status { generation: 3, config, proxies }
}

#[test]
fn proxies_stand_in_columns_and_refusals_below() {
    let shown = table(&status(vec![proxy("web-1.shop", 3, SyncState::Synced), proxy("b.shop", 2, SyncState::Nacked)]));

    let expected = "\
generation 3, configuration current since 2026-01-01T00:00:00.000Z
2 files in mesh

NODE        KIND     MODE   CONNECTED SINCE       GENERATION  CDS     EDS     LDS     RDS
web-1.shop  sidecar  delta  2026-01-01T00:00:00Z  3           SYNCED  SYNCED  SYNCED  SYNCED
b.shop      sidecar  delta  2026-01-01T00:00:00Z  2 of 3      SYNCED  SYNCED  SYNCED  NACKED
b.shop refused RDS 12 ms ago: virtual_hosts[0]: weights are all zero
";
    assert_eq!(shown, expected);
}

#[test]
fn everything_is_in_force_only_when_the_files_are_and_every_proxy_has_them() {
    let good = || proxy("web-1.shop", 3, SyncState::Synced);
    let mut rejected = status(vec![good()]);
    rejected.config.state = ConfigState::Rejected;

    assert!(is_in_force(&status(vec![good()])));
    assert!(!is_in_force(&status(vec![good(), proxy("b.shop", 2, SyncState::Stale)])));
    assert!(!is_in_force(&status(vec![good(), proxy("b.shop", 3, SyncState::Nacked)])));
    assert!(!is_in_force(&rejected));
}
