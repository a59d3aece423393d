//! Workload: what runs beside a proxy on a machine without Kubernetes.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::core::{from_port_name, weight};
use crate::dialect::{Context, PlainWorkload, spec};
use crate::head::Head;
use crate::ir::world::{Protocol, Sidecar, Workload, WorkloadPort};
use crate::schema::{Fields, address, choice, port, socket, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

/// A workload, before the services it dials are looked up.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadShape {
    pub(crate) workload: Workload,
    pub(crate) outbound_tcp: Vec<OutboundTcpShape>,
    /// Every socket that it takes, and what for.
    pub(crate) sockets: Vec<(Spanned<SocketAddr>, &'static str)>,
}

impl WorkloadShape {
    /// Without sidecar.
    pub(crate) fn plain(workload: PlainWorkload) -> Self {
        Self { workload: workload.value, outbound_tcp: Vec::new(), sockets: Vec::new() }
    }
}

/// A listener for a TCP service, as written.
#[derive(Clone, Debug)]
pub(crate) struct OutboundTcpShape {
    pub(crate) listen: SocketAddr,
    pub(crate) service: Spanned<Arc<str>>,
    pub(crate) port: Spanned<u16>,
}

pub(crate) fn workload(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<WorkloadShape> {
    let mut fields = spec(document, "a Workload", cx)?;
    let origin = cx.origin(head, head.span);
    let report = &mut cx.report;
    let address = fields.require("address", report, address);
    let weight = fields.read("weight", report, weight).unwrap_or(NonZeroU32::MIN);
    let locality = fields.read("locality", report, locality).unwrap_or_else(no_locality);
    let ports = fields.list("ports", report, workload_port);
    let sidecar = fields.entry("sidecar");
    let (outbound, outbound_tcp) = match sidecar {
        Some(entry) => self::sidecar(&entry.value, report),
        None => (None, Vec::new()),
    };
    fields.finish(report);
    let mut sockets = Vec::new();
    let mut lowered: Vec<(WorkloadPort, Span)> = Vec::new();
    for shape in ports {
        check_application(&shape, address, sidecar.map(|entry| entry.key_span), report);
        if let Some((_, first)) = lowered.iter().find(|(other, _)| other.port == shape.port.value) {
            report
                .add(Code::BadValue, shape.port.span, format!("port {} is given twice", shape.port.value))
                .also(*first, "first here")
                .help("port numbers of a workload are unique");
            continue;
        }
        if let Some(address) = address {
            sockets.push((
                shape.port.map(|port| SocketAddr::new(address.value, port)),
                "peers reach a port of the workload",
            ));
        }
        if let Some(application) = shape.application.filter(|_| sidecar.is_some()) {
            sockets.push((application, "the application listens"));
        }
        let application = shape.application.map(|application| application.value);
        let span = shape.port.span;
        lowered.push((
            WorkloadPort { name: shape.name, port: shape.port.value, application, protocol: shape.protocol },
            span,
        ));
    }
    sockets.extend(outbound.map(|outbound| (outbound, "the sidecar's outbound listener")));
    sockets.extend(outbound_tcp.iter().map(|(listen, _)| (*listen, "the sidecar's listener for a TCP service")));
    let sidecar = outbound.map(|outbound| Sidecar { outbound: outbound.value, outbound_tcp: Vec::new() });
    let workload = Workload {
        name: head.name.clone(),
        origin,
        labels: head.labels.clone(),
        address: address?.value,
        ports: lowered.into_iter().map(|(port, _)| port).collect(),
        weight,
        locality,
        sidecar,
    };
    Some(WorkloadShape { workload, outbound_tcp: outbound_tcp.into_iter().map(|(_, shape)| shape).collect(), sockets })
}

/// A port, as written.
struct PortShape {
    name: Arc<str>,
    port: Spanned<u16>,
    application: Option<Spanned<SocketAddr>>,
    /// There is one, which may have been unreadable.
    has_application: bool,
    protocol: Protocol,
}

fn workload_port(node: &Node, report: &mut Report) -> Option<PortShape> {
    let mut fields = Fields::open(node, "the port", report)?;
    let name = fields.read("name", report, text).map_or_else(|| Arc::from(""), |name| name.value);
    let number = fields.require("port", report, port);
    let written = fields.take("application");
    let application = written.and_then(|node| socket(node, report));
    let protocol =
        fields.read("protocol", report, |node, report| choice(node, &["HTTP", "HTTP2", "GRPC", "TCP"], report));
    fields.finish(report);
    let protocol = match protocol.map(|protocol| protocol.value) {
        Some("HTTP") => Protocol::Http,
        Some("HTTP2" | "GRPC") => Protocol::Http2,
        Some(_) => Protocol::Tcp,
        None => from_port_name(&name).unwrap_or(Protocol::Tcp),
    };
    Some(PortShape { name, port: number?, application, has_application: written.is_some(), protocol })
}

/// `application` goes with a sidecar: without one there is nobody to forward.
fn check_application(shape: &PortShape, address: Option<Spanned<IpAddr>>, sidecar: Option<Span>, report: &mut Report) {
    match (shape.application, sidecar) {
        (None, Some(sidecar)) if !shape.has_application => {
            report
                .add(
                    Code::MissingField,
                    shape.port.span,
                    format!("port {} needs `application`, because the workload has a sidecar", shape.port.value),
                )
                .also(sidecar, "this sidecar forwards to the application")
                .help("add the address at which the application itself listens, e.g. application: 127.0.0.1:8080");
        }
        (Some(application), None) => {
            report
                .add(
                    Code::InvalidRule,
                    application.span,
                    "`application` is given, but the workload has no sidecar that would forward to it",
                )
                .help("add `sidecar`, or leave `application` out: peers then dial the application itself");
        }
        (Some(application), Some(_)) => {
            let inbound = address.map(|address| SocketAddr::new(address.value, shape.port.value));
            if inbound == Some(application.value) {
                report
                    .add(
                        Code::DuplicateListener,
                        application.span,
                        format!("the application cannot listen at {}: the sidecar does", application.value),
                    )
                    .also(shape.port.span, "the sidecar takes this port of the workload's address")
                    .help("let the application listen at another port, or at 127.0.0.1");
            }
        }
        (None, Some(_) | None) => {}
    }
}

type SidecarShape = (Option<Spanned<SocketAddr>>, Vec<(Spanned<SocketAddr>, OutboundTcpShape)>);

fn sidecar(node: &Node, report: &mut Report) -> SidecarShape {
    let Some(mut fields) = Fields::open(node, "sidecar", report) else { return (None, Vec::new()) };
    let outbound = fields.require("outbound", report, socket);
    let outbound_tcp = fields.list("outboundTcp", report, outbound_tcp);
    fields.finish(report);
    (outbound, outbound_tcp)
}

fn outbound_tcp(node: &Node, report: &mut Report) -> Option<(Spanned<SocketAddr>, OutboundTcpShape)> {
    let mut fields = Fields::open(node, "the listener", report)?;
    let listen = fields.require("listen", report, socket);
    let service = fields.require("service", report, word);
    let number = fields.require("port", report, port);
    fields.finish(report);
    let listen = listen?;
    Some((listen, OutboundTcpShape { listen: listen.value, service: service?, port: number? }))
}

pub(crate) fn no_locality() -> [Arc<str>; 3] {
    [Arc::from(""), Arc::from(""), Arc::from("")]
}

/// `region`, `region/zone` or `region/zone/subzone`.
pub(crate) fn locality(node: &Node, report: &mut Report) -> Option<[Arc<str>; 3]> {
    let written = text(node, report)?;
    let parts: Vec<&str> = written.value.split('/').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        report
            .add(Code::BadValue, written.span, format!("\"{}\" is not a locality", shortened(&written.value)))
            .help("write region/zone/subzone; the last two may be left out");
        return None;
    }
    let part = |index: usize| Arc::from(parts.get(index).copied().unwrap_or_default());
    Some([part(0), part(1), part(2)])
}
