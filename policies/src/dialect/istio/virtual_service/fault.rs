//! `fault` of an HTTP rule.
//!
//! # A fault without percentage
//! Istio takes a missing percentage for zero, so such a fault never fires and says nothing. It stays without effect here, as
//! the same file must do the same in both, but it is reported.

use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::ir::fault::{Abort, AppliesTo, Fault};
use crate::ir::share::Share;
use crate::schema::quantity::GRPC_STATUSES;
use crate::schema::{Fields, decimal, duration, integer, not_supported, share_of_percent, text};
use crate::source::Span;
use crate::tree::Node;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Fault> {
    let mut fields = Fields::open(node, "the fault", report)?;
    let span = fields.span();
    let delay_at = fields.entry("delay");
    let abort_at = fields.entry("abort");
    fields.finish(report);
    if delay_at.is_none() && abort_at.is_none() {
        report
            .add(Code::InvalidRule, span, "HTTP fault injection must have an abort and/or a delay")
            .help("add `delay` or `abort`, or remove `fault`");
        return None;
    }
    let delay = delay_at.map(|entry| delay(&entry.value, entry.key_span, report));
    let abort = abort_at.map(|entry| abort(&entry.value, entry.key_span, report));
    Some(Fault {
        matches: Vec::new(),
        delay: delay.flatten(),
        abort: abort.flatten(),
        bandwidth: None,
        expires_at: None,
        applies_to: AppliesTo::Route,
    })
}

fn delay(node: &Node, span: Span, report: &mut Report) -> Option<(Duration, Share)> {
    let mut fields = Fields::open(node, "the delay", report)?;
    let fixed_at = fields.take("fixedDelay");
    let other_at = fields.entry("exponentialDelay");
    let share = share(&mut fields, span, true, report);
    if let Some(entry) = other_at {
        not_supported(entry.key_span, "`exponentialDelay` of the delay", "write `fixedDelay`", report);
    } else if fixed_at.is_none() {
        fields.missing("fixedDelay", report);
    }
    let fixed = fixed_at.and_then(|node| duration(node, report));
    fields.finish(report);
    let fixed = fixed?;
    if fixed.value < Duration::from_millis(1) {
        report
            .add(Code::BadValue, fixed.span, "duration must be greater than 1ms")
            .help("write how long requests wait, e.g. 5s");
        return None;
    }
    Some((fixed.value, share?))
}

fn abort(node: &Node, span: Span, report: &mut Report) -> Option<(Abort, Share)> {
    let mut fields = Fields::open(node, "the abort", report)?;
    let http = fields.entry("httpStatus");
    let grpc = fields.entry("grpcStatus");
    let share = share(&mut fields, span, false, report);
    let other = fields.entry("http2Error");
    if let Some(entry) = other {
        not_supported(entry.key_span, "`http2Error` of the abort", "write `httpStatus` or `grpcStatus`", report);
    }
    fields.finish(report);
    let abort = match (http, grpc) {
        (Some(http), Some(grpc)) => {
            report
                .add(Code::InvalidRule, grpc.key_span, "only one of httpStatus and grpcStatus can be given")
                .also(http.key_span, "the other is here")
                .help("keep one");
            None
        }
        (Some(http), None) => http_status(&http.value, report).map(Abort::Http),
        (None, Some(grpc)) => grpc_status(&grpc.value, report).map(Abort::Grpc),
        (None, None) => {
            if other.is_none() {
                report
                    .add(Code::MissingField, span, "the abort needs `httpStatus` or `grpcStatus`")
                    .help("say what aborted requests are answered with, e.g. httpStatus: 503");
            }
            None
        }
    };
    Some((abort?, share?))
}

fn http_status(node: &Node, report: &mut Report) -> Option<u16> {
    let status = integer(node, i64::from(i32::MIN), i64::from(i32::MAX), report)?;
    let code = u16::try_from(status.value).ok().filter(|code| (200..=599).contains(code));
    if code.is_none() {
        report
            .add(Code::BadValue, status.span, format!("HTTP status {} is not in range 200-599", status.value))
            .help("503 is what a broken backend answers");
    }
    code
}

/// A name such as `UNAVAILABLE`, or a number.
fn grpc_status(node: &Node, report: &mut Report) -> Option<u32> {
    let status = text(node, report)?;
    let upper = status.value.to_ascii_uppercase();
    // Both spellings of the one with two occur.
    let upper = if upper == "CANCELED" { "CANCELLED" } else { &upper };
    let found = GRPC_STATUSES.iter().position(|name| *name == upper).or_else(|| {
        let number: usize = upper.parse().ok()?;
        (number < GRPC_STATUSES.len()).then_some(number)
    });
    if found.is_none() {
        let shown = crate::tree::shortened(&status.value);
        let finding = report.add(Code::BadValue, status.span, format!("gRPC status \"{shown}\" is not supported"));
        match crate::spelling::nearest(&status.value, GRPC_STATUSES.iter().copied()) {
            Some(near) => finding.help(format!("write `{near}`")),
            None => finding.help("write a name such as UNAVAILABLE"),
        };
    }
    u32::try_from(found?).ok()
}

/// `percentage: {value: 0.5}`, or for a delay the older `percent: 5`.
fn share(fields: &mut Fields<'_>, span: Span, older: bool, report: &mut Report) -> Option<Share> {
    let percentage = fields.entry("percentage");
    let percent = if older { fields.entry("percent") } else { None };
    if let Some(entry) = percentage {
        return self::percentage(&entry.value, report);
    }
    if let Some(entry) = percent {
        let number = integer(&entry.value, i64::from(i32::MIN), i64::from(i32::MAX), report)?;
        let share = share_of_percent(number.value as f64);
        if share.is_none() {
            report.add(Code::BadValue, number.span, format!("percentage {} is not in range 0..100", number.value));
        }
        return share;
    }
    report
        .add(Code::NeverFires, span, "a fault without `percentage` never fires")
        .say("acts on 0 % of requests")
        .help("add `percentage: {value: 100}`, or the share that is meant");
    Some(Share::NONE)
}

/// `{value: 0.5}`; a missing value is zero.
pub(super) fn percentage(node: &Node, report: &mut Report) -> Option<Share> {
    let mut fields = Fields::open(node, "the percentage", report)?;
    let written = fields.entry("value");
    let value = written.map(|entry| decimal(&entry.value, report));
    fields.finish(report);
    let Some(value) = value else { return Some(Share::NONE) };
    let value = value?;
    let share = share_of_percent(value.value).filter(|_| value.value == 0.0 || value.value >= 0.0001);
    if share.is_none() {
        report
            .add(
                Code::BadValue,
                value.span,
                format!("percentage {} is neither 0.0, nor in range [0.0001, 100.0]", value.value),
            )
            .help("write a percentage: 50 is half of the requests");
    }
    share
}
