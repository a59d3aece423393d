//! The processes of a comparison and what they are configured with. Everything ends when the world is dropped.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::meter;

/// Where the measured process runs, and where everything else does.
pub(crate) const PROXY_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

const READY_LIMIT: Duration = Duration::from_secs(60);
const HTTP1_PORT: u16 = 9080;
const HTTP2_PORT: u16 = 9081;

/// A host of the comparison's own network.
pub(crate) const fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 90, 0, number)
}

/// The two versions of the application.
pub(crate) const VERSIONS: [Ipv4Addr; 2] = [host(11), host(12)];

/// Where an application speaks HTTP/1.1.
pub(crate) fn http1(version: Ipv4Addr) -> SocketAddr {
    (version, HTTP1_PORT).into()
}

/// Where it speaks HTTP/2.
pub(crate) fn http2(version: Ipv4Addr) -> SocketAddr {
    (version, HTTP2_PORT).into()
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it on a core; its output goes to a file.
    pub(crate) fn start(core: &str, program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)?;
        // taskset becomes the program, so the process is the measured one.
        let child = Command::new("taskset")
            .args(["-c", core])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", program.display()))?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// `kill -TERM`
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        let done = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().context("no kill")?;
        ensure!(done.success(), "it was gone already");
        Ok(())
    }

    /// Whether it has ended; it is still to be waited for.
    pub(crate) fn is_gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The state comes after the name, which may hold anything.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The control plane, the application, and a folder for all.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) bin: PathBuf,
    control: Process,
    _backend: Process,
}

pub(crate) const XDS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(host(1)), 15010);
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(host(1)), 15014);

impl World {
    /// Starts the application and a control plane that serves `gateways`, each with an address.
    pub(crate) fn start(bin: &Path, gateways: &[(&str, Ipv4Addr)]) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("no folder")?;
        let mesh = folder.path().join("mesh");
        std::fs::create_dir(&mesh)?;
        std::fs::write(mesh.join("bench.yaml"), configuration(gateways))?;
        let this = std::env::current_exe().context("this program has no path")?;
        let mut arguments = vec!["backend".to_owned()];
        for version in VERSIONS {
            arguments.extend(["--http1".to_owned(), http1(version).to_string()]);
            arguments.extend(["--http2".to_owned(), http2(version).to_string()]);
        }
        let backend = Process::start(LOAD_CORE, &this, &arguments, &folder.path().join("backend.log"))?;
        let arguments = [
            "serve",
            "--config",
            &mesh.display().to_string(),
            "--state",
            &folder.path().join("state").display().to_string(),
            "--xds",
            &XDS.to_string(),
            "--api",
            &API.to_string(),
        ]
        .map(str::to_owned);
        let log = folder.path().join("control.log");
        let control = Process::start(LOAD_CORE, &bin.join("tidegate"), &arguments, &log)?;
        let world = Self { folder, bin: bin.to_owned(), control, _backend: backend };
        for address in VERSIONS.iter().flat_map(|v| [http1(*v), http2(*v)]).chain([XDS]) {
            world.listens(address)?;
        }
        Ok(world)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Waits until somebody listens there.
    pub(crate) fn listens(&self, address: SocketAddr) -> anyhow::Result<()> {
        let start = meter::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > READY_LIMIT {
                bail!("nobody listens on {address} after {READY_LIMIT:?}; logs:\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        ensure!(Path::new(&format!("/proc/{}", self.control.id())).exists(), "the control plane is gone");
        Ok(())
    }

    /// Waits until a request there is answered with 200: whoever listens may not have its routes yet.
    pub(crate) fn answers(&self, address: SocketAddr) -> anyhow::Result<()> {
        let start = meter::now();
        loop {
            let answer = probe(address);
            match &answer {
                Ok(text) if text.starts_with("HTTP/1.1 200") => return Ok(()),
                _ if start.elapsed() < READY_LIMIT => std::thread::sleep(Duration::from_millis(50)),
                _ => bail!("{address} does not serve after {READY_LIMIT:?}: {answer:?}; logs:\n{}", self.logs()),
            }
        }
    }

    fn logs(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(5).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                all.push_str(&format!("--- {}\n{}\n", entry.path().display(), tail.join("\n")));
            }
        }
        all
    }
}

fn probe(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h1.bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Every governance feature on one route: what the measured proxies decide for each request.
fn configuration(gateways: &[(&str, Ipv4Addr)]) -> String {
    let mut yaml = "apiVersion: v1\nkind: Namespace\nmetadata: {name: bench}\n".to_owned();
    let mut parents = String::new();
    for (name, address) in gateways {
        writeln!(parents, "  - {{name: {name}}}").ok();
        yaml.push_str(&format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: bench}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: {address}}}]
  listeners: [{{name: http, protocol: HTTP, port: 8080}}]
"
        ));
    }
    for (service, port, protocol) in [("h1", HTTP1_PORT, "http"), ("h2", HTTP2_PORT, "http2")] {
        yaml.push_str(&format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: bench}}
spec:
  selector: {{app: {service}}}
  ports: [{{name: {protocol}, port: {port}}}]
"
        ));
        for (number, address) in (1..).zip(VERSIONS) {
            yaml.push_str(&format!(
                "---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata: {{name: {service}-v{number}, namespace: bench, labels: {{app: {service}, version: v{number}}}}}
spec:
  address: {address}
  ports: [{{name: {protocol}, port: {port}}}]
"
            ));
        }
        yaml.push_str(&governed(service, port, &parents));
    }
    yaml
}

fn governed(service: &str, port: u16, parents: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {service}, namespace: bench}}
spec:
  parentRefs:
{parents}  hostnames: [{service}.bench]
  rules:
  - matches: [{{headers: [{{name: end-user, value: jason}}]}}]
    backendRefs: [{{group: tidegate.io, kind: Version, name: {service}/v2, port: {port}}}]
  - backendRefs:
    - {{group: tidegate.io, kind: Version, name: {service}/v1, port: {port}, weight: 90}}
    - {{group: tidegate.io, kind: Version, name: {service}/v2, port: {port}, weight: 10}}
---
apiVersion: tidegate.io/v1alpha1
kind: RateLimit
metadata: {{name: {service}, namespace: bench}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {service}}}]
  rules: [{{name: all, limit: {{requests: 1000000, per: 1s, burst: 1000000}}}}]
---
apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {{name: {service}, namespace: bench}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {service}}}]
  match: {{headers: [{{name: end-user, value: jason}}]}}
  permanent: true
  delay: {{value: 7s, percent: 100}}
---
apiVersion: tidegate.io/v1alpha1
kind: CircuitBreaker
metadata: {{name: {service}, namespace: bench}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {service}}}]
  limits: {{maxConnections: 10000, maxPendingRequests: 10000, maxRequests: 10000, retryBudget: {{percent: 20, minConcurrency: 3}}}}
  outlier: {{consecutive5xx: 5, interval: 1s, baseEjection: 30s}}
---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {{name: {service}, namespace: bench}}
spec:
  targetRefs: [{{group: \"\", kind: Service, name: {service}}}]
  timeouts: {{connect: 1s, request: 15s}}
  retry: {{attempts: 2, perTry: 5s, codes: [503]}}
"
    )
}
