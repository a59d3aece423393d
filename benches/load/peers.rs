//! The proxies that are compared, each with the configuration of its own language.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::world::{PROXY_CORE, Process, VERSIONS, World, XDS, host, http1, http2};

const PORT: u16 = 8080;
const HTTP2_PORT: u16 = 8081;
const ADMIN_PORT: u16 = 15000;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Ours,
    Envoy,
    Nginx,
    HaProxy,
    Relay,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] = [Self::Ours, Self::Envoy, Self::Nginx, Self::HaProxy, Self::Relay];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "tidegate",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Relay => "relay",
        }
    }

    fn number(self) -> u8 {
        2 + self as u8
    }

    /// Gateways of the control plane: those that it drives.
    pub(crate) fn gateways() -> [(&'static str, std::net::Ipv4Addr); 2] {
        [Self::Ours, Self::Envoy].map(|peer| (peer.name(), host(peer.number())))
    }

    /// Whether it forwards HTTP/2 as HTTP/2.
    pub(crate) fn speaks_http2(self) -> bool {
        match self {
            Self::Ours | Self::Envoy | Self::HaProxy => true,
            Self::Nginx | Self::Relay => false,
        }
    }
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) peer: Peer,
    pub(crate) version: String,
    process: Process,
}

impl Target {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it takes HTTP/1.1.
    pub(crate) fn http1(&self) -> SocketAddr {
        http1_address(self.peer)
    }

    /// Where it takes HTTP/2.
    pub(crate) fn http2(&self) -> SocketAddr {
        let port = if self.peer == Peer::HaProxy { HTTP2_PORT } else { PORT };
        (host(self.peer.number()), port).into()
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(peer: Peer, world: &World) -> anyhow::Result<Self> {
        let address = host(peer.number());
        let (listen, admin) = (SocketAddr::from((address, PORT)), SocketAddr::from((address, ADMIN_PORT)));
        let folder = world.folder.path();
        let (program, arguments): (PathBuf, Vec<String>) = match peer {
            Peer::Ours => ours(world),
            Peer::Envoy => {
                let file = folder.join("envoy.json");
                std::fs::write(&file, envoy(&format!("{}.bench", peer.name()), admin))?;
                let file = file.display().to_string();
                let words = ["-c", &file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
                (envoy_binary()?, words.map(str::to_owned).into())
            }
            Peer::Nginx => {
                let file = folder.join("nginx.conf");
                std::fs::write(&file, nginx(listen, folder))?;
                let words =
                    ["-c".to_owned(), file.display().to_string(), "-p".to_owned(), folder.display().to_string()];
                ("/usr/sbin/nginx".into(), words.into())
            }
            Peer::HaProxy => {
                let file = folder.join("haproxy.cfg");
                std::fs::write(&file, haproxy(listen, (address, HTTP2_PORT).into()))?;
                ("/usr/sbin/haproxy".into(), ["-db".to_owned(), "-f".to_owned(), file.display().to_string()].into())
            }
            Peer::Relay => {
                let this = std::env::current_exe().context("this program has no path")?;
                (this, ["relay".to_owned(), listen.to_string(), http1(VERSIONS[0]).to_string()].into())
            }
        };
        let version = version(peer, &program);
        let process = Process::start(PROXY_CORE, &program, &arguments, &world.log(peer.name()))?;
        world.answers(listen)?;
        Ok(Self { peer, version, process })
    }
}

/// Where a peer takes HTTP/1.1.
pub(crate) fn http1_address(peer: Peer) -> SocketAddr {
    (host(peer.number()), PORT).into()
}

/// Our proxy, as one worker.
pub(crate) fn ours(world: &World) -> (PathBuf, Vec<String>) {
    let admin = SocketAddr::from((host(Peer::Ours.number()), ADMIN_PORT)).to_string();
    let (xds, node) = (XDS.to_string(), format!("{}.bench", Peer::Ours.name()));
    let words = ["--xds", &xds, "--node", &node, "--admin", &admin, "--concurrency", "1", "--drain-seconds", "0"];
    (world.bin.join("tidegate-proxy"), words.map(str::to_owned).into())
}

fn version(peer: Peer, program: &Path) -> String {
    let flag = match peer {
        Peer::Ours | Peer::Envoy => "--version",
        Peer::Nginx | Peer::HaProxy => "-v",
        Peer::Relay => return "copy".to_owned(),
    };
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim();
    // Envoy begins with its path.
    line.rsplit_once("version: ").map_or(line, |(_, version)| version).to_owned()
}

/// The binary inside of the Python package.
fn envoy_binary() -> anyhow::Result<PathBuf> {
    let libraries = Path::new("target/tools/python/lib");
    for entry in std::fs::read_dir(libraries).with_context(|| format!("no {}", libraries.display()))?.flatten() {
        let binary = entry.path().join("site-packages/envoy/_bin/envoy");
        if binary.exists() {
            return Ok(binary);
        }
    }
    bail!("no Envoy in {}: run bash benches/install.sh", libraries.display())
}

fn envoy(node: &str, admin: SocketAddr) -> String {
    let address =
        |a: SocketAddr| serde_json::json!({"socket_address": {"address": a.ip().to_string(), "port_value": a.port()}});
    let over_ads = serde_json::json!({"resource_api_version": "V3", "ads": {}});
    serde_json::json!({
        "node": {"id": node, "cluster": "bench"},
        "admin": {"address": address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
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
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(XDS)}}]}],
            },
        }]},
    })
    .to_string()
}

fn nginx(listen: SocketAddr, folder: &Path) -> String {
    let servers: String = VERSIONS.iter().map(|v| format!("    server {};\n", http1(*v))).collect();
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
error_log {folder}/nginx-error.log warn;
pid {folder}/nginx.pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  upstream application {{
{servers}    keepalive 2048;
    keepalive_requests 100000000;
  }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
  }}
}}
"
    )
}

fn haproxy(http1_listen: SocketAddr, http2_listen: SocketAddr) -> String {
    let servers = |protocol: &str, address: fn(std::net::Ipv4Addr) -> SocketAddr| -> String {
        let line = |(n, v): (usize, &std::net::Ipv4Addr)| format!("  server v{n} {} {protocol}\n", address(*v));
        VERSIONS.iter().enumerate().map(line).collect()
    };
    format!(
        "global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen http1
  bind {http1_listen}
{}listen http2
  bind {http2_listen} proto h2
{}",
        servers("", http1),
        servers("proto h2", http2)
    )
}
