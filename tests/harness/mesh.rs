//! A mesh of real processes on a network of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::address::Subnet;
use super::control::Control;
use super::process::{Process, binary};
use super::{Backend, Client, wait};

/// Where each workload's parts listen, on the workload's own address.
const INBOUND: u16 = 9080;
const APPLICATION: u16 = 19080;
const OUTBOUND: u16 = 15001;
/// The admin port of every data plane.
pub(crate) const ADMIN: u16 = 15000;
/// Where every sidecar listens for the first TCP service of the mesh; the next one is a port higher.
const OUTBOUND_TCP: u16 = 13306;
/// First configuration included.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// The namespace of everything that is not told another.
const NAMESPACE: &str = "shop";

/// What is to be started.
pub(crate) struct Plan {
    subnet: Subnet,
    services: Vec<(String, Vec<String>, &'static str)>,
    without_proxies: BTreeSet<String>,
    files: BTreeMap<String, String>,
    localities: BTreeMap<String, String>,
    namespaces: BTreeMap<String, String>,
    own_backends: bool,
    logs_access: bool,
    of_second: BTreeSet<String>,
    store: Option<String>,
    proxy_arguments: Vec<String>,
}

/// A running mesh. Everything ends when it is dropped.
pub(crate) struct Mesh {
    /// The control plane.
    pub(crate) control: Control,
    /// A second one over the same directory.
    pub(crate) second: Option<Control>,
    /// Backends by workload name (`reviews-v1`).
    pub(crate) backends: BTreeMap<String, Backend>,
    /// Proxies by workload name.
    pub(crate) proxies: BTreeMap<String, Process>,
    hosts: BTreeMap<String, Ipv4Addr>,
    /// Of workloads.
    namespaces: BTreeMap<String, String>,
    folder: TempDir,
    logs_access: bool,
    of_second: BTreeSet<String>,
    upgrades: u32,
    proxy_arguments: Vec<String>,
}

impl Mesh {
    /// A mesh with one client workload, `web`.
    pub(crate) fn plan() -> Plan {
        let web = ("web".to_owned(), vec!["v1".to_owned()], "http");
        Plan {
            subnet: Subnet::take(),
            services: vec![web],
            without_proxies: BTreeSet::new(),
            files: BTreeMap::new(),
            localities: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            own_backends: false,
            logs_access: false,
            of_second: BTreeSet::new(),
            store: None,
            proxy_arguments: Vec::new(),
        }
    }

    /// A client beside the sidecar of `workload`.
    pub(crate) fn client(&self, workload: &str) -> Client {
        Client::new(self.outbound(workload))
    }

    /// The outbound listener of `workload`'s sidecar.
    pub(crate) fn outbound(&self, workload: &str) -> SocketAddr {
        SocketAddr::from((self.hosts[workload], OUTBOUND))
    }

    /// Where `workload`'s sidecar listens for the `index`th TCP service.
    pub(crate) fn outbound_tcp(&self, workload: &str, index: u16) -> SocketAddr {
        SocketAddr::from((self.hosts[workload], OUTBOUND_TCP + index))
    }

    /// Where `workload`'s application listens.
    pub(crate) fn application(&self, workload: &str) -> SocketAddr {
        SocketAddr::from((self.hosts[workload], APPLICATION))
    }

    /// The admin port of `workload`'s sidecar.
    pub(crate) fn admin(&self, workload: &str) -> SocketAddr {
        SocketAddr::from((self.hosts[workload], ADMIN))
    }

