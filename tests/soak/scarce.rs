//! A gateway that has too little of something, beside the one that is under load.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::block_in_place;

use crate::harness::cgroup::MemoryCgroup;
use crate::harness::load::fail;
use crate::harness::mesh::{ADMIN, proxy_command};
use crate::harness::moving::listeners;
use crate::harness::process::Process;
use crate::harness::{Client, wait};
use crate::stages::{CHANGE_LIMIT, END_LIMIT, Outcome, PAUSE};
use crate::world::{World, descriptors, ticks, try_metric};
use crate::{hostile, run_tool};

/// Within this, everything is as before.
const RECOVERY: Duration = Duration::from_secs(2);
const HOST: &str = "shop.example.com";

/// A gateway of a stage's own.
pub(crate) struct Extra {
    name: &'static str,
    host: Ipv4Addr,
    process: Process,
}

impl Extra {
    /// Starts it after `before`, a line of shell.
    pub(crate) async fn start(
        world: &World,
        name: &'static str,
        configuration: &str,
        host: Ipv4Addr,
        before: Option<&str>,
    ) -> Self {
        world.mesh.control.write(&format!("{name}.yaml"), configuration);
        Self { name, host, process: spawn(world, name, host, before) }
    }

    /// One with the listener of [`listeners`], which answers.
    async fn plain(world: &World, name: &'static str, host: Ipv4Addr, before: &str) -> Self {
        let extra = Self::start(world, name, &plain(name, host, 0), host, Some(before)).await;
        wait::until("the further gateway answers", CHANGE_LIMIT, || async { serves(extra.at()).await }).await;
        extra
    }

    fn at(&self) -> SocketAddr {
        SocketAddr::from((self.host, 8080))
    }

    fn admin(&self) -> SocketAddr {
        SocketAddr::from((self.host, ADMIN))
    }

    pub(crate) async fn end(mut self, world: &World) {
        // One that has been killed needs no telling.
        if self.process.is_running() {
            self.process.signal("INT");
            block_in_place(|| self.process.ended(END_LIMIT));
        }
        world.remove(&format!("{}.yaml", self.name));
    }
}

fn spawn(world: &World, name: &str, host: Ipv4Addr, before: Option<&str>) -> Process {
    let plain = proxy_command((name, "shop"), host, world.mesh.control.xds, world.mesh.folder(), false);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{}; exec \"$0\" \"$@\"", before.unwrap_or("true"))]);
    command.arg(plain.get_program()).args(plain.get_args());
    Process::start(&format!("proxy-{name}"), world.mesh.folder(), &mut command)
}

fn plain(name: &str, host: Ipv4Addr, number: u32) -> String {
    listeners(host, number).replace("front", name).replace("name: shop,", &format!("name: {name},"))
}

async fn serves(at: SocketAddr) -> bool {
    matches!(Client::new(at).get(HOST, "/").await, Ok(answer) if answer.status == 200)
}

/// How long it takes until twenty in a row are served, each over a connection of its own. It is broken if that is too long.
async fn recovery(at: SocketAddr, outcome: &mut Outcome) -> Duration {
    let freed = wait::now();
    while !twenty_are_served(at).await {
        if freed.elapsed() > RECOVERY {
            outcome.broken.push(format!("not well again after {RECOVERY:?}"));
            break;
        }
        wait::pass(PAUSE).await;
    }
    freed.elapsed()
}

async fn twenty_are_served(at: SocketAddr) -> bool {
    for _ in 0..20 {
        if !serves(at).await {
            return false;
        }
    }
    true
}

pub(crate) async fn descriptors_run_out(world: &mut World) -> Outcome {
    let mut poor = Extra::plain(world, "poor", world.spare(1), "ulimit -n 300").await;
    let at = poor.at();
    let mut good = Client::new(at);
    let mut outcome = Outcome::default();
    good.get(HOST, "/").await.expect("it answers");
    let crowd = hostile::crowd(at, 600).await;
    let (before, start, time) = (ticks(poor.process.id()), wait::now(), world.seconds(20, 1));
    while start.elapsed() < time {
        outcome.seen.requests += 1;
        if let Err(why) = good.get(HOST, "/").await {
            fail(&mut outcome.seen, format!("a connection that was there before: {why}"));
        }
        wait::pass(PAUSE).await;
    }
    let busy = (ticks(poor.process.id()) - before) as f64 / time.as_secs_f64();
    let open = descriptors(poor.process.id());
    drop(crowd);
    let recovered = recovery(at, &mut outcome).await;
    outcome.expect(poor.process.is_running(), || "the gateway has ended".to_owned());
    outcome.expect(busy < 20.0, || format!("{busy:.0} % of a processor for callers that it turns away"));
    outcome.note = format!(
        "600 connections to 300 descriptors: {open} open, {busy:.0} % of a processor, well again after {recovered:.0?}"
    );
    poor.end(world).await;
    outcome
}

