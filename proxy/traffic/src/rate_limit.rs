//! Rate limits: how a request is described, and whether the tokens for it are there.
//!
//! # The parts
//! [`descriptor`] turns a request into descriptions, for both kinds of limits. [`bucket`] counts tokens. [`keyed`]
//! holds a bucket for each value of a key, within a bound. [`local`] is the limit that this proxy keeps by itself;
//! [`shared`] is the one that is kept for many proxies together, of which only the asking is decided here.
//!
//! # Configuration and tokens are apart
//! A configuration is compiled again for every snapshot, and a limit that was emptied must not be full again because
//! somebody edited another route. So tokens live in [`Limiters`], which outlives snapshots, and a compiled limit finds
//! its buckets there by where it stands, by what it counts and by the bucket's size. What no snapshot uses any more is
//! let go.

mod bucket;
mod descriptor;
mod keyed;
mod limiters;
mod local;
mod shared;

pub use bucket::{Bucket, Rate};
pub use descriptor::{CompiledActions, Descriptor, Entry, Facts, Sources};
pub use keyed::{KEY_BYTES_MAX, KEYS_MAX, Keyed};
pub use limiters::Limiters;
pub use local::{
    CompiledLocalRateLimit, ConnectionBuckets, LocalBuckets, LocalDice, LocalVerdict, Outcome, Quota,
    RATELIMITED_HEADER, REFUSED_BODY,
};
pub use shared::{CompiledPerRoute, CompiledSharedRateLimit};

/// Every description of a request that its route gives, for tests across modules.
#[cfg(test)]
pub(crate) fn describe_all<'a>(
    route: &'a crate::route::CompiledRoute,
    request: &'a impl crate::request::RequestView,
    facts: &Facts<'a>,
) -> Vec<Descriptor<'a>> {
    descriptor::describe(
        &[],
        route.rate_limits(),
        tidegate_xds::resource::filter::VirtualHostLimits::Include,
        0,
        request,
        facts,
    )
}