    /// The lines of `workload`'s access log, so far.
    pub(crate) fn access_log(&self, workload: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(access_log(self.folder.path(), workload)).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The folder of its logs and files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts (again) the sidecar of `workload`.
    pub(crate) fn start_proxy(&mut self, workload: &str) {
        let name = format!("proxy-{workload}");
        let mut command = self.proxy_command(workload);
        let process = Process::start(&name, self.folder.path(), &mut command);
        self.proxies.insert(workload.to_owned(), process);
    }

    /// Starts the sidecar of `workload` anew, with these further arguments, and waits until it is ready.
    pub(crate) async fn restart_proxy(&mut self, workload: &str, arguments: &[&str]) {
        // Whoever is replaced is killed.
        self.proxies.remove(workload);
        let mut command = self.proxy_command(workload);
        let process = Process::start(&format!("proxy-{workload}"), self.folder.path(), command.args(arguments));
        self.proxies.insert(workload.to_owned(), process);
        self.ready(workload, SETTLE_LIMIT).await;
    }

    /// The command line of `workload`'s sidecar.
    pub(crate) fn proxy_command(&self, workload: &str) -> Command {
        let host = self.hosts[workload];
        let control = self.second.as_ref().filter(|_| self.of_second.contains(workload)).unwrap_or(&self.control);
        let namespace = self.namespaces.get(workload).map_or(NAMESPACE, String::as_str);
        let mut command = proxy_command((workload, namespace), host, control.xds, self.folder.path(), self.logs_access);
        command.args(&self.proxy_arguments);
        command
    }

    /// Starts the sidecar of `workload` by a shell that runs `before` in the process that becomes the sidecar.
    pub(crate) fn start_proxy_after(&mut self, workload: &str, before: &str) {
        let sidecar = self.proxy_command(workload);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
            .arg(sidecar.get_program())
            .args(sidecar.get_args());
        let process = Process::start(&format!("proxy-{workload}"), self.folder.path(), &mut shell);
        self.proxies.insert(workload.to_owned(), process);
    }

    /// Where `workload`'s sidecar can be asked to hand over.
    pub(crate) fn upgrade_socket(&self, workload: &str) -> PathBuf {
        upgrade_socket(self.folder.path(), workload)
    }

    /// Starts a new process for the sidecar of `workload`, which takes over from the running one. That one is returned as
    /// soon as the new one accepts; it drains still.
    pub(crate) async fn upgrade(&mut self, workload: &str) -> Process {
        self.upgrades += 1;
        let name = format!("proxy-{workload}-upgrade-{}", self.upgrades);
        let new = Process::start(&name, self.folder.path(), &mut self.proxy_command(workload));
        wait::until(&format!("{name} has taken over"), SETTLE_LIMIT, || async {
            new.log().contains("accepting in the place of the process that ran before")
        })
        .await;
        self.proxies.insert(workload.to_owned(), new).expect("there was one before")
    }

    /// Starts a proxy for the gateway `name`, with its admin port on `host`.
    pub(crate) fn start_gateway(&mut self, name: &str, host: Ipv4Addr) {
        self.hosts.insert(name.to_owned(), host);
        self.start_proxy(name);
    }

    /// Waits until the sidecar of `workload` is ready.
    pub(crate) async fn ready(&self, workload: &str, limit: Duration) {
        let admin = self.admin(workload);
        wait::until(&format!("the sidecar of {workload} is ready"), limit, || async {
            matches!(Client::new(admin).get("localhost", "/ready").await, Ok(a) if a.status == 200)
        })
        .await;
    }

    /// Writes a policy file and waits until every proxy has acknowledged it.
    pub(crate) async fn apply(&self, name: &str, text: &str) {
        let before = self.control.generation().await;
        self.control.write(name, text);
        wait::until(&format!("{name} is accepted"), SETTLE_LIMIT, || async {
            self.control.generation().await > before
        })
        .await;
        self.settled().await;
    }

    /// Waits until every proxy holds the newest generation of its control plane.
    async fn settled(&self) {
        let of_second = self.proxies.keys().filter(|workload| self.of_second.contains(*workload)).count();
        self.control.settled(self.proxies.len() - of_second, SETTLE_LIMIT).await;
        if let Some(second) = &self.second {
            second.settled(of_second, SETTLE_LIMIT).await;
        }
    }
}

impl Plan {
    /// An HTTP service with a workload for each version.
    pub(crate) fn service(mut self, name: &str, versions: &[&str]) -> Self {
        self.services.push((name.to_owned(), versions.iter().map(|v| (*v).to_owned()).collect(), "http"));
        self
    }

