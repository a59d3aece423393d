//! Loopback addresses that no other mesh of this machine uses.
//!
//! # Why not port 0
//! A mesh's addresses stand in its YAML before anything listens, so nobody can ask the kernel for free ports. The
//! loopback network has sixteen million addresses: each mesh takes 256 of them and may use any port it likes.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A /24 of 127.0.0.0/8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet(u8, u8);

impl Subnet {
    /// The next unused one: a hash of the process id decides where to start, a probe that nobody is there.
    pub(crate) fn take() -> Self {
        let start = std::process::id().wrapping_mul(2_654_435_761) >> 16;
        for _ in 0..1_000 {
            let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            // 127.64.0.0 and up: the demo and people's own experiments live below.
            let subnet = Self(64 + ((n >> 8) & 0x7f) as u8, (n & 0xff) as u8);
            if TcpListener::bind((subnet.host(1), 15000)).is_ok() {
                return subnet;
            }
        }
        panic!("a thousand loopback networks are in use: leftovers of an earlier run?");
    }

    /// Host `number` of it.
    pub(crate) fn host(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, number)
    }
}
