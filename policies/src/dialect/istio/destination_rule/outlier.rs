//! `outlierDetection` of a traffic policy.
//!
//! # What is off and what is on
//! As in Istio: where the stanza stands, 5xx in a row count (five unless said otherwise), gateway errors only where they are
//! written, and there is no panic threshold unless `minHealthPercent` says so. An explicit zero switches a signal off.
//!
//! # The older field
//! `consecutiveErrors` is what KubeSphere's console writes for "consecutive 5xx errors"; Istio has stopped reading it. It is
//! read here, with the meaning that the console gives it.

use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::ir::circuit_breaker::Outlier;
use crate::schema::{Fields, count, duration, integer, list, truth};
use crate::source::Spanned;
use crate::tree::Node;

/// Failures in a row when the stanza does not say.
const CONSECUTIVE_DEFAULT: u32 = 5;

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Outlier> {
    let mut fields = Fields::open(node, "outlierDetection", report)?;
    let server = fields.read("consecutive5xxErrors", report, count);
    let gateway = fields.read("consecutiveGatewayErrors", report, count);
    let older_at = fields.entry("consecutiveErrors");
    let older = older_at.and_then(|entry| count(&entry.value, report));
    let split = fields.read("splitExternalLocalOriginErrors", report, truth).unwrap_or(false);
    let local_at = fields.entry("consecutiveLocalOriginFailures");
    let local = local_at.and_then(|entry| count(&entry.value, report));
    let interval = fields.read("interval", report, period);
    let base_ejection = fields.read("baseEjectionTime", report, period);
    let max_ejection_percent = fields.read("maxEjectionPercent", report, percent);
    let min_health = fields.read("minHealthPercent", report, percent);
    let codes = fields.read("outlierDetectionHttpErrorCodes", report, |node, report| {
        Some(list(node, "outlierDetectionHttpErrorCodes", report, code))
    });
    fields.finish(report);
    if let (Some(entry), false, Some(1..)) = (local_at, split, local) {
        report
            .add(
                Code::InvalidRule,
                entry.key_span,
                "outlier detection consecutive local origin failures is specified, but split external local origin errors is set to false",
            )
            .help("add `splitExternalLocalOriginErrors: true`");
    }
    if let Some(entry) = older_at {
        let finding = report.add(
            Code::Deprecated,
            entry.key_span,
            "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead",
        );
        if server.is_some() {
            finding.say("has no effect beside `consecutive5xxErrors`").help("remove it");
        } else {
            finding.say("taken for `consecutive5xxErrors`").help("write `consecutive5xxErrors`");
        }
    }
    Some(Outlier {
        consecutive_5xx: Some(server.or(older).unwrap_or(CONSECUTIVE_DEFAULT)),
        consecutive_gateway: Some(gateway.unwrap_or(0)),
        consecutive_local: split.then(|| local.unwrap_or(CONSECUTIVE_DEFAULT)),
        failure_percentage: None,
        codes: codes.unwrap_or_default(),
        interval,
        base_ejection,
        max_ejection: None,
        max_ejection_percent,
        panic_threshold_percent: Some(min_health.unwrap_or(0)),
        always_eject_one: None,
    })
}

fn period(node: &Node, report: &mut Report) -> Option<Duration> {
    let Spanned { value, span } = duration(node, report)?;
    if value < Duration::from_millis(1) {
        report.add(Code::BadValue, span, "duration must be greater than 1ms").help("write e.g. 10s");
        return None;
    }
    Some(value)
}

fn percent(node: &Node, report: &mut Report) -> Option<u32> {
    let number = integer(node, i64::from(i32::MIN), i64::from(i32::MAX), report)?;
    let percent = u32::try_from(number.value).ok().filter(|percent| *percent <= 100);
    if percent.is_none() {
        report.add(Code::BadValue, number.span, format!("percentage {} is not in range 0..100", number.value));
    }
    percent
}

fn code(node: &Node, report: &mut Report) -> Option<u16> {
    integer(node, 100, 599, report).and_then(|code| u16::try_from(code.value).ok())
}
