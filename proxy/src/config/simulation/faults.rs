//! One run: hosts, what befalls them, and their recovery.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::resource::Decoded;
use tidegate_xds::transport::{ClientConfig, serve_incoming};
use tokio::sync::{mpsc, watch};
use turmoil::Sim;

use super::network::{PORT, Simulated, incoming};
use super::onlooker::onlooker;
use super::publisher::{Notebook, Publisher, lock};
use super::world::Mesh;
use crate::admin::Admin;
use crate::admin::metrics::Pages;
use crate::config::persist;
use crate::config::registry::Registry;
use crate::config::snapshot::Snapshot;
use crate::config::watch::{Command, Watch};
use crate::doors::{Doors, Open};
use crate::drain::{Drain, Timing};
use crate::limits::Limits;
use crate::worker::Shared;

const CONTROL: &str = "control";
const PROXIES: usize = 3;
/// All hosts act once in each of these; what is shorter is not told apart.
const TICK: Duration = Duration::from_millis(40);
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(45);
/// A dead connection is noticed within 40 s (keep-alive), dialled anew within 8, and what is held is given up after 15.
const RECOVERY: Duration = Duration::from_secs(120);
/// Then nothing happens any more, and streams of the dead are gone.
const CALM: Duration = Duration::from_secs(50);
const JUMP_SECONDS: u64 = 20;
/// Lines of the story that are shown of a run that fails.
const STORY_LINES: usize = 60;

/// What happened in runs.
#[derive(Default)]
pub(super) struct Tally {
    runs: u64,
    pub(super) simulated: Duration,
    generations: u64,
    crashes: u64,
    torn: u64,
    links: u64,
    jumps: u64,
    acks: u64,
    nacks: u64,
    turns: u64,
    pub(super) story: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.generations += other.generations;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.links += other.links;
        self.jumps += other.jumps;
        self.acks += other.acks;
        self.nacks += other.nacks;
        self.turns += other.turns;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs of {} h together, {} generations, {} crashes ({} torn files), {} changes of links, {} jumps of clocks, \
             {} ACKs, {} NACKs, {} turns looked at",
            self.runs,
            self.simulated.as_secs() / 3_600,
            self.generations,
            self.crashes,
            self.torn,
            self.links,
            self.jumps,
            self.acks,
            self.nacks,
            self.turns
        )
    }
}

struct Host {
    name: Arc<str>,
    /// Where a proxy keeps its file.
    disk: Option<TempDir>,
    /// How far its clock is to jump.
    jump: Rc<Cell<Duration>>,
    down_until: Option<Duration>,
}

