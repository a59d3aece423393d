//! BackendPolicy: how a service is called.
//!
//! ```yaml
//! apiVersion: tidegate.io/v1alpha1
//! kind: BackendPolicy
//! metadata: {name: reviews, namespace: shop}
//! spec:
//!   targetRefs: [{kind: Service, name: reviews}]
//!   loadBalancer: {policy: LeastRequest, warmup: {duration: 30s, minPercent: 10, aggression: 1}}
//!   #             {policy: ConsistentHash, consistentHash: {header: end-user, maglev: {tableSize: 65537}}}
//!   sessionPersistence: {type: Cookie, sessionName: sid, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
//!   locality: {enabled: true, failover: [{from: eu, to: us}]}    # | distribute | failoverPriority
//!   timeouts: {connect: 1s, request: 15s, perTry: 5s, idle: 1m}
//!   retry: {attempts: 2, on: [reset], methods: [GET], codes: [503], perTry: 2s, budget: {percent: 20}, backoff: {base: 25ms}}
//!   connection: {maxRequestsPerConnection: 0, idleTimeout: 1m, http2: true}
//!   healthCheck: {http: {path: /healthz}, interval: 10s}         # | grpc: {service: ..} | tcp: {}
//!   headerCase: Preserve                                         # what is done anyway
//! ```
//!
//! # Two stanzas of the IR in three fields
//! `timeouts.connect` and `timeouts.idle` belong to the connection, so together with `connection` they are one stanza: whoever
//! sets one of them sets all of it. `retry.budget` is a limit of what is under way, but it is read and won with its `retry`.

use super::connection::{TimeoutStanza, connection, timeouts};
use super::retry::RetryStanza;
use super::{Policy, Stanzas, health_check, load_balancing, locality, retry, session, target};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::load_balancing::ConnectionSettings;
use crate::schema::{Fields, choice};
use crate::source::Spanned;
use crate::tree::{Entry, Node};

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<Policy> {
    let mut fields = spec(document, "a BackendPolicy", cx)?;
    let report = &mut cx.report;
    let span = fields.span();
    let targets = target::read(&mut fields, target::ANYWHERE, report);
    let session = fields.entry("sessionPersistence");
    let connection = fields.entry("connection");
    let written = fields.written().saturating_sub(1);
    let case = fields.read("headerCase", report, |node, report| choice(node, &["Preserve"], report));
    let mut stanzas = shared(&mut fields, connection, report);
    stanzas.session = session.and_then(|entry| at(entry, session::read(&entry.value, report)));
    fields.finish(report);
    // A stanza that cannot be read has been reported.
    if written == 0 && case.is_none() {
        report
            .add(Code::InvalidRule, span, "a BackendPolicy must say something")
            .help("add a stanza, e.g. timeouts: {request: 5s}");
    }
    Some(Policy { targets, stanzas, error_header: None })
}

/// A value at the name of its field.
pub(super) fn at<T>(entry: &Entry, value: Option<T>) -> Option<Spanned<T>> {
    value.map(|value| Spanned { value, span: entry.key_span })
}

/// What MeshDefaults can say as well.
pub(super) fn shared(fields: &mut Fields<'_>, connection: Option<&Entry>, report: &mut Report) -> Stanzas {
    let balancer = fields.entry("loadBalancer");
    let locality = fields.entry("locality");
    let times = fields.entry("timeouts");
    let retries = fields.entry("retry");
    let health = fields.entry("healthCheck");
    let timeouts = times.and_then(|entry| timeouts(entry, report)).unwrap_or_default();
    let (retry, retry_budget) = match retries.and_then(|entry| retry::read(entry, report)) {
        Some(stanza) => {
            compare(&timeouts, &stanza, report);
            (Some(stanza.0), stanza.1)
        }
        None => (None, None),
    };
    if let Some(times) = &timeouts.exchange {
        per_try_not_shorter(times.value.request, times.value.backend_request, times.span, report);
    }
    Stanzas {
        load_balancing: balancer.and_then(|entry| at(entry, load_balancing::read(&entry.value, report))),
        locality: locality.and_then(|entry| at(entry, locality::read(&entry.value, report))),
        health_check: health.and_then(|entry| at(entry, health_check::read(&entry.value, report))),
        connection: connected(connection, times, &timeouts, report),
        timeouts: timeouts.exchange,
        retry,
        retry_budget,
        ..Stanzas::default()
    }
}

fn connected(
    connection: Option<&Entry>,
    times: Option<&Entry>,
    timeouts: &TimeoutStanza,
    report: &mut Report,
) -> Option<Spanned<ConnectionSettings>> {
    let settings = connection.and_then(|entry| at(entry, self::connection(&entry.value, report)));
    if timeouts.connect.is_none() && timeouts.idle.is_none() {
        return settings;
    }
    let span = times?.key_span;
    let mut settings = settings.unwrap_or_else(|| Spanned { value: ConnectionSettings::default(), span });
    if let (Some(_), Some(_)) = (settings.value.idle_timeout, timeouts.idle) {
        report
            .add(Code::InvalidRule, settings.span, "`idleTimeout` and `timeouts.idle` are the same limit")
            .also(span, "the timeouts")
            .help("write it once");
    }
    settings.value.connect_timeout = timeouts.connect;
    settings.value.idle_timeout = timeouts.idle.or(settings.value.idle_timeout);
    Some(settings)
}

/// Attempts that never get their time.
fn compare(timeouts: &TimeoutStanza, (retry, _): &RetryStanza, report: &mut Report) {
    let Some(request) = timeouts.exchange.as_ref().and_then(|times| times.value.request) else { return };
    let each = timeouts.exchange.as_ref().and_then(|times| times.value.backend_request);
    let Some(per_try) = retry.value.per_try.or(each) else { return };
    let attempts = retry.value.attempts.saturating_add(1);
    if per_try >= request {
        // Without a limit for each attempt in the retry itself, the timeouts are reported by themselves.
        if retry.value.per_try.is_some() {
            per_try_not_shorter(Some(request), Some(per_try), retry.span, report);
        }
        return;
    }
    if per_try.saturating_mul(attempts) > request {
        report
            .add(
                Code::RetriesCutShort,
                retry.span,
                format!("{attempts} attempts of {per_try:?} do not fit into the request's {request:?}"),
            )
            .help("lengthen `timeouts.request`, or shorten `perTry`; the last attempts are cut short");
    }
}

fn per_try_not_shorter(
    request: Option<std::time::Duration>,
    per_try: Option<std::time::Duration>,
    span: crate::source::Span,
    report: &mut Report,
) {
    if let (Some(request), Some(per_try)) = (request, per_try)
        && per_try >= request
    {
        report
            .add(
                Code::PerTryWithoutEffect,
                span,
                format!("each attempt may take {per_try:?}, the whole request {request:?}"),
            )
            .say("`perTry` has no effect")
            .help("an attempt must be shorter than the request for a second one to have time");
    }
}
