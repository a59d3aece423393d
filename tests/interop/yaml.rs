//! The same YAML, compiled by our control plane, in front of every data plane.

use std::time::Duration;

use super::envoy::{Envoy, Variant};
use super::grpc::GrpcClient;
use super::{Plane, Versions};
use crate::harness::Mesh;
use crate::split::canary;

const REQUESTS: u64 = 2_000;
/// Three data planes more than the mesh's own sidecars.
const OTHERS: usize = 3;
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// A mesh, two Envoys beside workloads of it, and a gRPC client.
struct Fleet {
    mesh: Mesh,
    envoys: [Envoy; 2],
    planes: [Plane; 4],
}

impl Fleet {
    async fn start() -> Self {
        let plan = Mesh::plan().service("reviews", &["v1", "v2"]);
        let plan = plan.service("envoy", &["delta", "sotw"]).without_proxies("envoy");
        let mesh = plan.policy("reviews.yaml", &canary(90, 10)).start().await;
        let xds = mesh.control.xds;
        let envoy = async |workload: &str, variant| {
            Envoy::start(&format!("{workload}.shop"), xds, mesh.admin(workload), variant, mesh.folder()).await
        };
        let envoys = [envoy("envoy-delta", Variant::Delta).await, envoy("envoy-sotw", Variant::Sotw).await];
        let planes = [
            Plane::proxy("ours", mesh.outbound("web-v1")),
            Plane::proxy("Envoy, delta", mesh.outbound("envoy-delta")),
            Plane::proxy("Envoy, state of the world", mesh.outbound("envoy-sotw")),
            Plane::grpc(GrpcClient::start("grpc.shop", xds, "reviews.shop:9080", mesh.folder())),
        ];
        Self { mesh, envoys, planes }
    }

    async fn settled(&self) {
        self.mesh.control.settled(self.mesh.proxies.len() + OTHERS, SETTLE_LIMIT).await;
    }
}

/// Whether `seen` is a tenth of v2, within three standard deviations.
fn is_a_tenth(seen: &Versions) -> bool {
    let v2 = seen.get("v2").copied().unwrap_or(0) as f64;
    let (expected, sigma) = (REQUESTS as f64 * 0.1, (REQUESTS as f64 * 0.1 * 0.9).sqrt());
    (v2 - expected).abs() <= 3.0 * sigma
}

#[tokio::test]
async fn a_split_and_its_flip_are_seen_alike_by_ours_envoy_and_grpc() {
    let mut fleet = Fleet::start().await;

    for plane in &mut fleet.planes {
        let seen = plane.ask(REQUESTS).await;
        println!("{} of 90/10: {seen:?}", plane.name);
        // A fair split misses three sigma once in 370 samples, so a miss is looked at twice.
        let fair = is_a_tenth(&seen) || is_a_tenth(&plane.ask(REQUESTS).await);
        assert!(fair, "{}: {seen:?} is not 90/10", plane.name);
    }
    fleet.settled().await;

    fleet.mesh.apply("reviews.yaml", &canary(0, 100)).await;
    fleet.settled().await;
    for plane in &mut fleet.planes {
        plane.assert_turns_to("v2").await;
    }

    for envoy in &fleet.envoys {
        assert_eq!(envoy.refusals().await, 0, "{}", envoy.log());
    }
    let status = fleet.mesh.control.status().await;
    assert!(!status.to_string().contains("NACKED"), "{status}");
}

/// Settings of the clusters and of the routes, each with the place where it is written.
const GOVERNED: &str = "apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {name: none, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: reviews}]
  limits: {maxRequests: 0}
";

#[tokio::test]
async fn a_comment_above_a_policy_warms_no_cluster_and_drains_no_listener_and_answers_name_the_new_line() {
    let mut fleet = Fleet::start().await;
    for plane in &mut fleet.planes {
        // A gRPC channel connects when it is used.
        plane.ask(1).await;
    }
    fleet.mesh.apply("breaker.yaml", GOVERNED).await;
    fleet.settled().await;
    let mut client = fleet.mesh.client("web-v1");
    let mut refused = async || {
        let answer = client.get("reviews:9080", "/").await.expect("the sidecar answers");
        answer.headers["x-mesh-error"].to_str().expect("text").to_owned()
    };
    assert!(refused().await.contains("policy=shop/none breaker.yaml:6;"), "{}", refused().await);
    let mut before = Vec::new();
    for envoy in &fleet.envoys {
        before.push((
            envoy.counters("cluster_manager.cluster_(added|modified|removed)$").await,
            envoy.counters("listener_manager.listener_(added|modified|removed|in_place_updated)$").await,
            envoy.counters("rds.outbound.config_reload$").await,
        ));
    }

    fleet.mesh.apply("breaker.yaml", &format!("# why\n# not\n{GOVERNED}")).await;
    fleet.settled().await;

    assert!(refused().await.contains("policy=shop/none breaker.yaml:8;"), "{}", refused().await);
    for (envoy, (clusters, listeners, reloads)) in fleet.envoys.iter().zip(before) {
        let now = envoy.counters("cluster_manager.cluster_(added|modified|removed)$").await;
        println!("clusters {clusters:?} -> {now:?}, routes loaded {reloads:?} times before");
        assert!(clusters.len() == 3 && clusters[0] > 0, "the counters are there: {clusters:?}");
        assert_eq!(now, clusters, "no cluster was made anew");
        let now = envoy.counters("listener_manager.listener_(added|modified|removed|in_place_updated)$").await;
        assert_eq!(now, listeners, "no listener was made anew");
        let now = envoy.counters("rds.outbound.config_reload$").await;
        assert!(now.iter().sum::<u64>() > reloads.iter().sum(), "the routes were exchanged: {reloads:?} -> {now:?}");
    }
}

#[tokio::test]
async fn a_new_control_plane_finds_all_of_them_serving() {
    let mut fleet = Fleet::start().await;
    fleet.mesh.apply("reviews.yaml", &canary(0, 100)).await;
    for plane in &mut fleet.planes {
        plane.assert_turns_to("v2").await;
    }

    fleet.mesh.control.kill();
    for plane in &mut fleet.planes {
        plane.assert_stays_with("v2").await;
    }
    fleet.mesh.control.restart().await;
    fleet.settled().await;
    for plane in &mut fleet.planes {
        plane.assert_stays_with("v2").await;
    }

    fleet.mesh.apply("reviews.yaml", &canary(100, 0)).await;
    fleet.settled().await;
    for plane in &mut fleet.planes {
        plane.assert_turns_to("v1").await;
    }
}
