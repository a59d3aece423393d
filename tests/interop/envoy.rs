//! A real Envoy as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{Process, tool};
use crate::harness::{Client, wait};

/// Envoy loads a hundred megabytes of code first.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// The variant of the protocol, as Envoy's bootstrap spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Delta.
    Delta,
    /// State of the world.
    Sotw,
}

/// A running Envoy with one worker.
pub(crate) struct Envoy {
    process: Process,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts it as `node`, configured by the server at `xds` alone, and waits until its first configuration is complete.
    pub(crate) async fn start(node: &str, xds: SocketAddr, admin: SocketAddr, variant: Variant, folder: &Path) -> Self {
        let bootstrap = folder.join(format!("envoy-{node}.json"));
        let text = bootstrap_of(node, xds, admin, variant).to_string();
        std::fs::write(&bootstrap, text).expect("the test's folder is writable");
        let mut command = Command::new(binary());
        command.arg("--config-path").arg(&bootstrap);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
        let process = Process::start(&format!("envoy-{node}"), folder, &mut command);
        let envoy = Self { process, admin };
        wait::until(&format!("Envoy {node} is live"), READY_LIMIT, || async {
            matches!(Client::new(admin).get("localhost", "/ready").await, Ok(a) if a.status == 200)
        })
        .await;
        envoy
    }

    /// How many updates of any type it has refused.
    pub(crate) async fn refusals(&self) -> u64 {
        let counters = self.counters("update_rejected$").await;
        assert!(counters.len() >= 3, "CDS, LDS and RDS count refusals: {counters:?}");
        counters.iter().sum()
    }

    /// The values of the counters whose names match.
    pub(crate) async fn counters(&self, pattern: &str) -> Vec<u64> {
        let path = format!("/stats?format=json&filter={pattern}");
        let answer = Client::new(self.admin).get("localhost", &path).await.expect("Envoy's admin port answers");
        let page: Value = serde_json::from_slice(&answer.body).expect("Envoy's statistics are JSON");
        let counters = page["stats"].as_array().expect("statistics are a list");
        counters.iter().filter_map(|counter| counter["value"].as_u64()).collect()
    }

    /// What it has complained about.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// The binary inside the Python package; the package's own command only looks for it.
pub(crate) fn binary() -> PathBuf {
    let libraries = tool("python/lib");
    let versions = std::fs::read_dir(&libraries).expect("a virtual environment has a library folder");
    let found = versions.flatten().map(|v| v.path().join("site-packages/envoy/_bin/envoy")).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no Envoy in {}: run `bash tests/install.sh`", libraries.display()))
}

/// The bootstrap that [`Envoy::start`] uses.
pub(crate) fn bootstrap_of(node: &str, xds: SocketAddr, admin: SocketAddr, variant: Variant) -> Value {
    let address = |a: SocketAddr| json!({"socket_address": {"address": a.ip().to_string(), "port_value": a.port()}});
    let api_type = match variant {
        Variant::Delta => "DELTA_GRPC",
        Variant::Sotw => "GRPC",
    };
    let over_ads = json!({"resource_api_version": "V3", "ads": {}});
    json!({
        "node": {"id": node, "cluster": "interop"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": over_ads,
            "lds_config": over_ads,
        },
        "static_resources": {"clusters": [{
            "name": "xds",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(xds)}}]}],
            },
        }]},
    })
}
