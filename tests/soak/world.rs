//! The mesh under load, and what is measured of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::fragile::{application, slice};
use crate::harness::lasting;
use crate::harness::load::{Load, Seen};
use crate::harness::moving::{endpoints, listeners, numbered, set};
use crate::harness::process::{Process, resident_kib};
use crate::harness::{Backend, Client, Mesh, wait};
use crate::leak::{Leak, Measured};
use crate::stages::{Outcome, Stage};
use crate::{Form, folder, hostile, run_tool};

/// Between two requests of a client of the load: twenty of them make some 1,200 a second.
const PAUSE: Duration = Duration::from_millis(16);
/// The load before anything is measured, and before it is measured again.
const WARM_UP: Duration = Duration::from_secs(3);
/// Retries of the whole load, as a factor of its requests.
const RETRIES_FACTOR_MAX: f64 = 1.2;
/// What tells how busy the machine is wakes so often.
const WAKE_EVERY: Duration = Duration::from_millis(5);
/// Where it is woken later than this, once in a hundred times, no time is judged: a request is woken for some ten times.
const LATE_MS_MAX: f64 = 10.0;
/// Looks at the descriptors of a process at rest; the fewest count. Together they take longer than from one sweep of the pools to
/// the next, because a connection that ends is not counted any more before its descriptor is closed.
const LOOKS: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(150);
const QUIET_LIMIT: Duration = Duration::from_secs(70);
/// Requests at once before memory is measured, as many as ever later. A worker keeps what belonged to them for the next ones:
/// buffers (docs/limits.md has their numbers) and the allocator's pages. That is no growth, so it is there from the start.
const CROWD: usize = 200;
/// How long the backend takes for each, so that all are there together.
const CROWD_DELAY: &str = "300";
const CROWDS_MAX: u32 = 20;
/// Some pages.
const UNCHANGED_KIB: u64 = 64;
/// Crowds in a row that change nothing, before memory is taken for filled: callers fall on workers by chance.
const UNCHANGED_CROWDS: u32 = 3;
/// Shares of a version of which the other has the rest: each gets a whole crowd to itself, because a stage may leave it alone.
const WHOLE: [u64; 2] = [100, 0];
/// Of each kind, before memory is measured.
const CHANGES: u32 = 40;
/// Attacks before that, for what only they fill.
const ATTACK: Duration = Duration::from_secs(2);
/// The proxies of the mesh, by the names of their workloads.
const PROXIES: [&str; 4] = ["front", "reviews-v1", "reviews-v2", "web-v1"];

/// Everything that a stage may use.
pub(crate) struct World {
    pub(crate) form: Form,
    pub(crate) mesh: Mesh,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) moving: [Ipv4Addr; 4],
    pub(crate) fragile: [SocketAddr; 2],
    pub(crate) dying: Process,
    _moving: Vec<Backend>,
    _staying: Process,
    before: BTreeMap<&'static str, Measured>,
}

impl World {
    pub(crate) async fn start(form: Form) -> Self {
        let plan = Mesh::plan().service("reviews", &["v1", "v2"]);
        let moving = [220, 221, 222, 223].map(|host| plan.spare_host(host));
        let fragile = [230, 231].map(|host| SocketAddr::from((plan.spare_host(host), 9080)));
        let gateway = plan.spare_host(200);
        let mut backends = Vec::new();
        for host in moving {
            backends.push(Backend::echo(SocketAddr::from((host, 9080)), &host.to_string()).await);
        }
        let plan = plan.policy("reviews.yaml", &numbered(50)).policy("moving.yaml", &endpoints(&moving, 15));
        let plan = plan.policy("front.yaml", &listeners(gateway, 0)).policy("fragile.yaml", &slice(fragile));
        let mut mesh = plan.start().await;
        mesh.start_gateway("front", gateway);
        mesh.ready("front", QUIET_LIMIT).await;
        let staying = application(fragile[0], "v1", mesh.folder()).await;
        let dying = application(fragile[1], "v2", mesh.folder()).await;
        let before = BTreeMap::new();
        let mut world =
            Self { form, mesh, gateway, moving, fragile, dying, _moving: backends, _staying: staying, before };
        world.warm_up(&PROXIES).await;
        world
    }

