//! The processes of a comparison and what they are configured with. Everything ends when the world is dropped.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::certificates::Certificates;
use super::mesh::HTTP1;
use super::meter;

/// Where the measured process runs, and where everything else does.
pub(crate) const PROXY_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

const READY_LIMIT: Duration = Duration::from_secs(60);
const HTTP1_PORT: u16 = 9080;
const HTTP2_PORT: u16 = 9081;
const HTTPS1_PORT: u16 = 9443;
const HTTPS2_PORT: u16 = 9444;

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

/// Where it speaks HTTP/1.1 under TLS.
pub(crate) fn https1(version: Ipv4Addr) -> SocketAddr {
    (version, HTTPS1_PORT).into()
}

/// Where it speaks HTTP/2 under TLS.
pub(crate) fn https2(version: Ipv4Addr) -> SocketAddr {
    (version, HTTPS2_PORT).into()
}

/// One of many addresses at which an application speaks HTTP/1.1: all of them lead to one that listens [`EVERYWHERE`].
pub(crate) fn one_of_many(number: usize) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    (Ipv4Addr::new(127, 92, high, low), MANY_PORT).into()
}

/// For [`one_of_many`]: the machine has 16 million loopback addresses, and only this one listens at all of them.
const EVERYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), MANY_PORT);
const MANY_PORT: u16 = 9090;

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// When it was about to be created.
    pub(crate) born: Instant,
}

impl Process {
    /// Starts it on a core; its output goes to a file.
    pub(crate) fn start(core: &str, program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)?;
        let born = meter::now();
        // Both become the program, so the process is the measured one. It ends with this program however that ends: what is
        // left over would have the ports of the next comparison.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", core])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {}", program.display()))?, born })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
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
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The control plane, the application, and a folder for all.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) bin: PathBuf,
    pub(crate) certificates: Certificates,
    control: Option<Process>,
    _backend: Process,
}

pub(crate) const XDS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(host(1)), 15010);
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(host(1)), 15014);

impl World {
    /// Starts the application and a control plane with these files.
    pub(crate) fn start(bin: &Path, files: impl FnOnce(&Certificates) -> Vec<String>) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("no folder")?;
        let certificates = Certificates::make(folder.path())?;
        let mesh = folder.path().join("mesh");
        std::fs::create_dir(&mesh)?;
        for (number, text) in files(&certificates).into_iter().enumerate() {
            std::fs::write(mesh.join(format!("bench-{number}.yaml")), text)?;
        }
        let backend = backend(&certificates, &folder.path().join("backend.log"))?;
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
        let control = Some(Process::start(LOAD_CORE, &bin.join("tidegate"), &arguments, &log)?);
        let world = Self { folder, bin: bin.to_owned(), certificates, control, _backend: backend };
        for address in VERSIONS.iter().flat_map(|v| [http1(*v), http2(*v)]).chain([XDS]) {
            world.listens(address)?;
        }
        Ok(world)
    }

    /// From here on there is no control plane.
    pub(crate) fn end_control(&mut self) {
        self.control = None;
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
        ensure!(
            !self.control.as_ref().is_some_and(Process::is_gone),
            "the control plane is gone; logs:\n{}",
            self.logs()
        );
        Ok(())
    }

    /// Waits until a request there is answered with 200: whoever listens may not have its routes yet.
    pub(crate) fn answers(&self, address: SocketAddr) -> anyhow::Result<()> {
        self.answers_with(address, HTTP1, "/")
    }

    /// The same for a host and path.
    pub(crate) fn answers_with(&self, address: SocketAddr, host: &str, path: &str) -> anyhow::Result<()> {
        let start = meter::now();
        loop {
            let answer = get(address, host, path);
            match &answer {
                Ok(text) if text.starts_with("HTTP/1.1 200") => return Ok(()),
                _ if start.elapsed() < READY_LIMIT => std::thread::sleep(Duration::from_millis(50)),
                _ => bail!("{address} does not serve after {READY_LIMIT:?}: {answer:?}; logs:\n{}", self.logs()),
            }
        }
    }

    pub(crate) fn logs(&self) -> String {
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

/// The beginning of an answer.
fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn backend(certificates: &Certificates, log: &Path) -> anyhow::Result<Process> {
    let this = std::env::current_exe().context("this program has no path")?;
    let mut arguments = vec!["backend".to_owned(), "--http1".to_owned(), EVERYWHERE.to_string()];
    for version in VERSIONS {
        for (flag, address) in [
            ("--http1", http1(version)),
            ("--http2", http2(version)),
            ("--https1", https1(version)),
            ("--https2", https2(version)),
        ] {
            arguments.extend([flag.to_owned(), address.to_string()]);
        }
    }
    for (flag, file) in [("--chain", certificates.chain_file()), ("--key", certificates.key_file())] {
        arguments.extend([flag.to_owned(), file.display().to_string()]);
    }
    Process::start(LOAD_CORE, &this, &arguments, log)
}
