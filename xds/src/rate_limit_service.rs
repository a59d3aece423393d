//! The two services that keep rate limits for many proxies, as messages with client and server.
//!
//! # Why they stand here
//! The control plane answers both and the proxy asks both, and neither may name the message crate: what crosses the wire
//! between the planes is named in this crate and nowhere else. These are not resources (they are spoken, not served over
//! ADS), so they have no types of our own: each is used by one module of each plane, which checks what it reads.
//!
//! - [`rls`]: `envoy.service.ratelimit.v3`, one question for each request. What a real Envoy asks.
//! - [`rlqs`]: `envoy.service.rate_limit_quota.v3`, a stream of usage reports up and assignments of quota down. What our
//!   own proxy asks, because it costs no round trip in a request.

pub use crate::proto::{
    BoolValue, Duration, HeaderValue, HeaderValueOption, UInt32Value, UInt64Value, rate_limit_descriptor as descriptor,
    rate_limit_strategy as strategy, rlqs, rls,
};
