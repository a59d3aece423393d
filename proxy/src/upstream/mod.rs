//! The far side: connections to endpoints, and what can go wrong with them.

pub(crate) mod connect;
pub(crate) mod http1;
pub(crate) mod http2;

use std::task::{Context, Poll};

use tidegate_http1::{Refusal, ResponseHead};
use tidegate_traffic::circuit_breaker::Tripped;

use crate::tls::client::HandshakeFault;
use crate::wire::body::{Broken, Source};

/// Why an attempt failed before its final answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: refused, unreachable, or the handshake failed.
    Connect(String),
    /// A circuit breaker has no place for a connection, nor for one who waits for it.
    Overflow(Tripped),
    /// A connection, but no encryption: the ends did not come to terms.
    Handshake(HandshakeFault),
    /// No connection in time.
    ConnectTimeout,
    /// The connection ended before an answer; `seen`: in the middle of its head.
    Closed { seen: bool },
    /// The peer reset the stream.
    Reset(h2::Reason),
    /// The peer said that it has not looked at the request.
    Unprocessed,
    /// The answer breaks the protocol.
    Protocol(Refusal),
    /// An answer that is not allowed here: an unasked switch of protocols, too many interim answers.
    Unexpected(&'static str),
}

impl Fault {
    pub(crate) fn of(broken: Broken) -> Self {
        match broken {
            Broken::Torn => Self::Closed { seen: true },
            Broken::Reset(reason) => Self::Reset(reason),
            Broken::Refused(refusal) => Self::Protocol(refusal),
        }
    }
}

/// The answer to a request: heads, interim ones first, then the body.
pub(crate) trait Answer {
    type Body: Source;

    /// The next head.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fault>>;
    fn body(&mut self) -> &mut Self::Body;
}