    /// As [`Plan::service`], for another protocol (`grpc`, `tcp`): the test brings the applications.
    pub(crate) fn service_of(mut self, name: &str, versions: &[&str], protocol: &'static str) -> Self {
        self.services.push((name.to_owned(), versions.iter().map(|v| (*v).to_owned()).collect(), protocol));
        self
    }

    /// The workloads of `service` run in this locality (`region/zone/sub-zone`).
    pub(crate) fn locality(mut self, service: &str, locality: &str) -> Self {
        self.localities.insert(service.to_owned(), locality.to_owned());
        self
    }

    /// `service` and its workloads are in this namespace.
    pub(crate) fn namespace(mut self, service: &str, namespace: &str) -> Self {
        self.namespaces.insert(service.to_owned(), namespace.to_owned());
        self
    }

    /// The test brings all applications.
    pub(crate) fn own_backends(mut self) -> Self {
        self.own_backends = true;
        self
    }

    /// The test brings another data plane for the workloads of `service`.
    pub(crate) fn without_proxies(mut self, service: &str) -> Self {
        self.without_proxies.insert(service.to_owned());
        self
    }

    /// An address of the mesh's network that no workload has, for policies that name one.
    pub(crate) fn spare_host(&self, number: u8) -> Ipv4Addr {
        assert!(number >= 200, "workloads have the low numbers");
        self.subnet.host(number)
    }

    /// A further file in the control plane's directory.
    pub(crate) fn policy(mut self, file: &str, text: &str) -> Self {
        self.files.insert(file.to_owned(), text.to_owned());
        self
    }

    /// The control planes keep shared rate limits by this store.
    pub(crate) fn rate_limit_store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// There is a second control plane over the same directory, and the proxies of these workloads are its own.
    pub(crate) fn second_control_plane(mut self, workloads: &[&str]) -> Self {
        self.of_second = workloads.iter().map(|workload| (*workload).to_owned()).collect();
        self
    }

    /// Every proxy is started with these further arguments.
    pub(crate) fn proxy_arguments(mut self, arguments: &[String]) -> Self {
        self.proxy_arguments = arguments.to_vec();
        self
    }

    /// Every proxy writes an access log.
    pub(crate) fn access_logs(mut self) -> Self {
        self.logs_access = true;
        self
    }

