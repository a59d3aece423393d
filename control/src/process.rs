//! What the system says of this process: processor time, memory, start, descriptors.
//!
//! Read from `/proc` when somebody scrapes. Where that is not there, nothing is said.

use std::fs;

/// Clock ticks in a second as Linux shows them to programs, on every architecture that this is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// In user and in kernel mode.
    pub cpu_seconds: f64,
    /// Resident.
    pub memory_bytes: u64,
    /// Since 1970.
    pub started_seconds: f64,
    /// Open ones; counting them takes one.
    pub descriptors: u64,
}

impl Process {
    /// Looks now.
    pub fn look() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let descriptors = fs::read_dir("/proc/self/fd").ok()?.count();
        let (cpu_seconds, after_boot) = times(&stat)?;
        Some(Self {
            cpu_seconds,
            memory_bytes: number_after(&status, "VmRSS:")?.checked_mul(1_024)?,
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
            started_seconds: number_after(&system, "btime")? as f64 + after_boot,
            descriptors: u64::try_from(descriptors).ok()?,
        })
    }
}

/// Processor time, and the start after boot. The name of the program is in brackets and may hold anything, brackets too.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5) counts from 1, and the first two are before the bracket.
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND, ticks(22)? / TICKS_PER_SECOND))
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_process_knows_itself() {
        let process = Process::look().expect("there is a /proc here");

        assert!(process.memory_bytes > 1 << 20 && process.descriptors > 2 && process.cpu_seconds >= 0.0);
        let now = Clock::system().now().unix_ms() as f64 / 1_000.0;
        assert!(process.started_seconds <= now + 1.0 && process.started_seconds > now - 86_400.0);
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_move_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 1000 1 1";

        assert_eq!(times(stat), Some((3.0, 10.0)));
        assert_eq!(times("7 (a) S 1"), None);
    }
}
