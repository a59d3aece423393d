//! A piece of network between two processes that takes its time.
//!
//! Kernels often lack the queue that delays packets (`sch_netem`), and a test must not ask for one. A relay delays what it was
//! given, in order and without holding up what follows.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::harness::wait;

/// Of bytes on their way in one direction: more than a window, so that the relay is no bottleneck.
const PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 16 * 1024;
/// Of the jitter, which is the same for each connection and differs from piece to piece.
const SEED: u64 = 1;

/// Passes connections on to another address, late. Ends when dropped.
pub(crate) struct Relay(JoinHandle<()>);

impl Relay {
    /// From `at` to `to`, each way in `delay`, give or take `jitter`.
    pub(crate) async fn start(at: SocketAddr, to: SocketAddr, delay: Duration, jitter: Duration) -> Self {
        let listener = TcpListener::bind(at).await.unwrap_or_else(|error| panic!("relay on {at}: {error}"));
        Self(tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass_on(near, to, delay, jitter));
            }
        }))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An end of either side is passed on as an end.
async fn pass_on(near: TcpStream, to: SocketAddr, delay: Duration, jitter: Duration) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(one_way(near_in, far_out, delay, jitter), one_way(far_in, near_out, delay, jitter));
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, jitter: Duration) {
    let (late, mut due) = mpsc::channel(PIECES_MAX);
    let reading = async move {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let least = delay.saturating_sub(jitter);
            let at = wait::now() + least + 2 * jitter.mul_f64(random.random::<f64>());
            if late.send((at, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = due.recv().await {
            wait::pass(at.saturating_duration_since(wait::now())).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(reading, writing);
}
