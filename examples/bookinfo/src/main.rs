//! The demo application: one small binary that plays any service of the bookshop.
//!
//! # Why one binary
//! A demo of a mesh needs several services that call one another, not several code bases. Each process is told which
//! service and version it is. Calls leave through the sidecar's outbound listener with the service's name as `Host`,
//! which is all an application has to do in explicit mode; without `--outbound` it would need to know addresses.
//!
//! ```text
//! productpage -> details
//!             -> reviews (v1: no stars, v2: black stars, v3: red stars) -> ratings
//! ```

mod call;
mod shop;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// A head that takes longer than this is no demo traffic.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Plays one service of the bookshop.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Options {
    /// Which service to be
    #[arg(value_enum)]
    pub(crate) service: shop::ServiceName,
    /// Which version of it to be; reviews knows v1 (no stars), v2 (black) and v3 (red)
    #[arg(long, default_value = "v1")]
    pub(crate) version: String,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: SocketAddr,
    /// The sidecar's outbound listener, through which other services are called
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) outbound: Option<SocketAddr>,
    /// The port by which the other services are called
    #[arg(long, default_value_t = 9080)]
    pub(crate) service_port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Rc::new(Options::parse());
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| anyhow::anyhow!("{} cannot listen on {}: {error}", options.service, options.listen))?;
    LocalSet::new()
        .run_until(async move {
            tokio::select! {
                () = accept(listener, options) => {}
                _ = tokio::signal::ctrl_c() => {}
                () = terminated() => {}
            }
        })
        .await;
    Ok(())
}

async fn accept(listener: TcpListener, options: Rc<Options>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the peer is gone already: wait a moment instead of spinning.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let options = Rc::clone(&options);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let options = Rc::clone(&options);
                async move { Ok::<_, Infallible>(shop::answer(&options, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A caller that goes away in the middle is its own affair.
            connection.await.ok();
        });
    }
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
