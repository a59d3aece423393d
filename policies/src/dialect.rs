//! The dialects: each kind's YAML as written, read into a shape with places.
//!
//! # Where a dialect ends
//! What can be said from one object alone is said here: fields, types, ranges, contradictions within a rule, patterns. What
//! needs other objects (does the service exist, which route wins) is left to [`crate::merge`].

use std::sync::Arc;
use std::time::SystemTime;

use crate::diagnostic::{Code, Report};
use crate::head::{Head, Kind};
use crate::ir::world::{EndpointSlice, Service, Workload};
use crate::ir::{ObjectName, Origin, Stated};
use crate::pattern::Patterns;
use crate::source::{SourceMap, Span, Spanned};
use crate::tree::Node;

pub(crate) mod core;
pub(crate) mod gateway_api;
pub(crate) mod istio;
pub(crate) mod secret;
pub(crate) mod tidegate;

/// What readers share.
pub(crate) struct Context<'a> {
    pub(crate) map: &'a SourceMap<'a>,
    pub(crate) report: Report,
    pub(crate) patterns: Patterns,
    /// The time for which the set is compiled, when the caller has one.
    pub(crate) now: Option<SystemTime>,
    /// Every object whose head could be read, in the order of files and lines.
    pub(crate) written: Vec<Written>,
    /// Route entries that may still be made; `None` once that was too few.
    pub(crate) entries_left: Option<usize>,
}

/// Most route entries: one for each match, for each host, service or port that it is for. 10,000 services with 50 each.
///
/// A few kilobytes can name a thousand hosts and a thousand rules; every host gets every rule.
pub(crate) const ROUTE_ENTRIES_MAX: usize = 500_000;

impl Context<'_> {
    /// Takes `entries` from the budget; when it is spent, this is reported once and `false`.
    pub(crate) fn admits_entries(&mut self, entries: usize, span: Span) -> bool {
        let Some(left) = self.entries_left else { return false };
        self.entries_left = left.checked_sub(entries);
        if self.entries_left.is_some() {
            return true;
        }
        self.report
            .add(Code::TooComplex, span, format!("the routes multiply to more than {ROUTE_ENTRIES_MAX}"))
            .say("the limit is met here")
            .help(
                "every host gets every rule, and every namespace of clients every DestinationRule that is for it: name \
                 fewer hosts or namespaces in one object, or write fewer rules",
            );
        false
    }

    /// Does once more what has been done, for clients of one namespace: what is found again is not said again.
    pub(crate) fn again<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let found = std::mem::take(&mut self.report);
        let result = work(self);
        let found_again = std::mem::replace(&mut self.report, found);
        self.report.absorb(found_again);
        result
    }

    /// Where an object, or a part of it at `span`, was written.
    pub(crate) fn origin(&self, head: &Head, span: Span) -> Origin {
        Origin {
            kind: head.kind.as_str(),
            object: head.name.clone(),
            file: self.map.path(span.file),
            line: self.map.line(span),
        }
    }

    /// A part of an object with the place where it was written.
    pub(crate) fn stated<T: Clone>(&self, head: &Head, part: &Spanned<T>) -> Stated<T> {
        Stated { origin: Arc::new(self.origin(head, part.span)), value: Arc::new(part.value.clone()) }
    }
}

/// An object that was written, whether or not it could be read.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) kind: Kind,
    pub(crate) name: ObjectName,
    /// Where the name stands.
    pub(crate) span: Span,
    /// All of it.
    pub(crate) extent: Span,
}

/// An object with its head.
#[derive(Clone, Debug)]
pub(crate) struct Object<T> {
    pub(crate) head: Head,
    pub(crate) spec: T,
}

