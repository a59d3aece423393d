//! The part of serving that takes traces in: its flags, its store, and the port of its own where one is asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tidegate_xds::transport::server::Other;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{ServeError, bind, local, stopped};
use crate::trace::grpc::Services;
use crate::trace::intake::Intake;
use crate::trace::store::{MEMORY_MIB, Store};

/// Flags about traces.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where traces are taken by gRPC (OTLP, SkyWalking), beside the port that proxies connect to, which always takes them;
    /// loopback only; 127.0.0.1:4317 is where OpenTelemetry looks by itself
    #[arg(long, value_name = "ADDR")]
    pub telemetry: Option<SocketAddr>,
    /// Memory for traces, in MiB; the oldest leave first
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_MIB, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub trace_memory: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { telemetry: None, trace_memory: MEMORY_MIB }
    }
}

/// The store, and perhaps a port.
pub(super) struct Traces {
    pub(super) intake: Arc<Intake>,
    port: Option<(TcpListener, SocketAddr)>,
}

impl Traces {
    pub(super) async fn bind(options: &Options) -> Result<Self, ServeError> {
        let intake = Arc::new(Intake::new(Arc::new(Store::new(options.trace_memory))));
        let Some(address) = options.telemetry else { return Ok(Self { intake, port: None }) };
        let listener = bind("telemetry", address).await?;
        let address = local(&listener, "telemetry", address)?;
        Ok(Self { intake, port: Some((listener, address)) })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|(_, address)| *address)
    }

    /// Serves the port of its own, if there is one. Gives the service for the other.
    pub(super) fn start(self, parts: &mut JoinSet<&'static str>, shutdown: &watch::Sender<bool>) -> Arc<dyn Other> {
        let services = Services::new(self.intake, shutdown.subscribe());
        if let Some((listener, _)) = self.port {
            let (services, stop) = (services.clone(), stopped(shutdown));
            parts.spawn(async move {
                services.serve(listener, stop).await;
                "the telemetry port"
            });
        }
        Arc::new(services)
    }
}