/// See the module.
pub(super) struct Run {
    sim: Sim<'static>,
    dice: StdRng,
    notebook: Arc<Mutex<Notebook>>,
    publisher: Arc<Publisher>,
    mesh: Mesh,
    /// The control plane first.
    hosts: Vec<Host>,
    tally: Tally,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let notebook: Arc<Mutex<Notebook>> = Arc::default();
        let publisher = Arc::new(Publisher::new(&notebook));
        let mesh = Mesh::new();
        publisher.publish(&mesh);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(60))
            .tcp_capacity(1_024)
            .build();
        let mut hosts = vec![control(&mut sim, &publisher)];
        for index in 0..PROXIES {
            hosts.push(proxy(&mut sim, &notebook, index, seed));
        }
        let tally = Tally { runs: 1, ..Tally::default() };
        Self { sim, dice: StdRng::seed_from_u64(seed), notebook, publisher, mesh, hosts, tally }
    }

    pub(super) fn run_to_the_end(mut self) -> Result<Tally, String> {
        let mut next = Duration::from_secs(2);
        while self.sim.elapsed() < TROUBLE {
            if self.sim.elapsed() >= next {
                self.befall();
                next += Duration::from_millis(self.dice.random_range(50..2_500));
            }
            self.step()?;
        }
        self.recover()?;
        let end = self.sim.elapsed() + CALM;
        while self.sim.elapsed() < end {
            self.step()?;
        }
        self.check_end()?;
        let notebook = &mut *lock(&self.notebook);
        self.tally.simulated = self.sim.elapsed();
        self.tally.generations = self.mesh.generation();
        (self.tally.acks, self.tally.nacks) = (notebook.acks, notebook.nacks);
        self.tally.turns = notebook.proxies.values().map(|observed| observed.turns).sum();
        self.tally.story = std::mem::take(&mut notebook.story);
        Ok(self.tally)
    }

    fn step(&mut self) -> Result<(), String> {
        let stepped = self.sim.step().map_err(|error| format!("a host failed: {error}"));
        let now = self.sim.elapsed();
        lock(&self.notebook).now = now;
        for index in 0..self.hosts.len() {
            if self.hosts[index].down_until.is_some_and(|until| until <= now) {
                self.start(index);
            }
        }
        let notebook = lock(&self.notebook);
        let finding = stepped.err().or_else(|| notebook.findings.first().cloned());
        finding.map_or(Ok(()), |finding| Err(shown(&notebook, &finding)))
    }

    /// Something changes or goes wrong.
    fn befall(&mut self) {
        let any = self.dice.random_range(0..self.hosts.len());
        let proxy = Arc::clone(&self.hosts[self.dice.random_range(1..self.hosts.len())].name);
        let name: &str = &proxy;
        self.tally.links += 1;
        match self.dice.random_range(0..20) {
            0..=7 => {
                self.tally.links -= 1;
                self.mesh.change(&mut self.dice);
                self.publisher.publish(&self.mesh);
                return;
            }
            8..=10 => {
                self.tally.links -= 1;
                return self.crash(any);
            }
            11 | 12 => {
                self.tally.links -= 1;
                return self.jump(any);
            }
            13 => self.sim.partition(CONTROL, name),
            14 if self.dice.random() => self.sim.partition_oneway(CONTROL, name),
            14 => self.sim.partition_oneway(name, CONTROL),
            15 => self.sim.hold(CONTROL, name),
            16 => {
                let latency = Duration::from_millis(self.dice.random_range(20..3_000));
                self.sim.set_link_max_message_latency(CONTROL, name, latency);
            }
            17 => self.sim.release(CONTROL, name),
            _ => self.sim.repair(CONTROL, name),
        }
        lock(&self.notebook).tell(format!("the link of {name} changes"));
    }

    fn jump(&mut self, index: usize) {
        let host = &self.hosts[index];
        let jump = Duration::from_secs(self.dice.random_range(1..=JUMP_SECONDS));
        self.tally.jumps += 1;
        lock(&self.notebook).tell(format!("the clock of {} jumps by {jump:?}", host.name));
        host.jump.set(jump);
    }

    /// A host goes down, and its disk keeps what a crash leaves.
    fn crash(&mut self, index: usize) {
        if self.hosts[index].down_until.is_some() {
            return;
        }
        self.tally.crashes += 1;
        self.sim.crash(&*self.hosts[index].name);
        let down = Duration::from_millis(self.dice.random_range(50..8_000));
        self.hosts[index].down_until = Some(self.sim.elapsed() + down);
        lock(&self.notebook).tell(format!("{} crashes for {down:?}", self.hosts[index].name));
        let Some(disk) = &self.hosts[index].disk else { return };
        let kept = persist::load(disk.path());
        let is_whole = match self.dice.random_range(0..6) {
            0 => !tear(disk, &mut self.dice, |file, dice| file.truncate(dice.random_range(0..file.len()))),
            1 => !tear(disk, &mut self.dice, |file, dice| {
                let at = dice.random_range(0..file.len());
                file[at] ^= 1 << dice.random_range(0..8);
            }),
            2 => {
                // The next file was being written and is not renamed yet.
                let half = vec![0; self.dice.random_range(0..4_096)];
                let written = fs::write(disk.path().join("last-good.tidegate.new"), half);
                written.expect("the disk is there");
                true
            }
            _ => true,
        };
        self.tally.torn += u64::from(!is_whole);
        let notebook = &mut *lock(&self.notebook);
        let observed = notebook.proxies.entry(Arc::clone(&self.hosts[index].name)).or_default();
        observed.kept = if is_whole { kept } else { Vec::new() };
    }

    fn start(&mut self, index: usize) {
        self.hosts[index].down_until = None;
        lock(&self.notebook).tell(format!("{} starts", self.hosts[index].name));
        self.sim.bounce(&*self.hosts[index].name);
    }

    /// Every fault ends, and every proxy comes to the last generation.
    fn recover(&mut self) -> Result<(), String> {
        for index in 1..self.hosts.len() {
            let name: &str = &self.hosts[index].name;
            self.sim.repair(CONTROL, name);
            self.sim.release(CONTROL, name);
            self.sim.set_link_max_message_latency(CONTROL, name, Duration::from_millis(60));
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].down_until.is_some() {
                self.start(index);
            }
        }
        self.mesh.settle();
        self.publisher.publish(&self.mesh);
        let deadline = self.sim.elapsed() + RECOVERY;
        while self.behind().is_some() {
            if self.sim.elapsed() > deadline {
                let why = self.behind().unwrap_or_default();
                return Err(shown(&lock(&self.notebook), &format!("not recovered within {RECOVERY:?}: {why}")));
            }
            self.step()?;
        }
        Ok(())
    }

    /// Who does not have exactly the last generation, or has not said so.
    fn behind(&self) -> Option<String> {
        let notebook = lock(&self.notebook);
        let generation = self.mesh.generation();
        let required = notebook.required(generation)?;
        self.hosts[1..].iter().find_map(|host| {
            let visible = &notebook.proxies.get(&host.name)?.visible;
            let said = notebook.settled.get(&host.name);
            let is_there = visible == required && said == Some(&generation);
            (!is_there).then(|| format!("{} said {said:?}, has {visible:?}, should have {required:?}", host.name))
        })
    }

    /// What was reached stays, is on disk, and no stream of the dead is left.
    fn check_end(&self) -> Result<(), String> {
        let behind = self.behind();
        let notebook = lock(&self.notebook);
        if let Some(behind) = behind {
            return Err(shown(&notebook, &format!("what was reached is gone: {behind}")));
        }
        if notebook.streams != PROXIES {
            return Err(shown(&notebook, &format!("{} streams of {PROXIES} proxies", notebook.streams)));
        }
        let required = notebook.required(self.mesh.generation());
        for host in &self.hosts[1..] {
            let Some(disk) = &host.disk else { continue };
            let kept = persist::load(disk.path());
            let kept = kept.iter().map(|kept| {
                // Not the version that it came with: one variant of the protocol has none of its own.
                let decoded =
                    Decoded::from_any(kept.resource_type.type_url(), &kept.value).expect("what was kept decodes");
                let key = (kept.resource_type, Arc::clone(&kept.name));
                let first = notebook.published(&key, &decoded.resource.version());
                (key, first.unwrap_or_default())
            });
            let kept = kept.collect();
            if required != Some(&kept) {
                return Err(shown(&notebook, &format!("{} keeps {kept:?} on disk, not {required:?}", host.name)));
            }
        }
        Ok(())
    }
}

