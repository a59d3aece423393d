//! `retries` of an HTTP rule.
//!
//! Istio retries whatever the method is, so a policy written here does too; where that can run something twice and the rule
//! says so itself, it is reported.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::ir::retry::Retry;
use crate::ir::route::{RequestMatch, StringMatch};
use crate::schema::{Fields, duration, integer, text, truth};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

/// What is tried again when `retryOn` is not given.
const DEFAULT_ON: &[&str] =
    &["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"];

/// Conditions of HTTP and gRPC that the proxies know.
const CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Conditions under which the backend may have done the work already.
const AFTER_THE_WORK: &[&str] =
    &["5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes", "retriable-headers"];

/// Most attempts. A request that fails that often is not helped by more.
const ATTEMPTS_MAX: i64 = 100;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Retry> {
    let mut fields = Fields::open(node, "retries", report)?;
    let span = fields.span();
    let attempts_at = fields.take("attempts");
    let attempts = attempts_at.map(|node| integer(node, i64::from(i32::MIN), i64::from(i32::MAX), report));
    let per_try = fields.read("perTryTimeout", report, duration);
    let on = fields.read("retryOn", report, text).filter(|on| !on.value.trim().is_empty());
    let backoff = fields.read("backoff", report, duration);
    let remote = fields.read("retryRemoteLocalities", report, truth);
    let avoid = fields.read("retryIgnorePreviousHosts", report, truth);
    fields.finish(report);
    let attempts = match attempts {
        None => 0,
        Some(attempts) => checked_attempts(attempts?, report)?,
    };
    if attempts == 0 && (per_try.is_some() || on.is_some() || remote.is_some()) {
        report
            .add(Code::InvalidRule, span, "http retry policy configured when attempts are set to 0 (disabled)")
            .help("write `attempts`, or leave the other fields out");
        return None;
    }
    let (conditions, codes) = match &on {
        None => (DEFAULT_ON.iter().map(|condition| Arc::from(*condition)).collect(), Vec::new()),
        Some(on) => conditions(on, report),
    };
    for limit in [per_try, backoff].into_iter().flatten() {
        if limit.value < Duration::from_millis(1) {
            report.add(Code::BadValue, limit.span, "duration must be greater than 1ms");
        }
    }
    Some(Retry {
        attempts,
        on: conditions,
        codes,
        methods: Some(Vec::new()),
        per_try: per_try.map(|limit| limit.value),
        backoff: backoff.map(|pause| pause.value),
        backoff_max: None,
        avoid_previous_hosts: avoid.unwrap_or(true),
        remote_localities: remote.unwrap_or(false),
    })
}

fn checked_attempts(attempts: Spanned<i64>, report: &mut Report) -> Option<u32> {
    if attempts.value < 0 {
        report.add(Code::BadValue, attempts.span, "attempts cannot be negative").help("0 switches retries off");
        return None;
    }
    if attempts.value > ATTEMPTS_MAX {
        report
            .add(Code::BadValue, attempts.span, format!("{} attempts are more than {ATTEMPTS_MAX}", attempts.value))
            .help("each attempt adds load to a backend that fails; three are usual");
        return None;
    }
    u32::try_from(attempts.value).ok()
}

/// Words and statuses, separated by commas.
fn conditions(on: &Spanned<Arc<str>>, report: &mut Report) -> (Vec<Arc<str>>, Vec<u16>) {
    let mut conditions: Vec<Arc<str>> = Vec::new();
    let mut codes: Vec<u16> = Vec::new();
    for word in on.value.split(',').map(str::trim) {
        if let Some(code) = word.parse::<u16>().ok().filter(|code| (100..=599).contains(code)) {
            if !codes.contains(&code) {
                codes.push(code);
            }
        } else if CONDITIONS.contains(&word) {
            if !conditions.iter().any(|known| **known == *word) {
                conditions.push(Arc::from(word));
            }
        } else {
            let finding =
                report.add(Code::BadValue, on.span, format!("\"{}\" is not a valid retryOn policy", shortened(word)));
            match crate::spelling::nearest(word, CONDITIONS.iter().copied()) {
                Some(near) => finding.help(format!("write `{near}`")),
                None => finding.help("write conditions such as 5xx, connect-failure, or a status such as 503"),
            };
        }
    }
    if !codes.is_empty() && !conditions.iter().any(|known| &**known == "retriable-status-codes") {
        conditions.push(Arc::from("retriable-status-codes"));
    }
    (conditions, codes)
}

/// A rule for a method that must not run twice, which is tried again after it may have run.
pub(super) fn warn_of_repeats(retry: &Retry, span: Span, matches: &[Spanned<RequestMatch>], report: &mut Report) {
    let method = matches.iter().find_map(|condition| match &condition.value.method {
        Some(StringMatch::Exact(method)) if matches!(&**method, "POST" | "PATCH" | "CONNECT") => Some(method),
        Some(StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_)) | None => None,
    });
    let late = retry.on.iter().any(|condition| {
        AFTER_THE_WORK.contains(&&**condition) && (&**condition != "retriable-status-codes" || !retry.codes.is_empty())
    });
    if let (Some(method), true, 1..) = (method, late, retry.attempts) {
        report
            .add(Code::RepeatsUnsafe, span, format!("a {method} may be carried out more than once"))
            .say("tried again although it may have been carried out")
            .help("retry on connect-failure and refused-stream only: those were never carried out");
    }
}
