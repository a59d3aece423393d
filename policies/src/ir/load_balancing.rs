//! How a service is called: versions, balancing and connection settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Origin;
use super::world::Labels;

/// Settings of one service as a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    /// Where they were written.
    pub origin: Origin,
    /// For all of the service.
    pub traffic: TrafficSettings,
    /// Named versions.
    pub subsets: BTreeMap<Arc<str>, Subset>,
}

/// A named set of a service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// Where it was written.
    pub origin: Origin,
    /// Endpoints with all these labels.
    pub labels: Labels,
    /// Replaces the service's settings stanza by stanza.
    pub traffic: TrafficSettings,
}

/// Settings; each stanza is replaced whole by a more specific one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficSettings {
    /// How an endpoint is chosen.
    pub load_balancing: Option<LoadBalancing>,
    /// Connections.
    pub connection: Option<ConnectionSettings>,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancing {
    /// The better of two drawn at random (the default).
    LeastRequest,
    /// At random.
    Random,
    /// In turn.
    RoundRobin,
}

/// Connection settings of a backend. Unset fields have the mesh's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// TCP connect.
    pub connect_timeout: Option<Duration>,
    /// Most connections per client proxy.
    pub max_connections: Option<u32>,
    /// Most requests waiting for a connection.
    pub max_pending_requests: Option<u32>,
    /// Most requests in flight.
    pub max_requests: Option<u32>,
    /// Most retries in flight.
    pub max_retries: Option<u32>,
    /// Requests per connection; zero: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// A pooled connection is closed after this long without use.
    pub idle_timeout: Option<Duration>,
}
