//! Clients of a namespace under DestinationRules of their own, from YAML to bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_policies::ir::ObjectName;
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;

use super::super::{Compiler, View};
use crate::compile::compile;
use crate::source::read::SourceFile;
use crate::world::World;

const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: tcp, port: 5432, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews, front]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 50}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: gamma}
spec:
  gatewayClassName: tidegate
  listeners: [{name: http, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edge, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: gamma}]
  rules: [{backendRefs: [{group: tidegate.io, kind: Version, name: reviews/v2, port: 9080}]}]
";

/// The stanzas that a rule may have.
const STANZAS: [&str; 5] = [
    "    loadBalancer: {consistentHash: {httpHeaderName: x-user}}\n",
    "    connectionPool: {tcp: {maxConnections: 1, connectTimeout: 2s}}\n",
    "    outlierDetection: {consecutive5xxErrors: 9}\n",
    "    portLevelSettings: [{port: {number: 9080}, connectionPool: {http: {http2MaxRequests: 3}}}]\n",
    "    loadBalancer: {localityLbSetting: {failoverPriority: [rack]}, simple: RANDOM}\n    outlierDetection: {}\n",
];
/// Combinations: the first four in any way, or the last alone; with and without versions.
const COMBINATIONS: u32 = 16 + 1;

fn workload(namespace: &str, name: &str, number: u8) -> String {
    format!(
        "---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {}, version: {}, rack: r{number}}}}}
spec:
  address: 127.0.6.{number}
  ports: [{{name: http, port: 9080, application: \"127.0.6.{number}:19080\"}}]
  sidecar: {{outbound: \"127.0.6.{number}:15001\"}}
",
        name.split('-').next().unwrap(),
        name.split('-').next_back().unwrap()
    )
}

fn mesh() -> String {
    let workloads = [
        ("shop", "reviews-v1"),
        ("shop", "reviews-v2"),
        ("gamma", "web-v1"),
        ("gamma", "shop-v1"),
        ("delta", "web-v1"),
    ];
    let numbered = workloads.iter().zip(1..);
    MESH.to_owned() + &numbered.map(|((namespace, name), number)| workload(namespace, name, number)).collect::<String>()
}

fn rule(namespace: &str, combination: u32, versions: bool) -> String {
    let chosen = |at: &usize| if combination == 16 { *at == 4 } else { combination & (1 << at) != 0 };
    let stanzas: String = (0..STANZAS.len()).filter(chosen).map(|at| STANZAS[at]).collect();
    let policy = if stanzas.is_empty() { String::new() } else { format!("  trafficPolicy:\n{stanzas}") };
    let versions = if versions { "  subsets: [{name: v1, labels: {version: v2}}]\n" } else { "" };
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: {namespace}}}
spec:
  host: reviews.shop.svc.cluster.local
{policy}{versions}"
    )
}

fn world(rule: Option<&str>) -> Arc<World> {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), bytes: text.as_bytes().to_vec().into() };
    let files: Vec<SourceFile> =
        std::iter::once(file("mesh.yaml", &mesh())).chain(rule.map(|rule| file("rule.yaml", rule))).collect();
    let compiled = compile(&files, false);
    assert_eq!(compiled.errors, 0, "{}", compiled.rendered);
    Arc::new(World::new(compiled.policies))
}

fn sidecar(namespace: &str, name: &str) -> View {
    View::Sidecar(ObjectName { namespace: namespace.into(), name: name.into() })
}

fn gateway() -> View {
    let name = ObjectName { namespace: "gamma".into(), name: "edge".into() };
    View::Gateway { name, address: None, locality: Default::default() }
}

fn others() -> [View; 3] {
    [sidecar("shop", "reviews-v1"), sidecar("delta", "web-v1"), View::Other]
}

/// The bytes of everything that a view's proxies are given.
fn bytes(compiler: &mut Compiler, view: &View) -> BTreeMap<(ResourceType, Arc<str>), Vec<u8>> {
    let resources = compiler.resources(view).into_iter();
    resources.map(|(r, _)| ((r.resource_type(), r.name().clone()), r.encode_value().to_vec())).collect()
}

#[test]
fn proxies_of_other_namespaces_are_given_the_same_bytes_with_and_without_the_rule() {
    let mut without = Compiler::default();
    without.advance(world(None));
    // One that lives through all changes, beside a fresh one for each.
    let mut lived = Compiler::default();
    lived.advance(world(None));
    for (combination, versions) in (0..COMBINATIONS).flat_map(|number| [(number, false), (number, true)]) {
        let text = rule("gamma", combination, versions);
        let mut fresh = Compiler::default();
        fresh.advance(world(Some(&text)));
        lived.advance(world(Some(&text)));
        for view in others() {
            let expected = bytes(&mut without, &view);
            assert_eq!(bytes(&mut fresh, &view), expected, "{view:?} with\n{text}");
            assert_eq!(bytes(&mut lived, &view), expected, "{view:?} later, with\n{text}");
        }
        for view in [sidecar("gamma", "web-v1"), sidecar("gamma", "shop-v1"), gateway()] {
            let own = bytes(&mut fresh, &view);
            assert_eq!(bytes(&mut lived, &view), own, "{view:?} with\n{text}");
            // A rule without a stanza and without versions asks for what is there already.
            let is_mute = combination == 0 && !versions;
            assert_eq!(own != bytes(&mut without, &view), !is_mute, "{view:?} with\n{text}");
        }
        lived.forget_unused();
    }
}

#[test]
fn namespaces_without_a_rule_of_their_own_share_one_translation() {
    let mut compiler = Compiler::default();
    compiler.advance(world(Some(&rule("gamma", 2, false))));

    for view in others().into_iter().chain([sidecar("gamma", "web-v1"), sidecar("gamma", "shop-v1"), gateway()]) {
        compiler.resources(&view);
    }

    let took = compiler.take_work();
    // Three services, of which one is called in a second way.
    assert_eq!((took.translated["clusters"], took.translated["endpoints"]), (4, 4));
}

#[test]
fn a_rule_of_a_namespace_decides_versions_hashes_and_limits_of_its_clients_and_of_its_gateway() {
    let mut compiler = Compiler::default();
    compiler.advance(world(Some(&rule("gamma", 3, true))));
    let name = "outbound|9080|v1|reviews.shop.svc.cluster.local";
    let mut facts = |view: View| {
        let resources = compiler.resources(&view);
        let found = |of_type| {
            let named = |r: &&Resource| r.resource_type() == of_type && &**r.name() == name;
            resources.iter().map(|(resource, _)| resource).find(named)
        };
        let Some(Resource::Cluster(cluster)) = found(ResourceType::Cluster) else { panic!("{view:?}: no {name}") };
        let Some(Resource::Endpoint(v1)) = found(ResourceType::Endpoint) else { panic!("{view:?}: no {name}") };
        let endpoints = v1.localities.iter().flat_map(|l| &l.endpoints).map(|e| e.address.ip().to_string());
        let hashes = resources.iter().any(|(r, _)| match r {
            Resource::Route(_) => r.to_json().contains("x-user"),
            _ => false,
        });
        (cluster.circuit_breakers.max_connections, endpoints.collect::<Vec<_>>(), hashes)
    };

    let own = (1, vec!["127.0.6.2".to_owned()], true);
    assert_eq!(facts(sidecar("gamma", "web-v1")), own);
    assert_eq!(facts(gateway()), own);
    let (limit, endpoints, hashes) = facts(sidecar("delta", "web-v1"));
    assert_ne!(limit, 1);
    assert_eq!((endpoints, hashes), (vec!["127.0.6.1".to_owned()], false));
}
