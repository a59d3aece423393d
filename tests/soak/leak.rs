//! What a process has at rest, and whether it came back to that.

use std::fmt;

use serde_json::{Value, json};

use crate::harness::process::status_kib;

/// What memory may grow by.
const GROWTH_PERCENT_MAX: u64 = 5;
/// And what by where the same troubles come again, because it has grown by more: an allocator that needed more room once has it
/// then, while what leaks goes on leaking.
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

/// A process before and after.
pub(crate) struct Leak {
    pub(crate) name: &'static str,
    before: Measured,
    after: Measured,
    /// After the same troubles once more, where it has grown.
    again: Option<Measured>,
}

impl Leak {
    pub(crate) fn of(name: &'static str, before: Measured, after: Measured) -> Self {
        Self { name, before, after, again: None }
    }

    /// Takes note of it after the same troubles once more.
    pub(crate) fn again(&mut self, again: Measured) {
        self.again = Some(again);
    }

    /// Whether something did not come back.
    pub(crate) fn is_one(&self) -> bool {
        let last = self.again.unwrap_or(self.after);
        let grows_on = self.again.is_none_or(|again| again.has_grown_from(self.after, AGAIN_PERCENT_MAX));
        self.before.process != last.process
            || self.before.descriptors < last.descriptors
            || (self.has_grown() && grows_on)
    }

    pub(crate) fn has_grown(&self) -> bool {
        self.after.has_grown_from(self.before, GROWTH_PERCENT_MAX)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "again": self.again.map(|again| again.to_json()),
        })
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} at rest: {}, then {}", self.name, self.before, self.after)?;
        if let Some(again) = self.again {
            write!(f, ", after the same again {again}")?;
        }
        let process = self.again.unwrap_or(self.after).process;
        f.write_str(if self.before.process == process { "" } else { "; another process" })
    }
}

impl Measured {
    pub(crate) fn of(process: u32, descriptors: u64) -> Self {
        let kib = |line| status_kib(process, line);
        Self { process, resident_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:"), descriptors }
    }

    fn has_grown_from(&self, before: Self, percent_max: u64) -> bool {
        self.resident_kib > before.resident_kib * (100 + percent_max) / 100
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
