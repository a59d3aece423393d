//! Limits of how many requests may pass.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::route::{HeaderChanges, RequestMatch};

/// One rule of a `RateLimit` object. Several that match are all asked; the strictest wins.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// `namespace/object/rule`: unique, stable, and what messages and statistics say.
    pub name: Arc<str>,
    /// Requests that match any of these; empty: all.
    pub matches: Vec<RequestMatch>,
    /// One bucket for each combination of distinct values; empty: one bucket for all.
    pub keys: Vec<RateKey>,
    /// Tokens gained in each `per`.
    pub requests: NonZeroU32,
    /// See `requests`.
    pub per: Duration,
    /// Most tokens at once.
    pub burst: u32,
    /// Who counts.
    pub scope: RateScope,
    /// The answer to who is over the limit.
    pub on_deny: OnDeny,
    /// Counts, but never refuses.
    pub shadow: bool,
    /// For [`RateScope::Shared`].
    pub on_store_unavailable: OnStoreUnavailable,
}

/// What tells callers apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// A header's value (lower-case name).
    Header(Arc<str>),
    /// A query parameter's value.
    QueryParameter(Arc<str>),
    /// The caller's address.
    SourceAddress,
    /// The caller's proven identity.
    SourceIdentity,
}

/// Who counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateScope {
    /// Each proxy by itself.
    #[default]
    PerProxy,
    /// All proxies together.
    Shared,
}

/// The answer to who is over the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct OnDeny {
    /// 429 unless said otherwise.
    pub status: u16,
    /// For gRPC callers; `RESOURCE_EXHAUSTED` (8) unless said otherwise.
    pub grpc_status: u32,
    /// Changes to the refusal's head.
    pub headers: HeaderChanges,
}

/// What a shared limit does while nobody keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreUnavailable {
    /// Every proxy goes on with what it was granted, or keeps the limit by itself.
    #[default]
    FallbackPerProxy,
    /// Everything passes.
    Allow,
    /// Everything is refused.
    Deny,
}
