//! Promise: with nothing configured, the death of a backend is not noticed by callers whose requests may run twice.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::load::Load;
use crate::harness::process::{Process, binary};
use crate::harness::{Client, Mesh, wait};

const DEATHS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(1_500);
const READY_LIMIT: Duration = Duration::from_secs(5);

/// An application as a process of its own, so that it can be killed.
async fn application(address: SocketAddr, version: &str, folder: &Path) -> Process {
    let mut command = Command::new(binary("bookinfo"));
    command.args(["details", "--version", version, "--listen", &address.to_string()]);
    let process = Process::start(&format!("details-{version}"), folder, &mut command);
    wait::until("the application answers", READY_LIMIT, || async {
        Client::new(address).get("details", "/details/0").await.is_ok()
    })
    .await;
    process
}

/// Two backends without sidecars: what dies is what the client's sidecar talks to.
fn slice(addresses: [SocketAddr; 2]) -> String {
    let endpoints: String =
        addresses.iter().map(|a| format!("- {{addresses: [\"{}\"], conditions: {{ready: true}}}}\n", a.ip())).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: fragile, namespace: shop}}
spec:
  ports:
  - {{name: http, port: 9080}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: fragile-1, namespace: shop, labels: {{kubernetes.io/service-name: fragile}}}}
addressType: IPv4
ports:
- {{name: http, port: 9080}}
endpoints:
{endpoints}"
    )
}

#[tokio::test]
async fn a_backend_that_is_killed_eight_times_under_load_fails_no_idempotent_request() {
    let plan = Mesh::plan();
    let addresses = [220, 221].map(|host| SocketAddr::from((plan.spare_host(host), 9080)));
    let mesh = plan.policy("fragile.yaml", &slice(addresses)).start().await;
    let _stays = application(addresses[0], "v1", mesh.folder()).await;
    let mut dies = application(addresses[1], "v2", mesh.folder()).await;
    let load = Load::start(mesh.outbound("web-v1"), "fragile:9080", "/details/0", 16, 2);

    for _ in 0..DEATHS {
        wait::pass(BETWEEN / 2).await;
        dies.kill();
        wait::pass(BETWEEN / 2).await;
        dies = application(addresses[1], "v2", mesh.folder()).await;
    }
    let seen = load.stop().await;

    println!("{} requests over {DEATHS} deaths of one of two backends: {} failed", seen.requests, seen.failed);
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(seen.requests > 5_000, "{} requests are no load", seen.requests);
}
