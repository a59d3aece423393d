//! `tidegate serve`: watches a directory and serves what it says.
//!
//! # Order at start
//! Both ports are bound first, so that an occupied port is an error at once. Discovery streams are served only when there is
//! a configuration: a proxy that is told of an empty mesh would drop what it has. Until then its connection waits in
//! the listener's queue.

mod reading;
pub mod traces;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tidegate_policies::ir::PolicySet;
use tidegate_xds::transport::server::{Other, serve_with_others};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use self::reading::{bound, compile_off_thread, newer_within_doubt, plural, written_at};
use crate::ads::Hub;
use crate::api;
use crate::api::Api;
use crate::api::console::Console;
use crate::api::host::{HostName, Hosts};
use crate::api::model::Finding;
use crate::changes::{ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::compile::Compiled;
use crate::describe::describe;
use crate::expiry::{self, AtMoment};
use crate::finding;
use crate::fleet::Fleet;
use crate::rate_limit;
use crate::rate_limit::store::{StoreAddressError, StoreText};
use crate::snapshot::Work;
use crate::source::file::{FileSource, Reload, Update};
use crate::source::read::{Files, ReadError, SourceFile};
use crate::spoilt::spoilt;
use crate::store::{Remembered, Store, default_directory};
use crate::stranded::stranded;
use crate::topology::intake;
use crate::world::World;

use self::traces::Traces;

/// How long the end of something is waited for before the clock is asked again, which may have been set meanwhile.
const EXPIRY_LOOK_MAX: Duration = Duration::from_secs(60);

/// Flags of `tidegate serve`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory with policy files (*.yaml, *.yml; also one level of sub-directories)
    #[arg(long, value_name = "DIR")]
    pub config: PathBuf,
    /// Where proxies connect; loopback only, since discovery streams are neither encrypted nor authenticated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010")]
    pub xds: SocketAddr,
    /// Where status, changes and metrics are served; loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    pub api: SocketAddr,
    /// A name under which browsers and programs may ask the API, besides addresses, localhost, this machine's name, names without
    /// a dot and *.svc, *.svc.cluster.local; again for each further name
    #[arg(long = "api-host", value_name = "NAME")]
    pub api_hosts: Vec<HostName>,
    /// Where the last good configuration and the change log are kept
    /// [default: $XDG_STATE_HOME/tidegate/CONFIG-DIR-HASH, else ~/.local/state/tidegate/CONFIG-DIR-HASH]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Redis by which several control planes keep each shared rate limit together, reached without encryption:
    /// redis://USER:PASSWORD@HOST:PORT/DB, of which only HOST must be there
    /// [default: this control plane keeps whole limits by itself]
    #[arg(long, value_name = "URL")]
    pub rate_limit_store: Option<StoreText>,
    /// Serve the web console from here, as `npm run build` leaves it [default: the one in this binary]
    #[arg(long, value_name = "DIR")]
    pub assets_dir: Option<PathBuf>,
    #[command(flatten)]
    pub traces: traces::Options,
}

/// Why serving could not begin, or ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is not on loopback.
    #[error(
        "--{flag} {address} is not a loopback address: this port is neither encrypted nor authenticated, so it is \
         served to this machine only"
    )]
    NotLoopback { flag: &'static str, address: SocketAddr },
    /// The port cannot be bound.
    #[error("cannot listen on --{flag} {address}: {source}")]
    Bind { flag: &'static str, address: SocketAddr, source: io::Error },
    /// A signal handler cannot be installed.
    #[error("cannot handle signals: {0}")]
    Signal(io::Error),
    /// The store of shared limits cannot be understood.
    #[error("--rate-limit-store: {0}")]
    Store(#[from] StoreAddressError),
    /// A part that should run for ever has ended.
    #[error("{0} ended")]
    Ended(&'static str),
}

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    /// Where proxies connect.
    pub xds: SocketAddr,
    /// Where the API is.
    pub api: SocketAddr,
    /// Where traces are taken, if on a port of their own.
    pub telemetry: Option<SocketAddr>,
    /// What is known of proxies and changes.
    pub fleet: Arc<Fleet>,
    /// Makes it read the directory again.
    pub reload: Reload,
    shutdown: watch::Sender<bool>,
    parts: JoinSet<&'static str>,
}

/// Runs until a signal says otherwise.
pub async fn run(options: Options) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(ServeError::Signal)?;
    let mut running = start(options, Clock::system()).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => running.reload.request(),
            ended = running.ended() => return Err(ServeError::Ended(ended)),
        }
    }
    info!("shutting down");
    running.stop().await;
    Ok(())
}

