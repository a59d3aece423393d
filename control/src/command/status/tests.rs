//! What `tidegate status` shows.

use std::collections::BTreeMap;

use super::{chosen, is_in_force, objects, table};
use crate::api::model::{
    Answers, ConditionReport, ConditionStatus, ConfigState, Nack, ObjectReport, ProxyKind, ProxyStatus, Status,
    StatusConfig, SyncState,
};

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
    Status { generation: 3, config, proxies, objects: Vec::new() }
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

fn condition(kind: &str, status: ConditionStatus, reason: &str, message: &str) -> ConditionReport {
    ConditionReport {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        path: None,
    }
}

fn object(kind: &str, name: &str, programmed: ConditionReport) -> ObjectReport {
    let accepted = condition("Accepted", ConditionStatus::True, "Accepted", "");
    let resolved = condition("ResolvedRefs", ConditionStatus::True, "ResolvedRefs", "");
    ObjectReport {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        file: "reviews.yaml".to_owned(),
        line: 12,
        observed_generation: 3,
        conditions: vec![accepted, resolved, programmed],
    }
}

fn with_objects() -> Status {
    let done = condition("Programmed", ConditionStatus::True, "Programmed", "7/7 proxies at version 7f3a");
    let text = "6/7 proxies at version 01ab; web-1.shop refused it 3 s ago: no";
    let refused = condition("Programmed", ConditionStatus::False, "Refused", text);
    let mut limit = object("RateLimit", "reviews", done);
    let without_effect = ConditionReport {
        path: Some("spec.rules[0].key[1].sourceIdentity".to_owned()),
        ..condition("Ineffective", ConditionStatus::True, "CannotAct", "callers have no identity yet")
    };
    limit.conditions.push(without_effect);
    Status { objects: vec![limit, object("HTTPRoute", "reviews", refused)], ..status(Vec::new()) }
}

#[test]
fn objects_stand_in_columns_and_what_is_wrong_with_them_below() {
    let shown = objects::table(&with_objects().objects);

    let expected = "\
KIND       NAME          ACCEPTED  RESOLVED  PROGRAMMED                   PLACE
RateLimit  shop/reviews  True      True      7/7 proxies at version 7f3a  reviews.yaml:12
HTTPRoute  shop/reviews  True      True      Refused                      reviews.yaml:12
RateLimit shop/reviews: Ineffective: spec.rules[0].key[1].sourceIdentity: callers have no identity yet
HTTPRoute shop/reviews: Programmed=False (Refused): 6/7 proxies at version 01ab; web-1.shop refused it 3 s ago: no
";
    assert_eq!(shown, expected);
}

#[test]
fn an_object_is_chosen_by_kind_and_name_and_shown_with_all_its_conditions() {
    let status = with_objects();
    let names = |kind, name| chosen(&status, kind, name).iter().map(|o| o.kind.clone()).collect::<Vec<_>>();

    assert_eq!(names(Some("ratelimit"), Some("shop/reviews")), ["RateLimit"]);
    assert_eq!(names(Some("RateLimit"), Some("reviews")), Vec::<String>::new(), "that is in namespace default");
    let shown = objects::details(&chosen(&status, Some("HTTPRoute"), None));
    let expected = "\
HTTPRoute shop/reviews (reviews.yaml:12)
  Accepted      True   Accepted
  ResolvedRefs  True   ResolvedRefs
  Programmed    False  Refused       6/7 proxies at version 01ab; web-1.shop refused it 3 s ago: no
";
    assert_eq!(shown, expected);
}

#[test]
fn a_refused_object_is_not_in_force_and_one_that_nobody_is_given_is_no_failure() {
    let mut status = with_objects();
    assert!(!is_in_force(&status));
    status.objects[1].conditions[2] = condition("Programmed", ConditionStatus::Unknown, "NoProxies", "nobody");

    assert!(is_in_force(&status));
}