/// Every object that was read, by kind, in the order of the files.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) namespaces: Vec<Head>,
    pub(crate) services: Vec<Object<ServiceShape>>,
    pub(crate) workloads: Vec<Object<tidegate::WorkloadShape>>,
    pub(crate) endpoint_slices: Vec<Object<EndpointSlice>>,
    pub(crate) virtual_services: Vec<Object<istio::virtual_service::VirtualService>>,
    pub(crate) destination_rules: Vec<Object<istio::destination_rule::DestinationRule>>,
    pub(crate) gateways: Vec<Object<gateway_api::gateway::GatewayShape>>,
    pub(crate) istio_gateways: Vec<Object<istio::gateway::IstioGateway>>,
    pub(crate) listener_sets: Vec<Object<gateway_api::listener_set::ListenerSet>>,
    /// Those of gRPC too: see [`gateway_api::grpc_route`].
    pub(crate) http_routes: Vec<Object<gateway_api::http_route::HttpRoute>>,
    pub(crate) tcp_routes: Vec<Object<gateway_api::tcp_route::TcpRoute>>,
    pub(crate) tls_routes: Vec<Object<gateway_api::tls_route::TlsRoute>>,
    pub(crate) backend_tls_policies: Vec<Object<gateway_api::backend_tls_policy::BackendTlsPolicy>>,
    pub(crate) backend_traffic_policies: Vec<Object<gateway_api::backend_traffic_policy::BackendTrafficPolicy>>,
    pub(crate) reference_grants: Vec<Object<gateway_api::reference_grant::ReferenceGrant>>,
    /// Those that are meant to hold a certificate.
    pub(crate) secrets: Vec<Object<secret::Secret>>,
    /// Those that hold roots.
    pub(crate) config_maps: Vec<Object<secret::Roots>>,
    /// Ours, of every kind.
    pub(crate) policies: Vec<Object<tidegate::Policy>>,
}

impl Objects {
    fn policy(&mut self, spec: Option<tidegate::Policy>, head: Head) {
        self.policies.extend(spec.map(|spec| Object { head, spec }));
    }

    /// The heads of everything that is in a namespace.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        let services = self.services.iter().map(|object| &object.head);
        let workloads = self.workloads.iter().map(|object| &object.head);
        let slices = self.endpoint_slices.iter().map(|object| &object.head);
        let virtual_services = self.virtual_services.iter().map(|object| &object.head);
        let destination_rules = self.destination_rules.iter().map(|object| &object.head);
        let gateways = self.gateways.iter().map(|object| &object.head);
        let istio_gateways = self.istio_gateways.iter().map(|object| &object.head);
        let sets = self.listener_sets.iter().map(|object| &object.head);
        let http_routes = self.http_routes.iter().map(|object| &object.head);
        let tcp_routes = self.tcp_routes.iter().map(|object| &object.head);
        let traffic_policies = self.backend_traffic_policies.iter().map(|object| &object.head);
        let grants = self.reference_grants.iter().map(|object| &object.head);
        let tls_routes = self.tls_routes.iter().map(|object| &object.head);
        let tls_policies = self.backend_tls_policies.iter().map(|object| &object.head);
        let secrets = self.secrets.iter().map(|object| &object.head);
        let config_maps = self.config_maps.iter().map(|object| &object.head);
        let policies = self.policies.iter().map(|object| &object.head);
        let policies = policies.filter(|head| !head.kind.is_cluster_wide());
        services
            .chain(workloads)
            .chain(slices)
            .chain(virtual_services)
            .chain(destination_rules)
            .chain(gateways)
            .chain(istio_gateways)
            .chain(sets)
            .chain(http_routes)
            .chain(tcp_routes)
            .chain(tls_routes)
            .chain(traffic_policies)
            .chain(tls_policies)
            .chain(grants)
            .chain(secrets)
            .chain(config_maps)
            .chain(policies)
    }
}

/// A service with what is not in the IR.
#[derive(Clone, Debug)]
pub(crate) struct ServiceShape {
    pub(crate) service: Service,
    /// Ports whose protocol was neither written nor named, so that an HTTP route may still decide it.
    pub(crate) undeclared: Vec<u16>,
}

/// A workload without anything that is still to be resolved.
pub(crate) type PlainWorkload = Spanned<Workload>;

