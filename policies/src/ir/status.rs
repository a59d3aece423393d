//! What became of each object, as Gateway API's conditions have it.

use super::Origin;

/// One object and what is said about it. `Programmed` is added by who distributes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectStatus {
    /// The object.
    pub origin: Origin,
    /// In the order `Accepted`, `ResolvedRefs`, then one `Ineffective` for each field that cannot act.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What it is about.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub holds: bool,
    /// One word: `Accepted`, `Invalid`, `TargetNotFound`, `Conflicted`, `NotPermitted`, `ResolvedRefs`,
    /// `BackendNotFound`, `InvalidCertificateRef`, `RefNotPermitted`, `InvalidKind`, `CannotAct`.
    pub reason: &'static str,
    /// For people; names the other object in a conflict.
    pub message: String,
    /// The field, for `Ineffective` (`spec.rules[0].key[1].sourceIdentity`).
    pub path: Option<String>,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    /// It was taken.
    Accepted,
    /// Everything that it names exists and may be used.
    ResolvedRefs,
    /// A field is present that cannot act.
    Ineffective,
}
