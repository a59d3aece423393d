//! What the two processes say.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Raised when an older process could misread what a newer one says.
pub(super) const PROTOCOL: u32 = 1;

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Accepts for the admin pages.
    Admin,
    /// A file: the configuration in use, as it is kept on disk.
    Configuration,
    /// Accepts connections of a listener.
    Listener,
    /// Accepts the next upgrade.
    Upgrade,
}

/// A descriptor that goes with the message, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) role: Role,
    /// The listener's key; empty for others.
    pub(super) key: Arc<str>,
    /// What the configuration asks for: port 0 is the kernel's choice.
    pub(super) address: Option<SocketAddr>,
}

/// One word of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub(super) enum Message {
    /// From the new process.
    Hello { protocol: u32, node: Arc<str>, process: u32, version: String },
    /// From the running process: some of the descriptors.
    Sockets { described: Vec<Described>, last: bool },
    /// From the new process: it could serve now.
    Ready,
    /// From the running process.
    Go,
    /// From the new process: it serves.
    Accepting,
    /// From the running process: its sockets are closed.
    Released,
    /// From the running process, instead of any other word.
    Refused { reason: String },
}