/// Starts all parts and returns when both ports are bound.
pub async fn start(options: Options, clock: Clock) -> Result<Running, ServeError> {
    let limit_store = options.rate_limit_store.as_ref().map(StoreText::read).transpose()?;
    let xds = bind("xds", options.xds).await?;
    let api = bind("api", options.api).await?;
    let traces = Traces::bind(&options.traces).await?;
    let telemetry = traces.address();
    let addresses = (local(&xds, "xds", options.xds)?, local(&api, "api", options.api)?);

    let state =
        options.state.or_else(|| default_directory(&options.config, |name| std::env::var_os(name).map(PathBuf::from)));
    let (store, remembered) = match &state {
        Some(directory) => Store::open(directory, &clock),
        None => {
            warn!("neither --state nor HOME is set: a restart will remember nothing");
            (Store::none(), Remembered::default())
        }
    };
    let log = ChangeLog::resume(remembered.changes);
    let last_generation = remembered.last_generation;
    let directory = options.config.display().to_string();
    let fleet = Fleet::new(directory, clock.clone(), store, log, last_generation);
    let fleet = Arc::new(fleet.with_traces(traces.intake.clone()));
    fleet.topology().restore(&remembered.topology);
    let hub = Arc::new(Hub::new(fleet.clone()));
    hub.set_rate_limit_service(addresses.0);
    let source = FileSource::new(options.config);
    let reload = source.reload();

    let (shutdown, _) = watch::channel(false);
    let mut parts = JoinSet::new();
    let keeper = Keeper {
        hub: hub.clone(),
        fleet: fleet.clone(),
        clock,
        applied: None,
        last_good: remembered.last_good,
        said: Arc::default(),
        expires: None,
    };
    let stop = stopped(&shutdown);
    parts.spawn(async move {
        tokio::select! { () = keeper.run(source) => {}, () = stop => {} }
        "the configuration watch"
    });
    let stop = stopped(&shutdown);
    let hosts = Hosts::new(options.api_hosts.into_iter().chain(HostName::of_this_machine()));
    let served = Api::new(hub.clone()).with_hosts(hosts);
    let served = match options.assets_dir {
        Some(directory) => served.with_console(Console::on_disk(directory)),
        None => served,
    };
    parts.spawn(async move {
        api::serve(api, served, stop).await;
        "the api"
    });
    let limits = rate_limit::Keeper::new(last_generation > 0, limit_store.is_some());
    let (following, worlds, stop) = (limits.clone(), hub.worlds(), stopped(&shutdown));
    let limit_store = limit_store.map(|address| (address, fleet.limit_store().clone()));
    parts.spawn(async move {
        tokio::select! { () = rate_limit::run(following, worlds, limit_store) => {}, () = stop => {} }
        "the keeper of shared limits"
    });
    let others = vec![topology(&fleet, &mut parts, &shutdown), traces.start(&mut parts, &shutdown)];
    let (stop, stop_waiting, mut ready) = (stopped(&shutdown), stopped(&shutdown), fleet.ready());
    parts.spawn(async move {
        tokio::select! {
            _ = ready.wait_for(|ready| *ready) => {}
            () = stop_waiting => return "the discovery service",
        }
        if let Err(error) = serve_with_others(xds, hub, Some(Arc::new(limits)), others, stop).await {
            error!(%error, "the discovery service failed");
        }
        "the discovery service"
    });
    info!(xds = %addresses.0, api = %addresses.1, "tidegate is listening");
    Ok(Running { xds: addresses.0, api: addresses.1, telemetry, fleet, reload, shutdown, parts })
}

