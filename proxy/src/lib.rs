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
//! 5. [`router`] decides: route, cluster, limits, upgrade. Routes that answer by themselves are answered by [`http::answer`].
//! 6. [`filter`] is the closed list of what may happen in between.
//! 7. [`balance`] chooses an endpoint and counts what is on its way to it.
//! 8. [`pool`] gives a connection that is kept, or [`upstream`] opens one.
//! 9. [`http::forward`] writes the edited head ([`http::head`]) and moves both bodies at once ([`http::exchange`],
//!    [`wire::body`]).
//! 10. A failure before the answer's head goes back to the corridor: [`router::attempts`] says whether there is another attempt,
//!     and [`http::rejection`] what the caller is told if not. A failure after it tears the answer, visibly.
//! 11. The counters of [`telemetry`] were resolved when the snapshot was built; [`admin`] shows them.
//!
//! Configuration comes the other way: [`config::watch`] receives it, [`config::apply`] decides what may become visible,
//! [`config::snapshot`] is what then is visible.
//!
//! # What the proxy adds to a message
//! Two sidecars in a row must be invisible, so the list is short. Requests get `x-request-id` when it is missing and the
//! listener generates it, `x-forwarded-proto` when it is missing, `x-forwarded-for` when the listener uses the remote
//! address, and `x-envoy-attempt-count` when the virtual host asks for it; `x-envoy-upstream-rq-timeout-ms` is obeyed and
//! removed. Answers get a `server` field only as the listener says. Nothing else is added, and there is no `via`. What a
//! codec changes is listed in `tidegate-http1`. Answers made here carry `x-tidegate-error: FLAG details` and a `date`.
//!
//! # Threads
//! One runtime per worker, each on a thread of its own, and a control thread for configuration, admin and reports, so that
//! neither can starve the other.

mod admin;
mod balance;
mod clock;
mod config;
mod drain;
mod filter;
mod http;
mod limits;
mod listener;
mod pool;
mod proxy;
mod router;
mod tcp;
mod telemetry;
mod upstream;
mod wire;
mod worker;

pub use config::watch::Refused;
pub use drain::{Phase, Timing};
pub use limits::Limits;
pub use proxy::{Options, Proxy, StartError, default_workers};
