//! Gateway and GatewayClass: where traffic enters.

use std::net::IpAddr;
use std::sync::Arc;

use super::certificate::{self, CertificateRef, FrontendShape, ListenerTlsShape};
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
    /// Namespaces whose ListenerSets may add to them.
    pub(crate) sets: Namespaces,
    /// Whose certificates callers must have.
    pub(crate) frontend: FrontendShape,
}

/// A listener as written.
#[derive(Clone, Debug)]
pub(crate) struct ListenerShape {
    pub(crate) name: Spanned<Arc<str>>,
    pub(crate) hostname: Option<Spanned<Arc<str>>>,
    pub(crate) port: Spanned<u16>,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) namespaces: Namespaces,
    /// Who ends TLS and how, for protocols that have it.
    pub(crate) tls: Option<ListenerTlsShape>,
    /// Kinds of routes that may attach; empty: all that the protocol has.
    kinds: Vec<Arc<str>>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    Http,
    Tcp,
    Https,
    /// TLS, whatever is said within.
    Tls,
    /// Not opened.
    Udp,
}

impl ListenerShape {
    /// Whether it is opened, if the certificates that it refers to can be had.
    pub(crate) fn served(&self) -> bool {
        match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Tcp => true,
            ListenerProtocol::Https | ListenerProtocol::Tls => self.tls.is_some(),
            ListenerProtocol::Udp => false,
        }
    }

    /// Whether TLS goes through to the backend.
    pub(crate) fn is_passthrough(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.passthrough)
    }

    /// The certificates that it refers to.
    pub(crate) fn certificates(&self) -> &[CertificateRef] {
        self.tls.as_ref().map_or(&[], |tls| &tls.certificates)
    }

    /// Whether routes of a kind may attach.
    pub(crate) fn takes(&self, kind: &str) -> bool {
        let spoken = match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => matches!(kind, "HTTPRoute" | "GRPCRoute"),
            ListenerProtocol::Tcp => kind == "TCPRoute",
            // What goes through has nothing but its name to be told by.
            ListenerProtocol::Tls => kind == "TLSRoute" || (kind == "TCPRoute" && !self.is_passthrough()),
            ListenerProtocol::Udp => false,
        };
        spoken && (self.kinds.is_empty() || self.kinds.iter().any(|known| **known == *kind))
    }

    /// Why it cannot stand beside another listener of the same gateway.
    pub(crate) fn conflict_with(&self, other: &Self) -> Option<Conflict> {
        if self.port.value != other.port.value {
            return None;
        }
        let host = |listener: &Self| listener.hostname.as_ref().map(|hostname| Arc::clone(&hostname.value));
        if self.protocol == other.protocol {
            return (host(self) == host(other)).then_some(Conflict::Same);
        }
        let has_tls = |listener: &Self| matches!(listener.protocol, ListenerProtocol::Https | ListenerProtocol::Tls);
        // Both begin with the name of a server, which tells them apart before it matters what follows.
        let told_apart = has_tls(self) && has_tls(other) && host(self) != host(other);
        (self.served() && other.served() && !told_apart).then_some(Conflict::Protocol)
    }
}

/// Why two listeners cannot stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// They have the same port, protocol and hostname, which the API server refuses within one object.
    Same,
    /// The port of both would have to speak two protocols, which is found out later: the first counts.
    Protocol,
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
    let written = fields.require("listeners", report, |node, report| listeners(node, "Gateway", report));
    let addresses = fields.list_up_to(16, "addresses", report, address);
    if let Some(entry) = fields.entry("infrastructure") {
        report.add(
            Code::FieldWithoutEffect,
            entry.key_span,
            "`infrastructure` has no effect: nothing is created for a gateway",
        );
    }
    let sets = fields.read("allowedListeners", report, |node, report| {
        let mut fields = Fields::open(node, "allowedListeners", report)?;
        let sets = fields.read("namespaces", report, |node, report| namespaces(node, Namespaces::Nobody, report));
        fields.finish(report);
        sets
    });
    let frontend = fields.read("tls", report, certificate::of_gateway).unwrap_or_default();
    fields.unsupported(&["defaultScope"], "", report);
    fields.finish(report);
    Some(GatewayShape { addresses, listeners: written?, sets: sets.unwrap_or(Namespaces::Nobody), frontend })
}