    /// Measures these processes at rest, after the same load each time: what a first request allocates is no leak.
    pub(crate) async fn warm_up(&mut self, proxies: &[&'static str]) {
        let now = self.at_rest(proxies).await;
        self.before.extend(now);
    }

    async fn at_rest(&self, proxies: &[&'static str]) -> BTreeMap<&'static str, Measured> {
        let web = self.mesh.outbound("web-v1");
        self.fill(web).await;
        tokio::join!(hostile::attack(web, ATTACK), hostile::attack(self.front(), ATTACK));
        let loads = self.loads();
        self.be_changed().await;
        wait::pass(WARM_UP * if self.form == Form::Full { 3 } else { 1 }).await;
        for load in loads {
            load.stop().await;
        }
        // Their clients are ours; those of the others are proxies, which keep connections for the next request.
        for entrance in ["front", "web-v1"] {
            let admin = self.mesh.admin(entrance);
            wait::until("the last connection of the load is gone", QUIET_LIMIT, || async {
                metric(admin, "tidegate_downstream_connections_active").await == 0
            })
            .await;
        }
        let mut fewest = BTreeMap::new();
        for _ in 0..LOOKS {
            for proxy in proxies {
                let open = self.unaccounted(proxy).await;
                fewest.entry(*proxy).and_modify(|least: &mut u64| *least = open.min(*least)).or_insert(open);
            }
            wait::pass(LOOK_EVERY).await;
        }
        let measured = |(proxy, descriptors)| {
            let process = self.mesh.proxies[proxy].id();
            (proxy, Measured::of(process, descriptors))
        };
        fewest.into_iter().map(measured).collect()
    }

    /// Changes of each kind that a stage makes, and back: what holds two configurations at once is no growth either.
    async fn be_changed(&self) {
        let files = ["reviews.yaml", "moving.yaml", "front.yaml"];
        let read = |file| std::fs::read_to_string(self.mesh.control.config.join(file)).expect("it was written before");
        let before = files.map(read);
        for number in 1..=CHANGES {
            self.change("reviews.yaml", numbered(number.into())).await;
            self.change("moving.yaml", endpoints(&self.moving, set(number))).await;
            self.change("front.yaml", listeners(self.gateway, number)).await;
        }
        for (file, text) in files.iter().zip(before) {
            self.change(file, text).await;
        }
    }

    /// Fills the pools of every proxy, each version's with whole crowds.
    async fn fill(&self, web: SocketAddr) {
        let policy = self.mesh.control.config.join("reviews.yaml");
        let policy = std::fs::read_to_string(policy).expect("it was written before");
        for share in WHOLE {
            self.change("reviews.yaml", numbered(share)).await;
            self.fill_all(web).await;
        }
        self.change("reviews.yaml", policy).await;
    }

    /// Crowds until they leave the memory of every proxy as it was. If they never do, they do not only fill pools.
    async fn fill_all(&self, web: SocketAddr) {
        let resident = || PROXIES.map(|proxy| resident_kib(self.mesh.proxies[proxy].id()));
        let mut unchanged = 0;
        for _ in 0..CROWDS_MAX {
            let before = resident();
            tokio::join!(crowd(web, "reviews:9080"), crowd(self.front(), "shop.example.com"));
            let is_filled = resident().iter().zip(before).all(|(now, before)| *now <= before + UNCHANGED_KIB);
            unchanged = if is_filled { unchanged + 1 } else { 0 };
            if unchanged == UNCHANGED_CROWDS {
                return;
            }
        }
        panic!("memory has grown with {CROWDS_MAX} crowds, and is {:?} KiB now", resident());
    }

    /// Descriptors of a proxy that belong to no connection.
    async fn unaccounted(&self, proxy: &str) -> u64 {
        let admin = self.mesh.admin(proxy);
        let kept = metric(admin, "tidegate_upstream_connections_active").await
            + metric(admin, "tidegate_downstream_connections_active").await;
        // The questions themselves were asked over connections that may not be closed yet.
        wait::pass(PAUSE).await;
        descriptors(self.mesh.proxies[proxy].id()).saturating_sub(kept)
    }

    fn front(&self) -> SocketAddr {
        SocketAddr::from((self.gateway, 8080))
    }

    fn loads(&self) -> [Load; 3] {
        let web = self.mesh.outbound("web-v1");
        [
            Load::paced(web, "reviews:9080", "/reviews/0", (16, 4), PAUSE),
            Load::paced(self.front(), "shop.example.com", "/", (2, 1), PAUSE),
            lasting::http2(web, "reviews:9080", "/reviews/0", 2),
        ]
    }

    /// Runs a stage beside the load.
    pub(crate) async fn stage(&mut self, stage: Stage) -> Row {
        let start = wait::now();
        let retried = self.retries().await;
        let loads = self.loads();
        let late = late();
        let Outcome { mut seen, note, replaced, broken, times } = stage.run(self).await;
        let late_p99_ms = late.stop().await.percentile_ms(99.0);
        let mut of_load = Seen::default();
        for load in loads {
            of_load.add(load.stop().await);
        }
        let (p50_ms, p99_ms) = (of_load.percentile_ms(50.0), of_load.percentile_ms(99.0));
        seen.add(of_load);
        let process = self.mesh.proxies["web-v1"].id();
        // A process that was replaced has begun to count anew.
        let retries = self.retries().await.saturating_sub(retried);
        let retries_factor = 1.0 + retries as f64 / seen.requests.max(1) as f64;
        let mut times: Vec<Time> = times.into_iter().map(|(ms, max, what)| Time { ms, max, what }).collect();
        let mut failures = seen.failures;
        failures.extend(broken);
        if retries_factor > RETRIES_FACTOR_MAX {
            failures.push(format!("{retries} retries of {} requests", seen.requests));
        }
        let is_judged = late_p99_ms <= LATE_MS_MAX;
        times.retain(|time| !time.is_kept());
        if is_judged {
            failures.extend(times.iter().map(ToString::to_string));
        }
        let row = Row {
            stage: stage.name(),
            seconds: start.elapsed().as_secs_f64(),
            requests: seen.requests,
            failed: seen.failed,
            p50_ms,
            p99_ms,
            late_p99_ms,
            retries_factor,
            resident_kib: PROXIES.map(|proxy| (proxy, resident_kib(self.mesh.proxies[proxy].id()))),
            descriptors: descriptors(process),
            note,
            unjudged: if is_judged { Vec::new() } else { times.iter().map(ToString::to_string).collect() },
            failures,
        };
        if !replaced.is_empty() {
            self.warm_up(replaced).await;
        }
        row
    }

    async fn retries(&self) -> u64 {
        metric(self.mesh.admin("web-v1"), "tidegate_upstream_retries_total").await
    }

    /// A metric of `workload`, summed over the clusters of `service`.
    pub(crate) async fn metric_of(&self, workload: &str, name: &str, service: &str) -> u64 {
        metric_where(self.mesh.admin(workload), name, |labels| labels.contains(service)).await
    }

    /// An address of the mesh's network, from 200 on.
    pub(crate) fn host(&self, number: u8) -> Ipv4Addr {
        self.spare(u32::from(number) - 200)
    }

    /// For a further gateway.
    pub(crate) fn spare(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.gateway) + number)
    }

    /// Every process that is there from the warm-up to the end, then and now.
    pub(crate) async fn leaks(&self) -> Vec<Leak> {
        let after = self.at_rest(&PROXIES).await;
        let pairs = after.into_iter().map(|(name, after)| Leak::of(name, self.before[name], after));
        pairs.collect()
    }

    /// From here on they are compared with what they were when they were looked at last.
    pub(crate) fn begin_again(&mut self, leaks: &[Leak]) {
        self.before.extend(leaks.iter().map(|leak| (leak.name, leak.last())));
    }

    /// Writes down what a proxy has open, and what it knows of it; where.
    pub(crate) async fn write_down(&self, proxy: &str) -> std::path::PathBuf {
        let pid = self.mesh.proxies[proxy].id().to_string();
        let stats = Client::new(self.mesh.admin(proxy)).get("localhost", "/stats/prometheus").await;
        let text = [
            run_tool("ls", &["-l", &format!("/proc/{pid}/fd")]),
            run_tool("ss", &["-tanpoe"]),
            std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default(),
            stats.map(|answer| answer.text()).unwrap_or_default(),
        ];
        let path = folder().join(format!("{proxy}.txt"));
        std::fs::write(&path, text.join("\n")).expect("the target folder is writable");
        path
    }

    pub(crate) async fn panics(&self) -> u64 {
        let mut panics = 0;
        for proxy in PROXIES {
            panics += metric(self.mesh.admin(proxy), "tidegate_panics_total").await;
        }
        panics
    }
}

/// Many requests at once, once.
async fn crowd(entrance: SocketAddr, host: &'static str) {
    let mut callers = JoinSet::new();
    for _ in 0..CROWD {
        callers.spawn(async move {
            let request = Request::get("/reviews/0").header("host", host).header("x-delay-ms", CROWD_DELAY);
            Client::new(entrance).send(request).await.map(|answer| answer.status)
        });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == Ok(StatusCode::OK)), "{answers:?}");
}

