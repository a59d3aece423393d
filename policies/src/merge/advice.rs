//! What works as written and may not be what was meant, seen only when rules and settings are complete.
//!
//! # Whose stanzas are looked at
//! One of our kinds is compared within itself where it is read, with better places than here. This is for stanzas of other
//! dialects, and for those that meet only now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::attach::workloads::Index;
use crate::diagnostic::{Code, Finding};
use crate::dialect::Context;
use crate::ir::health_check::Probe;
use crate::ir::load_balancing::TrafficSettings;
use crate::ir::route::{RequestMatch, RouteEntry, RouteRule, StringMatch};
use crate::ir::world::Protocol;
use crate::ir::{Origin, PolicySet};

/// Methods whose requests change something (RFC 9110 §9.2.1 calls the others safe).
const UNSAFE_METHODS: &[&str] = &["POST", "PUT", "PATCH", "DELETE"];

pub(super) fn give(set: &PolicySet, cx: &mut Context<'_>) {
    let mut advice = Advice { given: BTreeSet::new(), cx };
    let mesh = set.mesh_routes.values().flatten().flat_map(|routes| &routes.rules);
    let hosts = set.gateways.values().flat_map(|gateway| &gateway.listeners).flat_map(|listener| &listener.hosts);
    for RouteEntry { matches, rule } in mesh.chain(hosts.flat_map(|host| &host.rules)) {
        advice.on_mirrors(matches, rule);
        advice.on_time(rule);
    }
    advice.on_single_endpoints(set);
    advice.on_grpc_checks(set);
}

/// File and line of a stanza, the stanza, and the ports that it is wrong for.
type PortsByStanza = BTreeMap<(Arc<str>, u32), (Arc<Origin>, BTreeSet<String>)>;

struct Advice<'c, 'm> {
    /// A rule may be in force at several places.
    given: BTreeSet<(Code, Arc<str>, u32)>,
    cx: &'c mut Context<'m>,
}

impl Advice<'_, '_> {
    /// A finding where the stanza was written, the first time.
    fn once(&mut self, code: Code, origin: &Origin, message: String) -> Option<&mut Finding> {
        if !self.given.insert((code, Arc::clone(&origin.file), origin.line)) {
            return None;
        }
        let span = self.cx.map.line_span(&origin.file, origin.line)?;
        Some(self.cx.report.add(code, span, message))
    }

    /// Copies of requests that are known to change something. A rule for any method is not reported: most of what it copies
    /// is usually safe, and who mirrors everything has thought about it.
    fn on_mirrors(&mut self, matches: &RequestMatch, rule: &RouteRule) {
        let Some(StringMatch::Exact(method)) = &matches.method else { return };
        if !UNSAFE_METHODS.contains(&&**method) {
            return;
        }
        for mirror in &rule.policies.mirrors {
            let message = format!("every {method} of this rule is carried out twice");
            if let Some(finding) = self.once(Code::MirrorUnsafe, &mirror.origin, message) {
                finding
                    .say("the copy changes something too")
                    .help("mirror only GET and HEAD, or to a version with a store of its own");
            }
        }
    }

    /// Attempts that never get their time.
    fn on_time(&mut self, rule: &RouteRule) {
        let (Some(retry), Some(request)) = (&rule.policies.retry, rule.timeouts.request) else { return };
        let Some(per_try) = retry.value.per_try.or(rule.timeouts.backend_request) else { return };
        let within_one = rule.policies.timeouts_from.as_ref().is_some_and(|from| from.object == retry.origin.object);
        if retry.value.attempts == 0 || within_one {
            return;
        }
        let attempts = retry.value.attempts.saturating_add(1);
        if per_try >= request {
            let message = format!("each attempt may take {per_try:?}, the whole request {request:?}");
            if let Some(finding) = self.once(Code::PerTryWithoutEffect, &retry.origin, message) {
                finding.help("an attempt must be shorter than the request for a second one to have time");
            }
        } else if per_try.saturating_mul(attempts) > request {
            let message = cut_short(attempts, per_try, request);
            if let Some(finding) = self.once(Code::RetriesCutShort, &retry.origin, message) {
                finding.help("lengthen the timeout, or shorten that of each attempt; the last attempts are cut short");
            }
        }
    }

    /// A DestinationRule that wants to eject the only endpoint there is.
    fn on_single_endpoints(&mut self, set: &PolicySet) {
        let rules = |kind: &str| kind == "DestinationRule";
        if !set.all_backends().any(|(_, backend)| rules(backend.origin.kind)) {
            return;
        }
        let index = Index::new(set);
        for (name, backend) in set.all_backends() {
            let (Some(outlier), Some(service)) = (&backend.traffic.outlier, set.services.get(name)) else { continue };
            if rules(outlier.origin.kind) && index.facts(service, None).endpoints == Some(1) {
                let message = format!("service {name} has a single endpoint");
                if let Some(finding) = self.once(Code::SingleEndpoint, &outlier.origin, message) {
                    finding.say("it is never ejected").help("add endpoints, or remove the stanza");
                }
            }
        }
    }
}

impl Advice<'_, '_> {
    /// Checks by gRPC of ports that are called with HTTP/1.1. Envoy refuses such a cluster as a whole, so that what is meant
    /// to find the endpoints that are unwell takes away the service.
    fn on_grpc_checks(&mut self, set: &PolicySet) {
        // Defaults of a mesh may be for many services: one finding for a stanza, with the first and how many there are.
        let mut wrong = PortsByStanza::new();
        for (name, backend) in set.all_backends() {
            let Some(service) = set.services.get(name) else { continue };
            let versions = std::iter::once(None).chain(backend.subsets.keys().map(|version| Some(&**version)));
            for (version, port) in versions.flat_map(|v| service.ports.iter().map(move |port| (v, port))) {
                let TrafficSettings { health_check, connection, .. } = backend.effective(version, port.port);
                let Some(check) = health_check.filter(|check| matches!(check.value.probe, Probe::Grpc { .. })) else {
                    continue;
                };
                let upgraded = connection.is_some_and(|connection| connection.value.http2 == Some(true));
                if port.protocol != Protocol::Http2 && !upgraded {
                    let place = (Arc::clone(&check.origin.file), check.origin.line);
                    let (_, ports) = wrong.entry(place).or_insert_with(|| (check.origin, BTreeSet::new()));
                    ports.insert(format!("port {} of service {name}", port.port));
                }
            }
        }
        for (origin, ports) in wrong.into_values() {
            let first = ports.first().map_or("", |port| port);
            let others = match ports.len() {
                0 | 1 => String::new(),
                2 => " and 1 more port".to_owned(),
                n => format!(" and {} more ports", n - 1),
            };
            let message = format!("a gRPC health check needs HTTP/2, which is not spoken on {first}{others}");
            if let Some(finding) = self.once(Code::GrpcCheckNeedsHttp2, &origin, message) {
                finding.say("Envoy refuses the clusters of such ports").help(
                    "begin the port's name with `grpc` or `http2` if that is spoken there, or check by `http` or `tcp`",
                );
            }
        }
    }
}

fn cut_short(attempts: u32, per_try: Duration, request: Duration) -> String {
    format!("{attempts} attempts of {per_try:?} do not fit into the request's {request:?}")
}
