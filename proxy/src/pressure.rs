//! How much of its memory the process has used, and what it stops doing before the kernel stops it.
//!
//! # Why by the cgroup
//! A container's memory is a hard limit: the kernel kills who goes over it, and every connection with it. What counts is what the
//! kernel counts, sockets and their buffers included, which no allocator of ours can see. Without a limit there is no pressure.
//!
//! # Why in steps
//! First connections end with their exchange, which costs callers a handshake. Then requests are refused, which costs them an
//! answer that says so. Then nobody is accepted: who waits in the kernel's queue takes no memory of ours. Last, a connection that
//! needs more memory ends. A step is left only some way below where it was taken, so that it does not flutter.
//!
//! # Why not only every few milliseconds
//! A crowd fills the rest of a small memory between two looks, and on a busy machine they are late. So each look also grants a
//! part of what is left, whatever takes much of it (connections, blocks to read into) takes it from there, and who finds too
//! little looks again. The nearer the limit, the smaller the part, and the more often somebody looks.
//!
//! # Why connections are counted as well
//! An allocator keeps what it was given back, for the next one. The kernel counts that as used, so that a process which has been
//! full once would look full for ever, with nobody in it. What connections held at the fullest is free again when they have gone,
//! and the next ones take it before they take anything of the kernel.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use self::gauge::{Gauge, gauges};
use crate::worker::{Order, Shared};

mod gauge;

/// From this share of the memory on, connections end with their exchange.
const CLOSING_PERCENT_MIN: u64 = 85;

/// From this share on, requests are refused.
const SHEDDING_PERCENT_MIN: u64 = 92;

/// From this share on, no connection is accepted.
const STANDSTILL_PERCENT_MIN: u64 = 95;

/// From this share on, nothing is granted: connections that need more memory end. The rest is for what nobody asks for.
const GRANTED_PERCENT_MAX: u64 = 97;

/// A look grants this part of what is left, and where memory looks full that may only be kept by the allocator, this share of all.
const GRANTED_PART: u64 = 4;
const GRANTED_PERCENT_MIN: u64 = 1;

/// A step is left so far below where it is taken.
const RELIEF_PERCENT: u64 = 3;

/// Between two looks; and the same once half of the memory is used.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(10);
const CLOSELY_PERCENT_MIN: u64 = 50;

/// What is granted where there is no limit.
const UNLIMITED: i64 = i64::MAX;

/// What is not done any more. Each step includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Step {
    /// Everything is done.
    Ease = 0,
    /// Keeping connections.
    Closing = 1,
    /// Serving requests.
    Shedding = 2,
    /// Accepting connections.
    Standstill = 3,
}

impl Step {
    const ALL: [Self; 4] = [Self::Ease, Self::Closing, Self::Shedding, Self::Standstill];
}

/// The step, readable on every request, and what may still be taken.
#[derive(Debug)]
pub(crate) struct Pressure {
    step: AtomicU8,
    /// Bytes, until somebody has to look again. Below nothing after those who did not get what they asked for.
    granted: AtomicI64,
    limits: Mutex<Vec<Limit>>,
}

impl Default for Pressure {
    /// Where memory is not limited.
    fn default() -> Self {
        Self { step: AtomicU8::new(0), granted: AtomicI64::new(UNLIMITED), limits: Mutex::default() }
    }
}

impl Pressure {
    /// Whether the process has come so far.
    pub(crate) fn is_at(&self, step: Step) -> bool {
        self.level() >= step as u8
    }

    /// As a number, for reports.
    pub(crate) fn level(&self) -> u8 {
        self.step.load(Ordering::Relaxed)
    }

    /// Takes so many bytes of the memory; `false`: they are not there. `connections`: how many there are.
    pub(crate) fn take(&self, bytes: usize, connections: impl FnOnce() -> u64) -> bool {
        if self.granted.load(Ordering::Relaxed) == UNLIMITED {
            return true;
        }
        let bytes = i64::try_from(bytes).unwrap_or(UNLIMITED);
        let is_granted = || self.granted.fetch_sub(bytes, Ordering::Relaxed) >= bytes;
        is_granted() || {
            self.look(connections(), false);
            is_granted()
        }
    }

