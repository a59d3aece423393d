//! Endpoint assignments: the addresses behind a cluster.

pub(in crate::resource) mod decode;
pub(in crate::resource) mod encode;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Serialize;

use super::matcher::Fraction;

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterLoadAssignment {
    /// The EDS service name it answers.
    pub cluster_name: Arc<str>,
    /// Endpoints by locality.
    pub localities: Vec<LocalityEndpoints>,
    /// A priority counts as whole while this many hundredths of its healthy share reach 100; 140 when absent.
    pub overprovisioning_percent: NonZeroU32,
    /// Shares of requests that are refused (`drop_overloads`), by reason.
    pub drop_overloads: Vec<(Arc<str>, Fraction)>,
}

impl ClusterLoadAssignment {
    /// Without endpoints.
    pub fn empty(cluster_name: Arc<str>) -> Self {
        Self {
            cluster_name,
            localities: Vec::new(),
            overprovisioning_percent: OVERPROVISIONING_PERCENT_DEFAULT,
            drop_overloads: Vec::new(),
        }
    }
}

/// Envoy's default.
pub const OVERPROVISIONING_PERCENT_DEFAULT: NonZeroU32 = NonZeroU32::new(140).expect("140 is not zero");

/// `envoy.config.endpoint.v3.LocalityLbEndpoints`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalityEndpoints {
    /// Where these endpoints are.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Share of this locality where localities are weighted.
    pub weight: Option<NonZeroU32>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// `envoy.config.core.v3.Locality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Locality {
    /// E.g. a cloud's region.
    pub region: Arc<str>,
    /// Within the region.
    pub zone: Arc<str>,
    /// Within the zone.
    pub sub_zone: Arc<str>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Relative weight, 1 when absent.
    pub weight: NonZeroU32,
    /// What the control plane says of it.
    pub health: Health,
    /// Its host name, if it has one (for `auto_host_rewrite`).
    pub hostname: Option<Arc<str>>,
    /// The workload it belongs to, in Istio's form `name;namespace;canonical-name;revision;cluster`, carried in
    /// `metadata.filter_metadata["istio"].workload`.
    pub workload: Option<Arc<str>>,
}

/// `envoy.config.core.v3.HealthStatus`, folded to what a balancer asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// May be chosen (`UNKNOWN` and `HEALTHY` on the wire).
    #[default]
    Healthy,
    /// Chosen only when healthy ones do not suffice.
    Degraded,
    /// Finishes what it has, gets nothing new.
    Draining,
    /// Not chosen (`UNHEALTHY` and `TIMEOUT` on the wire).
    Unhealthy,
}
