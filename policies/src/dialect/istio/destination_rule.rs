//! DestinationRule: subsets, balancing and connections of a host.
//!
//! # Inheritance, as in Istio
//! A version's stanza replaces the host's of the same name, whole. The settings of a port replace all of the host's stanzas,
//! also those that they do not mention; that is seldom meant, so it is reported.

use std::sync::Arc;

use super::{Audience, Host, audience};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::head::Head;
use crate::ir::circuit_breaker::{BreakerLimits, Outlier, RetryBudget};
use crate::ir::load_balancing::{ConnectionSettings, LoadBalancing};
use crate::ir::locality::LocalitySettings;
use crate::ir::world::Labels;
use crate::schema::{Fields, enumerate, labels, list, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Entry, Node};

mod connection_pool;
mod load_balancer;
mod locality;
mod outlier;
pub(crate) mod tls;

/// A DestinationRule, its host not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct DestinationRule {
    pub(crate) host: Host,
    pub(crate) traffic: Option<Spanned<TrafficShape>>,
    pub(crate) subsets: Vec<SubsetShape>,
    pub(crate) audience: Audience,
}

/// A subset as written.
#[derive(Clone, Debug)]
pub(crate) struct SubsetShape {
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) labels: Labels,
    pub(crate) traffic: TrafficShape,
}

/// A traffic policy as written: each stanza with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrafficShape {
    pub(crate) load_balancing: Option<Spanned<LoadBalancing>>,
    pub(crate) locality: Option<Spanned<LocalitySettings>>,
    pub(crate) connection: Option<Spanned<ConnectionSettings>>,
    pub(crate) limits: Option<Spanned<BreakerLimits>>,
    pub(crate) outlier: Option<Spanned<Outlier>>,
    pub(crate) tls: Option<tls::TlsShape>,
    pub(crate) retry_budget: Option<Spanned<RetryBudget>>,
    pub(crate) ports: Vec<PortShape>,
}

/// What holds for one port, in place of everything else.
#[derive(Clone, Debug)]
pub(crate) struct PortShape {
    pub(crate) port: Spanned<u16>,
    pub(crate) traffic: TrafficShape,
}

pub(crate) fn read(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<DestinationRule> {
    let mut fields = spec(document, "a DestinationRule", cx)?;
    let report = &mut cx.report;
    let host = fields.require("host", report, word);
    let traffic = fields.entry("trafficPolicy");
    let traffic = traffic
        .and_then(|entry| traffic_policy(&entry.value, report).map(|value| Spanned { value, span: entry.key_span }));
    let subsets = fields.list("subsets", report, subset);
    let audience = audience(&head.name.namespace, &mut fields, report);
    fields.unsupported(&["workloadSelector"], "", report);
    fields.finish(report);
    let host = host?;
    if host.value.contains('*') {
        not_supported(
            host.span,
            "a wildcard as host of a DestinationRule",
            "write one DestinationRule for each service",
            report,
        );
        return None;
    }
    let mut kept: Vec<SubsetShape> = Vec::new();
    for subset in subsets {
        match kept.iter().find(|other| other.name.value == subset.name.value) {
            Some(first) => duplicate_subset(&subset.name, first.name.span, report),
            None => kept.push(subset),
        }
    }
    Some(DestinationRule { host, traffic, subsets: kept, audience })
}

pub(crate) fn duplicate_subset(name: &Spanned<Arc<str>>, first: Span, report: &mut Report) {
    report
        .add(Code::DuplicateSubset, name.span, format!("duplicate subset names: {}", name.value))
        .say("again here")
        .also(first, "first here")
        .help("remove one, or give it another name");
}

fn subset(node: &Node, report: &mut Report) -> Option<SubsetShape> {
    let mut fields = Fields::open(node, "the subset", report)?;
    let span = fields.span();
    let name = fields.read("name", report, text).filter(|name| !name.value.is_empty());
    let labels = fields.read("labels", report, labels).unwrap_or_default();
    let traffic = fields.read("trafficPolicy", report, traffic_policy).unwrap_or_default();
    fields.finish(report);
    let Some(name) = name else {
        report.add(Code::MissingField, span, "subset name cannot be empty").help("add `name:`, e.g. the version");
        return None;
    };
    // The name becomes a part of a cluster's name, whose parts are parted by `|`.
    if name.value.chars().any(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        report
            .add(
                Code::BadName,
                name.span,
                format!("\"{}\" cannot be the name of a subset", crate::tree::shortened(&name.value)),
            )
            .help("use letters, digits, `-`, `_` and `.`");
        return None;
    }
    Some(SubsetShape { name, labels, traffic })
}

fn traffic_policy(node: &Node, report: &mut Report) -> Option<TrafficShape> {
    let mut fields = Fields::open(node, "the traffic policy", report)?;
    let span = fields.span();
    let mut traffic = stanzas(&mut fields, report);
    let budget = fields.entry("retryBudget");
    traffic.retry_budget = budget.and_then(|entry| at(entry, connection_pool::retry_budget(&entry.value, report)));
    let ports_at = fields.entry("portLevelSettings");
    let ports = ports_at.map_or_else(Vec::new, |entry| list(&entry.value, "portLevelSettings", report, port_settings));
    let tunnel = fields.entry("tunnel");
    let proxy = fields.entry("proxyProtocol");
    let empty = matches!(&node.content, Content::Map(entries) if entries.is_empty());
    fields.finish(report);
    if empty {
        report
            .add(Code::InvalidRule, span, "traffic policy must have at least one field")
            .help("remove it, or say what it sets");
    }
    not_tunnelled(tunnel, proxy, report);
    for settings in ports {
        match traffic.ports.iter().find(|known| known.port.value == settings.port.value) {
            Some(first) => {
                report
                    .add(Code::InvalidRule, settings.port.span, "the settings of this port are written twice")
                    .also(first.port.span, "first here")
                    .help("keep one");
            }
            None => traffic.ports.push(settings),
        }
    }
    warn_of_dropped(&traffic, report);
    Some(traffic)
}

/// What a traffic policy and the settings of a port have in common.
fn stanzas(fields: &mut Fields<'_>, report: &mut Report) -> TrafficShape {
    let balancer_at = fields.entry("loadBalancer");
    let pool_at = fields.entry("connectionPool");
    let outlier_at = fields.entry("outlierDetection");
    let tls = fields.entry("tls").and_then(|entry| tls::read(entry, report));
    let balancer = balancer_at.and_then(|entry| load_balancer::read(&entry.value, report)).unwrap_or_default();
    let load_balancing = balancer_at.and_then(|entry| at(entry, balancer.choice));
    let (connection, limits) = pool_at
        .and_then(|entry| {
            let (connection, limits) = connection_pool::read(&entry.value, report)?;
            let span = entry.key_span;
            Some((Spanned { value: connection, span }, Spanned { value: limits, span }))
        })
        .unzip();
    let outlier = outlier_at.and_then(|entry| at(entry, outlier::read(&entry.value, report)));
    TrafficShape {
        load_balancing,
        locality: balancer.locality,
        connection,
        limits,
        outlier,
        tls,
        retry_budget: None,
        ports: Vec::new(),
    }
}

/// A stanza with the place of its name.
fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    Some(Spanned { value: value?, span: entry.key_span })
}

