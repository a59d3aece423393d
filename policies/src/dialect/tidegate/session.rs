//! `sessionPersistence`: a caller stays with an endpoint.

use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::istio::header_name;
use crate::ir::session::{SessionCarrier, SessionPersistence};
use crate::schema::{Fields, choice, duration, word};
use crate::tree::Node;

/// The cookie when none is named.
const COOKIE_DEFAULT: &str = "tidegate-session";

/// The header when none is named.
const HEADER_DEFAULT: &str = "x-tidegate-session";

/// The shape of Gateway API: `{type, sessionName, absoluteTimeout, cookieConfig: {lifetimeType, path}}`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<SessionPersistence> {
    let mut fields = Fields::open(node, "the session persistence", report)?;
    let kind = fields.read("type", report, |node, report| choice(node, &["Cookie", "Header"], report));
    let name = fields.read("sessionName", report, word);
    let timeout = fields.entry("absoluteTimeout");
    let ttl = timeout.and_then(|entry| duration(&entry.value, report)).filter(|ttl| !ttl.value.is_zero());
    let cookie = fields.entry("cookieConfig");
    let (lifetime, path) = cookie.and_then(|entry| cookie_config(&entry.value, report)).unwrap_or_default();
    let span = fields.span();
    fields.finish(report);
    if let Some(name) = &name {
        header_name(name.span, &name.value, report)?;
    }
    if kind.is_some_and(|kind| kind.value == "Header") {
        if let Some(entry) = cookie.or(timeout) {
            report
                .add(Code::InvalidRule, entry.key_span, format!("`{}` is for cookies", entry.key))
                .help("a header lives as long as its caller sends it; write type: Cookie, or remove this");
            return None;
        }
        let name = name.map_or_else(|| Arc::from(HEADER_DEFAULT), |name| Arc::from(name.value.to_ascii_lowercase()));
        return Some(SessionPersistence { carrier: SessionCarrier::Header { name } });
    }
    if lifetime == Some("Permanent") && ttl.is_none() {
        report
            .add(Code::InvalidRule, span, "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent")
            .help("add `absoluteTimeout`, e.g. 24h");
        return None;
    }
    let name = name.map_or_else(|| Arc::from(COOKIE_DEFAULT), |name| name.value);
    // A cookie of the browser's session has no time of its own, whatever the timeout.
    let ttl = ttl.map(|ttl| ttl.value).filter(|_| lifetime != Some("Session"));
    Some(SessionPersistence { carrier: SessionCarrier::Cookie { name, path, ttl } })
}

fn cookie_config(node: &Node, report: &mut Report) -> Option<(Option<&'static str>, Option<Arc<str>>)> {
    let mut fields = Fields::open(node, "the cookie", report)?;
    let lifetime = fields.read("lifetimeType", report, |node, report| choice(node, &["Permanent", "Session"], report));
    let path = fields.read("path", report, word);
    fields.finish(report);
    Some((lifetime.map(|lifetime| lifetime.value), path.map(|path| path.value)))
}