    /// From now on within these limits.
    fn limit(&self, limits: Vec<Limit>) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Takes the step that the memory asks for; its fullest share. `closely`: look also at what the kernel could take back.
    fn look(&self, connections: u64, closely: bool) -> Option<u64> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = limits.iter_mut().filter_map(|limit| limit.look(connections, closely));
        let fullest =
            looks.reduce(|a, b| Look { percent: a.percent.max(b.percent), granted: a.granted.min(b.granted) });
        let Some(Look { percent, granted }) = fullest else {
            // No descriptor is left to look with, say. Nobody is ended for what is not known; the step stays, and the next look is near.
            self.granted.store(UNLIMITED, Ordering::Relaxed);
            return None;
        };
        let before = Step::ALL.into_iter().rfind(|step| self.is_at(*step)).unwrap_or(Step::Ease);
        self.step.store(step(percent, before) as u8, Ordering::Relaxed);
        self.granted.store(i64::try_from(granted).unwrap_or(UNLIMITED - 1), Ordering::Relaxed);
        Some(percent)
    }
}

/// The step for a share of the memory, coming from another.
fn step(percent: u64, before: Step) -> Step {
    let steps = [
        (Step::Standstill, STANDSTILL_PERCENT_MIN),
        (Step::Shedding, SHEDDING_PERCENT_MIN),
        (Step::Closing, CLOSING_PERCENT_MIN),
    ];
    let holds = |(step, from): &(Step, u64)| percent >= if *step <= before { from - RELIEF_PERCENT } else { *from };
    steps.iter().find(|entry| holds(entry)).map_or(Step::Ease, |(step, _)| *step)
}

/// Looks at the memory for as long as the process runs, where it is limited.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let gauges = gauges();
    if gauges.is_empty() {
        return;
    }
    let pressure = &shared.registry.pressure;
    pressure.limit(gauges.into_iter().map(Limit::of).collect());
    let mut told = 0;
    loop {
        let percent = pressure.look(shared.registry.connections(), true).unwrap_or(0);
        let step = pressure.level();
        if step > told {
            warn!(percent, step, "memory is scarce");
            // Idle connections look again whether they are wanted.
            shared.tell_all(|| Order::Drain);
        } else if step < told {
            info!(percent, step, "memory is less scarce");
        }
        told = step;
        tokio::time::sleep(if percent < CLOSELY_PERCENT_MIN { LOOK_EVERY } else { LOOK_CLOSELY_EVERY }).await;
    }
}

/// A limit, and how full the memory below it has been.
#[derive(Debug)]
struct Limit {
    gauge: Gauge,
    spare: u64,
    fill: Fill,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    percent: u64,
    /// Bytes.
    granted: u64,
}

impl Limit {
    fn of(gauge: Gauge) -> Self {
        Self { gauge, spare: 0, fill: Fill::default() }
    }

    fn look(&mut self, connections: u64, closely: bool) -> Option<Look> {
        if closely {
            self.spare = self.gauge.spare();
        }
        let used = self.gauge.used()?.saturating_sub(self.spare);
        let held = self.fill.held(used, connections);
        let bytes_max = self.gauge.bytes_max;
        Some(Look { percent: held.saturating_mul(100) / bytes_max.max(1), granted: granted(used, held, bytes_max) })
    }
}

/// What may be taken until the next look, with so much used as the kernel counts it and so much held as far as we know.
fn granted(used: u64, held: u64, bytes_max: u64) -> u64 {
    let line = bytes_max / 100 * GRANTED_PERCENT_MAX;
    // That memory is kept by the allocator is a guess: only little is staked on it.
    let part = (line.saturating_sub(used) / GRANTED_PART).max(bytes_max / 100 * GRANTED_PERCENT_MIN);
    part.min(line.saturating_sub(held))
}

/// How full the memory has been.
#[derive(Debug, Default)]
struct Fill {
    /// Before anybody came.
    bytes_least: Option<u64>,
    /// At the fullest, and how many connections there were then.
    bytes_most: u64,
    connections: u64,
}

