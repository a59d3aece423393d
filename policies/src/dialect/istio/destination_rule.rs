//! DestinationRule: subsets, balancing and connections of a host.
//!
//! Limits are kept as written: an explicit zero is zero, where Istio takes it for unset.

use std::sync::Arc;

use super::{Host, export_to};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::load_balancing::{ConnectionSettings, LoadBalancing, TrafficSettings};
use crate::ir::world::Labels;
use crate::schema::{Fields, choice, count, duration, labels, not_supported, text, word};
use crate::source::{Span, Spanned};
use crate::tree::Node;

/// A DestinationRule, its host not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct DestinationRule {
    pub(crate) host: Host,
    pub(crate) traffic: Option<Spanned<TrafficSettings>>,
    pub(crate) subsets: Vec<SubsetShape>,
}

/// A subset as written.
#[derive(Clone, Debug)]
pub(crate) struct SubsetShape {
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) labels: Labels,
    pub(crate) traffic: TrafficSettings,
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<DestinationRule> {
    let mut fields = spec(document, "a DestinationRule", cx)?;
    let report = &mut cx.report;
    let host = fields.require("host", report, word);
    let traffic = fields.entry("trafficPolicy");
    let traffic = traffic
        .and_then(|entry| traffic_policy(&entry.value, report).map(|value| Spanned { value, span: entry.key_span }));
    let subsets = fields.list("subsets", report, subset);
    export_to(&mut fields, report);
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
    Some(DestinationRule { host, traffic, subsets: kept })
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

fn traffic_policy(node: &Node, report: &mut Report) -> Option<TrafficSettings> {
    let mut fields = Fields::open(node, "the traffic policy", report)?;
    let span = fields.span();
    let balancer = fields.entry("loadBalancer");
    let pool = fields.entry("connectionPool");
    let tls = fields.entry("tls");
    fields.unsupported(
        &["outlierDetection", "portLevelSettings", "proxyProtocol", "retryBudget", "tunnel"],
        "",
        report,
    );
    let empty = matches!(&node.content, crate::tree::Content::Map(entries) if entries.is_empty());
    fields.finish(report);
    if empty {
        report
            .add(Code::InvalidRule, span, "traffic policy must have at least one field")
            .help("remove it, or say what it sets");
    }
    if let Some(tls) = tls {
        self::tls(&tls.value, report);
    }
    Some(TrafficSettings {
        load_balancing: balancer.and_then(|entry| load_balancer(&entry.value, report)),
        connection: pool.and_then(|entry| connection_pool(&entry.value, report)),
    })
}

fn tls(node: &Node, report: &mut Report) {
    let Some(mut fields) = Fields::open(node, "tls", report) else { return };
    let mode = fields
        .read("mode", report, |node, report| choice(node, &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"], report));
    fields.ignore(&[
        "caCertificates",
        "caCrl",
        "clientCertificate",
        "credentialName",
        "insecureSkipVerify",
        "privateKey",
        "sni",
        "subjectAltNames",
    ]);
    fields.finish(report);
    if mode.is_none_or(|mode| mode.value != "DISABLE") {
        let span = mode.map_or(node.span, |mode| mode.span);
        not_supported(span, "TLS to a backend", "remove `tls`, or write mode: DISABLE", report);
    }
}

fn load_balancer(node: &Node, report: &mut Report) -> Option<LoadBalancing> {
    let mut fields = Fields::open(node, "the load balancer", report)?;
    let simple = fields.read("simple", report, |node, report| {
        choice(node, &["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"], report)
    });
    fields.unsupported(
        &["consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs", "zoneAwareLbSetting"],
        "",
        report,
    );
    fields.finish(report);
    let simple = simple?;
    match simple.value {
        "RANDOM" => Some(LoadBalancing::Random),
        "ROUND_ROBIN" => Some(LoadBalancing::RoundRobin),
        "PASSTHROUGH" => {
            not_supported(
                simple.span,
                "load balancing `PASSTHROUGH`",
                "use LEAST_REQUEST, ROUND_ROBIN or RANDOM",
                report,
            );
            None
        }
        _ => Some(LoadBalancing::LeastRequest),
    }
}

fn connection_pool(node: &Node, report: &mut Report) -> Option<ConnectionSettings> {
    let mut fields = Fields::open(node, "the connection pool", report)?;
    let span = fields.span();
    let tcp = fields.take("tcp");
    let http = fields.take("http");
    fields.finish(report);
    if tcp.is_none() && http.is_none() {
        report
            .add(Code::InvalidRule, span, "connection pool must have at least one field")
            .help("add `tcp` or `http`, or remove it");
    }
    let mut settings = ConnectionSettings::default();
    if let Some(mut fields) = tcp.and_then(|node| Fields::open(node, "tcp", report)) {
        settings.max_connections = fields.read("maxConnections", report, count);
        settings.connect_timeout = fields.read("connectTimeout", report, duration).map(|timeout| timeout.value);
        fields.unsupported(&["idleTimeout", "maxConnectionDuration", "tcpKeepalive"], "", report);
        fields.finish(report);
    }
    if let Some(fields) = http.and_then(|node| Fields::open(node, "http", report)) {
        http_pool(fields, &mut settings, report);
    }
    Some(settings)
}

fn http_pool(mut fields: Fields<'_>, settings: &mut ConnectionSettings, report: &mut Report) {
    settings.max_pending_requests = fields.read("http1MaxPendingRequests", report, count);
    settings.max_requests = fields.read("http2MaxRequests", report, count);
    let per_connection = fields.entry("maxRequestsPerConnection");
    settings.max_requests_per_connection = per_connection.and_then(|entry| count(&entry.value, report));
    settings.max_retries = fields.read("maxRetries", report, count);
    settings.idle_timeout = fields.read("idleTimeout", report, duration).map(|timeout| timeout.value);
    let upgrade = fields.read("h2UpgradePolicy", report, |node, report| {
        choice(node, &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"], report)
    });
    if let Some(upgrade) = upgrade.filter(|upgrade| upgrade.value == "UPGRADE") {
        not_supported(
            upgrade.span,
            "h2UpgradePolicy `UPGRADE`",
            "name the service's port `http2-...` to speak HTTP/2 to it",
            report,
        );
    }
    fields.unsupported(&["http2KeepAlive", "maxConcurrentStreams", "useClientProtocol"], "", report);
    fields.finish(report);
    if let (Some(entry), Some(1)) = (per_connection, settings.max_requests_per_connection) {
        report
            .add(Code::KeepAliveOff, entry.key_span, "every request opens a new connection")
            .help("remove `maxRequestsPerConnection`, or raise it, to keep connections");
    }
}
