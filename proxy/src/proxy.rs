//! The proxy as one value: started, fed, drained, joined.
//!
//! `main` starts it with a control plane; tests and benches start it without one and feed it typed resources. Everything
//! behind that door is the same.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Resource;
use tidegate_xds::transport::ClientConfig;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::admin::Admin;
use crate::admin::metrics::Pages;
use crate::clock;
use crate::config::apply::Change;
use crate::config::registry::Registry;
use crate::config::snapshot::Snapshot;
use crate::config::watch::{Command, Refused, Watch, changes, offer_typed};
use crate::doors::{Doors, Open};
use crate::drain::{Drain, Timing};
use crate::limits::Limits;
use crate::pressure;
use crate::telemetry::access_log::{AccessLog, AccessLogOptions};
use crate::telemetry::trace::export::{self, Tracing};
use crate::upgrade::{Place, Taken, UpgradeError, ask};
use crate::worker::{Order, Shared, Worker};

/// How the process is set up.
#[derive(Debug, Default)]
pub struct Options {
    /// Workers; `None`: [`default_workers`].
    pub workers: Option<NonZeroUsize>,
    /// Bounds of the data plane.
    pub limits: Limits,
    /// Where the last good configuration is kept.
    pub state_dir: Option<PathBuf>,
    /// Where the admin pages are served; loopback only.
    pub admin: Option<SocketAddr>,
    /// Where configuration comes from.
    pub control: Option<ClientConfig>,
    /// How long a drain takes.
    pub drain: Timing,
    /// A line for each request.
    pub access_log: Option<AccessLogOptions>,
    /// Nobody counts who calls whom: there is no topology, and no metric of Istio's.
    pub no_edges: bool,
    /// Where spans go, and of how many requests.
    pub tracing: Tracing,
    /// Where a new process asks to take over. If a process of ours answers there, its place is taken.
    pub upgrade: Option<PathBuf>,
    /// The socket at which the service manager wants to hear how the process is.
    pub manager: Option<OsString>,
}

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin pages would be open to others.
    #[error("admin address {0} is not a loopback address")]
    AdminNotLoopback(SocketAddr),
    /// The admin socket.
    #[error("cannot listen on admin address {address}: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The access log.
    #[error("cannot write the access log {path}: {source}")]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The place of a running process.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// A runtime or a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running proxy. Dropping it ends it at once.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    control: Option<JoinHandle<Result<(), UpgradeError>>>,
    workers: Vec<JoinHandle<()>>,
    admin: Option<SocketAddr>,
    drain: Timing,
}

/// A sidecar takes what the container may use, at least one worker and at most two: it must leave the rest to the
/// application it stands beside.
pub fn default_workers() -> NonZeroUsize {
    // On Linux this respects the cgroup's CPU limit and the thread's affinity.
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.min(2)).unwrap_or(NonZeroUsize::MIN)
}

