//! The circuit breaker, where its own crate has it.

#[rustfmt::skip]
#[path = "../../../proxy/src/balance/circuit_breaker.rs"]
pub(crate) mod circuit_breaker;
