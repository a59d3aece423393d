//! The YAML of comparisons, piece by piece: what the control plane compiles for ours and for Envoy.
//!
//! Every route has a split, a local rate limit and a fault, every service a breaker, ejection, time limits and retries: what
//! the measured proxies decide for each request.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use super::certificates::{APPLICATION, Certificates};
use super::world::{VERSIONS, http1, http2, https1, https2};

/// Hosts of the ordinary comparison, by what the application behind them speaks.
pub(crate) const HTTP1: &str = "h1.bench";
pub(crate) const HTTP2: &str = "h2.bench";
pub(crate) const HTTPS1: &str = "h1s.bench";
pub(crate) const HTTPS2: &str = "h2s.bench";

/// Of one EndpointSlice, as Kubernetes has it.
const ENDPOINTS_PER_SLICE: usize = 1_000;

/// A service of the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service<'a> {
    pub(crate) name: &'a str,
    /// Names its port, and so what it speaks.
    pub(crate) protocol: &'a str,
    pub(crate) port: u16,
}

/// The file of a control plane: objects one after the other.
#[derive(Debug, Default)]
pub(crate) struct Objects(String);

impl Objects {
    pub(crate) fn new() -> Self {
        let mut objects = Self::default();
        objects.add("apiVersion: v1\nkind: Namespace\nmetadata: {name: bench}\n");
        objects
    }

    pub(crate) fn add(&mut self, object: &str) {
        self.0.push_str("---\n");
        self.0.push_str(object);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// A gateway for HTTP, and for HTTPS where there is a certificate.
    pub(crate) fn gateway(&mut self, (name, address): (&str, Ipv4Addr), https: bool) {
        let mut listeners = "  - {name: http, protocol: HTTP, port: 8080}\n".to_owned();
        if https {
            listeners
                .push_str("  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: proxy}]}}\n");
        }
        self.add(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: bench}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  listeners:
{listeners}"
        ));
    }

    /// A service and what governs calls of it; its endpoints are the workloads with its name in their label.
    pub(crate) fn service(&mut self, service: Service<'_>) {
        let Service { name, protocol, port } = service;
        self.add(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: bench}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: {protocol}, port: {port}}}]
"
        ));
        self.governed_service(name, "");
    }

    /// A service whose endpoints are written out in slices.
    pub(crate) fn service_of_slices(&mut self, name: &str, port: u16) {
        self.add(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: bench}}
spec: {{ports: [{{name: http, port: {port}}}]}}
"
        ));
    }

    /// The slices of a service.
    pub(crate) fn endpoints(&mut self, service: &str, addresses: &[SocketAddr]) {
        for (slice, addresses) in addresses.chunks(ENDPOINTS_PER_SLICE).enumerate() {
            let port = addresses[0].port();
            let mut text = format!(
                "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}-{slice}, namespace: bench, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints:
"
            );
            for address in addresses {
                writeln!(text, "- {{addresses: [{}]}}", address.ip()).ok();
            }
            self.add(&text);
        }
    }

    /// What governs calls of a service; `more` is a line of its BackendPolicy.
    pub(crate) fn governed_service(&mut self, name: &str, more: &str) {
        self.add(&format!(
            "apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {{name: {name}, namespace: bench}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {name}}}]
  limits: {{maxConnections: 20000, maxPendingRequests: 10000, maxRequests: 10000, retryBudget: {{percent: 20, minConcurrency: 3}}}}
  outlier: {{consecutive5xx: 5, interval: 1s, baseEjection: 30s}}
---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {{name: {name}, namespace: bench}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {name}}}]
  timeouts: {{connect: 1s, request: 15s}}
  retry: {{attempts: 2, perTry: 5s, codes: [503]}}
{more}"
        ));
    }

    /// A version of a service, at an address.
    pub(crate) fn workload(&mut self, service: Service<'_>, version: usize, address: SocketAddr) {
        let Service { name, protocol, .. } = service;
        let (ip, port) = (address.ip(), address.port());
        self.add(&format!(
            "apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {{name: {name}-v{version}, namespace: bench, labels: {{app: {name}, version: v{version}}}}}
spec:
  address: {ip}
  ports: [{{name: {protocol}, port: {port}}}]
"
        ));
    }

    /// A route for a host, and what governs it. `rules` is YAML below `rules:`.
    pub(crate) fn route(&mut self, name: &str, parents: &[&str], host: &str, rules: &str) {
        let parents: Vec<String> = parents.iter().map(|name| format!("{{name: {name}}}")).collect();
        let parents = parents.join(", ");
        self.add(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: bench}}
