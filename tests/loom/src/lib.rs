//! What threads share without a lock, in every order in which it can happen.
//!
//! # How the sources get here
//! Each module under test is included by its path, exactly as it ships. This crate calls itself `std` and `arc_swap`: the
//! names that those sources import lead here, where atomics and locks are loom's. So the shipped code knows nothing of loom,
//! needs no `cfg`, and no second target folder is filled. (Formatting is left to their own packages: the formatter would
//! look for their tests here.)
//!
//! # What is bounded
//! At most so many preemptions in one execution, see [`explore`]: faults that need more are rare, and each costs a factor.
//! loom takes a sequentially consistent access for one of acquire and release; here such an access has a fence, which loom does
//! model ([`sequential`]). It does not model that a store must come before or after a whole compare-and-swap, so what
//! relies on that (that an ejection is not undone by the end of a probe) is not among the models.
#![allow(dead_code, unreachable_pub, reason = "modules are included whole, for the part of them that is shared")]
#![allow(unused_qualifications, reason = "so that `real` can be told from what takes its place")]

extern crate self as arc_swap;
extern crate self as std;
extern crate std as real;

pub use real::*;

use self::real::sync::Arc;
use self::sequential::Fence;

mod balance;
mod breaker;
mod edges;
mod lease;
mod load_balancing;
mod once;
mod outlier;
mod rate_limit;
mod sequential;
mod swap;

pub use breaker::{
    a_limit_is_never_exceeded_and_every_place_comes_back, a_waiter_and_a_place_that_comes_free_do_not_miss_each_other,
    a_wake_that_nobody_takes_is_passed_on, every_endpoint_has_a_connection_and_every_place_comes_back,
};
pub use edges::{
    an_edge_that_is_let_go_of_has_been_told, what_is_told_last_is_all_that_was_counted,
    what_several_workers_count_adds_up,
};
pub use lease::{
    a_larger_lease_loses_no_token, a_smaller_lease_gives_out_no_more_than_the_larger_one, usage_is_reported_once,
};
pub use load_balancing::every_turn_is_taken_once;
pub use outlier::{
    an_abandoned_probe_makes_room_for_one, one_failure_reaches_the_limit, one_request_is_the_probe,
    outcomes_are_counted_once,
};
pub use rate_limit::{a_token_is_taken_once, tokens_that_flow_in_are_taken_once};
pub use swap::ArcSwap;

/// What the included sources name of their own crate: as much of it as they touch.
mod config {
    pub(crate) mod registry {
        pub(crate) use crate::breaker::EndpointState;
    }
    pub(crate) mod snapshot {
        pub(crate) use crate::breaker::ActiveCluster;
    }
}

/// The same of the clock: edges remember since when they are still.
mod clock {
    pub(crate) fn now() -> tokio::time::Instant {
        tokio::time::Instant::now()
    }
}

/// The same of what is counted.
mod telemetry {
    pub(crate) use crate::edges::sharded::{Cell, Sharded, settled};
}

/// The standard library's, with loom's in the place of what threads meet at.
pub mod sync {
    pub use loom::sync::{Arc, Mutex, MutexGuard};

    pub use crate::once::OnceLock;
    pub use crate::real::sync::PoisonError;

    /// loom's atomics.
    pub mod atomic {
        pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};

        pub use crate::sequential::AtomicU32;
    }
}

/// Preemptions in one execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise. Each more multiplies the time.
const PREEMPTIONS: usize = 3;

/// Steps of one execution. Whoever adds up an edge reads some hundred numbers, each of which is one.
const STEPS_MAX: usize = 10_000;

/// Runs a model in every order of its threads' steps.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    for fence in [Fence::BehindWrites, Fence::BeforeReads] {
        sequential::set_fence(fence);
        let model = Arc::clone(&model);
        let mut builder = loom::model::Builder::new();
        builder.max_branches = STEPS_MAX;
        builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
        builder.check(move || model());
    }
}

/// Runs all three at once; what each came to.
fn together<T: 'static>(
    first: impl FnOnce() -> T + 'static,
    second: impl FnOnce() -> T + 'static,
    here: impl FnOnce() -> T,
) -> [T; 3] {
    let (first, second) = (loom::thread::spawn(first), loom::thread::spawn(second));
    let here = here();
    let [first, second] = [first, second].map(|thread| thread.join().expect("the thread ended"));
    [first, second, here]
}
