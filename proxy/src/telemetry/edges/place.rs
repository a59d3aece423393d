//! Where handles to edges are kept, so that nobody looks one up twice.
//!
//! # Two directions
//! What leaves a workload, or passes a gateway, has one source, this proxy: the handle lies with the endpoint that was tried. What
//! arrives has one destination, the workload beside this proxy: the handle lies with the connection, because whoever is at
//! its other end stays the same.

use std::cell::{OnceCell, RefCell};
use std::sync::{Arc, OnceLock};

use tidegate_http1::{HeadEdits, RequestHead, Version};
use tidegate_xds::report_service::{EdgeKey, Protocol, Reporter, Security, Service, Workload};
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::cluster::{Cluster, ServiceName};
use tidegate_xds::resource::listener::Direction;

use super::{Edge, Edges};
use crate::config::snapshot::{ActiveCluster, ActiveListener};
use crate::http::call::Call;
use crate::router::Decision;
use crate::tls::server::ServerTls;

/// The field by which a proxy says on whose behalf it calls, on the first request of each of its connections to a workload of
/// the mesh. The proxy there takes it away. It is for reports only: nobody is let in for it.
pub(crate) const SOURCE_HEADER: &str = "x-mesh-source";
/// Kubernetes' limits for three names and a label, and their separators.
const SOURCE_BYTES_MAX: usize = 1_024;

/// Handles by what is spoken: HTTP, gRPC, bytes.
type Handles = [OnceLock<Arc<Edge>>; 3];

/// The edges to a cluster's endpoints, in their order, and at last the one of requests that reached none of them.
#[derive(Debug)]
pub(crate) struct Ways(Box<[OnceLock<Box<Handles>>]>);

impl Ways {
    pub(crate) fn new(endpoints: usize) -> Self {
        Self((0..=endpoints).map(|_| OnceLock::new()).collect())
    }

    fn edge(
        &self,
        endpoint: Option<usize>,
        protocol: Protocol,
        make: impl FnOnce() -> Arc<Edge>,
    ) -> Option<&Arc<Edge>> {
        let last = self.0.len() - 1;
        let handles = self.0.get(endpoint.map_or(last, |index| index.min(last)))?.get_or_init(Box::default);
        Some(handles[protocol as usize - 1].get_or_init(make))
    }
}

/// Who is at the other end of a connection that arrived, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    source: OnceCell<Workload>,
    arrived: RefCell<Option<Arrived>>,
}

/// The edges of a connection, as long as the configuration by which they were found holds.
#[derive(Debug)]
struct Arrived {
    listener: Arc<Listener>,
    cluster: Option<Arc<Cluster>>,
    edges: [Option<Arc<Edge>>; 2],
}

/// Hands the edge of a request to `count`.
pub(super) fn of(call: &Call<'_>, decision: &Decision<'_>, count: impl FnOnce(&Edge)) {
    let edges = &call.worker.shared.registry.edges;
    let cluster = match decision {
        Decision::Forward(plan) => Some(plan.cluster),
        Decision::Answer(_) | Decision::Reject(..) => None,
    };
    // gRPC is spoken over HTTP/2 only, so most requests are not asked.
    let grpc = call.request.version() == Version::Http2 && call.is_grpc();
    let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
    let listener = call.listener;
    if listener.config.direction == Direction::Inbound {
        // Known already, unless nothing was ever forwarded for this connection.
        call.origin.learn(call.request);
        return call.origin.count(edges, listener, cluster, protocol, call.tls, count);
    }
    match cluster {
        Some(cluster) => {
            if let Some(edge) = towards(edges, listener, cluster, call.outcome.endpoint(), protocol) {
                count(edge);
            }
        }
        None => {
            let make = || edges.edge(key(Reporter::Source, self_of(listener), None, None, protocol));
            if let Some(edge) = listener.state.ways.edge(None, protocol, make) {
                count(edge);
            }
        }
    }
}

/// The edge from this proxy to an endpoint of a cluster, or to none of them.
fn towards<'a>(
    edges: &Edges,
    listener: &ActiveListener,
    cluster: &'a ActiveCluster,
    endpoint: Option<usize>,
    protocol: Protocol,
) -> Option<&'a Arc<Edge>> {
    cluster.ways.edge(endpoint, protocol, || {
        let described = endpoint.and_then(|index| cluster.endpoints.endpoint(index));
        let destination = described.and_then(|endpoint| workload(endpoint.workload.as_deref()?));
        let mut key = key(Reporter::Source, self_of(listener), destination, cluster.config.service.as_ref(), protocol);
        key.security = match &cluster.config.tls {
            None => Security::Plain,
            Some(tls) if tls.certificate.is_some() => Security::Mutual,
            Some(_) => Security::Tls,
        }
        .into();
        edges.edge(key)
    })
}

