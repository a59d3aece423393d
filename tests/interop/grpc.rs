//! gRPC's own xDS client, in a Python process because the Python package carries all of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Versions;
use crate::harness::process::{root, tool};

/// A channel to `xds:///TARGET`.
pub(super) struct GrpcClient {
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    // Killed when dropped.
    _process: Child,
}

impl GrpcClient {
    /// Starts it as `node`, with a bootstrap that names the server at `xds` alone.
    pub(super) fn start(node: &str, xds: SocketAddr, target: &str, folder: &Path) -> Self {
        let bootstrap = folder.join(format!("grpc-{node}.json"));
        let text = json!({
            "xds_servers": [{
                "server_uri": xds.to_string(),
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }],
            "node": {"id": node, "cluster": "interop"},
        });
        std::fs::write(&bootstrap, text.to_string()).expect("the test's folder is writable");
        let mut process = Command::new(tool("python/bin/python"))
            .arg(root().join("tests/interop/grpc_client.py"))
            .arg(format!("xds:///{target}"))
            .env("GRPC_XDS_BOOTSTRAP", &bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python can be started");
        let commands = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { commands, answers, _process: process }
    }

    /// Calls `requests` times, one after the other. No call may fail.
    pub(super) async fn ask(&mut self, requests: u64) -> Versions {
        self.commands.write_all(format!("{requests}\n").as_bytes()).await.expect("the gRPC client listens");
        let line = self.answers.next_line().await.expect("its output is text").expect("the gRPC client still runs");
        let answer: Value = serde_json::from_str(&line).expect("it speaks JSON");
        assert_eq!(answer["failures"], json!([]), "gRPC calls failed");
        let versions = answer["versions"].as_object().expect("versions are a map");
        versions.iter().map(|(version, count)| (version.clone(), count.as_u64().unwrap_or(0))).collect()
    }
}
