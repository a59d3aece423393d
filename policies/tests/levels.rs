//! The most specific policy counts: every combination of levels, in every order of writing.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate_policies::ir::PolicySet;
use tidegate_policies::{Source, compile};

const WORLD: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {name: a, labels: {app: a, version: v1}}
spec: {address: 127.0.9.1, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: tidegate, listeners: [{name: l, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: g}]
  rules: [{name: one, backendRefs: [{name: a, port: 80}]}]
"#;

/// Most specific first, each with the attempts by which it is told apart.
const ON_THE_WAY: &[&str] = &[
    "{kind: HTTPRoute, name: r, sectionName: one}",
    "{kind: HTTPRoute, name: r}",
    "{kind: Gateway, name: g, sectionName: l}",
    "{kind: Gateway, name: g}",
];

const AT_THE_SERVICE: &[&str] = &["{kind: Service, name: a}", "{kind: Namespace, name: default}"];

fn policy(target: &str, attempts: usize) -> String {
    format!(
        "---\napiVersion: tidegate.io/v1alpha1\nkind: BackendPolicy\nmetadata: {{name: p{attempts}}}\nspec: {{targetRefs: [{target}], retry: {{attempts: {attempts}}}}}\n"
    )
}

fn compiled(mut parts: Vec<String>, turn: usize) -> PolicySet {
    let by = turn % parts.len().max(1);
    parts.rotate_left(by);
    let sources = [Source { path: Arc::from("levels.yaml"), text: format!("{WORLD}{}", parts.concat()).into_bytes() }];
    let compilation = compile(&sources);
    assert!(!compilation.has_errors(), "{}", compilation.render(&sources, false));
    compilation.set
}

proptest! {
    #[test]
    fn the_most_specific_target_on_the_way_counts(present in proptest::collection::vec(any::<bool>(), 4), turn in 0..4_usize) {
        let chosen: Vec<usize> = (0..4).filter(|&level| present[level]).collect();
        let parts = chosen.iter().map(|&level| policy(ON_THE_WAY[level], level + 1)).collect();

        let set = compiled(parts, turn);

        let gateway = set.gateways.values().next().unwrap();
        let rule = &gateway.listeners[0].hosts[0].rules[0].rule;
        let found = rule.policies.retry.as_ref().map(|retry| retry.value.attempts as usize);
        prop_assert_eq!(found, chosen.first().map(|level| level + 1));
    }

    #[test]
    fn the_most_specific_target_at_the_service_counts(
        present in proptest::collection::vec(any::<bool>(), 3),
        turn in 0..3_usize,
    ) {
        let mut parts: Vec<String> =
            (0..2).filter(|&level| present[level]).map(|level| policy(AT_THE_SERVICE[level], level + 1)).collect();
        if present[2] {
            parts.push("---\napiVersion: tidegate.io/v1alpha1\nkind: MeshDefaults\nmetadata: {name: m}\nspec: {retry: {attempts: 3}}\n".to_owned());
        }

        let set = compiled(parts, turn);

        let retry = set.backends.values().next().and_then(|backend| backend.traffic.retry.as_ref());
        let expected = present.iter().position(|&present| present).map(|level| level + 1);
        prop_assert_eq!(retry.map(|retry| retry.value.attempts as usize), expected);
        prop_assert_eq!(set.backends.is_empty(), expected.is_none());
    }
}

#[test]
fn a_version_has_its_own_stanzas_and_none_of_its_service() {
    let parts = vec![policy("{kind: Service, name: a}", 1), policy("{kind: Service, name: a, version: v1}", 2)];

    let set = compiled(parts, 0);

    let backend = set.backends.values().next().unwrap();
    let attempts = |retry: &Option<tidegate_policies::ir::Stated<tidegate_policies::ir::retry::Retry>>| {
        retry.as_ref().map(|retry| retry.value.attempts)
    };
    assert_eq!(attempts(&backend.traffic.retry), Some(1));
    assert_eq!(attempts(&backend.subsets["v1"].traffic.retry), Some(2));
    assert_eq!(attempts(&backend.effective(Some("v1"), 80).retry), Some(2));
}
