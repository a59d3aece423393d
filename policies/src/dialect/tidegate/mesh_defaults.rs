//! MeshDefaults: what holds for every service that says nothing itself.
//!
//! ```yaml
//! apiVersion: tidegate.io/v1alpha1
//! kind: MeshDefaults            # one object in the mesh; it is in no namespace
//! metadata: {name: mesh}
//! spec:
//!   retry: {attempts: 2, budget: {percent: 20, minConcurrency: 3}}
//!   timeouts: {connect: 1s, request: 15s}
//!   circuitBreaker:             # the spec of a CircuitBreaker without targets
//!     limits: {maxRequests: 10000}
//!     outlier: {consecutive5xx: 5, baseEjection: 30s}
//!   loadBalancer: {policy: LeastRequest}
//!   locality: {enabled: true}
//!   healthCheck: {tcp: {}}
//!   errorHeader: true           # answers made by a proxy say why, in x-mesh-error
//! ```
//!
//! Sessions and single limits are not for a whole mesh, so `sessionPersistence`, `connection`, faults and rate limits are no
//! fields here.

use super::backend_policy::{at, shared};
use super::{Policy, Stanzas, Target, TargetKind, circuit_breaker};
use crate::dialect::{Context, spec};
use crate::head::Head;
use crate::schema::{Fields, truth};
use crate::tree::Node;

pub(crate) fn read(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<Policy> {
    let mut fields = spec(document, "the MeshDefaults", cx)?;
    let report = &mut cx.report;
    let breaker = fields.entry("circuitBreaker");
    let header = fields.entry("errorHeader");
    let stanzas = shared(&mut fields, None, report);
    fields.finish(report);
    let breaker = match breaker.and_then(|entry| Fields::open(&entry.value, "the circuit breaker", report)) {
        Some(mut fields) => {
            let stanzas = circuit_breaker::stanzas(&mut fields, report);
            fields.finish(report);
            stanzas
        }
        None => Stanzas::default(),
    };
    let error_header = header.and_then(|entry| at(entry, truth(&entry.value, report)));
    let stanzas = Stanzas { limits: breaker.limits, outlier: breaker.outlier, ..stanzas };
    let target = Target { span: head.span, namespace: None, kind: TargetKind::Mesh };
    Some(Policy { targets: vec![target], stanzas, error_header })
}