const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Of callers that owe the end of a head; 120 MB of heads in all.
const CALLERS: usize = 2_000;
const HEAD_BYTES: usize = 60_000;

pub(crate) async fn memory_runs_out(world: &mut World) -> Outcome {
    let cgroup = MemoryCgroup::make("soak", MEMORY_BYTES_MAX);
    let mut poor = Extra::plain(world, "narrow", world.spare(3), &cgroup.enter()).await;
    let at = poor.at();
    let head = [b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nX: ".as_slice(), &vec![b'a'; HEAD_BYTES]].concat();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        if let Ok(mut caller) = TcpStream::connect(at).await {
            // Who is not accepted waits in the kernel's queue.
            tokio::time::timeout(Duration::from_millis(2), caller.write_all(&head)).await.ok();
            callers.push(caller);
        }
    }
    // Whoever turns callers away turns a question away as well.
    let mut pressure = 0;
    let start = wait::now();
    while pressure == 0 && poor.process.is_running() && start.elapsed() < CHANGE_LIMIT {
        pressure = try_metric(poor.admin(), "tidegate_memory_pressure").await.unwrap_or(0);
        wait::pass(PAUSE).await;
    }
    let used = cgroup.used() >> 20;
    drop(callers);
    let mut outcome = Outcome::default();
    outcome.expect(pressure > 0, || "memory was not scarce: this was no test".to_owned());
    let recovered = recovery(at, &mut outcome).await;
    outcome.expect(poor.process.is_running() && cgroup.kills() == 0, || "killed for its memory".to_owned());
    outcome.note = format!(
        "{CALLERS} callers with 60 kB each in 64 MiB: {used} MiB used, step {pressure}, well again after {recovered:.0?}"
    );
    poor.end(world).await;
    cgroup.remove();
    outcome
}

/// What is kept for a restart cannot be written; configuration comes all the same, and is kept when there is room again.
pub(crate) async fn disk_is_full(world: &mut World) -> Outcome {
    let state = world.mesh.folder().join("brimful-state");
    std::fs::create_dir(&state).expect("the mesh's folder is writable");
    let disk = state.to_str().expect("a temporary folder has a plain name");
    // In the run's own mount namespace, so that it goes with it.
    run_tool("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
    let host = world.spare(4);
    let mut brimful = Extra::plain(world, "brimful", host, "true").await;
    let kept = state.join("last-good.tidegate");
    wait::until("the configuration is kept", CHANGE_LIMIT, || async { kept.exists() }).await;
    let before = std::fs::read(&kept).expect("it was just there");
    let rest = state.join("somebody-elses");
    let mut outcome = Outcome::default();
    let filled = fill(&rest);
    let at = brimful.at();
    for number in 1..=world.amount(20, 3) {
        world.change("brimful.yaml", plain("brimful", host, number)).await;
        outcome.seen.requests += 1;
        match Client::new(at).get(&format!("host-{number}.example.com"), "/").await {
            Ok(answer) if answer.status == 200 => {}
            other => fail(&mut outcome.seen, format!("change {number} with a full disk: {other:?}")),
        }
    }
    wait::until("the full disk is told", CHANGE_LIMIT, || async { brimful.process.log().contains("cannot be kept") })
        .await;
    outcome.expect(std::fs::read(&kept).ok() == Some(before), || "what was kept before is not whole".to_owned());
    std::fs::remove_file(&rest).expect("it was just written");
    world.change("brimful.yaml", plain("brimful", host, 99)).await;
    wait::until("the newest configuration is kept", CHANGE_LIMIT, || async {
        std::fs::read(&kept).is_ok_and(|kept| String::from_utf8_lossy(&kept).contains("host-99.example.com"))
    })
    .await;
    // From disk alone: nobody answers where it asks.
    brimful.process.kill();
    let nobody = SocketAddr::from((host, 1));
    let mut command = proxy_command(("brimful", "shop"), host, nobody, world.mesh.folder(), false);
    let start = wait::now();
    brimful.process = Process::start("proxy-brimful-alone", world.mesh.folder(), &mut command);
    wait::until("it serves what it has kept", CHANGE_LIMIT, || async {
        matches!(Client::new(at).get("host-99.example.com", "/").await, Ok(answer) if answer.status == 200)
    })
    .await;
    let cold = start.elapsed();
    outcome.note = format!("64 KiB filled up by {filled} bytes, changes applied; started from it alone in {cold:.0?}");
    brimful.end(world).await;
    run_tool("umount", &[disk]);
    std::fs::remove_dir(&state).expect("nothing is left in it");
    outcome
}

/// Writes until there is no room; how much there was.
fn fill(path: &std::path::Path) -> usize {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).expect("an empty file needs no room");
    let mut written = 0;
    while let Ok(more @ 1..) = file.write(&[0; 4_096]) {
        written += more;
    }
    written
}
