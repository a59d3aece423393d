//! Applications that can be killed, behind a service called `fragile`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::process::{Process, binary};
use super::{Client, wait};

const READY_LIMIT: Duration = Duration::from_secs(5);

/// An application as a process of its own, so that it can be killed.
pub(crate) async fn application(address: SocketAddr, version: &str, folder: &Path) -> Process {
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
pub(crate) fn slice(addresses: [SocketAddr; 2]) -> String {
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
