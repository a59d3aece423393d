//! From a typed resource to one that is ready to be sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::set::EncodedResource;
use crate::resource::Resource;
use crate::resource::cluster::Discovery;
use crate::resource::filter::FilterConfig;
use crate::resource::listener::{
    FilterChain, HttpConnectionManager, Listener, ListenerKind, NetworkFilter, RouteSource,
};
use crate::resource::route::{ClusterSpecifier, RouteAction, RouteConfiguration};
use crate::resource::tls::UpstreamTls;

type Names = BTreeSet<Arc<str>>;

impl EncodedResource {
    /// Encodes a resource and notes what it depends on.
    pub fn new(resource: &Resource) -> Arc<Self> {
        Self::with_encoding(resource, resource.version(), resource.encode_any())
    }

    /// As [`Self::new`], of a resource that was encoded before: `any` is its `google.protobuf.Any`.
    pub fn with_encoding(resource: &Resource, version: Arc<str>, any: Bytes) -> Arc<Self> {
        let mut clusters = Names::new();
        let mut routes = Names::new();
        let mut named_only = false;
        let mut secrets = Names::new();
        let mut eds_name = None;
        match resource {
            Resource::Listener(listener) => {
                named_only = matches!(listener.kind, ListenerKind::Api(_));
                listener_names(listener, &mut clusters, &mut routes);
                secrets.extend(listener.secrets().cloned());
            }
            Resource::Route(route) => route_clusters(route, &mut clusters),
            Resource::Cluster(cluster) => {
                secrets.extend(cluster.tls.iter().flat_map(UpstreamTls::secrets).cloned());
                if let Discovery::Eds { service_name } = &cluster.discovery {
                    eds_name = Some(Arc::clone(service_name));
                }
            }
            Resource::Endpoint(_) | Resource::Secret(_) => {}
        }
        Arc::new(Self {
            resource_type: resource.resource_type(),
            name: Arc::clone(resource.name()),
            version,
            any,
            named_only,
            clusters: clusters.into_iter().collect(),
            eds_name,
            routes: routes.into_iter().collect(),
            secrets: secrets.into_iter().collect(),
        })
    }
}

fn listener_names(listener: &Listener, clusters: &mut Names, routes: &mut Names) {
    match &listener.kind {
        ListenerKind::Api(manager) => manager_names(manager, clusters, routes),
        ListenerKind::Socket(socket) => {
            for FilterChain { filter, .. } in socket.filter_chains.iter().chain(&socket.default_filter_chain) {
                match filter {
                    NetworkFilter::Http(manager) => manager_names(manager, clusters, routes),
                    NetworkFilter::Tcp(tcp) => clusters.extend(tcp.clusters.iter().map(|(name, _)| Arc::clone(name))),
                }
            }
        }
    }
}

fn manager_names(manager: &HttpConnectionManager, clusters: &mut Names, routes: &mut Names) {
    match &manager.routes {
        RouteSource::Rds(name) => {
            routes.insert(Arc::clone(name));
        }
        RouteSource::Inline(route) => route_clusters(route, clusters),
    }
    for filter in &manager.http_filters {
        // A service that is asked about requests must be there before the first of them.
        if let FilterConfig::RateLimit(service) = &filter.config {
            clusters.insert(Arc::clone(&service.cluster));
        }
    }
}

/// Every cluster a request or its copy may be sent to. One named by a header is not known before the request.
fn route_clusters(configuration: &RouteConfiguration, clusters: &mut Names) {
    for route in configuration.virtual_hosts.iter().flat_map(|host| &host.routes) {
        let RouteAction::Forward(forward) = &route.action else { continue };
        match &forward.cluster {
            ClusterSpecifier::Cluster(name) => {
                clusters.insert(Arc::clone(name));
            }
            ClusterSpecifier::ClusterHeader(_) => {}
            ClusterSpecifier::Weighted(weighted) => {
                clusters.extend(weighted.clusters.iter().map(|c| Arc::clone(&c.name)));
            }
        }
        clusters.extend(forward.mirrors.iter().map(|mirror| Arc::clone(&mirror.cluster)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::governed;

    #[test]
    fn a_listener_depends_on_the_service_that_it_asks_about_requests() {
        let resource = Resource::Listener(Arc::new(governed::listener()));
        let encoded = EncodedResource::new(&resource);

        assert!(encoded.clusters.iter().any(|name| &**name == "tidegate_rate_limit"), "{:?}", encoded.clusters);
    }
}