/// The listeners of a Gateway or ListenerSet; those that contradict an earlier one are reported and left out.
pub(super) fn listeners(node: &Node, owner: &str, report: &mut Report) -> Option<Vec<ListenerShape>> {
    let mut listeners: Vec<ListenerShape> = Vec::new();
    for listener in list_up_to(64, node, "listeners", report, listener) {
        if let Some(first) = listeners.iter().find(|other| other.name.value == listener.name.value) {
            let message = format!("Listener name must be unique within the {owner}");
            conflict(&listener.name, first, &message, report);
            continue;
        }
        let contradicted =
            listeners.iter().find_map(|other| listener.conflict_with(other).map(|conflict| (other, conflict)));
        match contradicted {
            None => {}
            Some((first, Conflict::Same)) => {
                let message = "Combination of port, protocol and hostname must be unique for each listener";
                conflict(&listener.name, first, message, report);
                continue;
            }
            Some((first, Conflict::Protocol)) => {
                report
                    .add(
                        Code::ListenerNotTaken,
                        listener.name.span,
                        "a port cannot speak two protocols, unless both are TLS for different hostnames",
                    )
                    .say("has no effect")
                    .also(first.name.span, "this one counts")
                    .help("give it another port");
                continue;
            }
        }
        listeners.push(listener);
    }
    Some(listeners)
}

fn conflict(name: &Spanned<Arc<str>>, first: &ListenerShape, message: &str, report: &mut Report) {
    report
        .add(Code::ConflictingListener, name.span, message)
        .also(first.name.span, "the other listener")
        .help("give one of them another name, port or hostname");
}

/// Without a value, any: that of the proxy.
fn address(node: &Node, report: &mut Report) -> Option<IpAddr> {
    let mut fields = Fields::open(node, "the address", report)?;
    let kind = fields.read("type", report, text);
    let value = fields.read("value", report, word);
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
    let spoken = match &*protocol.value {
        "HTTP" => ListenerProtocol::Http,
        "TCP" => ListenerProtocol::Tcp,
        "HTTPS" => ListenerProtocol::Https,
        "TLS" => ListenerProtocol::Tls,
        _ => ListenerProtocol::Udp,
    };
    let mut spoken_tls = None;
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
        "HTTPS" | "TLS" => spoken_tls = tls.map(|tls| certificate::of_listener(tls, &protocol.value, report)),
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
    let not_opened = match spoken {
        ListenerProtocol::Http | ListenerProtocol::Tcp => None,
        ListenerProtocol::Https | ListenerProtocol::Tls => {
            spoken_tls.is_none().then_some(("it has no `tls`", "add `tls: {certificateRefs: [{name: SECRET}]}`"))
        }
        ListenerProtocol::Udp => Some(("UDP is not yet served", "HTTP, HTTPS, TLS and TCP are served")),
    };
    if let Some((why, cure)) = not_opened {
        let message = format!("listener `{}` is not opened: {why}", name.value);
        report.add(Code::ListenerNotServed, protocol.span, message).help(cure);
    }
    let (namespaces, kinds) = allowed.unwrap_or((Namespaces::Same, Vec::new()));
    Some(ListenerShape { name, hostname, port: number, protocol: spoken, namespaces, tls: spoken_tls.flatten(), kinds })
}

fn allowed_routes(node: &Node, report: &mut Report) -> Option<(Namespaces, Vec<Arc<str>>)> {
    let mut fields = Fields::open(node, "allowedRoutes", report)?;
    let namespaces = fields
        .read("namespaces", report, |node, report| namespaces(node, Namespaces::Same, report))
        .unwrap_or(Namespaces::Same);
    let kinds = fields.read("kinds", report, |node, report| Some(list(node, "kinds", report, route_kind)));
    fields.finish(report);
    Some((namespaces, kinds.unwrap_or_default()))
}

/// A kind of route; one of another group is nobody's here.
fn route_kind(node: &Node, report: &mut Report) -> Option<Arc<str>> {
    let mut fields = Fields::open(node, "the kind", report)?;
    let group = fields.read("group", report, text);
    let kind = fields.require("kind", report, word);
    fields.finish(report);
    let kind = kind?.value;
    match group.filter(|group| &*group.value != GROUP) {
        Some(group) => Some(Arc::from(format!("{}/{kind}", group.value))),
        None => Some(kind),
    }
}

fn namespaces(node: &Node, unsaid: Namespaces, report: &mut Report) -> Option<Namespaces> {
    let mut fields = Fields::open(node, "namespaces", report)?;
    let from = fields.read("from", report, |node, report| choice(node, &["All", "Selector", "Same", "None"], report));
    let selector = fields.read("selector", report, selector);
    let namespaces = match from.map(|from| from.value) {
        None => unsaid,
        Some("Same") => Namespaces::Same,
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
