//! Waiting for events: the only place of the tests that looks at a clock.

use std::future::Future;
use std::time::{Duration, Instant};

/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Now, for measurements. Tests of real processes measure real time.
#[allow(clippy::disallowed_methods, reason = "the one clock of the integration tests")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks until `done`, or fails with what was awaited.
pub(crate) async fn until<F, Fut>(what: &str, limit: Duration, mut done: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = now();
    while !done().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// As [`until`], for code that blocks.
pub(crate) fn until_blocking(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(STEP);
    }
}

/// Lets `time` pass, where passing time is what is tested.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