spec:
  parentRefs: [{parents}]
  hostnames: [{host}]
  rules:
{rules}---
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {{name: {name}, namespace: bench}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
  rules: [{{name: all, limit: {{requests: 1000000, per: 1s, burst: 1000000}}}}]
---
apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {{name: {name}, namespace: bench}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}]
  match: {{headers: [{{name: end-user, value: jason}}]}}
  permanent: true
  delay: {{value: 7s, percent: 100}}
"
        ));
    }

    /// The certificate that proxies show, the roots that they believe, and services that are called with TLS.
    fn tls(&mut self, certificates: &Certificates, services: &[&str]) {
        let block = |text: &str| -> String { text.lines().map(|line| format!("    {line}\n")).collect() };
        let Certificates { roots, chain, key, .. } = certificates;
        let (roots, chain, key) = (block(roots), block(chain), block(key));
        self.add(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: proxy, namespace: bench}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{chain}  tls.key: |
{key}---
apiVersion: v1
kind: ConfigMap
metadata: {{name: roots, namespace: bench}}
data:
  ca.crt: |
{roots}"
        ));
        for name in services {
            self.add(&format!(
                "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, namespace: bench}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {name}}}]
  validation:
    hostname: {APPLICATION}
    caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: roots}}]
"
            ));
        }
    }
}

/// A rule for these paths (YAML of `matches`; empty: all), which gives a tenth to the second version.
pub(crate) fn split(matches: &str, service: Service<'_>) -> String {
    let Service { name, port, .. } = service;
    let mut rule = "  - backendRefs:\n".to_owned();
    for (version, weight) in [(1, 90), (2, 10)] {
        writeln!(
            rule,
            "    - {{group: tidegate.io, kind: Version, name: {name}/v{version}, port: {port}, weight: {weight}}}"
        )
        .ok();
    }
    if !matches.is_empty() {
        writeln!(rule, "    matches: [{matches}]").ok();
    }
    rule
}

/// The ordinary comparison: four hosts, one for each way of speaking to the application.
pub(crate) fn ordinary(gateways: &[(&str, Ipv4Addr)], certificates: &Certificates) -> Vec<String> {
    let mut objects = Objects::new();
    for gateway in gateways {
        objects.gateway(*gateway, true);
    }
    let parents: Vec<&str> = gateways.iter().map(|(name, _)| *name).collect();
    type Place = fn(Ipv4Addr) -> SocketAddr;
    let places: [(&str, &str, Place); 4] =
        [(HTTP1, "http", http1), (HTTP2, "http2", http2), (HTTPS1, "http", https1), (HTTPS2, "http2", https2)];
    for (host, protocol, place) in places {
        let name = host.trim_end_matches(".bench");
        let service = Service { name, protocol, port: place(VERSIONS[0]).port() };
        objects.service(service);
        for (version, address) in (1..).zip(VERSIONS) {
            objects.workload(service, version, place(address));
        }
        let port = service.port;
        let jason = format!(
            "  - matches: [{{headers: [{{name: end-user, value: jason}}]}}]
    backendRefs: [{{group: tidegate.io, kind: Version, name: {name}/v2, port: {port}}}]
"
        );
        objects.route(name, &parents, host, &[jason, split("", service)].concat());
    }
    objects.tls(certificates, &["h1s", "h2s"]);
    vec![objects.into_text()]
}
