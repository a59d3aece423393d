//! `healthCheck`: endpoints are asked whether they are well.

use std::sync::Arc;
use std::time::Duration;

use super::circuit_breaker::positive;
use crate::diagnostic::{Code, Report};
use crate::dialect::gateway_api::http_route::condition::METHODS;
use crate::ir::health_check::{HealthCheck, Probe};
use crate::schema::{Fields, choice, duration, integer, port, text, word};
use crate::source::Spanned;
use crate::tree::{Content, Entry, Node};

/// Asking every proxy's every endpoint more often than this is load and no longer a check.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// `{http | grpc | tcp, interval, timeout, unhealthyThreshold, healthyThreshold, port}`
pub(super) fn read(node: &Node, report: &mut Report) -> Option<HealthCheck> {
    let mut fields = Fields::open(node, "the health check", report)?;
    let span = fields.span();
    let http = fields.entry("http");
    let grpc = fields.entry("grpc");
    let tcp = fields.entry("tcp");
    let interval = fields.read("interval", report, duration);
    let timeout = fields.read("timeout", report, duration);
    let unhealthy_threshold = fields.read("unhealthyThreshold", report, positive);
    let healthy_threshold = fields.read("healthyThreshold", report, positive);
    let port = fields.read("port", report, port);
    fields.finish(report);
    let given: Vec<&Entry> = [http, grpc, tcp].into_iter().flatten().collect();
    let [_] = given.as_slice() else {
        let finding = report.add(Code::InvalidRule, span, "a health check is exactly one of `http`, `grpc` and `tcp`");
        finding.help(if given.is_empty() { "add one, e.g. http: {path: /healthz}" } else { "remove the others" });
        return None;
    };
    let probe = match (http, grpc, tcp) {
        (Some(entry), ..) => self::http(&entry.value, report)?,
        (_, Some(entry), _) => self::grpc(&entry.value, report)?,
        (_, _, Some(entry)) => {
            Fields::open(&entry.value, "tcp", report)?.finish(report);
            Probe::Tcp
        }
        (None, None, None) => return None,
    };
    if let Some(interval) = interval.filter(|interval| interval.value < INTERVAL_MIN) {
        report
            .add(Code::BadValue, interval.span, format!("an interval must be at least {INTERVAL_MIN:?}"))
            .help("every proxy asks every endpoint: be gentle");
        return None;
    }
    if let Some(timeout) = timeout.filter(|timeout| timeout.value.is_zero()) {
        report.add(Code::BadValue, timeout.span, "nothing answers within no time").help("leave it out for 1s");
        return None;
    }
    Some(HealthCheck {
        probe,
        interval: interval.map(|time| time.value),
        timeout: timeout.map(|time| time.value),
        unhealthy_threshold,
        healthy_threshold,
        port: port.map(|port| port.value),
    })
}

fn http(node: &Node, report: &mut Report) -> Option<Probe> {
    let mut fields = Fields::open(node, "http", report)?;
    let path = fields.require("path", report, word);
    let host = fields.read("host", report, word);
    let method = fields.read("method", report, |node, report| choice(node, METHODS, report));
    let expected_statuses = fields.list_up_to(16, "expectedStatuses", report, statuses);
    fields.finish(report);
    let path = path?;
    if !path.value.starts_with('/') {
        report.add(Code::BadValue, path.span, "a path must start with '/'").help("write e.g. /healthz");
        return None;
    }
    Some(Probe::Http {
        path: path.value,
        host: host.map(|host| host.value),
        method: method.map(|method| Arc::from(method.value)),
        expected_statuses,
    })
}

/// `200`, or `200-299`, both included.
fn statuses(node: &Node, report: &mut Report) -> Option<(u16, u16)> {
    let (first, last) = match &node.content {
        Content::Scalar(scalar) if scalar.text.contains('-') => {
            let written = text(node, report)?;
            let (first, last) = written.value.split_once('-').unwrap_or_default();
            (first.trim().parse::<u16>().ok(), last.trim().parse::<u16>().ok())
        }
        Content::Scalar(_) | Content::Null | Content::List(_) | Content::Map(_) => {
            let Spanned { value, .. } = integer(node, 100, 599, report)?;
            (u16::try_from(value).ok(), u16::try_from(value).ok())
        }
    };
    if let (Some(first), Some(last)) = (first, last)
        && (100..=599).contains(&first)
        && (first..=599).contains(&last)
    {
        return Some((first, last));
    }
    report
        .add(Code::BadValue, node.span, "expected a status or a range of statuses")
        .help("write 200 or 200-299, from 100 to 599");
    None
}

fn grpc(node: &Node, report: &mut Report) -> Option<Probe> {
    let mut fields = Fields::open(node, "grpc", report)?;
    let service = fields.read("service", report, text);
    fields.finish(report);
    Some(Probe::Grpc { service: service.map_or_else(|| Arc::from(""), |service| service.value) })
}