/// Wakes again and again, and notes how late it was.
fn late() -> Load {
    Load::of(1, |_, stop| async move {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            let start = wait::now();
            wait::pass(WAKE_EVERY).await;
            seen.took(start.elapsed().saturating_sub(WAKE_EVERY));
        }
        seen
    })
}

/// The sum of a metric over its labels.
pub(crate) async fn metric(admin: SocketAddr, name: &str) -> u64 {
    metric_where(admin, name, |_| true).await
}

async fn metric_where(admin: SocketAddr, name: &str, counts: impl Fn(&str) -> bool) -> u64 {
    try_metric_where(admin, name, counts).await.expect("the admin pages are served")
}

/// As [`metric`], of a proxy that may have no time for it.
pub(crate) async fn try_metric(admin: SocketAddr, name: &str) -> Result<u64, String> {
    try_metric_where(admin, name, |_| true).await
}

async fn try_metric_where(admin: SocketAddr, name: &str, counts: impl Fn(&str) -> bool) -> Result<u64, String> {
    let answer = Client::new(admin).get("localhost", "/stats/prometheus?names=tidegate").await?;
    let text = answer.text();
    let values = text.lines().filter_map(|line| line.strip_prefix(name)).filter_map(|rest| {
        // The name of another metric may begin with this one.
        (rest.starts_with(['{', ' ']) && counts(rest)).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    Ok(values.sum::<f64>() as u64)
}

/// A time that was longer than it may be, or not.
struct Time {
    ms: f64,
    max: f64,
    what: String,
}

impl Time {
    fn is_kept(&self) -> bool {
        self.ms <= self.max
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.1} of {:.1} ms", self.what, self.ms, self.max)
    }
}

/// What a stage has shown.
pub(crate) struct Row {
    pub(crate) stage: &'static str,
    seconds: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    p50_ms: f64,
    p99_ms: f64,
    late_p99_ms: f64,
    retries_factor: f64,
    /// Of each proxy.
    resident_kib: [(&'static str, u64); PROXIES.len()],
    descriptors: u64,
    note: String,
    /// Too long, on a machine that had no time.
    unjudged: Vec<String>,
    pub(crate) failures: Vec<String>,
}

impl Row {
    pub(crate) const HEADER: &str = "stage                          s requests failed   p50 ms   p99 ms  late ms retries    RSS of proxies in KiB fds  what was done";

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "stage": self.stage,
            "seconds": self.seconds,
            "requests": self.requests,
            "failed": self.failed,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "late_p99_ms": self.late_p99_ms,
            "retries_factor": self.retries_factor,
            "resident_kib": self.resident_kib.into_iter().collect::<BTreeMap<_, _>>(),
            "descriptors": self.descriptors,
            "what": self.note,
            "unjudged": self.unjudged,
            "failures": self.failures,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<26} {:>5.1} {:>8} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>7.3} {:>23} {:>3}  {}",
            self.stage,
            self.seconds,
            self.requests,
            self.failed,
            self.p50_ms,
            self.p99_ms,
            self.late_p99_ms,
            self.retries_factor,
            self.resident_kib.map(|(_, kib)| kib.to_string()).join(" "),
            self.descriptors,
            self.note
        )?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  FAILED {failure}"))?;
        self.unjudged.iter().try_for_each(|time| write!(f, "\n  not judged, the machine is busy: {time}"))
    }
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process has descriptors").count() as u64
}

/// Time on a processor that a process has had, in hundredths of a second.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process has a status");
    // The second field is a name in brackets, which may contain anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number of ticks")).sum()
}
