//! Type URLs and resource names: the only place where they are spelt.
//!
//! # Why
//! A resource name is an agreement between two processes. Written as a bare string at two places it is two agreements.
//! Cluster names follow Istio's form `direction|port|subset|host`, because dashboards, `istioctl` and operators' eyes
//! already know it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The kinds of resource that Tidegate exchanges, in the order in which they are applied (make before break:
/// a cluster exists before the route that names it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResourceType {
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
}

impl ResourceType {
    /// All types in order of application.
    pub const ALL: [Self; 5] = [Self::Secret, Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type a URL stands for, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.type_url() == url)
    }

    /// The three-letter service name that operators use.
    pub fn short(self) -> &'static str {
        match self {
            Self::Secret => "SDS",
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
        }
    }

    /// Whether a state-of-the-world response of this type is the complete state, so that omission means deletion
    /// (xDS protocol, "Resource types and deletion": listeners and clusters).
    pub fn is_complete_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Whether a subscription without names means "everything".
    pub fn has_wildcard(self) -> bool {
        self.is_complete_state()
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// The cluster for traffic that leaves a workload towards `port` of service `host`, or of one `subset` of it.
pub fn outbound_cluster(port: u16, subset: Option<&str>, host: &str) -> Arc<str> {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or("")).into()
}

/// The subset in the name of a cluster, if it has the form of [`outbound_cluster`].
pub fn subset(cluster: &str) -> Option<&str> {
    let mut parts = cluster.split('|').skip(2);
    parts.next().filter(|subset| !subset.is_empty() && parts.next().is_some())
}

/// The cluster that hands traffic arriving at `port` to the application beside the proxy.
pub fn inbound_cluster(port: u16) -> Arc<str> {
    format!("inbound|{port}||").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_read_from_the_name_it_was_written_into() {
        assert_eq!(subset(&outbound_cluster(80, Some("v1"), "reviews.shop.svc.cluster.local")), Some("v1"));
        assert_eq!(subset(&outbound_cluster(80, None, "reviews.shop.svc.cluster.local")), None);
        assert_eq!(subset(&inbound_cluster(80)), None);
        assert_eq!(subset("backend"), None);
    }
}
