//! What a process has cost: processor time and memory, from the kernel.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The one place where the comparison reads a clock.
#[expect(clippy::disallowed_methods, reason = "the clock of this tool")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Time on a processor of all threads of a process since they began (`/proc/PID/task/*/schedstat`, nanoseconds: user and
/// system).
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0;
    let tasks = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&tasks).with_context(|| format!("process {pid} is gone"))? {
        let path = task?.path().join("schedstat");
        // A thread may end while it is being looked at.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        total += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