/// The edge of a connection of bytes to an endpoint of a cluster.
pub(crate) fn of_bytes(
    edges: &Edges,
    listener: &ActiveListener,
    cluster: &Arc<ActiveCluster>,
    endpoint: usize,
) -> Option<Arc<Edge>> {
    if listener.config.direction == Direction::Inbound {
        let service = cluster.config.service.as_ref();
        return Some(edges.edge(key(Reporter::Destination, None, self_of(listener), service, Protocol::Tcp)));
    }
    towards(edges, listener, cluster, Some(endpoint), Protocol::Tcp).cloned()
}

impl Origin {
    /// Counts what arrived for the workload beside this proxy.
    fn count(
        &self,
        edges: &Edges,
        listener: &ActiveListener,
        cluster: Option<&Arc<ActiveCluster>>,
        protocol: Protocol,
        tls: Option<&ServerTls>,
        count: impl FnOnce(&Edge),
    ) {
        let mut arrived = self.arrived.borrow_mut();
        let is_known = |arrived: &Arrived| {
            let clusters =
                (arrived.cluster.as_ref().map(Arc::as_ptr), cluster.map(|cluster| Arc::as_ptr(&cluster.config)));
            clusters.0 == clusters.1 && Arc::ptr_eq(&arrived.listener, &listener.config)
        };
        if !arrived.as_ref().is_some_and(is_known) {
            *arrived = Some(Arrived {
                listener: Arc::clone(&listener.config),
                cluster: cluster.map(|cluster| Arc::clone(&cluster.config)),
                edges: [None, None],
            });
        }
        let Some(arrived) = arrived.as_mut() else { return };
        let place = &mut arrived.edges[usize::from(protocol == Protocol::Grpc)];
        let edge = place.get_or_insert_with(|| {
            let service = cluster.and_then(|cluster| cluster.config.service.as_ref());
            let source = self.source.get().cloned();
            let mut key = key(Reporter::Destination, source, self_of(listener), service, protocol);
            key.security = match tls {
                None => Security::Plain,
                Some(tls) if tls.requires_client_certificate() => Security::Mutual,
                Some(_) => Security::Tls,
            }
            .into();
            edges.edge(key)
        });
        count(edge);
    }

    /// Learns who calls from a request of the connection, once. `true`: the request says it, and its field is to be removed.
    fn learn(&self, request: &RequestHead) -> bool {
        if self.source.get().is_some() {
            return false;
        }
        let Some(said) = request.field(SOURCE_HEADER) else { return false };
        let text = std::str::from_utf8(said).ok().filter(|text| text.len() <= SOURCE_BYTES_MAX);
        if let Some(workload) = text.and_then(workload) {
            // What was counted before it was known who calls stays where it was counted.
            self.arrived.borrow_mut().take();
            drop(self.source.set(workload));
        }
        true
    }
}

/// Says who calls, or learns it: what has to be done about a request that is about to be sent. `fresh`: nothing was sent on the
/// connection before.
#[inline]
pub(crate) fn introduce(call: &Call<'_>, endpoint_workload: Option<&Arc<str>>, fresh: bool, edits: &mut HeadEdits) {
    let listener = &call.listener.config;
    if listener.direction == Direction::Inbound {
        if call.origin.learn(call.request) {
            edits.remove(SOURCE_HEADER);
        }
    } else if fresh
        && endpoint_workload.is_some()
        && let Some(workload) = &listener.workload
    {
        edits.set(SOURCE_HEADER, workload.as_bytes());
    }
}

fn key(
    reporter: Reporter,
    source: Option<Workload>,
    destination: Option<Workload>,
    service: Option<&ServiceName>,
    protocol: Protocol,
) -> EdgeKey {
    let service = service.map(|ServiceName { host, name, namespace }| Service {
        host: host.to_string(),
        name: name.to_string(),
        namespace: namespace.to_string(),
    });
    EdgeKey {
        reporter: reporter.into(),
        source,
        destination,
        service,
        protocol: protocol.into(),
        security: Security::Unspecified.into(),
    }
}

/// The workload beside which a listener stands.
fn self_of(listener: &ActiveListener) -> Option<Workload> {
    workload(listener.config.workload.as_deref()?)
}

/// Reads `name;namespace;canonical name;revision;cluster`, of which only the first two must be there.
fn workload(text: &str) -> Option<Workload> {
    let mut parts = text.split(';').map(|part| part.trim().to_owned());
    let (name, namespace) = (parts.next()?, parts.next()?);
    if name.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let app = parts.next().filter(|app| !app.is_empty()).unwrap_or_else(|| name.clone());
    Some(Workload { name, namespace, app, version: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_read_from_what_istio_writes() {
        let read = workload("reviews-v1;shop;reviews;v1;Kubernetes").unwrap();
        assert_eq!((read.name.as_str(), read.namespace.as_str()), ("reviews-v1", "shop"));
        assert_eq!((read.app.as_str(), read.version.as_str()), ("reviews", "v1"));

        assert_eq!(workload("web;shop").unwrap().app, "web");
        assert_eq!(workload("web;shop;;;").unwrap().app, "web");
        for wrong in ["", "web", ";shop", "we\nb;shop"] {
            assert_eq!(workload(wrong), None, "{wrong:?}");
        }
    }
}
