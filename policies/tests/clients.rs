//! Whose DestinationRule a client is under, against Istio's own order of looking, for many sets of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate_policies::ir::{ObjectName, PolicySet};
use tidegate_policies::{Source, compile};

const ROOT: &str = "istio-system";
const SERVICE: &str = "shop";
const NAMESPACES: [&str; 4] = [SERVICE, ROOT, "alpha", "beta"];
/// What `exportTo` may say.
const SCOPES: [&[&str]; 7] = [&[], &["*"], &["."], &["alpha"], &["beta", "."], &["alpha", "beta"], &[SERVICE, ROOT]];

/// A rule of a namespace, with its own number as its connect timeout in seconds.
#[derive(Clone, Copy, Debug)]
struct Rule {
    namespace: &'static str,
    export_to: &'static [&'static str],
    number: u64,
}

impl Rule {
    fn yaml(&self) -> String {
        let Self { namespace, export_to, number } = self;
        let scopes: Vec<String> = export_to.iter().map(|scope| format!("'{scope}'")).collect();
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: r{number}, namespace: {namespace}, creationTimestamp: \"2026-01-01T00:00:{number:02}Z\"}}
spec:
  host: a.{SERVICE}.svc.cluster.local
  exportTo: [{}]
  trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: {number}s}}}}}}
",
            scopes.join(", ")
        )
    }

    fn is_for(&self, namespace: Option<&str>) -> bool {
        let names = |scope: &&str| match *scope {
            "*" => true,
            "." => namespace == Some(self.namespace),
            name => namespace == Some(name),
        };
        self.export_to.is_empty() || self.export_to.iter().any(names)
    }

    fn is_exported(&self) -> bool {
        self.export_to.is_empty() || self.export_to.iter().any(|scope| *scope != "." && *scope != self.namespace)
    }
}

/// Istio's own steps: the oldest rule of the first place that has one for this client.
fn expected(rules: &[Rule], client: Option<&str>) -> Option<u64> {
    let mut candidates: Vec<&Rule> = Vec::new();
    if let Some(client) = client {
        let own = rules.iter().filter(|rule| rule.namespace == client && rule.is_for(Some(client)));
        candidates = own.filter(|rule| client != ROOT || !rule.is_exported()).collect();
    }
    for namespace in [SERVICE, ROOT] {
        if candidates.is_empty() {
            let here = rules.iter().filter(|rule| rule.namespace == namespace && rule.is_for(client));
            candidates = here.filter(|rule| rule.is_exported()).collect();
        }
    }
    candidates.iter().map(|rule| rule.number).min()
}

fn compiled(rules: &[Rule]) -> (PolicySet, BTreeMap<String, usize>) {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: a, namespace: {SERVICE}}}
spec: {{selector: {{app: a}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: nowhere}}
"
    );
    rules.iter().for_each(|rule| text.push_str(&rule.yaml()));
    let sources = [Source { path: Arc::from("rules.yaml"), text: text.into_bytes() }];
    let compilation = compile(&sources);
    assert!(!compilation.has_errors(), "{}", compilation.render(&sources, false));
    let mut findings = BTreeMap::new();
    for diagnostic in &compilation.diagnostics {
        *findings.entry(diagnostic.to_string()).or_default() += 1;
    }
    (compilation.set, findings)
}

fn found(set: &PolicySet, client: Option<&str>) -> Option<u64> {
    let service = ObjectName { namespace: Arc::from(SERVICE), name: Arc::from("a") };
    let connection = set.backend(&service, client)?.traffic.connection.as_ref()?;
    connection.value.connect_timeout.map(|timeout| timeout.as_secs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_client_is_under_the_rules_that_istio_finds_for_it(
        chosen in proptest::collection::vec((0..NAMESPACES.len(), 0..SCOPES.len()), 0..7),
    ) {
        let rules: Vec<Rule> = chosen
            .iter()
            .zip(1..)
            .map(|((namespace, scope), number)| {
                Rule { namespace: NAMESPACES[*namespace], export_to: SCOPES[*scope], number }
            })
            // Twice the same namespace in another spelling is a mistake of its own.
            .filter(|rule| !(rule.export_to.contains(&".") && rule.export_to.contains(&rule.namespace)))
            .collect();

        let (set, findings) = compiled(&rules);

        for client in [None, Some("nowhere")].into_iter().chain(NAMESPACES.map(Some)) {
            prop_assert_eq!(found(&set, client), expected(&rules, client), "{:?} under {:#?}", client, &rules);
        }
        prop_assert!(findings.values().all(|count| *count == 1), "said twice: {:#?}", findings);
        for of_clients in set.client_backends.values() {
            for (namespace, own) in of_clients {
                prop_assert!(
                    Some(own) != set.backends.values().next(),
                    "clients of {} have settings of their own that are everybody's",
                    namespace
                );
            }
        }
    }
}
