//! What has become of each object.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_policies::ir::circuit_breaker::BreakerLimits;
use tidegate_policies::ir::rate_limit::RateLimit;
use tidegate_policies::ir::route::DelegatedBy;
use tidegate_policies::ir::status::{Condition, ConditionKind, ObjectStatus};
use tidegate_policies::ir::{Origin, PolicySet, Stated};

use super::{Carried, Index, reports};
use crate::api::model::{
    Answers, ConditionReport, ConditionStatus, Nack, ObjectReport, ProxyKind, ProxyStatus, SyncState,
};
use crate::fixture::{canary, mesh, named, origin, rate_limit, stated};
use crate::snapshot::{Compiler, View};
use crate::world::World;

fn accepted(kind: &'static str, name: &str, line: u32) -> ObjectStatus {
    let condition = Condition {
        kind: ConditionKind::Accepted,
        holds: true,
        reason: "Accepted",
        message: String::new(),
        path: None,
    };
    ObjectStatus { origin: origin(kind, name, line), conditions: vec![condition] }
}

/// Everything stands in one file: the settings of `reviews` from line 5, its rule in 12, the gateway from 20, its rule in
/// 30, a limit of `reviews` in 40, its breaker in 52.
fn policies() -> PolicySet {
    let mut set = mesh();
    let limit: RateLimit = rate_limit("all");
    set.backends.get_mut(&named("reviews")).unwrap().traffic.rate_limits = vec![stated("RateLimit", "limits", limit)];
    let Stated { origin, value } = stated("CircuitBreaker", "spare", BreakerLimits::default());
    let origin = Arc::new(Origin { line: 52, ..Origin::clone(&origin) });
    set.backends.get_mut(&named("reviews")).unwrap().traffic.limits = Some(Stated { origin, value });
    set.statuses = vec![
        accepted("Namespace", "shop", 2),
        accepted("DestinationRule", "reviews", 5),
        accepted("VirtualService", "reviews", 10),
        accepted("Gateway", "front", 20),
        accepted("HTTPRoute", "front", 28),
        accepted("RateLimit", "limits", 36),
        accepted("CircuitBreaker", "spare", 50),
    ];
    set
}

fn answers(nack: Option<&str>) -> Answers {
    Answers {
        state: if nack.is_some() { SyncState::Nacked } else { SyncState::Synced },
        subscribed: 1,
        wildcard: false,
        sent_generation: Some(3),
        acked_generation: Some(3),
        nack: nack.map(|message| Nack { message: message.to_owned(), age_ms: 7_500 }),
    }
}

fn proxy(kind: ProxyKind, name: &str, settled_generation: u64, refused: Option<(&str, &str)>) -> ProxyStatus {
    let types = ["CDS", "EDS", "LDS", "RDS"].map(|of_type| {
        let nack = refused.filter(|(refused, _)| *refused == of_type).map(|(_, message)| message);
        (of_type.to_owned(), answers(nack))
    });
    ProxyStatus {
        node: format!("{name}.shop"),
        kind,
        workload: Some(format!("shop/{name}")),
        mode: "delta".to_owned(),
        connected_since: String::new(),
        address: String::new(),
        settled_generation,
        generation: 3,
        types: BTreeMap::from(types),
    }
}

fn carried(set: &PolicySet, view: &View) -> Carried {
    let mut compiler = Compiler::default();
    compiler.advance(Arc::new(World::new(Arc::new(set.clone()))));
    Index::new(set).carried(view, &compiler.resources(view))
}

fn view(kind: ProxyKind, name: &str) -> View {
    match kind {
        ProxyKind::Gateway => View::Gateway { name: named(name), address: None, locality: Default::default() },
        ProxyKind::Sidecar | ProxyKind::Other => View::Sidecar(named(name)),
    }
}

fn report(set: &PolicySet, proxies: &[ProxyStatus]) -> Vec<ObjectReport> {
    let given: Vec<(&ProxyStatus, Carried)> = proxies
        .iter()
        .map(|proxy| {
            let name = proxy.workload.as_deref().unwrap().split_once('/').unwrap().1;
            (proxy, carried(set, &view(proxy.kind, name)))
        })
        .collect();
    let given: Vec<_> = given.iter().map(|(proxy, carried)| (*proxy, carried)).collect();
    reports(&set.statuses, set, 3, &given)
}

fn programmed<'r>(reports: &'r [ObjectReport], kind: &str) -> &'r ConditionReport {
    let object = reports.iter().find(|object| object.kind == kind).expect("reported");
    object.conditions.iter().find(|c| c.kind == "Programmed").expect("it is said")
}

#[test]
fn an_object_is_programmed_at_the_proxies_that_are_given_it() {
    let proxies = [
        proxy(ProxyKind::Sidecar, "web-1", 3, None),
        proxy(ProxyKind::Sidecar, "reviews-1", 3, None),
        proxy(ProxyKind::Gateway, "front", 3, None),
    ];

    let reports = report(&policies(), &proxies);

    let said = |kind| programmed(&reports, kind).message.split(" at ").next().unwrap().to_owned();
    assert_eq!(said("DestinationRule"), "3/3 proxies", "clusters are everybody's");
    assert_eq!(said("CircuitBreaker"), "3/3 proxies", "and with them what stands behind them");
    assert_eq!(said("VirtualService"), "2/2 proxies", "a gateway has no mesh routes");
    assert_eq!((said("Gateway"), said("HTTPRoute")), ("1/1 proxies".to_owned(), "1/1 proxies".to_owned()));
    assert_eq!(said("RateLimit"), "1/1 proxies", "where requests to reviews arrive");
    assert!(reports.iter().filter(|r| r.kind != "Namespace").all(|r| r.conditions[1].status == ConditionStatus::True));
    assert_eq!(reports[0].conditions.len(), 1, "a namespace reaches nobody");
    assert_eq!((&*reports[1].file, reports[1].line, reports[1].observed_generation), ("mesh.yaml", 5, 3));
}

