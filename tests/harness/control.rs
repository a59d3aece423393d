//! The control plane as a process, and what its API says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Process, binary};
use super::{Client, wait};

/// A process that is not ready by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// `tidegate serve` over a directory of YAML.
pub(crate) struct Control {
    /// The directory it watches.
    pub(crate) config: PathBuf,
    /// Where proxies connect.
    pub(crate) xds: SocketAddr,
    /// Where its API answers.
    pub(crate) api: SocketAddr,
    name: String,
    store: Option<String>,
    folder: PathBuf,
    process: Process,
}

impl Control {
    /// Starts it on `host` (ports 15010 and 15014) over `config`, logs and state under `name` in `folder`. It keeps shared
    /// limits by `store`, if there is one.
    pub(crate) async fn start(
        name: &str,
        host: std::net::Ipv4Addr,
        config: &Path,
        folder: &Path,
        store: Option<&str>,
    ) -> Self {
        let (xds, api) = (SocketAddr::from((host, 15010)), SocketAddr::from((host, 15014)));
        let (name, store) = (name.to_owned(), store.map(str::to_owned));
        let process = spawn(&name, config, folder, [xds, api], store.as_deref());
        let control = Self { config: config.to_owned(), xds, api, name, store, folder: folder.to_owned(), process };
        control.ready().await;
        control
    }

    async fn ready(&self) {
        wait::until("the control plane is ready", READY_LIMIT, || async {
            matches!(Client::new(self.api).get("localhost", "/ready").await, Ok(a) if a.status == 200)
        })
        .await;
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(&self.name, &self.config, &self.folder, [self.xds, self.api], self.store.as_deref());
        self.ready().await;
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// `GET PATH` of its API, as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = Client::new(self.api).get("localhost", path).await.expect("the API answers");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("the API speaks JSON")
    }

    /// `GET /api/v1/status`.
    pub(crate) async fn status(&self) -> Value {
        self.get("/api/v1/status").await
    }

    /// The change that took the place of `generation`, as soon as `proxies` proxies have acknowledged it (the long poll of
    /// `GET /api/v1/changes`).
    pub(crate) async fn change_after(&self, generation: u64, proxies: u64, limit: Duration) -> Value {
        let start = wait::now();
        loop {
            let left = limit.saturating_sub(start.elapsed()).as_millis();
            assert!(left > 0, "no change after {generation} reached {proxies} proxies: {}", self.status().await);
            let news = self.get(&format!("/api/v1/changes?since={generation}&wait={left}ms")).await;
            let applied = news["changes"].as_array().and_then(|changes| {
                changes.iter().find(|c| {
                    c["generation"].as_u64() > Some(generation)
                        && c["acked"].as_u64() >= Some(proxies)
                        && c["acked"] == c["proxies"]
                })
            });
            if let Some(change) = applied {
                return change.clone();
            }
            // The poll answers at once when a change is there, whoever has acknowledged it.
            wait::pass(Duration::from_millis(1)).await;
        }
    }

    /// The newest generation.
    pub(crate) async fn generation(&self) -> u64 {
        self.status().await["generation"].as_u64().expect("the status has a generation")
    }

    /// Waits until `proxies` proxies are connected and hold the newest generation.
    pub(crate) async fn settled(&self, proxies: usize, limit: Duration) {
        wait::until(&format!("{proxies} proxies hold the newest configuration"), limit, || async {
            let status = self.status().await;
            let newest = &status["generation"];
            let all = status["proxies"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|p| p["settled_generation"] == *newest).count() >= proxies
        })
        .await;
    }

    /// Writes `name` the way editors do: a new file renamed over the old one.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let temporary = self.config.join(format!(".{name}.new"));
        std::fs::write(&temporary, text).expect("the test's directory is writable");
        std::fs::rename(temporary, self.config.join(name)).expect("the test's directory is writable");
    }
}

fn spawn(name: &str, config: &Path, folder: &Path, [xds, api]: [SocketAddr; 2], store: Option<&str>) -> Process {
    let mut command = Command::new(binary("tidegate"));
    command.arg("serve").arg("--config").arg(config).arg("--state").arg(folder.join(format!("{name}-state")));
    command.args(["--xds", &xds.to_string(), "--api", &api.to_string()]);
    command.args(store.map(|store| ["--rate-limit-store", store]).into_iter().flatten());
    Process::start(name, folder, &mut command)
}
