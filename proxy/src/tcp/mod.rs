//! TCP: bytes both ways, without a word about what they mean.
//!
//! The connection to the endpoint is opened at once, before the caller has said anything: in some protocols (MySQL, SMTP)
//! the server speaks first. An end that closes its direction is passed on; the other direction goes on.

use std::rc::Rc;
use std::sync::Arc;

use tidegate_http1::Framing;
use tidegate_report::ResponseFlag;
use tidegate_traffic::retry::ENDPOINTS_MAX;
use tidegate_xds::resource::listener::TcpProxy;

use crate::balance::circuit_breaker::Connected;
use crate::balance::outlier::Watched;
use crate::balance::{self, Wish};
use crate::config::snapshot::{ActiveCluster, ActiveListener};
use crate::http::exchange::Trouble;
use crate::listener::connection::Connection;
use crate::telemetry::access_log::{OfBytes, Outcome};
use crate::telemetry::edges::{Edge, place};
use crate::tls::client::Inside;
use crate::upstream::connect::connect;
use crate::wire::buffer::{Input, Output};
use crate::wire::http1::{Body, Http1Sink, Http1Source};
use crate::wire::socket::Socket;
use crate::wire::tunnel::tunnel;
use crate::worker::{View, Worker};

/// Serves one connection. `server_name`: what its caller asked for under TLS.
pub(crate) async fn run(
    worker: &Rc<Worker>,
    view: &View,
    (listener, server_name): (&ActiveListener, Option<&str>),
    proxy: &TcpProxy,
    mut connection: Connection,
) {
    let logged = OfBytes::begin(worker, &listener.config.name, server_name, &connection);
    let cluster = choose_cluster(proxy, worker.random()).and_then(|name| view.cluster(name));
    let Some(cluster) = cluster else { return logged.flag(ResponseFlag::NoCluster) };
    logged.cluster.set(Some(&cluster.config.name));
    let mut opened = match open(worker, cluster, &logged.outcome).await {
        Ok(opened) => opened,
        Err(flag) => return logged.flag(flag),
    };
    let (mut there_input, mut there_output) = (Input::new(&worker.buffers), Output::new(&worker.buffers));
    let mut output = Output::new(&worker.buffers);
    let (mut body, mut there_body) = (Body::new(Framing::UntilClose), Body::new(Framing::UntilClose));
    let (reading, writing) = connection.socket.split();
    let (there_reading, there_writing) = opened.socket.split();
    let mut from_caller = Http1Source { reading, input: &mut connection.input, body: &mut body };
    let mut to_caller = Http1Sink::new(writing, &mut output);
    let mut from_endpoint = Http1Source { reading: there_reading, input: &mut there_input, body: &mut there_body };
    let mut to_endpoint = Http1Sink::new(there_writing, &mut there_output);
    let counts = worker.shared.counts_edges;
    let edge =
        counts.then(|| place::of_bytes(&worker.shared.registry.edges, listener, cluster, opened.index)).flatten();
    let _counted = edge.map(|edge| Counted::begin(edge, worker.index, &logged.outcome));
    let ended = tunnel(
        (&mut from_caller, &mut to_endpoint),
        (&mut from_endpoint, &mut to_caller),
        &connection.alarm,
        proxy.idle_timeout,
        logged.outcome.moved(),
    );
    // How a connection of bytes ends is its peers' business.
    drop(ended.await);
}

/// Counts a connection from its beginning to its end, however that comes.
struct Counted<'a> {
    edge: Arc<Edge>,
    worker: usize,
    outcome: &'a Outcome,
}

impl<'a> Counted<'a> {
    fn begin(edge: Arc<Edge>, worker: usize, outcome: &'a Outcome) -> Self {
        edge.rows.of(worker).opened.increment();
        Self { edge, worker, outcome }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let row = self.edge.rows.of(self.worker);
        row.sent.add(self.outcome.received.get());
        row.received.add(self.outcome.sent.get());
        row.closed.increment();
    }
}

/// A cluster by weight, drawn once for the connection.
fn choose_cluster(proxy: &TcpProxy, draw: u64) -> Option<&str> {
    let total: u64 = proxy.clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return proxy.clusters.first().map(|(name, _)| &**name);
    }
    let mut position = draw % total;
    for (name, weight) in &proxy.clusters {
        let weight = u64::from(*weight);
        if position < weight {
            return Some(name);
        }
        position -= weight;
    }
    None
}

/// What a connection of bytes holds until it ends.
struct Opened<'a> {
    socket: Socket,
    /// Of the endpoint in its cluster.
    index: usize,
    _watched: Watched<'a>,
    _place: Connected,
}

async fn open<'a>(
    worker: &'a Worker,
    cluster: &'a ActiveCluster,
    outcome: &Outcome,
) -> Result<Opened<'a>, ResponseFlag> {
    let thresholds = &cluster.config.circuit_breakers;
    let mut tried = Vec::new();
    for _ in 0..ENDPOINTS_MAX {
        let count = u32::try_from(tried.len() + 1).unwrap_or(u32::MAX);
        let index = balance::choose(cluster, Wish { tried: &tried, ..Wish::default() }, worker)
            .map_err(|rejection| rejection.flag)?;
        let Some(endpoint) = cluster.states.get(index) else { return Err(ResponseFlag::NoHealthyUpstream) };
        outcome.attempt(count, index, Some(endpoint.address), worker.wheel.stamp());
        let overflow = |limit| {
            endpoint.breaker.trip(limit);
            ResponseFlag::UpstreamOverflow
        };
        // Bytes cannot wait: whoever speaks first may be the endpoint.
        let place = Connected::enter(endpoint, thresholds).map_err(overflow)?;
        let watched = Watched::begin(cluster, index, endpoint, worker).map_err(|_| ResponseFlag::UpstreamOverflow)?;
        let cells = cluster.state.cells.of(worker.index);
        match connect(endpoint.address, cluster.config.connect_timeout, cluster.tls.as_deref(), Inside::Bytes).await {
            Ok(socket) => {
                cells.connects.increment();
                watched.connected();
                return Ok(Opened { socket, index, _watched: watched, _place: place });
            }
            Err(fault) => {
                cells.connect_failures.increment();
                let trouble = Trouble::Upstream(fault);
                outcome.failed(&trouble);
                watched.failed(&trouble, false, false);
                tried.push(endpoint.id);
            }
        }
    }
    Err(ResponseFlag::UpstreamConnectionFailure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_drawn_by_weight() {
        let proxy = TcpProxy {
            stat_prefix: "t".into(),
            clusters: vec![("a".into(), 3), ("b".into(), 0), ("c".into(), 1)],
            idle_timeout: None,
        };

        let drawn: Vec<_> = (0..4).map(|draw| choose_cluster(&proxy, draw)).collect();

        assert_eq!(drawn, [Some("a"), Some("a"), Some("a"), Some("c")]);
    }
}
