//! What became of our policies, a line for each condition.

use std::fmt::Write;

use tidegate_policies::ir::PolicySet;

/// The kinds of other dialects are tested in `tests/status.rs`.
const KINDS: &[&str] = &["BackendPolicy", "CircuitBreaker", "Fault", "MeshDefaults", "RateLimit"];

pub(crate) fn describe(set: &PolicySet) -> String {
    let mut out = String::new();
    for status in set.statuses.iter().filter(|status| KINDS.contains(&status.origin.kind)) {
        write!(out, "status {} {}", status.origin.kind, status.origin.object).expect("a string takes everything");
        for condition in &status.conditions {
            write!(out, "\n    {:?}={} {}", condition.kind, condition.holds, condition.reason)
                .expect("a string takes everything");
            if let Some(path) = &condition.path {
                write!(out, " {path}").expect("a string takes everything");
            }
        }
        out.push('\n');
    }
    out
}
