//! HTTP: from a connection's bytes to an exchange, and the exchange itself.
//!
//! [`http1`] and [`http2`] speak with the caller; both hand each request to [`serve::serve`], the corridor, which knows
//! neither. [`exchange`] moves the bodies of both directions at the same time.

pub(crate) mod answer;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod head;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod rejection;
pub(crate) mod replay;
pub(crate) mod serve;
mod streams;