impl Fill {
    /// What of the used bytes is held, and not only kept for the next.
    fn held(&mut self, used: u64, connections: u64) -> u64 {
        let least = *self.bytes_least.get_or_insert(used);
        if used > self.bytes_most {
            self.bytes_most = used;
            self.connections = connections.max(1);
        }
        let taken = u128::from(self.bytes_most.saturating_sub(least));
        let share = taken * u128::from(connections.min(self.connections)) / u128::from(self.connections.max(1));
        used.min(least.saturating_add(u64::try_from(share).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_at_their_share_and_left_below_it() {
        assert_eq!(step(84, Step::Ease), Step::Ease);
        assert_eq!(step(85, Step::Ease), Step::Closing);
        assert_eq!(step(92, Step::Closing), Step::Shedding);
        assert_eq!(step(99, Step::Ease), Step::Standstill);
        assert_eq!(step(93, Step::Standstill), Step::Standstill);
        assert_eq!(step(90, Step::Standstill), Step::Shedding);
        assert_eq!(step(83, Step::Shedding), Step::Closing);
        assert_eq!(step(81, Step::Standstill), Step::Ease);
    }

    #[test]
    fn what_gone_connections_held_is_free_though_the_kernel_counts_it() {
        let mut fill = Fill::default();
        assert_eq!(fill.held(10, 0), 10);
        assert_eq!(fill.held(60, 100), 60, "full");

        assert_eq!(fill.held(60, 20), 20, "most have gone, and nothing was given back");
        assert_eq!(fill.held(60, 100), 60, "as many again");
        assert_eq!(fill.held(61, 20), 61, "few, and more than ever");
        assert_eq!(fill.held(15, 20), 15, "given back");
    }

    #[test]
    fn less_is_granted_the_nearer_the_limit_is() {
        const MIB: u64 = 1024 * 1024;
        let full = 100 * MIB;
        assert_eq!(granted(0, 0, full), 97 * MIB / 4);
        assert_eq!(granted(89 * MIB, 89 * MIB, full), 2 * MIB);
        assert_eq!(granted(96 * MIB, 96 * MIB, full), MIB);
        assert_eq!(granted(97 * MIB, 97 * MIB, full), 0);

        assert_eq!(granted(99 * MIB, 20 * MIB, full), MIB, "kept for the next, perhaps");
    }

    /// A cgroup made of files.
    fn limited(used: &str) -> (tempfile::TempDir, Pressure) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("memory.current", used);
        write("memory.stat", "inactive_file 0\n");
        write("memory.max", "1000000\n");
        let pressure = Pressure::default();
        pressure.limit(gauge::at(folder.path()).into_iter().map(Limit::of).collect());
        pressure.look(0, true).expect("it can be read");
        (folder, pressure)
    }

    #[test]
    fn who_finds_too_little_looks_again_at_once() {
        let (folder, pressure) = limited("100000\n");
        let use_up = |bytes: &str| std::fs::write(folder.path().join("memory.current"), bytes).expect("writable");
        assert!(pressure.take(200_000, || 1), "a part of what is left is granted");
        assert!(!pressure.is_at(Step::Closing));

        use_up("960000\n");

        assert!(pressure.take(10_000, || 1), "granted before");
        assert!(!pressure.take(20_000, || 1), "there is no look that grants so much");
        assert!(pressure.is_at(Step::Standstill), "nobody else has looked");
        use_up("100000\n");
        assert!(pressure.take(20_000, || 1));
        assert!(!pressure.is_at(Step::Closing));
    }

    #[test]
    fn who_cannot_look_is_not_ended_for_it() {
        let (folder, pressure) = limited("960000\n");
        assert!(!pressure.take(20_000, || 1));

        std::fs::remove_file(folder.path().join("memory.current")).expect("it is there");

        assert!(pressure.take(20_000, || 1) && pressure.take(20_000, || 1));
        assert!(pressure.is_at(Step::Standstill), "what was known before holds");
        std::fs::write(folder.path().join("memory.current"), "960000\n").expect("writable");
        pressure.look(1, true).expect("it can be read again");
        assert!(!pressure.take(20_000, || 1));
    }

    #[test]
    fn without_a_limit_there_is_enough() {
        assert!(Pressure::default().take(usize::MAX, || 1));
    }
}
