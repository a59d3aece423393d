//! Configurations that differ by a number, for tests that change them again and again.

use std::net::Ipv4Addr;

/// A canary of reviews with these weights.
pub(crate) fn canary(v1: u32, v2: u32) -> String {
    canary_of("http", "reviews", v1, v2)
}

/// A canary of `service` as a VirtualService's rule of kind `rules` (`http`, `tcp`).
pub(crate) fn canary_of(rules: &str, service: &str, v1: u32, v2: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {service}, namespace: shop}}
spec:
  hosts: [{service}]
  {rules}:
  - route:
    - destination: {{host: {service}, subset: v1}}
      weight: {v1}
    - destination: {{host: {service}, subset: v2}}
      weight: {v2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}, namespace: shop}}
spec:
  host: {service}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
"
    )
}

/// A canary whose answers say which version of it they were routed by.
pub(crate) fn numbered(number: u64) -> String {
    let v1 = number % 101;
    let v2 = 100 - v1;
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - headers: {{response: {{set: {{x-route: \"{number}\"}}}}}}
    route:
    - destination: {{host: reviews, subset: v1}}
      weight: {v1}
    - destination: {{host: reviews, subset: v2}}
      weight: {v2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
"
    )
}

/// Service `moving` with the endpoints whose bit is set.
pub(crate) fn endpoints(hosts: &[Ipv4Addr], set: u32) -> String {
    let listed = hosts.iter().enumerate().filter(|(index, _)| set >> index & 1 == 1);
    let endpoints: String =
        listed.map(|(_, host)| format!("- {{addresses: [\"{host}\"], conditions: {{ready: true}}}}\n")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: moving, namespace: shop}}
spec:
  ports:
  - {{name: http, port: 9080}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: moving-1, namespace: shop, labels: {{kubernetes.io/service-name: moving}}}}
addressType: IPv4
ports:
- {{name: http, port: 9080}}
endpoints:
{endpoints}"
    )
}

/// The set that follows in a round of all sets of four endpoints that are not empty.
pub(crate) fn set(number: u32) -> u32 {
    // 7 and 15 have no divisor in common, so that the round meets all of them, and neighbours differ by more than one endpoint.
    number * 7 % 15 + 1
}

/// A gateway whose first port is always there. Its listener changes with each number; a second port is there for odd ones.
pub(crate) fn listeners(address: Ipv4Addr, number: u32) -> String {
    let second = match number % 2 {
        0 => "",
        _ => "  - {name: second, protocol: HTTP, port: 8081}\n",
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  gatewayClassName: tidegate
  addresses:
  - {{type: IPAddress, value: {address}}}
  listeners:
  - {{name: public, protocol: HTTP, port: 8080}}
  - {{name: host-{number}, protocol: HTTP, port: 8080, hostname: host-{number}.example.com}}
{second}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, namespace: shop}}
spec:
  parentRefs:
  - {{name: front}}
  rules:
  - backendRefs:
    - {{name: reviews, port: 9080}}
"
    )
}
