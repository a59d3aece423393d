//! The sidecar and gateway proxy: the I/O shell around the decisions of `tidegate-traffic`.
//!
//! # LIFE OF A REQUEST
//! The modules in the order in which a request meets them:
//!
//! 1. [`listener::accept`] takes the connection off its socket and hands it to the least loaded [`worker`].
//! 2. [`listener::connection`] chooses the filter chain ([`listener::chain`]) and finds out what is spoken, under a deadline.
//!    Bytes that are not HTTP go to [`tcp`] and are relayed both ways.
//! 3. [`http::http1`] or [`http::http2`] reads the head. What the gate of `tidegate-http1` refuses ends here. The
//!    configuration is loaded, once ([`listener::connection::World::refresh`]).
//! 4. [`http::serve`] is the corridor: every turn the request can take is in that one function.
//! 5. [`router`] decides: route, cluster, limits, upgrade, the hash of the route's policy.
//! 6. [`filter`] asks the listener's filters in their order, each with the route's most specific word: CORS, faults, rate
//!    limits, sessions. What they leave for later goes down the corridor beside the request ([`filter::Passed`]). Routes that
//!    answer by themselves are answered by [`http::answer`].
//! 7. [`mirror`] sends copies, each a task of its own, fed from the body as it passes ([`http::replay`], which also keeps it
//!    for a second attempt).
//! 8. [`balance`] chooses an endpoint and counts what is on its way to it.
//! 9. [`pool`] gives a connection that is kept, or [`upstream`] opens one.
//! 10. [`http::forward`] writes the edited head ([`http::head`]) and moves both bodies at once ([`http::exchange`],
//!     [`wire::body`]).
//! 11. A failure before the answer's head goes back to the corridor, and so does an answer that the retry policy wants another
//!     of: [`router::attempts`] says whether there is another attempt, and [`http::rejection`] what the caller is told if not.
//!     A failure after it tears the answer, visibly.
//! 12. The counters of [`telemetry`] were resolved when the snapshot was built; [`admin`] shows them. A request that is sampled leaves
//!     a span in a queue ([`telemetry::trace`]).
//!
//! Configuration comes the other way: [`config::watch`] receives it, [`config::apply`] decides what may become visible,
//! [`config::snapshot`] is what then is visible.
//!
//! # What the proxy adds to a message
//! Two sidecars in a row must be invisible, so the list is short. Requests get `x-request-id` when it is missing and the
//! listener generates it, `x-forwarded-proto` when it is missing, `x-forwarded-for` when the listener uses the remote
//! address, `x-envoy-attempt-count` when the virtual host asks for it, and where traces have a collector their place in one
//! ([`telemetry::trace`]); fields that speak to the proxy (below) are removed. Answers get a `server` field only as the listener says, and what a filter of the route is there to write. Nothing
//! else is added, and there is no `via`. What a codec changes is listed in `tidegate-http1`. Answers made here carry a `date`
//! and, unless the listener keeps it to itself, `x-mesh-error: FLAG; policy=NAMESPACE/NAME FILE:LINE; details=WORD`, the
//! policy where one is known.
//!
//! # What it learns
//! [`health`] watches endpoints by what requests meet and by active checks, and lays out anew what [`balance`] chooses from.
//! It runs on the control thread.
//!
//! # What a caller may ask of the proxy
//! Where the mesh begins (the listener takes the caller's address from the connection), nothing: `x-envoy-` fields that speak
//! to proxies are not heard and not passed on, as in Envoy. Behind it the caller is a workload or a proxy of the mesh.
//! `x-envoy-upstream-rq-timeout-ms` and `-per-try-timeout-ms` may shorten the route's limits, never lengthen them;
//! `x-envoy-retry-on`, `-retry-grpc-on`, `-retriable-status-codes` and `-retriable-header-names` add conditions for a retry;
//! `x-envoy-max-retries` replaces the number, up to ten or the policy's own; all of them inside the cluster's retry budget and
//! behind the policy's gate on methods. They are removed from what is forwarded.
//!
//! # How it ends, and who comes next
//! [`drain`] has the order of leaving. [`upgrade`] is how a new process takes the place of a running one; [`doors`] are what only
//! the process that has the place stands behind.
//!
//! # Threads
//! One runtime per worker, each on a thread of its own, and a control thread for configuration, admin and reports, so that
//! neither can starve the other.

mod admin;
mod balance;
mod clock;
mod config;
mod doors;
mod drain;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod http;
mod limits;
mod listener;
mod mirror;
mod pool;
mod pressure;
mod proxy;
mod router;
mod supervisor;
mod tcp;
mod telemetry;
mod tls;
mod upgrade;
mod upstream;
mod wire;
mod worker;

pub use config::watch::Refused;
pub use drain::{Phase, Timing};
pub use limits::Limits;
pub use proxy::{Options, Proxy, StartError, default_workers};
pub use telemetry::access_log::{
    AccessLogOptions, CollectorAddress as AccessLogCollector, Filter as AccessLogFilter, Format as AccessLogFormat,
    Redaction as AccessLogRedaction,
};
pub use telemetry::trace::export::Tracing;
pub use telemetry::trace::export::to::{Share as TraceShare, TraceTo};
pub use upgrade::{Successors, UpgradeError, is_first};
