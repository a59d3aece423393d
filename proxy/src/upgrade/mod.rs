//! A new process takes the place of a running one, and no connection notices.
//!
//! # The conversation
//! Both are started with the same `--upgrade-socket`. The running process listens there; the new one dials it before it
//! binds anything, and they say, each word a frame of [`wire`]:
//!
//! | new | running |
//! |---|---|
//! | `hello`: protocol, node, process | |
//! | | `sockets`: listening sockets and the configuration in use, as descriptors |
//! | `ready`: that configuration is whole here | |
//! | | `go` |
//! | `accepting` | |
//! | | `released`: stopped accepting; drains what is open, and ends |
//!
//! # Why the sockets themselves, and not SO_REUSEPORT
//! A second socket on the same port has a queue of its own, and whoever stands in the queue of the first is lost when it is
//! closed. One socket with two owners has one queue.
//!
//! # Who may die when
//! The new process accepts nothing before `go`, so its death until then changes nothing: the running one serves on. A running
//! process that dies meanwhile is no loss either: the new one holds the same sockets, and takes over at once. After
//! `accepting` the running process only finishes what it has begun.
//!
//! # Nothing moves meanwhile
//! From `sockets` to the end the running process applies no configuration, and the new one asks the control plane only when
//! it must (it was given nothing whole) or when the other has let go. A listener that came in between would be opened by both,
//! and the second one would be refused. The control plane never sees two proxies of one name.
//!
//! # What does not go along
//! Connections stay with the process that accepted them. Counters, tokens of local rate limits, ejected endpoints and open
//! upstream connections begin anew in the new process.

mod give;
mod message;
mod place;
mod successor;
mod take;
mod wire;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::give::{Giver, Giving, Offer, Parcel, serve};
pub(crate) use self::message::Role;
pub(crate) use self::place::Place;
pub use self::successor::{Successors, is_first};
pub(crate) use self::take::{Inherited, Step, Taken, Taking, ask, conclude};

/// For one word of the conversation that needs no work: both processes are on this machine and run.
const WORD_MAX: Duration = Duration::from_secs(10);

/// From the sockets until the new process is ready. Without a configuration to inherit it asks the control plane, which may
/// hold a route for 15 s, and health checks may take 10 s more.
pub(crate) const READY_MAX: Duration = Duration::from_secs(60);

/// Listening sockets that are handed over: far above what one process can have configured.
const SOCKETS_MAX: usize = 4_096;

/// Why a process did not take the place of the running one.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The path cannot be used.
    #[error("upgrade socket {path}")]
    Path {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The running process said no.
    #[error("the running process does not hand over: {0}")]
    Refused(String),
    /// The conversation broke off, or what was said makes no sense.
    #[error("talking to the running process")]
    Talk(#[from] io::Error),
    /// This process could not serve in time.
    #[error("not ready within {READY_MAX:?}; the running process serves on")]
    NotReady,
}