fn not_tunnelled(tunnel: Option<&Entry>, proxy: Option<&Entry>, report: &mut Report) {
    if let (Some(tunnel), Some(proxy)) = (tunnel, proxy) {
        report
            .add(Code::InvalidRule, proxy.key_span, "tunnel and proxyProtocol must not be set together")
            .also(tunnel.key_span, "the tunnel")
            .help("remove both; they would not be enforced");
        return;
    }
    for entry in [tunnel, proxy].into_iter().flatten() {
        not_supported(entry.key_span, &format!("`{}` of the traffic policy", entry.key), "", report);
    }
}

fn port_settings(node: &Node, report: &mut Report) -> Option<PortShape> {
    let mut fields = Fields::open(node, "the entry of the port", report)?;
    let number = fields.require("port", report, |node, report| {
        let mut fields = Fields::open(node, "the port", report)?;
        let number = fields.require("number", report, port);
        fields.finish(report);
        number
    });
    let traffic = stanzas(&mut fields, report);
    fields.finish(report);
    Some(PortShape { port: number?, traffic })
}

/// Settings of a port replace all the others, also those that they do not mention.
fn warn_of_dropped(traffic: &TrafficShape, report: &mut Report) {
    let named = |traffic: &TrafficShape| {
        [
            ("loadBalancer", traffic.load_balancing.as_ref().map(|stanza| stanza.span)),
            ("connectionPool", traffic.connection.as_ref().map(|stanza| stanza.span)),
            ("outlierDetection", traffic.outlier.as_ref().map(|stanza| stanza.span)),
            ("tls", traffic.tls.as_ref().map(|stanza| stanza.span)),
        ]
    };
    for port in &traffic.ports {
        let dropped: Vec<(&str, Span)> = named(traffic)
            .into_iter()
            .zip(named(&port.traffic))
            .filter(|(_, (_, own))| own.is_none())
            .filter_map(|((name, whole), _)| whole.map(|span| (name, span)))
            .collect();
        if dropped.is_empty() {
            continue;
        }
        let names: Vec<&str> = dropped.iter().map(|(name, _)| *name).collect();
        let finding = report.add(
            Code::NotInherited,
            port.port.span,
            format!("port {} does not inherit {}", port.port.value, enumerate(&names)),
        );
        for (_, span) in &dropped {
            finding.also(*span, "does not hold for that port");
        }
        finding.help("write it again below the port, if it should hold there too");
    }
}
