//! The one intermediate representation that every dialect is lowered into.
//!
//! # What is settled here and what is not
//! A [`PolicySet`] is checked, merged and ordered: references are resolved, conflicts decided, rules stand in the order
//! in which they are tried. What remains for the control plane is to say the same in xDS. Nothing here knows about
//! proxies, and nothing after here knows about YAML dialects.

pub mod circuit_breaker;
pub mod cors;
pub mod fault;
pub mod gateway;
pub mod health_check;
pub mod load_balancing;
pub mod locality;
pub mod mirror;
pub mod rate_limit;
pub mod retry;
pub mod route;
pub mod session;
pub mod share;
pub mod split;
pub mod status;
pub mod tcp;
pub mod timeout;
pub mod tls;
pub mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway::Gateway;
use load_balancing::BackendSettings;
use rate_limit::RateLimit;
use route::RouteEntry;
use status::ObjectStatus;
use tls::{Credential, CredentialName};
use world::{EndpointSlice, Labels, Namespace, Service, Workload};

/// `namespace/name` of an object; for a service, its identity in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace; `default` when the object names none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            // What is in no namespace has no slash to show.
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where something was written, for every later message about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The kind as written, e.g. `VirtualService`.
    pub kind: &'static str,
    /// The object.
    pub object: ObjectName,
    /// The file, as given to the compiler.
    pub file: Arc<str>,
    /// 1-based line of the rule or object.
    pub line: u32,
}

/// Something with the place where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated<T> {
    /// Where.
    pub origin: Arc<Origin>,
    /// What.
    pub value: Arc<T>,
}

/// Everything the mesh is told, checked and merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySet {
    /// Namespaces, declared or implied by an object in them.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Services, from core `Service` and Istio `ServiceEntry`.
    pub services: BTreeMap<ObjectName, Service>,
    /// Workloads: what runs beside a proxy, from our `Workload` and Istio's `WorkloadEntry`.
    pub workloads: BTreeMap<ObjectName, Workload>,
    /// Endpoints written by hand or by Kubernetes.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// Gateway API gateways.
    pub gateways: BTreeMap<ObjectName, Gateway>,
    /// Rules for calls inside the mesh to a service; a service without an entry is called plainly. Istio host names
    /// and Gateway API service parents meet here.
    pub mesh_routes: BTreeMap<ObjectName, Vec<MeshRoutes>>,
    /// How a service is called: subsets, balancing, connection settings.
    pub backends: BTreeMap<ObjectName, BackendSettings>,
    /// How clients of one namespace call a service, where that differs: complete, in place of what `backends` says. See
    /// [`PolicySet::backend`].
    pub client_backends: BTreeMap<ObjectName, BTreeMap<Arc<str>, BackendSettings>>,
    /// Limits of requests that arrive at workloads chosen by label, whatever service they are called as.
    pub workload_limits: Vec<WorkloadLimits>,
    /// Certificates with their keys, and roots, that something refers to.
    pub credentials: BTreeMap<CredentialName, Credential>,
    /// What gateways refer to and cannot have, and why, as the finding says it.
    pub unusable: BTreeMap<CredentialName, String>,
    /// What holds for the whole mesh.
    pub mesh: MeshSettings,
    /// What became of each object, in the order of files and lines.
    pub statuses: Vec<ObjectStatus>,
}

impl PolicySet {
    /// How clients of `namespace` call a service; without one, how clients outside every namespace do.
    pub fn backend(&self, service: &ObjectName, namespace: Option<&str>) -> Option<&BackendSettings> {
        let own = namespace.and_then(|namespace| self.client_backends.get(service)?.get(namespace));
        own.or_else(|| self.backends.get(service))
    }

    /// Every way in which a service is called: by everybody, then by clients of the namespaces that call it differently.
    pub fn ways(&self, service: &ObjectName) -> impl Iterator<Item = (Option<&Arc<str>>, Option<&BackendSettings>)> {
        let of_clients = self.client_backends.get(service).into_iter().flatten();
        std::iter::once((None, self.backends.get(service)))
            .chain(of_clients.map(|(namespace, backend)| (Some(namespace), Some(backend))))
    }

    /// The settings of every service, those for clients of one namespace too.
    pub fn all_backends(&self) -> impl Iterator<Item = (&ObjectName, &BackendSettings)> {
        let of_clients = self.client_backends.iter();
        self.backends.iter().chain(of_clients.flat_map(|(name, all)| all.values().map(move |backend| (name, backend))))
    }

    /// The same, to be changed.
    pub fn all_backends_mut(&mut self) -> impl Iterator<Item = (&ObjectName, &mut BackendSettings)> {
        let of_clients = self.client_backends.iter_mut();
        let of_clients = of_clients.flat_map(|(name, all)| all.values_mut().map(move |backend| (name, backend)));
        self.backends.iter_mut().chain(of_clients)
    }
}

/// Limits of requests for workloads (a RateLimit with a `selector`).
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadLimits {
    /// The workloads of this namespace
    pub namespace: Arc<str>,
    /// with all these labels.
    pub labels: Labels,
    /// Asked besides those of the services that the workloads belong to.
    pub limits: Vec<Stated<RateLimit>>,
}

/// What holds for the whole mesh (`MeshDefaults`). Retries, outlier detection and so on are in every service's
/// [`BackendSettings`] already.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshSettings {
    /// Answers made by a proxy say why in `x-mesh-error`.
    pub error_header: bool,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self { error_header: true }
    }
}

/// Rules for calls inside the mesh to one service.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshRoutes {
    /// Only for this port of the service; `None`: every HTTP port.
    pub port: Option<u16>,
    /// Only for clients of this namespace (a Gateway API consumer route); `None`: for all. Consumer rules for a client
    /// replace the producer's.
    pub consumer_namespace: Option<Arc<str>>,
    /// In the order in which they are tried. A request that matches none: with rules from Istio or Gateway API, 404.
    pub rules: Vec<RouteEntry>,
}
