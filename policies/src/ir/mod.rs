//! The one intermediate representation that every dialect is lowered into.
//!
//! # What is settled here and what is not
//! A [`PolicySet`] is checked, merged and ordered: references are resolved, conflicts decided, rules stand in the order
//! in which they are tried. What remains for the control plane is to say the same in xDS. Nothing here knows about
//! proxies, and nothing after here knows about YAML dialects.

pub mod gateway;
pub mod load_balancing;
pub mod route;
pub mod split;
pub mod timeout;
pub mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway::Gateway;
use load_balancing::BackendSettings;
use route::RouteEntry;
use world::{EndpointSlice, Namespace, Service, Workload};

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
