//! Why a message is refused.
//!
//! A refusal carries what the answer and the log line need: its own status, a short reason and the paragraph it stands on. It is
//! made of constants, so refusing an attack costs no allocation.

/// A message that must not go any further. For requests `status` is the answer to give before closing the connection; refusals of
/// what an upstream sent carry 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({rfc})")]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
    pub rfc: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: u16, reason: &'static str, rfc: &'static str) -> Self {
        Self { status, reason, rfc }
    }

    pub(crate) const fn bad(reason: &'static str, rfc: &'static str) -> Self {
        Self::new(400, reason, rfc)
    }

    /// The same fault, committed by an upstream: the downstream client is not to blame.
    pub(crate) const fn by_upstream(self) -> Self {
        Self { status: 502, ..self }
    }
}

pub(crate) const HEAD_TOO_LARGE: Refusal = Refusal::new(431, "header fields too large", "RFC 6585 5");
pub(crate) const TOO_MANY_FIELDS: Refusal = Refusal::new(431, "too many header fields", "RFC 6585 5");
pub(crate) const TARGET_TOO_LONG: Refusal = Refusal::new(414, "request target too long", "RFC 9110 15.5.15");

/// The peer closed the connection in the middle of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection closed before the end of the body (RFC 9112 8)")]
pub struct Torn;