#[test]
fn a_refusal_is_told_with_its_text_and_age_and_only_of_the_objects_it_is_about() {
    let about_routes = "route outbound: virtual_hosts[0]: no";
    let proxies = [
        proxy(ProxyKind::Sidecar, "reviews-1", 3, None),
        proxy(ProxyKind::Sidecar, "web-1", 3, Some(("RDS", about_routes))),
        proxy(ProxyKind::Sidecar, "reviews-2", 3, Some(("RDS", about_routes))),
    ];

    let reports = report(&policies(), &proxies);

    let routes = programmed(&reports, "VirtualService");
    assert_eq!((routes.status, &*routes.reason), (ConditionStatus::False, "Refused"));
    assert!(routes.message.starts_with("1/3 proxies at version "), "{}", routes.message);
    assert!(routes.message.ends_with("; web-1.shop refused it 7 s ago: route outbound: virtual_hosts[0]: no"));
    assert_eq!(programmed(&reports, "DestinationRule").status, ConditionStatus::True);
    // Its routes are refused by name, and the limit is in another configuration.
    assert_eq!(programmed(&reports, "RateLimit").status, ConditionStatus::True);
}

#[test]
fn a_root_and_its_delegate_are_both_programmed_where_the_rule_is() {
    let mut set = policies();
    set.statuses.push(accepted("VirtualService", "team", 58));
    for entry in &mut set.mesh_routes.get_mut(&named("reviews")).unwrap()[0].rules {
        let rule = Arc::make_mut(&mut entry.rule);
        let root = std::mem::replace(&mut rule.origin, origin("VirtualService", "team", 60));
        rule.delegated_by = Some(Arc::new(DelegatedBy { origin: root, name: "".into() }));
    }

    let reports = report(&set, &[proxy(ProxyKind::Sidecar, "web-1", 3, None)]);

    let both = reports.iter().filter(|object| object.kind == "VirtualService");
    let said: Vec<_> = both.map(|object| (&*object.name, object.conditions[1].status)).collect();
    assert_eq!(said, [("reviews", ConditionStatus::True), ("team", ConditionStatus::True)]);
}

#[test]
fn a_refusal_that_names_nothing_is_about_everything_of_its_type() {
    let proxies = [proxy(ProxyKind::Sidecar, "reviews-1", 3, Some(("RDS", "out of memory")))];

    let reports = report(&policies(), &proxies);

    assert_eq!(programmed(&reports, "VirtualService").status, ConditionStatus::False);
    assert_eq!(programmed(&reports, "RateLimit").status, ConditionStatus::False);
    assert_eq!(programmed(&reports, "DestinationRule").status, ConditionStatus::True);
}

#[test]
fn who_has_not_answered_yet_is_waited_for() {
    let proxies = [proxy(ProxyKind::Sidecar, "web-1", 2, None), proxy(ProxyKind::Sidecar, "reviews-1", 3, None)];

    let reports = report(&policies(), &proxies);

    let routes = programmed(&reports, "VirtualService");
    assert_eq!((routes.status, &*routes.reason), (ConditionStatus::False, "Pending"));
    assert!(routes.message.starts_with("1/2 proxies"));
}

#[test]
fn what_nobody_is_given_is_not_claimed_to_be_in_force() {
    let condition = |proxies: &[ProxyStatus]| programmed(&report(&policies(), proxies), "RateLimit").clone();

    assert_eq!(condition(&[]).status, ConditionStatus::Unknown);
    assert_eq!(&*condition(&[proxy(ProxyKind::Sidecar, "web-1", 3, None)]).reason, "NoProxies");
}

#[test]
fn a_version_changes_with_what_proxies_are_given_and_not_otherwise() {
    let proxies = [proxy(ProxyKind::Sidecar, "web-1", 3, None)];
    let version = |set: &PolicySet| programmed(&report(set, &proxies), "VirtualService").message.clone();
    let mut edited = policies();
    edited.mesh_routes.insert(named("reviews"), canary(50, 50));

    assert_eq!(version(&policies()), version(&policies()));
    assert_ne!(version(&policies()), version(&edited));
}

#[test]
fn objects_of_rejected_files_are_told_from_those_in_force() {
    let in_force = policies();
    let mut conflicted = accepted("Fault", "double", 50);
    conflicted.conditions[0].holds = false;
    let newest = vec![accepted("VirtualService", "reviews", 10), accepted("HTTPRoute", "new", 44), conflicted];

    let reports = reports(&newest, &in_force, 3, &[]);

    let reasons: Vec<&str> = reports.iter().map(|r| &*r.conditions[1].reason).collect();
    assert_eq!(reasons, ["NoProxies", "ConfigurationRejected", "NotAccepted"]);
}
