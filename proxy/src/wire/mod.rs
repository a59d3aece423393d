//! Bytes on their way: buffers that exist only while they hold something, sockets, and bodies in motion.

pub(crate) mod body;
pub(crate) mod buffer;
pub(crate) mod frames;
pub(crate) mod heads;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod pace;
mod room;
pub(crate) mod socket;
pub(crate) mod tunnel;
pub(crate) mod windows;
