//! `retry` and `sessionPersistence` of a rule, the latter also of an XBackendTrafficPolicy.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::retry::Retry;
use crate::ir::session::{SessionCarrier, SessionPersistence};
use crate::schema::{Fields, choice, duration, integer, list, word};
use crate::tree::Node;

/// What is tried again besides the statuses: where a rule has `retry`, failures of the connection and attempts that take
/// too long are tried again too.
const CONNECTION_FAILURES: &[&str] = &["connect-failure", "refused-stream", "reset", "retriable-status-codes"];

/// Further attempts when the rule does not say how many; the specification leaves it open.
const ATTEMPTS_DEFAULT: u32 = 2;

/// Most attempts. A request that fails that often is not helped by more.
const ATTEMPTS_MAX: i64 = 100;

/// A session's cookie or header when nothing is written.
const SESSION_NAME_DEFAULT: &str = "tidegate-session";

pub(super) fn retry(node: &Node, report: &mut Report) -> Option<Retry> {
    let mut fields = Fields::open(node, "retry", report)?;
    let codes = fields.read("codes", report, |node, report| {
        Some(list(node, "codes", report, |node, report| integer(node, 400, 599, report)))
    });
    let attempts = fields.take("attempts").map_or(Some(None), |node| integer(node, 1, ATTEMPTS_MAX, report).map(Some));
    let backoff = fields.read("backoff", report, duration);
    fields.finish(report);
    let mut unique: Vec<u16> = Vec::new();
    for code in codes.unwrap_or_default() {
        let Ok(value) = u16::try_from(code.value) else { continue };
        if unique.contains(&value) {
            report.add(Code::BadValue, code.span, format!("Duplicate value: {value}")).help("write each status once");
        } else {
            unique.push(value);
        }
    }
    let attempts = attempts?.and_then(|attempts| u32::try_from(attempts.value).ok()).unwrap_or(ATTEMPTS_DEFAULT);
    let on = CONNECTION_FAILURES.iter().filter(|on| **on != "retriable-status-codes" || !unique.is_empty());
    Some(Retry {
        attempts,
        on: on.map(|condition| Arc::from(*condition)).collect(),
        codes: unique,
        methods: Some(Vec::new()),
        per_try: None,
        backoff: backoff.map(|pause| pause.value),
        backoff_max: None,
        avoid_previous_hosts: true,
        remote_localities: false,
    })
}

pub(crate) fn session(node: &Node, report: &mut Report) -> Option<SessionPersistence> {
    let mut fields = Fields::open(node, "sessionPersistence", report)?;
    let span = fields.span();
    let name = fields.read("sessionName", report, word);
    let absolute = fields.read("absoluteTimeout", report, duration);
    let kind = fields.read("type", report, |node, report| choice(node, &["Cookie", "Header"], report));
    let cookie_at = fields.entry("cookieConfig");
    fields.unsupported(&["idleTimeout"], "Gateway API 1.6 has removed it; use absoluteTimeout", report);
    fields.finish(report);
    let lifetime = cookie_at.and_then(|entry| {
        let mut fields = Fields::open(&entry.value, "cookieConfig", report)?;
        let lifetime =
            fields.read("lifetimeType", report, |node, report| choice(node, &["Permanent", "Session"], report));
        fields.finish(report);
        lifetime
    });
    let header = kind.is_some_and(|kind| kind.value == "Header");
    let permanent = lifetime.is_some_and(|lifetime| lifetime.value == "Permanent");
    if let (Some(entry), true) = (cookie_at, header) {
        report
            .add(Code::InvalidRule, entry.key_span, "cookieConfig can only be set with type Cookie")
            .help("remove it, or write type: Cookie");
    }
    if permanent && absolute.is_none() {
        report
            .add(Code::InvalidRule, span, "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent")
            .help("add absoluteTimeout, how long the cookie lives");
    }
    if let (Some(absolute), false) = (&absolute, permanent) {
        report
            .add(Code::FieldWithoutEffect, absolute.span, "`absoluteTimeout` acts on permanent cookies only")
            .help("write cookieConfig: {lifetimeType: Permanent}");
    }
    let shown = name.as_ref().map_or(SESSION_NAME_DEFAULT, |name| &*name.value);
    let checked = header_name(name.as_ref().map_or(span, |name| name.span), shown, report)?;
    let carrier = if header {
        SessionCarrier::Header { name: checked }
    } else {
        let ttl: Option<Duration> = absolute.filter(|_| permanent).map(|absolute| absolute.value);
        // Names of cookies are compared with their case.
        SessionCarrier::Cookie { name: Arc::from(shown), path: None, ttl }
    };
    Some(SessionPersistence { carrier })
}
