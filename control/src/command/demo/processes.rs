//! The demo's processes: started in order, watched, and none left behind.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::command::progress::{Progress, Reader};

/// Workloads: service, version, last octet of the loopback address. They stand as YAML in `workloads.yaml`.
const WORKLOADS: [(&str, &str, u8); 6] = [
    ("productpage", "v1", 1),
    ("details", "v1", 2),
    ("reviews", "v1", 3),
    ("reviews", "v2", 4),
    ("reviews", "v3", 5),
    ("ratings", "v1", 6),
];
/// The gateway's last octet.
const GATEWAY: u8 = 10;
/// Between two looks at the children.
const LOOK: Duration = Duration::from_millis(200);
/// How long a process may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// All processes of the demo. Dropping it kills them.
pub(super) struct Processes {
    children: Vec<Running>,
    logs: PathBuf,
}

struct Running {
    name: String,
    what: String,
    is_proxy: bool,
    child: Child,
}

impl Processes {
    /// Starts the control plane over `mesh`, then every application and its proxy.
    pub(super) fn start(folder: &Path, mesh: &Path, xds: SocketAddr, api: SocketAddr) -> anyhow::Result<Self> {
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let mut all = Self { children: Vec::new(), logs };
        let state = folder.join("state");
        let mut control = Command::new(std::env::current_exe().context("cannot find this binary")?);
        control.arg("serve").arg("--config").arg(mesh).arg("--state").arg(state.join("control"));
        control.args(["--xds", &xds.to_string(), "--api", &api.to_string()]);
        all.spawn("tidegate", &format!("control plane, API on http://{api}"), false, control)?;

        for (service, version, octet) in WORKLOADS {
            let name = format!("{service}-{version}");
            let host = Ipv4Addr::new(127, 0, 2, octet);
            let mut application = Command::new(sibling("bookinfo")?);
            application.args([service, "--version", version]);
            application.args(["--listen", &format!("{host}:19080"), "--outbound", &format!("{host}:15001")]);
            all.spawn(&name, &format!("{host}:9080 -> application on {host}:19080"), false, application)?;
            all.proxy((&name, service), host, xds, &state)?;
        }
        let host = Ipv4Addr::new(127, 0, 2, GATEWAY);
        all.proxy(("front", "front"), host, xds, &state)?;
        Ok(all)
    }

    /// How many proxies there are.
    pub(super) fn proxies(&self) -> usize {
        self.children.iter().filter(|c| c.is_proxy).count()
    }

    /// What runs where, as a table.
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("{:<24} {:>7}  {}", "PROCESS", "PID", "WHERE")];
        for running in &self.children {
            let id = running.child.id().map_or_else(|| "-".to_owned(), |id| id.to_string());
            lines.push(format!("{:<24} {id:>7}  {}", running.name, running.what));
        }
        lines.push(format!("logs in {}\n", self.logs.display()));
        lines.join("\n")
    }

    /// Waits until one of them ends, which none should, and says which and why.
    pub(super) async fn first_to_end(&mut self) -> anyhow::Error {
        loop {
            for running in &mut self.children {
                if let Ok(Some(status)) = running.child.try_wait() {
                    let log = self.logs.join(format!("{}.log", running.name));
                    let text = std::fs::read_to_string(&log).unwrap_or_default();
                    let tail: Vec<&str> = text.lines().rev().take(5).collect();
                    let tail: Vec<&str> = tail.into_iter().rev().collect();
                    return anyhow::anyhow!(
                        "{} ended ({status}); is another demo running? its log, {}, ends with:\n{}",
                        running.name,
                        log.display(),
                        tail.join("\n")
                    );
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends all of them: asks, waits, then insists.
    pub(super) async fn stop(mut self) {
        let _shown = Progress::begin("ending processes", None, Reader::Person);
        for running in &self.children {
            if let Some(id) = running.child.id() {
                Command::new("kill").args(["-TERM", &id.to_string()]).status().await.ok();
            }
        }
        let all = async {
            for running in &mut self.children {
                running.child.wait().await.ok();
            }
        };
        if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
            for running in &mut self.children {
                running.child.kill().await.ok();
            }
        }
    }

    /// A proxy and the service whose name its spans carry, as Istio has it.
    fn proxy(
        &mut self,
        (node, service): (&str, &str),
        host: Ipv4Addr,
        xds: SocketAddr,
        state: &Path,
    ) -> anyhow::Result<()> {
        let mut proxy = Command::new(sibling("tidegate-proxy")?);
        proxy.args(["--xds", &xds.to_string(), "--node", &format!("{node}.bookinfo")]);
        proxy.args(["--cluster", &format!("{service}.bookinfo")]);
        proxy.args(["--admin", &format!("{host}:15000"), "--drain-seconds", "0", "--concurrency", "1"]);
        proxy.arg("--state-dir").arg(state.join(node));
        // A demonstration has so few requests that each of them may be looked at.
        proxy.args(["--trace-to", "control", "--trace-sample", "100"]);
        self.spawn(&format!("{node} (proxy)"), &format!("{host}, admin on http://{host}:15000"), true, proxy)
    }

    fn spawn(&mut self, name: &str, what: &str, is_proxy: bool, mut command: Command) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.as_std().get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share a log file")?)
            .stderr(file)
            // Ctrl-C is for the demo, which then ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", Path::new(&program).display()))?;
        self.children.push(Running { name: name.to_owned(), what: what.to_owned(), is_proxy, child });
        Ok(())
    }
}

fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this binary")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: the demo needs it beside {}; in a checkout, `make demo` builds all three",
        path.display(),
        own.display()
    );
    Ok(path)
}
