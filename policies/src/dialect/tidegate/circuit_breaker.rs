//! CircuitBreaker: limits of what is under way, and ejection of endpoints that fail.
//!
//! An explicit zero is a limit of zero and refuses everything, which is worth saying; for a signal of failure it means "off".
//!
//! ```yaml
//! apiVersion: tidegate.io/v1alpha1
//! kind: CircuitBreaker
//! metadata: {name: reviews, namespace: shop}
//! spec:
//!   targetRefs: [{kind: Service, name: reviews, version: v2}]
//!   limits: {maxConnections: 100, maxPendingRequests: 10, maxRequests: 1000, retryBudget: {percent: 20, minConcurrency: 3}}
//!   perEndpoint: {maxRequests: 50}
//!   outlier: {consecutive5xx: 5, interval: 10s, baseEjection: 30s, maxEjectionPercent: 10, panicThreshold: 0}
//! ```
//! `perEndpoint` belongs to `limits`: both are one stanza. `maxRetries` may stand in place of `retryBudget`.

use std::num::NonZeroU32;

use super::{Policy, Stanzas, target};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::circuit_breaker::{BreakerLimits, FailurePercentage, Outlier, RetryBudget};
use crate::schema::{Fields, count, decimal_within, duration, integer, percent, status, truth};
use crate::source::Spanned;
use crate::tree::{Entry, Node};

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<Policy> {
    let mut fields = spec(document, "a CircuitBreaker", cx)?;
    let report = &mut cx.report;
    let span = fields.span();
    let targets = target::read(&mut fields, target::BACKENDS, report);
    let stanzas = stanzas(&mut fields, report);
    fields.finish(report);
    if stanzas.limits.is_none() && stanzas.outlier.is_none() {
        report
            .add(Code::InvalidRule, span, "a CircuitBreaker must have `limits`, `perEndpoint` or `outlier`")
            .help("add one, e.g. limits: {maxRequests: 100}");
    }
    Some(Policy { targets, stanzas, error_header: None })
}

/// `limits`, `perEndpoint` and `outlier`, also below `circuitBreaker` of MeshDefaults.
pub(super) fn stanzas(fields: &mut Fields<'_>, report: &mut Report) -> Stanzas {
    let limits = fields.entry("limits");
    let per_endpoint = fields.entry("perEndpoint");
    let outlier = fields.entry("outlier");
    let limits = match limits.or(per_endpoint) {
        Some(first) => {
            let mut value = limits.and_then(|entry| self::limits(&entry.value, report)).unwrap_or_default();
            if let Some(mut fields) = per_endpoint.and_then(|entry| Fields::open(&entry.value, "perEndpoint", report)) {
                value.max_requests_per_endpoint = limit(fields.entry("maxRequests"), report);
                fields.finish(report);
            }
            Some(Spanned { value, span: first.key_span })
        }
        None => None,
    };
    let outlier = outlier
        .and_then(|entry| self::outlier(&entry.value, report).map(|value| Spanned { value, span: entry.key_span }));
    Stanzas { limits, outlier, ..Stanzas::default() }
}

fn limits(node: &Node, report: &mut Report) -> Option<BreakerLimits> {
    let mut fields = Fields::open(node, "limits", report)?;
    let max_connections = limit(fields.entry("maxConnections"), report);
    let max_pending_requests = limit(fields.entry("maxPendingRequests"), report);
    let max_requests = limit(fields.entry("maxRequests"), report);
    let retries = fields.entry("maxRetries");
    // No retries is a choice, not an outage.
    let max_retries = retries.and_then(|entry| count(&entry.value, report));
    let retry_budget = fields.read("retryBudget", report, retry_budget);
    fields.finish(report);
    if let (Some(entry), Some(_)) = (retries, retry_budget) {
        report
            .add(Code::RetriesTwice, entry.key_span, "`maxRetries` has no effect beside a `retryBudget`")
            .help("keep one of the two; the budget grows with the traffic");
    }
    Some(BreakerLimits {
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        max_requests_per_endpoint: None,
    })
}

fn limit(entry: Option<&Entry>, report: &mut Report) -> Option<u32> {
    let entry = entry?;
    let value = count(&entry.value, report)?;
    if value == 0 {
        report
            .add(Code::RefusesEverything, entry.value.span, format!("`{}: 0` refuses everything", entry.key))
            .help("an explicit zero is a limit of zero; to have the default, leave it out");
    }
    Some(value)
}

/// `{percent, minConcurrency}`
pub(super) fn retry_budget(node: &Node, report: &mut Report) -> Option<RetryBudget> {
    let mut fields = Fields::open(node, "the retry budget", report)?;
    let percent = fields.read("percent", report, |node, report| decimal_within(node, 0.0, 100.0, report));
    let min_concurrency = fields.read("minConcurrency", report, count);
    fields.finish(report);
    // The mesh's own budget, for what is not said.
    Some(RetryBudget {
        percent: percent.map_or(20.0, |percent| percent.value),
        min_concurrency: min_concurrency.unwrap_or(3),
    })
}

fn outlier(node: &Node, report: &mut Report) -> Option<Outlier> {
    let mut fields = Fields::open(node, "the outlier detection", report)?;
    let outlier = Outlier {
        consecutive_5xx: fields.read("consecutive5xx", report, count),
        consecutive_gateway: fields.read("consecutiveGateway", report, count),
        consecutive_local: fields.read("consecutiveLocal", report, count),
        failure_percentage: fields.read("failurePercentage", report, failure_percentage),
        codes: fields.list_up_to(64, "codes", report, |node, report| status(node, 200, 599, report)),
        interval: fields.read("interval", report, period),
        base_ejection: fields.read("baseEjection", report, period),
        max_ejection: fields.read("maxEjection", report, period),
        max_ejection_percent: fields.read("maxEjectionPercent", report, percent),
        panic_threshold_percent: fields.read("panicThreshold", report, percent),
        always_eject_one: fields.read("alwaysEjectOne", report, truth),
    };
    let span = fields.span();
    fields.finish(report);
    if let (Some(base), Some(max)) = (outlier.base_ejection, outlier.max_ejection)
        && base > max
    {
        report
            .add(Code::InvalidRule, span, "`baseEjection` is longer than `maxEjection`")
            .help("the first ejection lasts `baseEjection`, each further one as much longer, up to `maxEjection`");
    }
    Some(outlier)
}

/// A time that something is repeated after, or lasts.
fn period(node: &Node, report: &mut Report) -> Option<std::time::Duration> {
    const MIN: std::time::Duration = std::time::Duration::from_millis(1);
    let written = duration(node, report)?;
    if written.value >= MIN {
        return Some(written.value);
    }
    report.add(Code::BadValue, written.span, "the time must be at least 1ms").help("leave it out to have the default");
    None
}

fn failure_percentage(node: &Node, report: &mut Report) -> Option<FailurePercentage> {
    let mut fields = Fields::open(node, "the failure percentage", report)?;
    let threshold = fields.require("threshold", report, |node, report| integer(node, 1, 100, report));
    let min_requests = fields.read("minRequests", report, positive);
    let min_hosts = fields.read("minHosts", report, positive);
    fields.finish(report);
    Some(FailurePercentage { threshold: u32::try_from(threshold?.value).ok()?, min_requests, min_hosts })
}

/// At least one.
pub(super) fn positive(node: &Node, report: &mut Report) -> Option<NonZeroU32> {
    let number = integer(node, 1, i64::from(i32::MAX), report)?;
    NonZeroU32::new(u32::try_from(number.value).ok()?)
}
