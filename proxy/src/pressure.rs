//! How much of its memory the process has used, and what it stops doing before the kernel stops it.
//!
//! # Why by the cgroup
//! A container's memory is a hard limit: the kernel kills who goes over it, and every connection with it. What counts is what the
//! kernel counts, sockets and their buffers included, which no allocator of ours can see. Without a limit there is no pressure.
//!
//! # Why in steps
//! First connections end with their exchange, which costs callers a handshake. Then requests are refused, which costs them an
//! answer that says so. Last nobody is accepted: who waits in the kernel's queue takes no memory of ours. A step is left only
//! some way below where it was taken, so that it does not flutter.
//!
//! # Why connections are counted as well
//! An allocator keeps what it was given back, for the next one. The kernel counts that as used, so that a process which has been
//! full once would look full for ever, with nobody in it. What connections held at the fullest is free again when they have gone,
//! and the next ones take it before they take anything of the kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use crate::worker::{Order, Shared};

/// From this share of the memory on, connections end with their exchange.
const CLOSING_PERCENT_MIN: u64 = 85;

/// From this share on, requests are refused.
const SHEDDING_PERCENT_MIN: u64 = 92;

/// From this share on, no connection is accepted.
const STANDSTILL_PERCENT_MIN: u64 = 95;

/// A step is left so far below where it is taken.
const RELIEF_PERCENT: u64 = 3;

/// Between two looks; and the same once half of the memory is used. What callers can fill in between must fit into what is left.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(10);
const CLOSELY_PERCENT_MIN: u64 = 50;

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

/// The step, readable on every request.
#[derive(Debug, Default)]
pub(crate) struct Pressure(AtomicU8);

impl Pressure {
    /// Whether the process has come so far.
    pub(crate) fn is_at(&self, step: Step) -> bool {
        self.0.load(Ordering::Relaxed) >= step as u8
    }

    /// As a number, for reports.
    pub(crate) fn level(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
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
    let mut gauges: Vec<(Gauge, Fill)> = gauges.into_iter().map(|gauge| (gauge, Fill::default())).collect();
    let mut before = Step::Ease;
    loop {
        let mut pause = LOOK_EVERY;
        let connections = shared.registry.connections();
        let percents = gauges.iter_mut().filter_map(|(gauge, fill)| {
            let held = fill.held(gauge.used()?, connections);
            Some(held.saturating_mul(100) / gauge.bytes_max.max(1))
        });
        if let Some(percent) = percents.max() {
            let now = step(percent, before);
            shared.registry.pressure.0.store(now as u8, Ordering::Relaxed);
            if now > before {
                warn!(percent, step = ?now, "memory is scarce");
                // Idle connections look again whether they are wanted.
                shared.tell_all(|| Order::Drain);
            } else if now < before {
                info!(percent, step = ?now, "memory is less scarce");
            }
            before = now;
            if percent >= CLOSELY_PERCENT_MIN {
                pause = LOOK_CLOSELY_EVERY;
            }
        }
        tokio::time::sleep(pause).await;
    }
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

/// A limit on memory and what it is compared with.
#[derive(Debug, PartialEq, Eq)]
struct Gauge {
    used: PathBuf,
    stat: PathBuf,
    /// The line of `stat` with what the kernel can take back at once: pages of files that nobody has touched lately.
    spare: &'static str,
    bytes_max: u64,
}

impl Gauge {
    fn used(&self) -> Option<u64> {
        let used = number(&self.used)?;
        let stat = std::fs::read_to_string(&self.stat).ok()?;
        let spare = stat.lines().find_map(|line| line.strip_prefix(self.spare)?.trim().parse::<u64>().ok());
        Some(used.saturating_sub(spare.unwrap_or(0)))
    }
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The limits that hold for this process: its own cgroup's, and those of the ones around it.
fn gauges() -> Vec<Gauge> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let folders = folders(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    folders.into_iter().filter_map(|(folder, version)| gauge(&folder, version)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

fn gauge(folder: &Path, version: Version) -> Option<Gauge> {
    let (used, max, spare) = match version {
        Version::One => ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file "),
        Version::Two => ("memory.current", "memory.max", "inactive_file "),
    };
    // "max", or without a limit as good as none: no machine has an exabyte.
    let bytes_max = number(&folder.join(max)).filter(|bytes| *bytes < 1 << 60)?;
    Some(Gauge { used: folder.join(used), stat: folder.join("memory.stat"), spare, bytes_max })
}

/// The folder of the process's memory cgroup and of those around it, by what the kernel says of the process (`cgroup`) and of its
/// mounts (`mountinfo`; see proc(5)).
fn folders(cgroup: &str, mountinfo: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for mount in mountinfo.lines() {
        let Some((fields, super_fields)) = mount.split_once(" - ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else { continue };
        let super_fields: Vec<&str> = super_fields.split(' ').collect();
        let version = match super_fields.as_slice() {
            ["cgroup2", ..] => Version::Two,
            ["cgroup", _, options, ..] if options.split(',').any(|option| option == "memory") => Version::One,
            _ => continue,
        };
        let path = cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_its = match version {
                Version::One => controllers.split(',').any(|controller| controller == "memory"),
                Version::Two => controllers.is_empty(),
            };
            is_its.then_some(path)
        });
        let Some(path) = path else { continue };
        // A container may see only its own part of the tree, mounted as if it were all.
        let inside = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        found.extend(inside.ancestors().map(|folder| (Path::new(point).join(folder), version)));
    }
    found
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
    fn the_folders_of_either_version_are_found() {
        let one = folders(
            "9:name=systemd:/\n4:memory:/pod/a\n0::/\n",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
        );
        let paths: Vec<&str> = one.iter().filter_map(|(path, _)| path.to_str()).collect();
        assert_eq!(paths, ["/sys/fs/cgroup/memory/pod/a", "/sys/fs/cgroup/memory/pod", "/sys/fs/cgroup/memory/"]);
        assert!(one.iter().all(|(_, version)| *version == Version::One));

        let two = folders("0::/\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n");
        assert_eq!(two, [(PathBuf::from("/sys/fs/cgroup/"), Version::Two)]);
    }

    #[test]
    fn a_part_of_the_tree_that_is_mounted_as_all_of_it_is_understood() {
        let found = folders("0::/kubepods/a/b\n", "30 23 0:26 /kubepods/a /sys/fs/cgroup rw - cgroup2 cgroup rw\n");

        assert_eq!(found[0].0, PathBuf::from("/sys/fs/cgroup/b"));
    }

    #[test]
    fn pages_of_files_that_can_go_are_not_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 300\nactive_file 100\n");

        write("memory.max", "max\n");
        assert_eq!(gauge(folder.path(), Version::Two), None);

        write("memory.max", "1000\n");
        assert_eq!(gauge(folder.path(), Version::Two).and_then(|gauge| gauge.used()), Some(600));
    }

    #[test]
    fn text_of_any_kind_is_only_not_understood() {
        assert!(folders("::\n\nx", "a b c - \n - cgroup2\n").is_empty());
    }
}
