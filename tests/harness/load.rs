//! Steady load that counts every failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{Client, wait};

/// Between two requests of one client: the load is steady, not saturating.
pub(crate) const PAUSE: Duration = Duration::from_millis(4);
/// The run ends by itself, whatever the test does.
const RUN_MAX: Duration = Duration::from_secs(900);
/// More failures than this say nothing new.
const FAILURES_KEPT_MAX: usize = 20;

/// When the first load began.
static BEGAN: OnceLock<Instant> = OnceLock::new();

/// What a load has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests sent.
    pub(crate) requests: u64,
    /// Requests that did not get a 200, by what they got.
    pub(crate) failures: Vec<String>,
    /// How many failed.
    pub(crate) failed: u64,
    /// Answers by version.
    pub(crate) versions: BTreeMap<String, u64>,
    /// How long answers took, in microseconds: how many for each power of the eighth root of two.
    times: BTreeMap<u32, u64>,
}

impl Seen {
    /// An answer took so long.
    pub(crate) fn took(&mut self, time: Duration) {
        let micros = time.as_micros().max(1) as f64;
        *self.times.entry((micros.log2() * 8.0) as u32).or_default() += 1;
    }

    /// In how many milliseconds so many percent of the answers came, to within a tenth.
    pub(crate) fn percentile_ms(&self, percent: f64) -> f64 {
        let total: u64 = self.times.values().sum();
        let wanted = (total as f64 * percent / 100.0).ceil() as u64;
        let mut before = 0;
        for (step, count) in &self.times {
            before += count;
            if before >= wanted {
                return (f64::from(*step + 1) / 8.0).exp2() / 1_000.0;
            }
        }
        0.0
    }

    /// Adds what another client saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        for (version, count) in other.versions {
            *self.versions.entry(version).or_default() += count;
        }
        for (step, count) in other.times {
            *self.times.entry(step).or_default() += count;
        }
    }
}

/// Clients that keep asking until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// `keep_alive` clients on one connection each and `fresh` clients that connect for each request, all asking
    /// `proxy` for `http://HOST/PATH`.
    pub(crate) fn start(proxy: SocketAddr, host: &str, path: &str, keep_alive: usize, fresh: usize) -> Self {
        Self::paced(proxy, host, path, (keep_alive, fresh), PAUSE)
    }

    /// As [`Load::start`], with this pause between two requests of a client.
    pub(crate) fn paced(
        proxy: SocketAddr,
        host: &str,
        path: &str,
        (keep_alive, fresh): (usize, usize),
        pause: Duration,
    ) -> Self {
        let (host, path): (Arc<str>, Arc<str>) = (host.into(), path.into());
        Self::of(keep_alive + fresh, move |n, stop| {
            let (host, path) = (Arc::clone(&host), Arc::clone(&path));
            async move { ask(proxy, (&host, &path), n >= keep_alive, pause, &stop).await }
        })
    }

    /// So many clients, each of which does this until it is told to stop.
    pub(crate) fn of<Fut>(clients: usize, does: impl Fn(usize, Arc<AtomicBool>) -> Fut) -> Self
    where
        Fut: Future<Output = Seen> + Send + 'static,
    {
        BEGAN.get_or_init(wait::now);
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|n| tokio::spawn(does(n, Arc::clone(&stop)))).collect();
        Self { stop, clients }
    }

    /// Stops and adds up.
    pub(crate) async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Seen::default();
        for client in self.clients {
            total.add(client.await.expect("a load client does not panic"));
        }
        total
    }
}

async fn ask(proxy: SocketAddr, (host, path): (&str, &str), fresh: bool, pause: Duration, stop: &AtomicBool) -> Seen {
    let mut client = Client::new(proxy);
    let mut seen = Seen::default();
    let start = wait::now();
    while !stop.load(Ordering::Relaxed) && start.elapsed() < RUN_MAX {
        if fresh {
            client.hang_up();
        }
        seen.requests += 1;
        let asked = wait::now();
        match client.get(host, path).await {
            Ok(answer) if answer.status == 200 => {
                seen.took(asked.elapsed());
                *seen.versions.entry(answer.version().to_owned()).or_default() += 1;
            }
            Ok(answer) => fail(&mut seen, format!("{} {}", answer.status, answer.text())),
            Err(error) => fail(&mut seen, error),
        }
        wait::pass(pause).await;
    }
    seen
}

/// Counts a failure, and notes when it was, counted from the first load of the process.
pub(crate) fn fail(seen: &mut Seen, what: String) {
    seen.failed += 1;
    if seen.failures.len() < FAILURES_KEPT_MAX {
        let at = BEGAN.get_or_init(wait::now).elapsed().as_secs_f64();
        seen.failures.push(format!("{at:.3} s: {what}"));
    }
}

/// Asserts that `seen` of `total` is `share` within three standard deviations of a binomial draw.
pub(crate) fn assert_share(what: &str, seen: u64, total: u64, share: f64) {
    let (expected, allowed) = binomial(total, share);
    assert!(is_share(seen, total, share), "{what}: {seen} of {total}, expected {expected:.0} ± {allowed:.0}");
}

/// As [`assert_share`], of as many draws as a promise makes. A fair draw is outside three standard deviations once in 370
/// times, so a suite of dozens would fail every other week for nothing; that one is drawn again, and a share that is wrong
/// is wrong again.
pub(crate) async fn assert_drawn_share(what: &str, total: u64, share: f64, draw: impl AsyncFn() -> u64) -> u64 {
    let mut seen = draw().await;
    if !is_share(seen, total, share) {
        println!("{what}: {seen} of {total}, drawn again");
        seen = draw().await;
    }
    println!("{what}: {seen} of {total}");
    assert_share(what, seen, total, share);
    seen
}

fn is_share(seen: u64, total: u64, share: f64) -> bool {
    let (expected, allowed) = binomial(total, share);
    (seen as f64 - expected).abs() <= allowed + f64::EPSILON
}

/// What is expected, and three standard deviations of it.
fn binomial(total: u64, share: f64) -> (f64, f64) {
    (total as f64 * share, 3.0 * (total as f64 * share * (1.0 - share)).sqrt())
}
