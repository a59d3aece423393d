//! The floor: bytes copied between two sockets, without a look at them.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};

/// As much as the proxies read at once.
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) async fn run(listen: SocketAddr, to: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (mut caller, _) = listener.accept().await.context("cannot accept")?;
        tokio::spawn(async move {
            let Ok(mut upstream) = TcpStream::connect(to).await else { return };
            caller.set_nodelay(true).ok();
            upstream.set_nodelay(true).ok();
            // Either side may hang up at any time: that is the end and no error.
            tokio::io::copy_bidirectional_with_sizes(&mut caller, &mut upstream, BUFFER_BYTES, BUFFER_BYTES).await.ok();
        });
    }
}
