//! Fault: what goes wrong on purpose, for whom, and until when.
//!
//! # Why a fault ends
//! A forgotten fault is an outage that nobody caused today. So `expiresAt` has to be written, or `permanent: true` by somebody
//! who means it. A share has to be written too: leaving it out means "never" in Istio and "always" elsewhere.
//!
//! ```yaml
//! apiVersion: tidegate.io/v1alpha1
//! kind: Fault
//! metadata: {name: slow, namespace: shop}
//! spec:
//!   targetRefs: [{kind: Service, name: reviews}]
//!   match: {headers: [{name: end-user, value: jason}]}   # as in a RateLimit
//!   expiresAt: 2026-12-01T00:00:00Z                      # or permanent: true
//!   delay: {value: 7s, percent: 10}
//!   abort: {httpStatus: 418, percent: 10}                # | grpcStatus: UNAVAILABLE | reset: true
//!   bandwidth: {limit: 64KiB/s, percent: 100}
//!   appliesTo: Route                                     # | Upstream: below retries and timeouts
//! ```

use std::time::Duration;

use super::{Policy, Stanzas, condition, target};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::fault::{Abort, AppliesTo, Fault};
use crate::ir::share::Share;
use crate::schema::{Fields, byte_rate, choice, duration, grpc_status, share, status, timestamp, truth};
use crate::source::Spanned;
use crate::tree::{Entry, Node};

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<Policy> {
    let mut fields = spec(document, "a Fault", cx)?;
    let now = cx.now;
    let Context { report, patterns, .. } = cx;
    let span = fields.span();
    let targets = target::read(&mut fields, target::ANYWHERE, report);
    let condition = match fields.take("match") {
        Some(node) => condition::read(node, patterns, report),
        None => Some(condition::Condition::default()),
    };
    let expires = fields.entry("expiresAt");
    let permanent = fields.entry("permanent");
    let delay = fields.entry("delay");
    let abort = fields.entry("abort");
    let bandwidth = fields.entry("bandwidth");
    let applies_to = fields.read("appliesTo", report, |node, report| choice(node, &["Route", "Upstream"], report));
    fields.finish(report);

    let expires_at = expires_at(expires, permanent, span, report);
    let parts = [delay, abort, bandwidth];
    if parts.iter().all(Option::is_none) {
        report
            .add(Code::InvalidRule, span, "a Fault must have a delay, an abort or a bandwidth")
            .help("add one, e.g. delay: {value: 2s, percent: 10}");
        return None;
    }
    let delay = part(delay, |node| self::delay(node, report));
    let abort = part(abort, |node| self::abort(node, report));
    let bandwidth = part(bandwidth, |node| self::bandwidth(node, report));
    let (expires_at, condition) = (expires_at?, condition?);
    if let (Some(now), Some(at), Some(entry)) = (now, expires_at, expires)
        && at <= now
    {
        report
            .add(Code::FaultExpired, entry.key_span, "the fault has expired, so it does nothing")
            .help("remove the object, or give it a later `expiresAt`");
    }
    let fault = Fault {
        matches: condition.matches,
        delay: delay?,
        abort: abort?,
        bandwidth: bandwidth?,
        expires_at,
        applies_to: match applies_to.map(|choice| choice.value) {
            Some("Upstream") => AppliesTo::Upstream,
            Some(_) | None => AppliesTo::Route,
        },
    };
    let span = parts.into_iter().flatten().next().map_or(span, |entry| entry.key_span);
    let fault = (!condition.nobody).then_some(Spanned { value: fault, span });
    Some(Policy { targets, stanzas: Stanzas { fault, ..Stanzas::default() }, error_header: None })
}

/// An absent part is well; an unreadable one is not.
fn part<'n, T>(entry: Option<&'n Entry>, read: impl FnOnce(&'n Node) -> Option<T>) -> Option<Option<T>> {
    match entry {
        None => Some(None),
        Some(entry) => read(&entry.value).map(Some),
    }
}

/// The inner `None`: it stays until it is removed.
fn expires_at(
    expires: Option<&Entry>,
    permanent: Option<&Entry>,
    span: crate::source::Span,
    report: &mut Report,
) -> Option<Option<std::time::SystemTime>> {
    let stays = match permanent {
        Some(entry) => truth(&entry.value, report)?,
        None => false,
    };
    match (expires, permanent.filter(|_| stays)) {
        (Some(entry), Some(permanent)) => {
            report
                .add(Code::InvalidRule, permanent.key_span, "a fault that expires is not permanent")
                .also(entry.key_span, "it expires here")
                .help("remove one of the two");
            None
        }
        (Some(entry), None) => timestamp(&entry.value, report).map(|time| Some(time.value)),
        (None, Some(_)) => Some(None),
        (None, None) => {
            report
                .add(Code::MissingField, span, "a Fault needs `expiresAt`, or `permanent: true`")
                .help("say when it ends, e.g. expiresAt: 2026-12-01T00:00:00Z");
            None
        }
    }
}

/// `percent`, which has to be said.
fn percent(fields: &mut Fields<'_>, report: &mut Report) -> Option<Share> {
    let Some(node) = fields.take("percent") else {
        report
            .add(Code::MissingField, fields.span(), "fault without percentage")
            .say("for which share of requests?")
            .help("add `percent`, from 0 to 100");
        return None;
    };
    let share = share(node, report)?;
    if share.value == Share::NONE {
        report
            .add(Code::FaultNever, share.span, "a fault of 0 percent never happens")
            .help("raise `percent`, or remove this part");
    }
    Some(share.value)
}

fn delay(node: &Node, report: &mut Report) -> Option<(Duration, Share)> {
    let mut fields = Fields::open(node, "the delay", report)?;
    let value = fields.require("value", report, duration);
    let percent = percent(&mut fields, report);
    fields.finish(report);
    Some((value?.value, percent?))
}

fn abort(node: &Node, report: &mut Report) -> Option<(Abort, Share)> {
    let mut fields = Fields::open(node, "the abort", report)?;
    let span = fields.span();
    let http = fields.entry("httpStatus");
    let grpc = fields.entry("grpcStatus");
    let reset = fields.entry("reset");
    let percent = percent(&mut fields, report);
    fields.finish(report);
    let given: Vec<&Entry> = [http, grpc, reset].into_iter().flatten().collect();
    let [_] = given.as_slice() else {
        let what = "an abort is exactly one of `httpStatus`, `grpcStatus` and `reset`";
        let finding = report.add(Code::InvalidRule, span, what);
        finding.help(if given.is_empty() { "add one, e.g. httpStatus: 503" } else { "remove the others" });
        return None;
    };
    let abort = match (http, grpc, reset) {
        (Some(entry), ..) => Abort::Http(status(&entry.value, 200, 599, report)?),
        (_, Some(entry), _) => Abort::Grpc(grpc_status(&entry.value, report)?.value),
        (_, _, Some(entry)) if !truth(&entry.value, report)? => {
            report
                .add(Code::BadValue, entry.value.span, "`reset` can only be true")
                .help("remove the abort, or write a status");
            return None;
        }
        (..) => Abort::Reset,
    };
    Some((abort, percent?))
}

fn bandwidth(node: &Node, report: &mut Report) -> Option<(u64, Share)> {
    let mut fields = Fields::open(node, "the bandwidth", report)?;
    let limit = fields.require("limit", report, byte_rate);
    let percent = percent(&mut fields, report);
    fields.finish(report);
    Some((limit?.value, percent?))
}
