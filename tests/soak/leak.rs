//! What a process has at rest, and whether it came back to that.

use std::fmt;

use serde_json::{Value, json};

use crate::harness::process::status_kib;

/// What memory may grow by.
const GROWTH_PERCENT_MAX: u64 = 5;
/// And what by where the same process has grown by more, and the same troubles come again: an allocator that needed more room once
/// has it then, while what leaks goes on leaking.
const AGAIN_PERCENT_MAX: u64 = 2;

/// A process at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    process: u32,
    resident_kib: u64,
    anonymous_kib: u64,
    /// But for connections that are kept for the next request.
    descriptors: u64,
}

/// A process before and after all troubles.
#[derive(Clone, Copy)]
struct Pass {
    before: Measured,
    after: Measured,
}

impl Pass {
    fn has_grown(self, percent_max: u64) -> bool {
        self.after.resident_kib > self.before.resident_kib * (100 + percent_max) / 100
    }

    /// Whether something else than memory did not come back.
    fn has_lost(self) -> bool {
        self.before.process != self.after.process || self.before.descriptors < self.after.descriptors
    }
}

/// What became of a process.
pub(crate) struct Leak {
    pub(crate) name: &'static str,
    first: Pass,
    /// Where one of them has grown.
    second: Option<Pass>,
}

impl Leak {
    pub(crate) fn of(name: &'static str, before: Measured, after: Measured) -> Self {
        Self { name, first: Pass { before, after }, second: None }
    }

    /// Takes note of the second time.
    pub(crate) fn again(&mut self, second: &Self) {
        self.second = Some(second.first);
    }

    /// How it was when it was looked at last.
    pub(crate) fn last(&self) -> Measured {
        self.second.unwrap_or(self.first).after
    }

    /// Whether something did not come back.
    pub(crate) fn is_one(&self) -> bool {
        self.first.has_lost()
            || match self.second {
                None => self.has_grown(),
                Some(second) => second.has_lost() || second.has_grown(self.second_percent_max(second)),
            }
    }

    pub(crate) fn has_grown(&self) -> bool {
        self.first.has_grown(GROWTH_PERCENT_MAX)
    }

    /// One that was replaced in between has its first time before it, and so has one that had not grown.
    fn second_percent_max(&self, second: Pass) -> u64 {
        let is_same = self.first.after.process == second.before.process;
        if self.has_grown() && is_same { AGAIN_PERCENT_MAX } else { GROWTH_PERCENT_MAX }
    }

    pub(crate) fn to_json(&self) -> Value {
        let pass = |pass: Pass| json!({"before": pass.before.to_json(), "after": pass.after.to_json()});
        json!({"name": self.name, "first": pass(self.first), "second": self.second.map(pass)})
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} at rest: {}", self.name, self.first)?;
        self.second.map_or(Ok(()), |second| write!(f, "; again: {second}"))
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, then {}", self.before, self.after)?;
        f.write_str(if self.before.process == self.after.process { "" } else { ", another process" })
    }
}

impl Measured {
    pub(crate) fn of(process: u32, descriptors: u64) -> Self {
        let kib = |line| status_kib(process, line);
        Self { process, resident_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:"), descriptors }
    }

    fn to_json(self) -> Value {
        json!({
            "resident_kib": self.resident_kib,
            "anonymous_kib": self.anonymous_kib,
            "descriptors": self.descriptors,
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RSS {} KiB ({} of them anonymous), {} descriptors",
            self.resident_kib, self.anonymous_kib, self.descriptors
        )
    }
}
