//! The proxies that are compared, each with the configuration of its own language.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::configurations::{Listens, envoy, haproxy, nginx};
use super::world::{PROXY_CORE, Process, VERSIONS, World, XDS, host, http1};

const PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;
/// Where HTTP/2 is taken by those that cannot tell it from HTTP/1.1 at one port.
const HTTP2_PORT: u16 = 8081;
const HTTP2_TLS_PORT: u16 = 8444;
const ADMIN_PORT: u16 = 15000;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Ours,
    Envoy,
    Nginx,
    HaProxy,
    Relay,
    /// Our own proxy with little to do, beside which it is seen what much costs.
    Small,
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
            Self::Small => "small",
        }
    }

    fn number(self) -> u8 {
        2 + self as u8
    }

    /// Its name and address as a gateway of the control plane.
    pub(crate) fn gateway(self) -> (&'static str, Ipv4Addr) {
        (self.name(), host(self.number()))
    }

    /// Gateways of the control plane: those that it drives.
    pub(crate) fn gateways() -> [(&'static str, Ipv4Addr); 2] {
        [Self::Ours, Self::Envoy].map(Self::gateway)
    }

    fn admin(self) -> SocketAddr {
        (host(self.number()), ADMIN_PORT).into()
    }

    fn listens(self) -> Listens {
        let at = |port| SocketAddr::from((host(self.number()), port));
        let (http2, https2) = match self {
            Self::HaProxy => (at(HTTP2_PORT), at(HTTP2_TLS_PORT)),
            Self::Ours | Self::Envoy | Self::Nginx | Self::Relay | Self::Small => (at(PORT), at(TLS_PORT)),
        };
        Listens { http1: at(PORT), http2, https1: at(TLS_PORT), https2 }
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

    /// Since it was created.
    pub(crate) fn age(&self) -> Duration {
        self.process.born.elapsed()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.process.is_gone()
    }

    pub(crate) fn listens(&self) -> Listens {
        self.peer.listens()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.peer.admin()
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(peer: Peer, world: &World) -> anyhow::Result<Self> {
        let target = Self::begin(peer, world, command(peer, world)?)?;
        world.answers(target.listens().http1)?;
        Ok(target)
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn begin(peer: Peer, world: &World, (program, words): (PathBuf, Vec<String>)) -> anyhow::Result<Self> {
        let version = version(peer, &program);
        let process = Process::start(PROXY_CORE, &program, &words, &world.log(peer.name()))?;
        Ok(Self { peer, version, process })
    }
}

/// What is run, with its configuration written.
pub(crate) fn command(peer: Peer, world: &World) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let (listens, folder) = (peer.listens(), world.folder.path());
    let written = |name: &str, text: String| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        anyhow::Ok(file.display().to_string())
    };
    Ok(match peer {
        Peer::Ours | Peer::Small => ours(world, peer),
        Peer::Envoy => {
            let file = written("envoy.json", envoy(&format!("{}.bench", peer.name()), peer.admin()))?;
            envoy_with(&file)?
        }
        Peer::Nginx => {
            let file = written("nginx.conf", nginx(listens, folder, &world.certificates))?;
            ("/usr/sbin/nginx".into(), ["-c".to_owned(), file, "-p".to_owned(), folder.display().to_string()].into())
        }
        Peer::HaProxy => {
            let file = written("haproxy.cfg", haproxy(listens, &world.certificates))?;
            ("/usr/sbin/haproxy".into(), ["-db".to_owned(), "-f".to_owned(), file].into())
        }
        Peer::Relay => {
            let this = std::env::current_exe().context("this program has no path")?;
            (this, ["relay".to_owned(), listens.http1.to_string(), http1(VERSIONS[0]).to_string()].into())
        }
    })
}

/// Envoy with a bootstrap file, as one worker.
pub(crate) fn envoy_with(file: &str) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let words = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    Ok((envoy_binary()?, words.map(str::to_owned).into()))
}

/// Where a peer takes HTTP/1.1.
pub(crate) fn http1_address(peer: Peer) -> SocketAddr {
    peer.listens().http1
}

/// Our proxy, as one worker.
pub(crate) fn ours(world: &World, peer: Peer) -> (PathBuf, Vec<String>) {
    let admin = peer.admin().to_string();
    let (xds, node) = (XDS.to_string(), format!("{}.bench", peer.name()));
    let words = ["--xds", &xds, "--node", &node, "--admin", &admin, "--concurrency", "1", "--drain-seconds", "0"];
    (world.bin.join("tidegate-proxy"), words.map(str::to_owned).into())
}

fn version(peer: Peer, program: &Path) -> String {
    let flag = match peer {
        Peer::Ours | Peer::Envoy | Peer::Small => "--version",
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
