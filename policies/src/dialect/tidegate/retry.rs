//! `retry`: which failures are tried again, and how much of that is too much.
//!
//! # Why POST has to be asked for
//! A request that was sent may have been carried out. Without `methods` only those are tried again that may run twice; a POST
//! is when somebody writes so, and that is worth a warning.

use std::sync::Arc;
use std::time::Duration;

use super::circuit_breaker::retry_budget;
use crate::diagnostic::{Code, Report};
use crate::dialect::gateway_api::http_route::condition::METHODS;
use crate::ir::circuit_breaker::RetryBudget;
use crate::ir::retry::Retry;
use crate::schema::{Fields, choice, duration, integer, status};
use crate::source::Spanned;
use crate::tree::{Content, Entry, Node};

/// Most further attempts. Twenty attempts at a server that is down are an attack on it.
const ATTEMPTS_MAX: i64 = 20;

/// Further attempts when it is not said how many.
const ATTEMPTS_DEFAULT: u32 = 2;

/// Conditions, in the spelling of xDS.
const CONDITIONS: &[&str] = &[
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-status-codes",
    "unavailable",
];

/// What is tried again when nothing is said: failures of the connection, never an answer of the application.
const CONDITIONS_DEFAULT: &[&str] = &["connect-failure", "refused-stream", "reset"];

/// A stanza and the budget in it.
pub(super) type RetryStanza = (Spanned<Retry>, Option<Spanned<RetryBudget>>);

pub(super) fn read(entry: &Entry, report: &mut Report) -> Option<RetryStanza> {
    let mut fields = Fields::open(&entry.value, "the retry", report)?;
    let attempts = fields.read("attempts", report, |node, report| integer(node, 0, ATTEMPTS_MAX, report));
    let on = fields.take("on");
    let on = on.map(|node| {
        crate::schema::list_up_to(CONDITIONS.len(), node, "on", report, |node, report| choice(node, CONDITIONS, report))
    });
    let methods = fields.take("methods").map(|node| methods(node, report));
    let codes = fields.list_up_to(64, "codes", report, |node, report| status(node, 400, 599, report));
    let per_try = fields.read("perTry", report, duration);
    let budget = fields.entry("budget");
    let budget = budget
        .and_then(|entry| retry_budget(&entry.value, report).map(|value| Spanned { value, span: entry.key_span }));
    let (backoff, backoff_max) = fields.read("backoff", report, backoff).unwrap_or_default();
    fields.finish(report);
    let mut conditions: Vec<Arc<str>> = Vec::new();
    match &on {
        Some(on) => on.iter().for_each(|condition| push(&mut conditions, condition.value)),
        None => CONDITIONS_DEFAULT.iter().for_each(|condition| push(&mut conditions, condition)),
    }
    if !codes.is_empty() {
        push(&mut conditions, "retriable-status-codes");
    }
    let retry = Retry {
        attempts: attempts.map_or(ATTEMPTS_DEFAULT, |attempts| u32::try_from(attempts.value).unwrap_or(0)),
        on: conditions,
        codes,
        methods: match methods {
            Some(methods) => methods?,
            None => None,
        },
        per_try: per_try.map(|time| time.value).filter(|time| !time.is_zero()),
        backoff,
        backoff_max,
        avoid_previous_hosts: true,
        remote_localities: true,
    };
    Some((Spanned { value: retry, span: entry.key_span }, budget))
}

fn push(conditions: &mut Vec<Arc<str>>, condition: &str) {
    if !conditions.iter().any(|known| &**known == condition) {
        conditions.push(Arc::from(condition));
    }
}

/// The inner `None` and an empty list mean what they mean in [`Retry::methods`].
fn methods(node: &Node, report: &mut Report) -> Option<Option<Vec<Arc<str>>>> {
    if matches!(&node.content, Content::List(items) if items.is_empty()) {
        report
            .add(Code::BadValue, node.span, "`methods` is empty")
            .help("leave it out for the methods that may run twice, or write attempts: 0 to try nothing again");
        return None;
    }
    const ALL: &str = "*";
    let mut words = vec![ALL];
    words.extend(METHODS);
    let written =
        crate::schema::list_up_to(words.len(), node, "methods", report, |node, report| choice(node, &words, report));
    for method in written.iter().filter(|method| matches!(method.value, ALL | "POST" | "PATCH" | "CONNECT")) {
        let what = match method.value {
            ALL => "every request may be sent twice, POST too".to_owned(),
            method => format!("a {method} may be carried out twice"),
        };
        report.add(Code::RepeatsUnsafe, method.span, what).help(
            "leave `methods` out to try again only what may run twice; what was never sent is always tried again",
        );
    }
    let all = written.iter().any(|method| method.value == ALL);
    Some(Some(if all { Vec::new() } else { written.iter().map(|method| Arc::from(method.value)).collect() }))
}

/// `{base, max}`
fn backoff(node: &Node, report: &mut Report) -> Option<(Option<Duration>, Option<Duration>)> {
    let mut fields = Fields::open(node, "the backoff", report)?;
    let span = fields.span();
    let base = fields.read("base", report, duration);
    let max = fields.read("max", report, duration);
    fields.finish(report);
    let too_short = |time: &&Spanned<Duration>| time.value < Duration::from_millis(1);
    if let Some(time) = [&base, &max].into_iter().flatten().find(too_short) {
        report.add(Code::BadValue, time.span, "a pause must be at least 1ms").help("leave it out to have the default");
        return None;
    }
    let (base, max) = (base.map(|time| time.value), max.map(|time| time.value));
    if let (Some(base), Some(max)) = (base, max)
        && base > max
    {
        report
            .add(Code::InvalidRule, span, "the first pause is longer than the longest")
            .help("`max` must not be less than `base`");
        return None;
    }
    Some((base, max))
}
