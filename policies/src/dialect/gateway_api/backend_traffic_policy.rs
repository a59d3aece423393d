//! XBackendTrafficPolicy: a budget for retries, and sessions, of a service.

use std::sync::Arc;
use std::time::Duration;

use super::http_route::session;
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::circuit_breaker::RetryBudget;
use crate::ir::session::SessionPersistence;
use crate::schema::{Fields, duration, integer, list_up_to, not_supported, text, word};
use crate::source::Spanned;
use crate::tree::{Entry, Node, shortened};

/// A policy, its services not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct BackendTrafficPolicy {
    pub(crate) targets: Vec<Spanned<Arc<str>>>,
    pub(crate) budget: Option<Spanned<RetryBudget>>,
    pub(crate) session: Option<Spanned<SessionPersistence>>,
}

/// The share of requests that may be retries, when the policy does not say.
const PERCENT_DEFAULT: i64 = 20;

/// Retries in a second that are always allowed, when the policy does not say.
const RATE_DEFAULT: u32 = 10;

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<BackendTrafficPolicy> {
    let mut fields = spec(document, "an XBackendTrafficPolicy", cx)?;
    let report = &mut cx.report;
    let targets =
        fields.require("targetRefs", report, |node, report| Some(list_up_to(16, node, "targetRefs", report, target)));
    let budget = fields.entry("retryConstraint").and_then(|entry| at(entry, constraint(&entry.value, report)));
    let session = fields.entry("sessionPersistence").and_then(|entry| at(entry, session(&entry.value, report)));
    fields.finish(report);
    Some(BackendTrafficPolicy { targets: targets?, budget, session })
}

/// A stanza with the place of its name.
fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    Some(Spanned { value: value?, span: entry.key_span })
}

fn target(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let mut fields = Fields::open(node, "the target", report)?;
    let group = fields.require("group", report, text);
    let kind = fields.require("kind", report, word);
    let name = fields.require("name", report, word);
    fields.finish(report);
    let (group, kind, name) = (group?, kind?, name?);
    if !group.value.is_empty() || &*kind.value != "Service" {
        let what = format!("a target of kind `{}` in group \"{}\"", shortened(&kind.value), shortened(&group.value));
        not_supported(kind.span, &what, "write group: \"\" and kind: Service", report);
        return None;
    }
    Some(name)
}

fn constraint(node: &Node, report: &mut Report) -> Option<RetryBudget> {
    let mut fields = Fields::open(node, "the retry constraint", report)?;
    let budget_at = fields.take("budget");
    let rate_at = fields.take("minRetryRate");
    fields.finish(report);
    let percent = budget_at.map_or(Some(PERCENT_DEFAULT), |node| budget(node, report));
    let rate = rate_at.map_or(Some(RATE_DEFAULT), |node| rate(node, report));
    Some(RetryBudget { percent: percent? as f64, min_concurrency: rate? })
}

fn budget(node: &Node, report: &mut Report) -> Option<i64> {
    let mut fields = Fields::open(node, "the budget", report)?;
    let percent = fields.take("percent").map(|node| integer(node, 0, 100, report));
    let interval = fields.read("interval", report, interval);
    fields.finish(report);
    if let Some(interval) = interval {
        report
            .add(
                Code::FieldWithoutEffect,
                interval.span,
                "the budget is a share of the requests in flight, so its `interval` has no effect",
            )
            .help("remove it");
    }
    match percent {
        None => Some(PERCENT_DEFAULT),
        Some(percent) => Some(percent?.value),
    }
}

/// So many in each interval, as so many at once: a retry in flight lasts a second at most when all goes well.
fn rate(node: &Node, report: &mut Report) -> Option<u32> {
    let mut fields = Fields::open(node, "the least rate", report)?;
    let count = fields.take("count").map(|node| integer(node, 1, 1_000_000, report));
    let interval = fields.take("interval").map(|node| interval(node, report));
    fields.finish(report);
    let count = match count {
        None => RATE_DEFAULT,
        Some(count) => u32::try_from(count?.value).ok()?,
    };
    let seconds = match interval {
        None => 1,
        Some(interval) => u32::try_from(interval?.value.as_secs()).ok()?.max(1),
    };
    Some(count.div_ceil(seconds))
}

fn interval(node: &Node, report: &mut Report) -> Option<Spanned<Duration>> {
    let interval = duration(node, report)?;
    if interval.value < Duration::from_secs(1) || interval.value > Duration::from_secs(3600) {
        report
            .add(Code::BadValue, interval.span, "interval must be in the range of 1 second to 1 hour")
            .help("10s is usual");
        return None;
    }
    Some(interval)
}
