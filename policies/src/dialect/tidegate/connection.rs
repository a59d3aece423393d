//! `connection` and the parts of `timeouts` that are about connections: one stanza of the IR, written in two places.

use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::ir::load_balancing::ConnectionSettings;
use crate::ir::timeout::Timeouts;
use crate::schema::{Fields, count, duration, truth};
use crate::source::Spanned;
use crate::tree::{Entry, Node};

/// `timeouts`, divided: what bounds an exchange, and what bounds a connection.
#[derive(Default)]
pub(super) struct TimeoutStanza {
    pub(super) exchange: Option<Spanned<Timeouts>>,
    pub(super) connect: Option<Duration>,
    pub(super) idle: Option<Duration>,
}

/// `{connect, request, perTry, idle}`; zero switches a limit off.
pub(super) fn timeouts(entry: &Entry, report: &mut Report) -> Option<TimeoutStanza> {
    let mut fields = Fields::open(&entry.value, "the timeouts", report)?;
    let connect = fields.read("connect", report, duration);
    let request = fields.read("request", report, duration);
    let per_try = fields.entry("perTry");
    let each = per_try.and_then(|entry| duration(&entry.value, report));
    let idle = fields.read("idle", report, duration);
    fields.finish(report);
    if let Some(connect) = connect.filter(|connect| connect.value.is_zero()) {
        report
            .add(Code::BadValue, connect.span, "nothing connects within no time")
            .help("leave it out for the default");
        return None;
    }
    let exchange = (request.is_some() || each.is_some()).then(|| {
        let some = |time: Option<Spanned<Duration>>| time.map(|time| time.value).filter(|time| !time.is_zero());
        let value = Timeouts { request: some(request), backend_request: some(each) };
        Spanned { value, span: entry.key_span }
    });
    Some(TimeoutStanza { exchange, connect: connect.map(|time| time.value), idle: idle.map(|time| time.value) })
}

/// `{maxRequestsPerConnection, idleTimeout, http2}`
pub(super) fn connection(node: &Node, report: &mut Report) -> Option<ConnectionSettings> {
    let mut fields = Fields::open(node, "the connection", report)?;
    let per_connection = fields.entry("maxRequestsPerConnection");
    let max_requests_per_connection = per_connection.and_then(|entry| count(&entry.value, report));
    let idle_timeout = fields.read("idleTimeout", report, duration).map(|time| time.value);
    let http2 = fields.read("http2", report, truth);
    fields.finish(report);
    if let (Some(entry), Some(1)) = (per_connection, max_requests_per_connection) {
        report
            .add(Code::KeepAliveOff, entry.key_span, "every request opens a new connection")
            .help("remove `maxRequestsPerConnection`, or raise it, to keep connections");
    }
    Some(ConnectionSettings { connect_timeout: None, max_requests_per_connection, idle_timeout, http2 })
}
