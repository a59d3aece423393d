//! Services, workloads and endpoints: what exists, as opposed to how it should be treated.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{ObjectName, Origin};

/// Labels, sorted.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// Its labels.
    pub labels: Labels,
}

/// Something that can be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its identity.
    pub name: ObjectName,
    /// Where it was written.
    pub origin: Origin,
    /// Host names, the fully qualified one first: `reviews.shop.svc.cluster.local`, or a ServiceEntry's hosts.
    pub hosts: Vec<Arc<str>>,
    /// Its ports; port numbers are unique.
    pub ports: Vec<ServicePort>,
    /// Workloads with all these labels in the same namespace are its endpoints. `None`: endpoint slices only.
    pub selector: Option<Labels>,
    /// Virtual addresses (`clusterIP`, ServiceEntry `addresses`).
    pub addresses: Vec<IpAddr>,
    /// A ServiceEntry's endpoints, or names to resolve.
    pub external: External,
}

/// How a ServiceEntry finds its endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum External {
    /// Not external: workloads and endpoint slices.
    #[default]
    No,
    /// Written addresses: (address, port by service port, labels, weight).
    Static(Vec<Workload>),
    /// Names to resolve.
    Dns(Vec<Arc<str>>),
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// May be empty.
    pub name: Arc<str>,
    /// What clients dial.
    pub port: u16,
    /// What the workload listens on.
    pub target: TargetPort,
    /// What is spoken.
    pub protocol: Protocol,
}

/// A service port's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A workload's port of this name.
    Name(Arc<str>),
}

/// What is spoken on a port: from `appProtocol`, else the port's name (`http-…`, `grpc`, `tcp-…`), else HTTP is assumed
/// only for `http*`, `grpc*`; everything else is TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, upgraded as the caller speaks it.
    Http,
    /// HTTP/2 with prior knowledge, gRPC included.
    Http2,
    /// Bytes.
    Tcp,
}

/// What runs beside a proxy on a machine without Kubernetes, or is listed as a VM.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its identity; a proxy's node id names it.
    pub name: ObjectName,
    /// Where it was written.
    pub origin: Origin,
    /// Chosen by service selectors and subsets.
    pub labels: Labels,
    /// Where peers reach it (its sidecar's inbound listener).
    pub address: IpAddr,
    /// Its ports.
    pub ports: Vec<WorkloadPort>,
    /// Weight among endpoints.
    pub weight: NonZeroU32,
    /// `region/zone/subzone`.
    pub locality: [Arc<str>; 3],
    /// How its applications reach the mesh. `None`: no sidecar (peers dial the application itself).
    pub sidecar: Option<Sidecar>,
}

/// A port of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadPort {
    /// May be empty.
    pub name: Arc<str>,
    /// Where peers reach it.
    pub port: u16,
    /// Where the application really listens; `None` without a sidecar.
    pub application: Option<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// An explicit sidecar: applications dial it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// The outbound HTTP listener (origin-form with Host, or absolute-form as HTTP_PROXY).
    pub outbound: SocketAddr,
    /// Listeners for services that speak TCP: dial `listen`, reach `service:port`.
    pub outbound_tcp: Vec<OutboundTcp>,
}

/// One outbound TCP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundTcp {
    /// Where the application dials.
    pub listen: SocketAddr,
    /// The service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
}

/// `discovery.k8s.io/v1 EndpointSlice`.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Where it was written.
    pub origin: Origin,
    /// The service it belongs to (label `kubernetes.io/service-name`).
    pub service: ObjectName,
    /// Port name -> number.
    pub ports: Vec<(Arc<str>, u16)>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`, true when absent.
    pub ready: bool,
    /// `conditions.serving`, as `ready` when absent.
    pub serving: bool,
    /// `conditions.terminating`, false when absent.
    pub terminating: bool,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `targetRef.name`, the pod.
    pub target: Option<Arc<str>>,
    /// Labels of the endpoint, for subsets: from `deprecatedTopology` or, in files, from a `Workload` of the same name
    /// as `targetRef.name`.
    pub labels: Labels,
}
