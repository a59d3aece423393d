//! Where connections come from.
//!
//! [`sockets`] owns the listening sockets (control thread), [`accept`] takes connections off one and hands each to the least
//! loaded worker, [`connection`] finds out what a connection speaks and gives it to HTTP or TCP.

pub(crate) mod accept;
pub(crate) mod chain;
pub(crate) mod connection;
pub(crate) mod reserve;
pub(crate) mod sockets;
