//! A descriptor that is kept for when there is none.
//!
//! Without one, a process that has run out of descriptors cannot even turn callers away: they hang in the kernel's queue, and
//! the listening socket stays readable for as long as they do.

use std::fs::File;
use std::net::TcpListener;

use super::accept::accept_one;

/// Callers turned away at once; then connections get time to end.
const TURNED_AWAY_MAX: u32 = 32;

/// The descriptor.
#[derive(Debug)]
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    pub(crate) fn new() -> Self {
        Self(kept())
    }

    /// Gives the descriptor to one caller after the other, only to close it again.
    pub(crate) fn turn_away(&mut self, socket: &TcpListener) {
        drop(self.0.take());
        for _ in 0..TURNED_AWAY_MAX {
            if accept_one(socket).is_err() {
                break;
            }
        }
        self.0 = kept();
    }
}

/// Anything that takes a descriptor and nothing else. Another thread may have been faster: then there is none until next time.
fn kept() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn those_who_wait_are_told_at_once() {
        let socket = super::super::accept::listen((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        let address = socket.local_addr().expect("bound");
        let mut waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("queued")).collect();
        let mut reserve = Reserve::new();

        reserve.turn_away(&socket);

        for caller in &mut waiting {
            assert_eq!(caller.read(&mut [0]).unwrap_or(0), 0, "closed");
        }
        assert!(reserve.0.is_some(), "kept again");
    }
}
