//! Promise: traffic stays near while there is enough of near, spills in proportion below that, fails over when near is
//! gone, and returns.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::harness::load::assert_share;
use crate::harness::{Backend, Client, Mesh, wait};

const FOLLOW_LIMIT: Duration = Duration::from_secs(5);
const REQUESTS: u64 = 500;
/// Ten endpoints in each locality, so that shares of health are tenths.
const ENDPOINTS: usize = 10;
/// Locality, its name as a version, added delay.
const LOCALITIES: [(&str, &str, u64); 3] = [("eu/a/1", "here", 0), ("eu/b/1", "near", 20), ("us/c/1", "far", 60)];

/// A service whose endpoints lie in three localities and are asked for their health.
fn world(hosts: &[Vec<Ipv4Addr>]) -> String {
    let mut text = "apiVersion: v1
kind: Service
metadata: {name: near, namespace: shop}
spec:
  selector: {app: near}
  ports:
  - {name: http, port: 9080}
---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: near, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: near}
  healthCheck:
    http: {path: /health}
    interval: 100ms
    timeout: 1s
    unhealthyThreshold: 1
    healthyThreshold: 1
"
    .to_owned();
    for ((locality, name, _), hosts) in LOCALITIES.iter().zip(hosts) {
        for (number, host) in hosts.iter().enumerate() {
            text.push_str(&format!(
                "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-{number}, namespace: shop}}
spec: {{address: {host}, labels: {{app: near}}, locality: {locality}, ports: {{http: 9080}}}}
"
            ));
        }
    }
    text
}

/// The endpoints that run, by locality.
struct Endpoints {
    hosts: Vec<Vec<Ipv4Addr>>,
    running: Vec<Vec<Backend>>,
}

impl Endpoints {
    async fn start(hosts: Vec<Vec<Ipv4Addr>>) -> Self {
        let mut endpoints = Self { running: hosts.iter().map(|_| Vec::new()).collect(), hosts };
        for locality in 0..LOCALITIES.len() {
            endpoints.keep(locality, ENDPOINTS).await;
        }
        endpoints
    }

    /// Lets so many of a locality run.
    async fn keep(&mut self, locality: usize, wanted: usize) {
        let (_, name, delay) = LOCALITIES[locality];
        let running = &mut self.running[locality];
        running.truncate(wanted);
        for host in &self.hosts[locality][running.len()..wanted] {
            let address = SocketAddr::from((*host, 9080));
            running.push(Backend::slow_echo(address, name, Duration::from_millis(delay)).await);
        }
    }
}

/// Who answers.
async fn shares(mesh: &Mesh) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = mesh.client("web-v1");
            tokio::spawn(async move {
                let mut versions = Vec::new();
                for _ in 0..REQUESTS / 10 {
                    let answer = client.get("near:9080", "/").await.expect("the mesh answers");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    versions.push(answer.version().to_owned());
                }
                versions
            })
        })
        .collect();
    for client in clients {
        for version in client.await.expect("no panic") {
            *seen.entry(version).or_default() += 1;
        }
    }
    seen
}

/// Waits until health checks have noticed, which the shares show.
async fn shares_become(
    mesh: &Mesh,
    what: &str,
    right: impl Fn(&BTreeMap<String, u64>) -> bool,
) -> BTreeMap<String, u64> {
    let start = wait::now();
    loop {
        let seen = shares(mesh).await;
        if right(&seen) {
            println!("{what}: {seen:?} after {:.1?}", start.elapsed());
            return seen;
        }
        if start.elapsed() >= FOLLOW_LIMIT {
            let page =
                Client::new(mesh.admin("web-v1")).get("localhost", "/clusters").await.expect("the admin port answers");
            panic!("{what}: {seen:?}\n{}", page.text());
        }
    }
}

#[tokio::test]
async fn traffic_stays_near_spills_in_proportion_fails_over_and_returns() {
    let plan = Mesh::plan().locality("web", "eu/a/1");
    let hosts: Vec<Vec<Ipv4Addr>> = (0..LOCALITIES.len())
        .map(|l| {
            (0..ENDPOINTS).map(|e| plan.spare_host(u8::try_from(200 + l * ENDPOINTS + e).expect("small"))).collect()
        })
        .collect();
    let mesh = plan.policy("near.yaml", &world(&hosts)).start().await;
    let mut endpoints = Endpoints::start(hosts).await;
    let only = |name: &'static str| move |seen: &BTreeMap<String, u64>| seen.get(name) == Some(&REQUESTS);

    shares_become(&mesh, "all are well", only("here")).await;
    endpoints.keep(0, 7).await;
    shares_become(&mesh, "seven of ten are well", only("here")).await;
    endpoints.keep(0, 5).await;
    let half = shares_become(&mesh, "half are well", |seen| seen.contains_key("near")).await;
    assert!(!half.contains_key("far"), "{half:?}");
    // Half of near is worth five sevenths of it.
    let here = shares(&mesh).await.get("here").copied().unwrap_or_default();
    assert_share("half of near", here, REQUESTS, 5.0 / 7.0);
    endpoints.keep(0, 0).await;
    shares_become(&mesh, "none are well", only("near")).await;
    endpoints.keep(1, 0).await;
    shares_become(&mesh, "the next are gone as well", only("far")).await;
    endpoints.keep(0, ENDPOINTS).await;
    shares_become(&mesh, "all are back", only("here")).await;
}
