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
