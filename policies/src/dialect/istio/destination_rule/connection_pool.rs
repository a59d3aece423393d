//! `connectionPool` and `retryBudget` of a traffic policy.
//!
//! Limits are kept as written: an explicit zero is zero, where Istio takes it for unset.

use crate::diagnostic::{Code, Report};
use crate::ir::circuit_breaker::{BreakerLimits, RetryBudget};
use crate::ir::load_balancing::ConnectionSettings;
use crate::schema::{Fields, choice, count, decimal_within, duration};
use crate::tree::Node;

/// Istio's budget where the stanza does not say.
const BUDGET_PERCENT_DEFAULT: f64 = 20.0;

/// Retries that are always allowed where the stanza does not say.
const BUDGET_MIN_DEFAULT: u32 = 3;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<(ConnectionSettings, BreakerLimits)> {
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
    let mut limits = BreakerLimits::default();
    if let Some(mut fields) = tcp.and_then(|node| Fields::open(node, "tcp", report)) {
        limits.max_connections = fields.read("maxConnections", report, count);
        settings.connect_timeout = fields.read("connectTimeout", report, duration).map(|timeout| timeout.value);
        fields.unsupported(&["idleTimeout", "maxConnectionDuration", "tcpKeepalive"], "", report);
        fields.finish(report);
    }
    if let Some(fields) = http.and_then(|node| Fields::open(node, "http", report)) {
        http_pool(fields, &mut settings, &mut limits, report);
    }
    Some((settings, limits))
}

fn http_pool(
    mut fields: Fields<'_>,
    settings: &mut ConnectionSettings,
    limits: &mut BreakerLimits,
    report: &mut Report,
) {
    limits.max_pending_requests = fields.read("http1MaxPendingRequests", report, count);
    limits.max_requests = fields.read("http2MaxRequests", report, count);
    let per_connection = fields.entry("maxRequestsPerConnection");
    settings.max_requests_per_connection = per_connection.and_then(|entry| count(&entry.value, report));
    limits.max_retries = fields.read("maxRetries", report, count);
    settings.idle_timeout = fields.read("idleTimeout", report, duration).map(|timeout| timeout.value);
    let upgrade = fields.read("h2UpgradePolicy", report, |node, report| {
        choice(node, &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"], report)
    });
    // Not to upgrade is what happens anyway; a port that is HTTP/2 by name stays so.
    settings.http2 = upgrade.filter(|upgrade| upgrade.value == "UPGRADE").map(|_| true);
    fields.unsupported(&["http2KeepAlive", "maxConcurrentStreams", "useClientProtocol"], "", report);
    fields.finish(report);
    if let (Some(entry), Some(1)) = (per_connection, settings.max_requests_per_connection) {
        report
            .add(Code::KeepAliveOff, entry.key_span, "every request opens a new connection")
            .help("remove `maxRequestsPerConnection`, or raise it, to keep connections");
    }
}

pub(super) fn retry_budget(node: &Node, report: &mut Report) -> Option<RetryBudget> {
    let mut fields = Fields::open(node, "the retry budget", report)?;
    let percent = fields.take("percent");
    let percent = percent.map(|node| decimal_within(node, 0.0, 100.0, report));
    let min = fields.read("minRetryConcurrency", report, count);
    // The proxies' window; a budget here is about what is in flight.
    fields.ignore(&["budgetInterval"]);
    fields.finish(report);
    let percent = match percent {
        Some(percent) => percent?.value,
        None => BUDGET_PERCENT_DEFAULT,
    };
    Some(RetryBudget { percent, min_concurrency: min.unwrap_or(BUDGET_MIN_DEFAULT) })
}