/// Keeps the topology. Gives the service that proxies report to.
fn topology(fleet: &Arc<Fleet>, parts: &mut JoinSet<&'static str>, shutdown: &watch::Sender<bool>) -> Arc<dyn Other> {
    let (kept, stop) = (fleet.clone(), stopped(shutdown));
    parts.spawn(async move {
        tokio::select! { () = intake::keep(kept) => {}, () = stop => {} }
        "the keeper of the topology"
    });
    intake::service(fleet.clone(), shutdown.subscribe())
}

impl Running {
    /// Ends all parts and waits for them.
    pub async fn stop(mut self) {
        self.shutdown.send_replace(true);
        while let Some(ended) = self.parts.join_next().await {
            debug!(part = ended.unwrap_or("a part that panicked"), "ended");
        }
        // Streams may outlive the server for a moment and hold the fleet; the state must be on disk, and free, now.
        let fleet = self.fleet;
        intake::save(&fleet).await;
        if tokio::task::spawn_blocking(move || fleet.store().close()).await.is_err() {
            warn!("the state store could not be closed");
        }
    }

    /// Resolves when a part has ended that should not.
    pub async fn ended(&mut self) -> &'static str {
        match self.parts.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(_)) => "a part that panicked",
            None => "everything",
        }
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { flag, address });
    }
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { flag, address, source })
}

fn local(listener: &TcpListener, flag: &'static str, address: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Bind { flag, address, source })
}

fn stopped(shutdown: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut receiver = shutdown.subscribe();
    async move {
        // An error means that the sender is gone, which is an end too.
        let ended = receiver.wait_for(|stop| *stop).await.is_ok();
        debug!(ended, "told to stop");
    }
}

/// Turns updates of the source into generations.
struct Keeper {
    hub: Arc<Hub>,
    fleet: Arc<Fleet>,
    clock: Clock,
    /// The files in force.
    applied: Option<Files>,
    /// From the store, until something is in force.
    last_good: Option<(u64, Vec<SourceFile>)>,
    /// What the files in force say, whether or not it has expired since.
    said: Arc<PolicySet>,
    /// When the next of it will.
    expires: Option<Timestamp>,
}

impl Keeper {
    async fn run(mut self, mut source: FileSource) {
        // What was rejected last, so that going back to what is in force is seen as an end of the trouble.
        let mut rejected = false;
        let mut doubts = 0;
        let mut newer = None;
        loop {
            let update = match newer.take() {
                Some(update) => update,
                None => self.next(&mut source).await,
            };
            let noticed = self.clock.now();
            let verdict = match update {
                Update::Files(files) if self.is_in_force(&files) => {
                    if rejected {
                        info!("the configuration is the one in force again");
                        self.resume(&files).await;
                    }
                    rejected = false;
                    doubts = 0;
                    continue;
                }
                Update::Files(files) => {
                    let mut compiled = compile_off_thread(&files, self.clock.now()).await;
                    self.judge_change(&files, &mut compiled).await;
                    if compiled.errors == 0 { Ok((files, compiled)) } else { Err((Some((files, compiled)), None)) }
                }
                Update::Problem(problem) => Err((None, Some(problem))),
            };
            if verdict.is_err() {
                newer = newer_within_doubt(&mut source, &mut doubts).await;
                if newer.is_some() {
                    continue;
                }
            }
            match verdict {
                Ok((files, compiled)) => {
                    self.apply(files, compiled, noticed).await;
                    rejected = false;
                }
                Err((Some((files, compiled)), _)) => {
                    self.fall_back().await;
                    self.reject(&files, compiled, noticed);
                    rejected = true;
                }
                Err((None, problem)) => {
                    self.fall_back().await;
                    problem.into_iter().for_each(|problem| self.report(&problem, noticed));
                    rejected = true;
                }
            }
            doubts = 0;
        }
    }

