//! Gateway and GatewayClass: where traffic enters.

use std::net::IpAddr;
use std::sync::Arc;

use super::{GROUP, hostname};
use crate::diagnostic::{Code, Report};
use crate::dialect::{Context, spec};
use crate::ir::world::Labels;
use crate::schema::{Fields, choice, labels, list, list_up_to, not_supported, port, text, word};
use crate::source::Spanned;
use crate::tree::{Node, shortened};

/// A gateway as written.
#[derive(Clone, Debug)]
pub(crate) struct GatewayShape {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) listeners: Vec<ListenerShape>,
}

/// A listener as written.
#[derive(Clone, Debug)]
pub(crate) struct ListenerShape {
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) hostname: Option<Spanned<Arc<str>>>,
    pub(crate) port: Spanned<u16>,
    /// HTTP; others are known, so that routes can name them, but not opened.
    pub(crate) served: bool,
    pub(crate) namespaces: Namespaces,
    pub(crate) takes_http_routes: bool,
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug)]
pub(crate) enum Namespaces {
    All,
    Nobody,
    Same,
    Selected(Selector),
}

/// A Kubernetes label selector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Labels,
    expressions: Vec<Expression>,
}

/// Key, operator, values.
type Expression = (Arc<str>, &'static str, Vec<Arc<str>>);

impl Selector {
    /// Whether a namespace of that name and with those labels is selected.
    pub(crate) fn selects(&self, name: &str, labels: &Labels) -> bool {
        // Kubernetes gives every namespace its name as a label.
        let value = |key: &str| {
            if key == "kubernetes.io/metadata.name" { Some(name) } else { labels.get(key).map(|value| &**value) }
        };
        let among = |found: Option<&str>, values: &[Arc<str>]| {
            found.is_some_and(|found| values.iter().any(|value| **value == *found))
        };
        self.labels.iter().all(|(key, wanted)| value(key) == Some(&**wanted))
            && self.expressions.iter().all(|(key, operator, values)| match *operator {
                "In" => among(value(key), values),
                "NotIn" => !among(value(key), values),
                "Exists" => value(key).is_some(),
                _ => value(key).is_none(),
            })
    }
}

/// Accepted without effect: a mesh has one data plane.
pub(crate) fn class(document: &Node, cx: &mut Context<'_>) {
    let Some(mut fields) = spec(document, "a GatewayClass", cx) else { return };
    fields.require("controllerName", &mut cx.report, word);
    fields.ignore(&["description", "parametersRef"]);
    fields.finish(&mut cx.report);
}

pub(crate) fn read(document: &Node, cx: &mut Context<'_>) -> Option<GatewayShape> {
    let mut fields = spec(document, "a Gateway", cx)?;
    let report = &mut cx.report;
    fields.require("gatewayClassName", report, word);
    let written =
        fields.require("listeners", report, |node, report| Some(list_up_to(64, node, "listeners", report, listener)));
    let addresses = fields.list_up_to(16, "addresses", report, address);
    if let Some(entry) = fields.entry("infrastructure") {
        report.add(
            Code::FieldWithoutEffect,
            entry.key_span,
            "`infrastructure` has no effect: nothing is created for a gateway",
        );
    }
    fields.unsupported(&["allowedListeners"], "write the listeners into the Gateway", report);
    fields.unsupported(&["defaultScope", "tls"], "", report);
    fields.finish(report);
    let mut listeners: Vec<ListenerShape> = Vec::new();
    for listener in written? {
        if let Some(first) = listeners.iter().find(|other| other.name.value == listener.name.value) {
            conflict(&listener.name, first, "Listener name must be unique within the Gateway", report);
            continue;
        }
        let host = |listener: &ListenerShape| listener.hostname.as_ref().map(|hostname| Arc::clone(&hostname.value));
        let same = |other: &&ListenerShape| {
            other.port.value == listener.port.value && other.served == listener.served && host(other) == host(&listener)
        };
        if let Some(first) = listeners.iter().find(same) {
            conflict(
                &listener.name,
                first,
                "Combination of port, protocol and hostname must be unique for each listener",
                report,
            );
            continue;
        }
        listeners.push(listener);
    }
    Some(GatewayShape { addresses, listeners })
}

fn conflict(name: &Spanned<Arc<str>>, first: &ListenerShape, message: &str, report: &mut Report) {
    report
        .add(Code::ConflictingListener, name.span, message)
        .also(first.name.span, "the other listener")
        .help("give one of them another name, port or hostname");
}

fn address(node: &Node, report: &mut Report) -> Option<IpAddr> {
    let mut fields = Fields::open(node, "the address", report)?;
    let kind = fields.read("type", report, text);
    let value = fields.require("value", report, word);
    fields.finish(report);
    if let Some(kind) = kind.filter(|kind| &*kind.value != "IPAddress") {
        not_supported(
            kind.span,
            &format!("an address of type `{}`", shortened(&kind.value)),
            "write `type: IPAddress`",
            report,
        );
        return None;
    }
    let value = value?;
    let parsed = value.value.parse().ok();
    if parsed.is_none() {
        report.add(Code::BadValue, value.span, format!("\"{}\" is not an IP address", shortened(&value.value)));
    }
    parsed
}

fn listener(node: &Node, report: &mut Report) -> Option<ListenerShape> {
    let mut fields = Fields::open(node, "the listener", report)?;
    let name = fields.require("name", report, word);
    let hostname_at = fields.entry("hostname");
    let hostname = hostname_at.and_then(|entry| hostname(&entry.value, report));
    let number = fields.require("port", report, port);
    let protocol = fields.require("protocol", report, word);
    let tls = fields.entry("tls");
    let allowed = fields.read("allowedRoutes", report, allowed_routes);
    fields.finish(report);
    let (name, number, protocol) = (name?, number?, protocol?);
    let served = &*protocol.value == "HTTP";
    match &*protocol.value {
        "HTTP" | "TCP" | "UDP" => {
            if let Some(tls) = tls {
                report
                    .add(
                        Code::InvalidRule,
                        tls.key_span,
                        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
                    )
                    .help("remove `tls`, or change the protocol");
            }
        }
        "HTTPS" | "TLS" => {}
        other => {
            report
                .add(
                    Code::BadValue,
                    protocol.span,
                    format!("\"{}\" is not the protocol of a listener", shortened(other)),
                )
                .help("write HTTP, HTTPS, TLS, TCP or UDP");
            return None;
        }
    }
    if let (Some(entry), "TCP" | "UDP") = (hostname_at, &*protocol.value) {
        report
            .add(Code::InvalidRule, entry.key_span, "hostname must not be specified for protocols ['TCP', 'UDP']")
            .help("remove `hostname`");
    }
    if !served {
        report
            .add(
                Code::ListenerNotServed,
                protocol.span,
                format!("listener `{}` is not opened: {} is not yet served", name.value, protocol.value),
            )
            .help("HTTP is served");
    }
    let (namespaces, takes_http_routes) = allowed.unwrap_or((Namespaces::Same, true));
    Some(ListenerShape { name, hostname, port: number, served, namespaces, takes_http_routes })
}

fn allowed_routes(node: &Node, report: &mut Report) -> Option<(Namespaces, bool)> {
    let mut fields = Fields::open(node, "allowedRoutes", report)?;
    let namespaces = fields.read("namespaces", report, namespaces).unwrap_or(Namespaces::Same);
    let kinds = fields.read("kinds", report, |node, report| Some(list(node, "kinds", report, route_kind)));
    fields.finish(report);
    Some((namespaces, kinds.is_none_or(|kinds| kinds.is_empty() || kinds.contains(&true))))
}

/// Whether it is HTTPRoute.
fn route_kind(node: &Node, report: &mut Report) -> Option<bool> {
    let mut fields = Fields::open(node, "the kind", report)?;
    let group = fields.read("group", report, text);
    let kind = fields.require("kind", report, word);
    fields.finish(report);
    Some(group.is_none_or(|group| &*group.value == GROUP) && &*kind?.value == "HTTPRoute")
}

fn namespaces(node: &Node, report: &mut Report) -> Option<Namespaces> {
    let mut fields = Fields::open(node, "namespaces", report)?;
    let from = fields.read("from", report, |node, report| choice(node, &["All", "Selector", "Same", "None"], report));
    let selector = fields.read("selector", report, selector);
    let namespaces = match from.map(|from| from.value) {
        None | Some("Same") => Namespaces::Same,
        Some("All") => Namespaces::All,
        Some("None") => Namespaces::Nobody,
        Some(_) => match selector {
            Some(selector) => Namespaces::Selected(selector),
            None => {
                fields.missing("selector", report);
                Namespaces::Nobody
            }
        },
    };
    fields.finish(report);
    Some(namespaces)
}

fn selector(node: &Node, report: &mut Report) -> Option<Selector> {
    let mut fields = Fields::open(node, "the selector", report)?;
    let labels = fields.read("matchLabels", report, labels).unwrap_or_default();
    let expressions = fields.list("matchExpressions", report, |node, report| {
        let mut fields = Fields::open(node, "the expression", report)?;
        let key = fields.require("key", report, word);
        let operator = fields.require("operator", report, |node, report| {
            choice(node, &["In", "NotIn", "Exists", "DoesNotExist"], report)
        });
        let values = fields.list("values", report, text).into_iter().map(|value| value.value).collect();
        fields.finish(report);
        Some((key?.value, operator?.value, values))
    });
    fields.finish(report);
    Some(Selector { labels, expressions })
}
