//! Two proxies, ours and Envoy, each with a control plane in the test and applications of its own, told the same.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::ads::server::{EncodedResource, ResourceSet};
use tidegate_xds::resource::cluster::{Cluster, Discovery, LoadBalancing, Thresholds};
use tidegate_xds::resource::filter::{self, Fault, FilterConfig, HttpFilter, LocalRateLimit, VirtualHostLimits};
use tidegate_xds::resource::listener::{Direction, Listener, ListenerKind, NetworkFilter, RouteSource};
use tidegate_xds::resource::matcher::Fraction;
use tidegate_xds::resource::{Resource, RouteConfiguration};

use super::backend::{Journal, Recorder};
use super::client::Client;
use super::tables::{CLUSTERS, MIRROR, PROBE, ROUTES};
use crate::harness::address::Subnet;
use crate::harness::mesh::{ADMIN, spawn_proxy};
use crate::harness::process::Process;
use crate::harness::wait;
use crate::interop::envoy::{Envoy, Variant};
use crate::interop::scripted::Scripted;
use crate::interop::world::{connection_manager, endpoints, socket};

const READY_LIMIT: Duration = Duration::from_secs(20);
/// From a table's publication to its first answer.
const VISIBLE_LIMIT: Duration = Duration::from_secs(10);

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Envoy,
}

/// One of the two.
pub(super) struct Side {
    pub(super) kind: Kind,
    pub(super) client: Client,
    /// What its applications were sent.
    pub(super) journal: Journal,
    server: Scripted,
    outbound: SocketAddr,
    recorders: Vec<(&'static str, Recorder)>,
    _processes: (Option<Envoy>, Option<Process>),
}

impl Side {
    pub(super) async fn start(kind: Kind, first: &RouteConfiguration, folder: &Path) -> Self {
        let subnet = Subnet::take();
        let host = subnet.host(1);
        let [xds, outbound, admin] = [15010, 15001, ADMIN].map(|port| SocketAddr::from((host, port)));
        let journal = Journal::default();
        let mut recorders = Vec::new();
        for (number, name) in (11..).zip(CLUSTERS.into_iter().chain([MIRROR])) {
            recorders.push((name, Recorder::start((subnet.host(number), 9080).into(), name, &journal).await));
        }
        let server = Scripted::start(xds, ResourceSet::new(1, resources(outbound, &recorders, first)));
        let processes = match kind {
            Kind::Ours => (None, Some(spawn_proxy("differential", host, xds, folder))),
            Kind::Envoy => (Some(Envoy::start("differential.shop", xds, admin, Variant::Delta, folder).await), None),
        };
        wait::until(&format!("{kind:?} listens"), READY_LIMIT, || async {
            tokio::net::TcpStream::connect(outbound).await.is_ok()
        })
        .await;
        Self { kind, client: Client::new(outbound), journal, server, outbound, recorders, _processes: processes }
    }

    /// Publishes a table and waits until it is in force. `Err` is why it was refused.
    pub(super) async fn publish(&mut self, number: u64, table: &RouteConfiguration) -> Result<(), String> {
        let refusals = self.server.refusals();
        self.server.publish(ResourceSet::new(number, resources(self.outbound, &self.recorders, table)));
        let start = wait::now();
        loop {
            let request = format!("GET / HTTP/1.1\r\nhost: {PROBE}\r\n\r\n");
            let answer = self.client.send(request.as_bytes(), false).await;
            if answer.body == number.to_string().into_bytes() {
                return Ok(());
            }
            if self.server.refusals() > refusals {
                return Err(self.server.last_refusal());
            }
            assert!(start.elapsed() < VISIBLE_LIMIT, "{:?} does not put table {number} into force", self.kind);
        }
    }
}

fn resources(
    outbound: SocketAddr,
    recorders: &[(&'static str, Recorder)],
    table: &RouteConfiguration,
) -> Vec<Arc<EncodedResource>> {
    let mut manager = connection_manager();
    manager.routes = RouteSource::Rds(ROUTES.into());
    manager.http_filters = filters();
    let mut socket = socket(outbound);
    socket.filter_chains[0].filter = NetworkFilter::Http(Box::new(manager));
    let mut all = vec![
        Resource::Listener(Arc::new(Listener {
            name: "outbound".into(),
            kind: ListenerKind::Socket(Box::new(socket)),
            direction: Direction::Outbound,
            error_header: false,
            workload: None,
        })),
        Resource::Route(Arc::new(table.clone())),
    ];
    for (name, recorder) in recorders {
        all.push(Resource::Cluster(Arc::new(Cluster {
            load_balancing: LoadBalancing::ROUND_ROBIN,
            // What is compared are decisions; Envoy's three retries at a time would depend on timing.
            circuit_breakers: Thresholds { max_retries: 1000, ..Thresholds::default() },
            ..Cluster::new((*name).into(), Discovery::Eds { service_name: (*name).into() })
        })));
        all.push(Resource::Endpoint(Arc::new(endpoints(name, recorder.address))));
    }
    all.iter().map(EncodedResource::new).collect()
}

/// Filters that do nothing until a route says so.
fn filters() -> Vec<HttpFilter> {
    let none = Fraction { numerator: 0, denominator: 100 };
    let inert = LocalRateLimit {
        stat_prefix: "limit".into(),
        status: 429,
        bucket: None,
        enabled: none,
        enforced: none,
        request_headers_when_not_enforced: Vec::new(),
        response_headers: Vec::new(),
        descriptors: Vec::new(),
        stage: 0,
        per_connection: false,
        ratelimit_headers: false,
        always_consume_default: true,
        resource_exhausted: false,
        rate_limits: Vec::new(),
        dynamic_descriptors_max: 20,
        retry_after: false,
        virtual_host_limits: VirtualHostLimits::Override,
    };
    let filter = |name: &str, config| HttpFilter { name: name.into(), disabled: false, config };
    vec![
        filter(filter::FAULT, FilterConfig::Fault(Arc::new(Fault::default()))),
        filter(filter::LOCAL_RATE_LIMIT, FilterConfig::LocalRateLimit(Arc::new(inert))),
    ]
}