    /// The next update of the source. What expires until then is dropped.
    async fn next(&mut self, source: &mut FileSource) -> Update {
        let next = source.next();
        tokio::pin!(next);
        loop {
            let left = self.expires.map(|at| at.since(self.clock.now()).min(EXPIRY_LOOK_MAX));
            tokio::select! {
                update = &mut next => return update,
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => self.expire().await,
            }
        }
    }

    /// Publishes what is left when something has expired.
    async fn expire(&mut self) {
        let now = self.clock.now();
        // The clock may have been set back, or the end be further away than one look.
        if self.expires.is_none_or(|at| at > now) {
            return;
        }
        let known = expiry::at(self.hub.world().policies(), now).expired;
        let what: Vec<String> = known
            .iter()
            .map(|origin| format!("the fault {} ({}:{}) has expired", origin.object, origin.file, origin.line))
            .collect();
        let generation = self.fleet.next_generation();
        info!(generation, what = what.join("; "), "configuration renewed");
        self.fleet.renewed(Entry { generation, at: now, what, files: Vec::new(), result: Outcome::Applied });
        self.publish(self.said.clone(), generation).await;
        if let Some(files) = &self.applied {
            self.fleet.store().keep_good(generation, files.files.clone());
        }
    }

    fn is_in_force(&self, files: &Files) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.digest == files.digest)
    }

    /// Adds what speaks against a configuration as a change of the one in force, or of the last good one of an earlier
    /// run, which proxies still have.
    async fn judge_change(&self, files: &Files, compiled: &mut Compiled) {
        if compiled.errors > 0 {
            return;
        }
        let old = match (&self.applied, &self.last_good) {
            (Some(_), _) => self.hub.world().policies().clone(),
            (None, Some((_, good))) if *good != files.files => {
                let good = compile_off_thread(&Files::new(good.clone()), self.clock.now()).await;
                if good.errors > 0 {
                    return;
                }
                good.policies
            }
            (None, _) => return,
        };
        let mut findings = stranded(&old, &World::new(compiled.policies.clone()));
        findings.extend(spoilt(&old, &compiled.policies, &compiled.findings));
        compiled.errors += findings.len();
        for finding in &findings {
            let help = finding.help.as_deref().unwrap_or_default();
            let Finding { code, message, file, line, .. } = finding;
            // Writing to a string cannot fail.
            writeln!(compiled.rendered, "error[{code}]: {message}\n  --> {file}:{line}\n  = help: {help}\n")
                .unwrap_or_default();
        }
        findings.append(&mut compiled.findings);
        compiled.findings = findings;
        bound(compiled);
    }

    /// Publishes a configuration without errors.
    async fn apply(&mut self, files: Files, compiled: Compiled, noticed: Timestamp) {
        self.fleet.compiled(compiled.policies.statuses.clone().into());
        self.fleet.loaded().applied(&files.files);
        let known = self.last_good.take().filter(|(_, good)| *good == files.files);
        if !compiled.rendered.is_empty() {
            warn!(report = %compiled.rendered, "the configuration has findings");
        }
        if let (Some((generation, _)), None) = (known, &self.applied) {
            // The files of the last run: the same generation, and proxies that were there have nothing to get.
            self.publish(compiled.policies, generation).await;
            self.fleet.resumed(generation, files.files.len(), compiled.findings);
            info!(generation, files = files.files.len(), "configuration resumed");
        } else {
            self.publish_new(&files, compiled, noticed).await;
        }
        self.applied = Some(files);
        self.fleet.set_ready();
    }

    async fn publish_new(&mut self, files: &Files, compiled: Compiled, noticed: Timestamp) {
        let generation = self.fleet.next_generation();
        let changed = self.changed(files);
        let what = match &self.applied {
            Some(_) => describe(self.hub.world().policies(), &compiled.policies),
            None => vec![format!("first configuration, {}", plural(files.files.len(), "file"))],
        };
        let at = written_at(files, &changed, noticed);
        let entry = Entry { generation, at, what: what.clone(), files: changed.clone(), result: Outcome::Applied };
        let proxies = self.fleet.applied(entry, files.files.len(), compiled.findings);
        let work = self.publish(compiled.policies, generation).await;
        self.fleet.store().keep_good(generation, files.files.clone());
        let encoded: usize = work.encoded.values().sum();
        info!(generation, files = changed.len(), proxies, encoded, what = what.join("; "), "configuration applied");
    }

    /// Translates away from the threads that streams and the API live on: a large mesh takes a while.
    async fn publish(&mut self, said: Arc<PolicySet>, generation: u64) -> Work {
        let AtMoment { policies, next, .. } = expiry::at(&said, self.clock.now());
        (self.said, self.expires) = (said, next);
        let hub = self.hub.clone();
        let published =
            tokio::task::spawn_blocking(move || hub.publish(Arc::new(World::new(policies)), generation)).await;
        match published.map_err(JoinError::try_into_panic) {
            Ok(work) => work,
            // As if it had happened here: this part ends, and the process with it, rather than serve half a generation.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Work::default(),
        }
    }

    /// Serves the last good configuration of an earlier run, if nothing is in force.
    async fn fall_back(&mut self) {
        if self.applied.is_some() {
            return;
        }
        let Some((generation, files)) = self.last_good.take() else { return };
        let files = Files::new(files);
        let compiled = compile_off_thread(&files, self.clock.now()).await;
        if compiled.errors > 0 {
            warn!(generation, report = %compiled.rendered, "the last good configuration does not compile any more");
            return;
        }
        self.publish(compiled.policies, generation).await;
        self.fleet.resumed(generation, files.files.len(), compiled.findings);
        info!(generation, "the last good configuration of an earlier run is served");
        self.fleet.loaded().kept(&files.files);
        self.applied = Some(files);
        self.fleet.set_ready();
    }

    /// The files are those in force again.
    async fn resume(&self, files: &Files) {
        let compiled = compile_off_thread(files, self.clock.now()).await;
        self.fleet.compiled(compiled.policies.statuses.clone().into());
        self.fleet.loaded().applied(&files.files);
        self.fleet.resumed(self.fleet.generation(), files.files.len(), compiled.findings);
    }

    fn reject(&self, files: &Files, compiled: Compiled, noticed: Timestamp) {
        self.fleet.compiled(compiled.policies.statuses.clone().into());
        self.fleet.loaded().rejected(&files.files);
        let generation = self.fleet.next_generation();
        let changed = self.changed(files);
        let at = written_at(files, &changed, noticed);
        error!(errors = compiled.errors, report = %compiled.rendered, "configuration rejected, the last good one stays");
        let named: BTreeSet<&str> = compiled.findings.iter().map(|f| &*f.file).collect();
        let what = vec![format!(
            "{} in {}",
            plural(compiled.errors, "error"),
            named.into_iter().collect::<Vec<_>>().join(", ")
        )];
        let entry = Entry { generation, at, what, files: changed, result: Outcome::Rejected };
        self.fleet.rejected(entry, files.files.len(), compiled.findings);
    }

    fn report(&self, problem: &ReadError, noticed: Timestamp) {
        let generation = self.fleet.next_generation();
        error!(error = %problem, "the configuration cannot be read, the last good one stays");
        let what = vec![problem.to_string()];
        let entry = Entry { generation, at: noticed, what, files: Vec::new(), result: Outcome::Rejected };
        self.fleet.rejected(entry, 0, vec![finding::unreadable(problem)]);
    }

    fn changed(&self, files: &Files) -> Vec<Arc<str>> {
        match &self.applied {
            Some(applied) => files.changed_since(applied),
            None => files.files.iter().map(|file| file.path.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