impl Proxy {
    /// Starts all threads. With kept configuration on disk it serves within moments; with a control plane it connects in
    /// the background.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let count = options.workers.unwrap_or_else(default_workers).get();
        let node = options.control.as_ref().map_or_else(|| "".into(), |control| Arc::clone(&control.node.id));
        let mut taken = match &options.upgrade {
            Some(path) => ask_alone(path, &node)?,
            None => None,
        };
        let inherited = taken.as_mut().and_then(|taken| taken.admin.take());
        let admin_socket = options.admin.map(|address| bind_admin(address, inherited)).transpose()?;
        let admin = admin_socket.as_ref().map(|(_, socket)| socket.local_addr()).transpose()?;
        let upgrade = options.upgrade.as_deref().map(|path| Place::take(path, taken.as_mut())).transpose()?;
        let cluster = options.control.as_ref().map(|control| Arc::clone(&control.node.cluster));
        let service = cluster.filter(|cluster| !cluster.is_empty()).unwrap_or_else(|| Arc::clone(&node));
        let open = |options: AccessLogOptions| {
            let path = options.file.clone().unwrap_or_default();
            AccessLog::open(options, [&service, &node]).map_err(|source| StartError::AccessLog { path, source })
        };
        let access_log = options.access_log.map(open).transpose()?;
        let service = options.control.as_ref().map(|control| Arc::clone(&control.node.cluster));
        let service = service.filter(|cluster| !cluster.is_empty()).unwrap_or_else(|| Arc::clone(&node));
        let (traces, couriers) = export::open(options.tracing, service, Arc::clone(&node));
        let shared = Arc::new(Shared {
            limits: options.limits,
            registry: Registry::new(count),
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            drain: Drain::default(),
            access_log,
            counts_edges: !options.no_edges,
            traces,
            workers: OnceLock::new(),
        });
        let mut senders = Vec::with_capacity(count);
        let mut workers = Vec::with_capacity(count);
        for index in 0..count {
            // Holds accepted sockets, of which there are no more than the limit on connections.
            let (orders, received) = mpsc::unbounded_channel();
            senders.push(orders);
            let shared = Arc::clone(&shared);
            let runtime = move || run_worker(index, shared, received);
            workers.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(runtime)?);
        }
        // Set before the control thread exists, so that it always finds them.
        drop(shared.workers.set(senders));
        // Fed by admin pages, whose connections are counted, and by whoever embeds the proxy.
        let (commands, received) = mpsc::unbounded_channel();
        let (elsewhere, seen) = watch::channel(false);
        let pages = Admin {
            shared: Arc::clone(&shared),
            commands: commands.clone(),
            drain: options.drain,
            node,
            pages: Pages::default(),
            elsewhere: seen,
        };
        let (manager, open) = (options.manager, Open::default());
        let doors = Doors { admin: admin_socket, upgrade, pages, elsewhere, manager, open };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (for_watch, state_dir, control) = (Arc::clone(&shared), options.state_dir, options.control);
        let for_gauge = Arc::clone(&shared);
        let run = move || {
            // Also when this thread panics: a proxy whose configuration cannot change any more should be restarted, and
            // starts again from disk.
            let _stop = StopWorkers(Arc::clone(&for_watch));
            runtime.block_on(async move {
                let (watch, sources) = Watch::new(Arc::clone(&for_watch), state_dir, control, doors, draw());
                let couriers = couriers.start(for_gauge.traces.as_ref());
                let gauge = tokio::spawn(pressure::follow(for_gauge));
                let ended = watch.run(received, sources, taken).await;
                gauge.abort();
                couriers.finish().await;
                ended
            })
        };
        let control = std::thread::Builder::new().name("control".to_owned()).spawn(run)?;
        Ok(Self { shared, commands, control: Some(control), workers, admin, drain: options.drain })
    }

    /// Offers resources beside what is there. Returns what was refused; everything else is visible to the next request,
    /// or, where it waits for something that is missing, was given up after 15 s.
    pub async fn apply(&self, resources: impl IntoIterator<Item = Resource>) -> Vec<Refused> {
        self.change(changes(resources.into_iter().map(offer_typed))).await
    }

    /// Takes resources away.
    pub async fn remove(&self, resource_type: ResourceType, names: impl IntoIterator<Item = Arc<str>>) -> Vec<Refused> {
        let removed = names.into_iter().collect();
        self.change(vec![Change { resource_type, offered: Vec::new(), removed }]).await
    }

    async fn change(&self, changes: Vec<Change>) -> Vec<Refused> {
        if changes.is_empty() {
            return Vec::new();
        }
        let (reply, concluded) = oneshot::channel();
        drop(self.commands.send(Command::Apply { changes, reply }));
        concluded.await.unwrap_or_default()
    }

    /// Where a listener listens: port 0 in its resource is the kernel's choice.
    pub async fn listener_address(&self, name: &str) -> Option<SocketAddr> {
        let (reply, address) = oneshot::channel();
        drop(self.commands.send(Command::Address { listener: name.into(), reply }));
        address.await.ok().flatten()
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.shared.registry.connections()
    }

    /// Leaves gracefully, as on SIGTERM.
    pub fn drain(&self) {
        drop(self.commands.send(Command::Drain(self.drain)));
    }

    /// Leaves without waiting for load balancers, as on SIGINT.
    pub fn drain_fast(&self) {
        drop(self.commands.send(Command::Drain(self.drain.fast())));
    }

    /// Ready when the control thread has ended: drained, or stopped.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Ends at once, whatever is open.
    pub fn stop(&self) {
        drop(self.commands.send(Command::Stop));
    }

    /// Looks at files anew, as on SIGHUP, and says in the log what came of it.
    pub fn reload(&self) {
        match self.shared.access_log.as_ref().and_then(AccessLog::reopen) {
            Some(Ok(path)) => info!(path = %path.display(), "access log opened anew"),
            Some(Err(error)) => warn!(%error, "access log not opened anew; lines go where they went before"),
            None => {
                info!(
                    "nothing to reload: there is no file of an access log, and the configuration comes from the control plane"
                )
            }
        }
    }

    /// Waits until everything has ended. Blocks the thread. An error: it has not taken the place of a running process.
    pub fn join(mut self) -> Result<(), UpgradeError> {
        self.join_all()
    }

    fn join_all(&mut self) -> Result<(), UpgradeError> {
        // A thread that panicked has ended, too.
        let result = self.control.take().and_then(|thread| thread.join().ok()).unwrap_or(Ok(()));
        for thread in self.workers.drain(..) {
            drop(thread.join());
        }
        if let Some(log) = &self.shared.access_log {
            log.close();
        }
        result
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
        // Nobody is left to be told.
        drop(self.join_all());
    }
}

struct StopWorkers(Arc<Shared>);

impl Drop for StopWorkers {
    fn drop(&mut self) {
        self.0.tell_all(|| Order::Stop);
    }
}

/// The address and its socket: the one of the process that ran before, if that is the same.
fn bind_admin(
    address: SocketAddr,
    inherited: Option<(SocketAddr, TcpListener)>,
) -> Result<(SocketAddr, TcpListener), StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::AdminNotLoopback(address));
    }
    if let Some(same) = inherited.filter(|(theirs, _)| *theirs == address) {
        return Ok(same);
    }
    let socket = crate::listener::accept::listen(address).map_err(|source| StartError::Admin { address, source })?;
    Ok((address, socket))
}

/// Asks on a thread of its own: who starts a proxy may be inside a runtime, and one cannot block or end inside another.
fn ask_alone(path: &Path, node: &Arc<str>) -> Result<Option<Taken>, StartError> {
    let asking = || -> Result<Option<Taken>, StartError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(ask(path, Arc::clone(node)))?)
    };
    let asked = std::thread::scope(|scope| scope.spawn(asking).join());
    asked.map_err(|_| io::Error::other("the thread that asked the running process panicked"))?
}

fn run_worker(index: usize, shared: Arc<Shared>, orders: mpsc::UnboundedReceiver<Order>) {
    match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(async move { Worker::new(index, shared).run(orders).await }),
        Err(error) => tracing::error!(worker = index, %error, "a worker has no runtime"),
    }
}

/// Where round robins begin: anywhere, so that many proxies do not all begin with the same endpoint. Another number for each
/// process, so that reports of one are told from those of the one before.
fn draw() -> u64 {
    let since = clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
    nanos.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
