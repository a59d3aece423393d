//! Why a resource cannot be put to work.
//!
//! # Why a path and a reason instead of an enum
//! The reader is a person who looks at a NACK: the place in the resource and a sentence are all that helps. No code
//! branches on the kind of refusal.

/// A resource asks for something that is contradictory or that is not supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct CompileError {
    /// The field's path from the resource's root, e.g. `virtual_hosts[0].routes[3].route.retry_policy`.
    pub path: String,
    /// What is wrong with it, lower case, no full stop.
    pub reason: String,
}

impl CompileError {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }

    /// The same error seen from the field that contains it.
    pub(crate) fn under(mut self, parent: &str) -> Self {
        if self.path.is_empty() {
            parent.clone_into(&mut self.path);
        } else if !parent.is_empty() {
            self.path = format!("{parent}.{}", self.path);
        }
        self
    }
}