/// `false`: there is no file yet.
fn tear(disk: &TempDir, dice: &mut StdRng, how: impl Fn(&mut Vec<u8>, &mut StdRng)) -> bool {
    let path = disk.path().join("last-good.tidegate");
    let Ok(mut file) = fs::read(&path) else { return false };
    how(&mut file, dice);
    fs::write(&path, file).expect("the disk is there");
    true
}

fn shown(notebook: &Notebook, finding: &str) -> String {
    let story = &notebook.story[notebook.story.len().saturating_sub(STORY_LINES)..];
    format!("{}\n{finding}", story.join("\n"))
}

fn control(sim: &mut Sim<'static>, publisher: &Arc<Publisher>) -> Host {
    let jump = Rc::new(Cell::new(Duration::ZERO));
    let (serving, clock) = (Arc::clone(publisher), Rc::clone(&jump));
    sim.host(CONTROL, move || {
        let (serving, clock) = (Arc::clone(&serving), Rc::clone(&clock));
        async move {
            tokio::task::spawn_local(jumps(clock));
            serve_incoming(incoming().await?, serving, None, Vec::new(), std::future::pending()).await?;
            Ok(())
        }
    });
    Host { name: CONTROL.into(), disk: None, jump, down_until: None }
}

fn proxy(sim: &mut Sim<'static>, notebook: &Arc<Mutex<Notebook>>, index: usize, seed: u64) -> Host {
    let name: Arc<str> = format!("proxy-{index}").into();
    let jump = Rc::new(Cell::new(Duration::ZERO));
    let disk = tempfile::tempdir().expect("temporary directory");
    let network = Simulated::new(seed ^ (index as u64 + 1));
    let state_dir = disk.path().to_owned();
    let (notebook, node, clock) = (Arc::clone(notebook), Arc::clone(&name), Rc::clone(&jump));
    sim.host(&*name, move || {
        let (notebook, node, clock) = (Arc::clone(&notebook), Arc::clone(&node), Rc::clone(&clock));
        let (network, state_dir) = (network.clone(), state_dir.clone());
        async move {
            tokio::task::spawn_local(jumps(clock));
            let config = ClientConfig {
                server: format!("{CONTROL}:{PORT}"),
                node: Node { id: Arc::clone(&node), ..Node::default() },
                mode: if index == 0 { Mode::StateOfTheWorld } else { Mode::Delta },
                held: Vec::new(),
            };
            let shared = shared();
            let (commands, received) = mpsc::unbounded_channel();
            let doors = closed_doors(&shared, &commands, &node);
            let (mut watch, sources) = Watch::new(shared, Some(state_dir), Some(config), doors, 0);
            watch.onlooker = Some(onlooker(&notebook, &node));
            Box::pin(watch.run_through(network, received, sources, None)).await?;
            Ok(())
        }
    });
    Host { name, disk: Some(disk), jump, down_until: None }
}

/// Nobody asks for pages, and nobody takes over.
fn closed_doors(shared: &Arc<Shared>, commands: &mpsc::UnboundedSender<Command>, node: &Arc<str>) -> Doors {
    let (elsewhere, seen) = watch::channel(false);
    let pages = Admin {
        shared: Arc::clone(shared),
        commands: commands.clone(),
        drain: Timing::default(),
        node: Arc::clone(node),
        pages: Pages::default(),
        elsewhere: seen,
    };
    Doors { admin: None, upgrade: None, pages, elsewhere, manager: None, open: Open::default() }
}

/// What a life of a proxy begins with.
fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        limits: Limits::default(),
        registry: Registry::new(1),
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
        drain: Drain::default(),
        access_log: None,
        counts_edges: true,
        traces: None,
        workers: OnceLock::new(),
    })
}

/// Moves the clock of the host it runs on.
async fn jumps(jump: Rc<Cell<Duration>>) {
    let mut look = tokio::time::interval(TICK);
    loop {
        look.tick().await;
        let by = jump.take();
        if !by.is_zero() {
            tokio::time::advance(by).await;
            look.reset();
        }
    }
}