    /// Starts everything and waits until every proxy holds its configuration.
    pub(crate) async fn start(self) -> Mesh {
        let subnet = self.subnet;
        let folder = TempDir::new().expect("a temporary folder can be made");
        let config = folder.path().join("mesh");
        std::fs::create_dir(&config).expect("a temporary folder is writable");
        let mut hosts = BTreeMap::new();
        let mut with_proxy = Vec::new();
        let mut backends = BTreeMap::new();
        let mut namespaces = BTreeMap::new();
        let mut world = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
        let tcp: Vec<&str> = self.services.iter().filter(|s| s.2 == "tcp").map(|s| s.0.as_str()).collect();
        for (service, versions, protocol) in &self.services {
            let namespace = self.namespaces.get(service).map_or(NAMESPACE, String::as_str);
            world.push_str(&service_yaml(service, namespace, protocol));
            for version in versions {
                let workload = format!("{service}-{version}");
                let host = subnet.host(10 + u8::try_from(hosts.len()).expect("a test mesh is small"));
                let locality = self.localities.get(service).map(|l| format!("  locality: {l}\n")).unwrap_or_default();
                world.push_str(&workload_yaml((service, version), namespace, protocol, host, &locality));
                namespaces.insert(workload.clone(), namespace.to_owned());
                world.push_str(&outbound_tcp_yaml(&tcp, host));
                if !self.own_backends && *protocol == "http" {
                    let backend = Backend::echo(SocketAddr::from((host, APPLICATION)), version).await;
                    backends.insert(workload.clone(), backend);
                }
                if !self.without_proxies.contains(service) {
                    with_proxy.push(workload.clone());
                }
                hosts.insert(workload, host);
            }
        }
        std::fs::write(config.join("world.yaml"), world).expect("a temporary folder is writable");
        for (file, text) in &self.files {
            std::fs::write(config.join(file), text).expect("a temporary folder is writable");
        }
        let store = self.store.as_deref();
        let control = Control::start("tidegate", subnet.host(1), &config, folder.path(), store).await;
        let second = match self.of_second.is_empty() {
            true => None,
            false => Some(Control::start("tidegate-second", subnet.host(2), &config, folder.path(), store).await),
        };
        let (logs_access, of_second, proxies) = (self.logs_access, self.of_second, BTreeMap::new());
        let mut mesh = Mesh {
            control,
            second,
            backends,
            proxies,
            hosts,
            namespaces,
            folder,
            logs_access,
            of_second,
            upgrades: 0,
            proxy_arguments: self.proxy_arguments,
        };
        with_proxy.iter().for_each(|workload| mesh.start_proxy(workload));
        mesh.settled().await;
        for workload in mesh.proxies.keys() {
            mesh.ready(workload, SETTLE_LIMIT).await;
        }
        mesh
    }
}

/// A proxy of ours for `workload`, on `host`, configured by `xds`.
pub(crate) fn spawn_proxy(workload: &str, host: Ipv4Addr, xds: SocketAddr, folder: &Path) -> Process {
    let mut command = proxy_command((workload, NAMESPACE), host, xds, folder, false);
    Process::start(&format!("proxy-{workload}"), folder, &mut command)
}

/// The command line of the proxy of a workload of a namespace, which may write an access log.
pub(crate) fn proxy_command(
    (workload, namespace): (&str, &str),
    host: Ipv4Addr,
    xds: SocketAddr,
    folder: &Path,
    logs_access: bool,
) -> Command {
    let mut command = Command::new(binary("tidegate-proxy"));
    command.args(["--xds", &xds.to_string(), "--node", &format!("{workload}.{namespace}")]);
    command.args(["--admin", &SocketAddr::from((host, ADMIN)).to_string(), "--concurrency", "1"]);
    command.arg("--state-dir").arg(folder.join(format!("{workload}-state")));
    if logs_access {
        command.arg("--access-log").arg(access_log(folder, workload));
    }
    command.arg("--upgrade-socket").arg(upgrade_socket(folder, workload));
    command
}

fn upgrade_socket(folder: &Path, workload: &str) -> PathBuf {
    folder.join(format!("{workload}.upgrade"))
}

fn access_log(folder: &Path, workload: &str) -> PathBuf {
    folder.join(format!("{workload}-access.log"))
}

fn service_yaml(name: &str, namespace: &str, protocol: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports:
  - {{name: {protocol}, port: {INBOUND}}}
"
    )
}

fn workload_yaml(
    (service, version): (&str, &str),
    namespace: &str,
    protocol: &str,
    host: Ipv4Addr,
    locality: &str,
) -> String {
    format!(
        "---
apiVersion: tidegate.io/v1alpha1
kind: Workload
metadata:
  name: {service}-{version}
  namespace: {namespace}
  labels: {{app: {service}, version: {version}}}
spec:
  address: {host}
{locality}  ports:
  - {{name: {protocol}, port: {INBOUND}, application: \"{host}:{APPLICATION}\"}}
  sidecar:
    outbound: \"{host}:{OUTBOUND}\"
"
    )
}

fn outbound_tcp_yaml(services: &[&str], host: Ipv4Addr) -> String {
    if services.is_empty() {
        return String::new();
    }
    let mut yaml = "    outboundTcp:\n".to_owned();
    for (port, service) in (OUTBOUND_TCP..).zip(services) {
        yaml.push_str(&format!(
            "    - {{listen: \"{host}:{port}\", service: {service}.{NAMESPACE}, port: {INBOUND}}}\n"
        ));
    }
    yaml
}