/// Reads one object.
pub(crate) fn read(head: Head, document: &Node, objects: &mut Objects, cx: &mut Context<'_>) {
    match head.kind {
        Kind::Namespace => {
            core::namespace(document, cx);
            objects.namespaces.push(head);
        }
        Kind::Service => put(&mut objects.services, core::service(&head, document, cx), head),
        Kind::EndpointSlice => put(&mut objects.endpoint_slices, core::endpoint_slice(&head, document, cx), head),
        Kind::Workload => put(&mut objects.workloads, tidegate::workload(&head, document, cx), head),
        Kind::WorkloadEntry => {
            if let Some(spec) = istio::workload_entry::read(&head, document, cx) {
                objects.workloads.push(Object { head, spec: tidegate::WorkloadShape::plain(spec) });
            }
        }
        Kind::ServiceEntry => put(&mut objects.services, istio::service_entry::read(&head, document, cx), head),
        Kind::VirtualService => put(&mut objects.virtual_services, istio::virtual_service::read(document, cx), head),
        Kind::DestinationRule => {
            put(&mut objects.destination_rules, istio::destination_rule::read(&head, document, cx), head)
        }
        Kind::BackendPolicy => objects.policy(tidegate::backend_policy(document, cx), head),
        Kind::CircuitBreaker => objects.policy(tidegate::circuit_breaker(document, cx), head),
        Kind::Fault => objects.policy(tidegate::fault(document, cx), head),
        Kind::MeshDefaults => objects.policy(tidegate::mesh_defaults(&head, document, cx), head),
        Kind::RateLimit => objects.policy(tidegate::rate_limit(&head, document, cx), head),
        Kind::GatewayClass => gateway_api::gateway::class(document, cx),
        Kind::Gateway => put(&mut objects.gateways, gateway_api::gateway::read(document, cx), head),
        Kind::HttpRoute => put(&mut objects.http_routes, gateway_api::http_route::read(document, cx), head),
        Kind::GrpcRoute => put(&mut objects.http_routes, gateway_api::grpc_route::read(document, cx), head),
        Kind::TcpRoute => put(&mut objects.tcp_routes, gateway_api::tcp_route::read(document, cx), head),
        Kind::ListenerSet => put(&mut objects.listener_sets, gateway_api::listener_set::read(document, cx), head),
        Kind::BackendTrafficPolicy => {
            put(&mut objects.backend_traffic_policies, gateway_api::backend_traffic_policy::read(document, cx), head)
        }
        Kind::IstioGateway => put(&mut objects.istio_gateways, istio::gateway::read(document, cx), head),
        Kind::TlsRoute => put(&mut objects.tls_routes, gateway_api::tls_route::read(document, cx), head),
        Kind::BackendTlsPolicy => {
            put(&mut objects.backend_tls_policies, gateway_api::backend_tls_policy::read(document, cx), head);
        }
        Kind::ConfigMap => put(&mut objects.config_maps, secret::config_map(document, cx), head),
        Kind::Secret => put(&mut objects.secrets, secret::read(document, cx), head),
        Kind::ReferenceGrant => {
            put(&mut objects.reference_grants, gateway_api::reference_grant::read(document, cx), head)
        }
    }
}

fn put<T>(objects: &mut Vec<Object<T>>, spec: Option<T>, head: Head) {
    objects.extend(spec.map(|spec| Object { head, spec }));
}

/// Opens a document of the ordinary form (`spec`, perhaps `status`) and returns its `spec`.
pub(crate) fn spec<'n>(
    document: &'n Node,
    what: &'static str,
    cx: &mut Context<'_>,
) -> Option<crate::schema::Fields<'n>> {
    let report = &mut cx.report;
    let mut fields = crate::schema::Fields::open(document, what, report)?;
    fields.ignore(&["apiVersion", "kind", "metadata", "status"]);
    let spec = fields.require("spec", report, |node, _| Some(node));
    fields.finish(report);
    crate::schema::Fields::open(spec?, "spec", report)
}
