//! Steady load that counts every failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Client, wait};

/// Between two requests of one client: the load is steady, not saturating.
const PAUSE: Duration = Duration::from_millis(4);
/// The run ends by itself, whatever the test does.
const RUN_MAX: Duration = Duration::from_secs(180);
/// More failures than this say nothing new.
const FAILURES_KEPT_MAX: usize = 20;

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
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..keep_alive + fresh)
            .map(|n| {
                let (stop, host, path) = (Arc::clone(&stop), host.to_owned(), path.to_owned());
                tokio::spawn(async move { ask(proxy, &host, &path, n >= keep_alive, &stop).await })
            })
            .collect();
        Self { stop, clients }
    }

    /// Stops and adds up.
    pub(crate) async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Seen::default();
        for client in self.clients {
            let seen = client.await.expect("a load client does not panic");
            total.requests += seen.requests;
            total.failed += seen.failed;
            total.failures.extend(seen.failures);
            for (version, count) in seen.versions {
                *total.versions.entry(version).or_default() += count;
            }
        }
        total
    }
}

async fn ask(proxy: SocketAddr, host: &str, path: &str, fresh: bool, stop: &AtomicBool) -> Seen {
    let mut client = Client::new(proxy);
    let mut seen = Seen::default();
    let start = wait::now();
    while !stop.load(Ordering::Relaxed) && start.elapsed() < RUN_MAX {
        if fresh {
            client.hang_up();
        }
        seen.requests += 1;
        match client.get(host, path).await {
            Ok(answer) if answer.status == 200 => {
                *seen.versions.entry(answer.version().to_owned()).or_default() += 1;
            }
            Ok(answer) => fail(&mut seen, format!("{} {}", answer.status, answer.text())),
            Err(error) => fail(&mut seen, error),
        }
        wait::pass(PAUSE).await;
    }
    seen
}

fn fail(seen: &mut Seen, what: String) {
    seen.failed += 1;
    if seen.failures.len() < FAILURES_KEPT_MAX {
        seen.failures.push(what);
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
