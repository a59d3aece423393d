//! Our own kinds: Workload, for machines without Kubernetes, and the governance that other dialects cannot say.
//!
//! # Why several small kinds
//! Who may inject faults in a test need not be allowed to touch circuit breakers, so each verb of operating has a kind that
//! rights can be given for. A conflict is then about one stanza, and `expiresAt` can be demanded where it is needed.
//!
//! # What they share
//! Each names its `targetRefs` and holds stanzas. [`Policy`] is that form; the kinds differ only in which stanzas they have:
//!
//! | kind | stanzas |
//! |---|---|
//! | RateLimit | limits of requests; additive |
//! | CircuitBreaker | `limits` with `perEndpoint`, `outlier` |
//! | Fault | the whole of it |
//! | BackendPolicy | `loadBalancer`, `sessionPersistence`, `locality`, `timeouts`, `retry`, `connection`, `healthCheck` |
//! | MeshDefaults | those of BackendPolicy but sessions and connections, and those of CircuitBreaker below `circuitBreaker` |
//!
//! Which of several policies counts is decided in `merge::attach`.

mod backend_policy;
mod circuit_breaker;
mod condition;
mod connection;
mod fault;
mod health_check;
mod load_balancing;
mod locality;
mod mesh_defaults;
mod rate_limit;
mod retry;
mod session;
mod target;
mod workload;

use crate::ir::circuit_breaker::{BreakerLimits, Outlier, RetryBudget};
use crate::ir::fault::Fault;
use crate::ir::health_check::HealthCheck;
use crate::ir::load_balancing::{ConnectionSettings, LoadBalancing};
use crate::ir::locality::LocalitySettings;
use crate::ir::rate_limit::RateLimit;
use crate::ir::retry::Retry;
use crate::ir::session::SessionPersistence;
use crate::ir::timeout::Timeouts;
use crate::source::Spanned;

pub(crate) use target::{Target, TargetKind};
pub(crate) use workload::{WorkloadShape, locality, no_locality, workload};

/// A policy: what it is attached to, and what it says there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) targets: Vec<Target>,
    pub(crate) stanzas: Stanzas,
    /// Whether answers of a proxy say why (MeshDefaults).
    pub(crate) error_header: Option<Spanned<bool>>,
}

/// What a policy says, each stanza with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stanzas {
    pub(crate) rate_limits: Vec<Spanned<RateLimit>>,
    pub(crate) fault: Option<Spanned<Fault>>,
    pub(crate) limits: Option<Spanned<BreakerLimits>>,
    pub(crate) outlier: Option<Spanned<Outlier>>,
    pub(crate) load_balancing: Option<Spanned<LoadBalancing>>,
    pub(crate) session: Option<Spanned<SessionPersistence>>,
    pub(crate) locality: Option<Spanned<LocalitySettings>>,
    pub(crate) timeouts: Option<Spanned<Timeouts>>,
    pub(crate) retry: Option<Spanned<Retry>>,
    /// A part of `retry`; counts where the limits that apply say nothing about retries.
    pub(crate) retry_budget: Option<Spanned<RetryBudget>>,
    pub(crate) connection: Option<Spanned<ConnectionSettings>>,
    pub(crate) health_check: Option<Spanned<HealthCheck>>,
}

pub(crate) use backend_policy::read as backend_policy;
pub(crate) use circuit_breaker::read as circuit_breaker;
pub(crate) use fault::read as fault;
pub(crate) use mesh_defaults::read as mesh_defaults;
pub(crate) use rate_limit::read as rate_limit;
