//! Kubernetes' own kinds: Namespace, Service, EndpointSlice.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Context, ServiceShape, spec};
use crate::diagnostic::{Code, Report};
use crate::head::Head;
use crate::ir::ObjectName;
use crate::ir::world::{EndpointSlice, External, Labels, Protocol, Service, ServicePort, SliceEndpoint, TargetPort};
use crate::schema::{Fields, address, choice, count, labels, list, not_supported, port, text, truth, word};
use crate::source::{Span, Spanned};
use crate::tree::{Content, Node};

/// The label by which a slice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(crate) fn namespace(document: &Node, cx: &mut Context<'_>) {
    let Some(mut fields) = Fields::open(document, "a Namespace", &mut cx.report) else { return };
    fields.ignore(&["apiVersion", "kind", "metadata", "spec", "status"]);
    fields.finish(&mut cx.report);
}

pub(crate) fn service(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<ServiceShape> {
    let mut fields = spec(document, "a Service", cx)?;
    let origin = cx.origin(head, head.span);
    let report = &mut cx.report;
    let selector = fields.read("selector", report, labels).filter(|labels: &Labels| !labels.is_empty());
    let mut undeclared = Vec::new();
    let mut ports: Vec<(ServicePort, Span)> = Vec::new();
    for (port, span, declared) in fields.list("ports", report, service_port) {
        if let Some((_, first)) = ports.iter().find(|(other, _)| other.port == port.port) {
            report
                .add(Code::BadValue, span, format!("port {} is given twice", port.port))
                .also(*first, "first here")
                .help("port numbers of a service are unique");
            continue;
        }
        if !declared {
            undeclared.push(port.port);
        }
        ports.push((port, span));
    }
    let kind = fields.read("type", report, |node, report| {
        choice(node, &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"], report)
    });
    let external_name = fields.read("externalName", report, word);
    let mut addresses: Vec<IpAddr> = fields.list("clusterIPs", report, cluster_ip);
    if let Some(first) = fields.read("clusterIP", report, cluster_ip)
        && !addresses.contains(&first)
    {
        addresses.insert(0, first);
    }
    fields.ignore(&[
        "allocateLoadBalancerNodePorts",
        "externalIPs",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
        "publishNotReadyAddresses",
        "sessionAffinity",
        "sessionAffinityConfig",
        "trafficDistribution",
    ]);
    let is_external = kind.is_some_and(|kind| kind.value == "ExternalName");
    if is_external && external_name.is_none() {
        fields.missing("externalName", report);
    }
    fields.finish(report);
    let external = match external_name {
        Some(name) if is_external => External::Dns(vec![name.value]),
        _ => External::No,
    };
    let host = format!("{}.{}.svc.cluster.local", head.name.name, head.name.namespace);
    Some(ServiceShape {
        service: Service {
            name: head.name.clone(),
            origin,
            hosts: vec![Arc::from(host)],
            ports: ports.into_iter().map(|(port, _)| port).collect(),
            selector,
            addresses,
            external,
        },
        undeclared,
    })
}

/// `None` (headless) has no address.
fn cluster_ip(node: &Node, report: &mut Report) -> Option<IpAddr> {
    if matches!(&node.content, Content::Scalar(scalar) if matches!(&*scalar.text, "None" | "")) {
        return None;
    }
    address(node, report).map(|address| address.value)
}

fn service_port(node: &Node, report: &mut Report) -> Option<(ServicePort, Span, bool)> {
    let mut fields = Fields::open(node, "the port", report)?;
    let name = fields.read("name", report, text).map_or_else(|| Arc::from(""), |name| name.value);
    let number = fields.require("port", report, port);
    let target = fields.read("targetPort", report, target_port);
    let application = fields.read("appProtocol", report, text);
    let transport = fields.read("protocol", report, |node, report| choice(node, &["TCP", "UDP", "SCTP"], report));
    fields.ignore(&["nodePort"]);
    let span = fields.span();
    fields.finish(report);
    let number = number?;
    if let Some(transport) = transport.filter(|transport| transport.value != "TCP") {
        report.add(
            Code::PortNotCarried,
            transport.span,
            format!("port {} is {} and is not carried by the mesh", number.value, transport.value),
        );
        return None;
    }
    let declared = application
        .as_ref()
        .and_then(|application| from_app_protocol(&application.value))
        .or_else(|| from_port_name(&name));
    let port = ServicePort {
        name,
        port: number.value,
        target: target.unwrap_or(TargetPort::Number(number.value)),
        protocol: declared.unwrap_or(Protocol::Tcp),
    };
    Some((port, span, declared.is_some()))
}

fn target_port(node: &Node, report: &mut Report) -> Option<TargetPort> {
    match &node.content {
        Content::Scalar(scalar) if !scalar.plain || scalar.text.parse::<i64>().is_err() => {
            word(node, report).map(|name| TargetPort::Name(name.value))
        }
        Content::Null | Content::Scalar(_) | Content::List(_) | Content::Map(_) => {
            port(node, report).map(|number| TargetPort::Number(number.value))
        }
    }
}

/// From `appProtocol`; one that is not listed says nothing about HTTP, so the port's name decides.
pub(crate) fn from_app_protocol(value: &str) -> Option<Protocol> {
    Some(match value.to_ascii_lowercase().as_str() {
        "http" | "kubernetes.io/ws" | "ws" => Protocol::Http,
        "grpc" | "grpc-web" | "h2c" | "http2" | "kubernetes.io/h2c" => Protocol::Http2,
        "https" | "kubernetes.io/wss" | "mongo" | "mysql" | "redis" | "tcp" | "tls" => Protocol::Tcp,
        _ => return None,
    })
}

/// From the beginning of a port's name: `http`, `grpc-api`, `tcp-db`.
pub(crate) fn from_port_name(name: &str) -> Option<Protocol> {
    from_app_protocol(name.split('-').next().unwrap_or_default())
}

pub(crate) fn endpoint_slice(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<EndpointSlice> {
    let origin = cx.origin(head, head.span);
    let report = &mut cx.report;
    let mut fields = Fields::open(document, "an EndpointSlice", report)?;
    fields.ignore(&["apiVersion", "kind", "metadata"]);
    let family = fields.require("addressType", report, |node, report| choice(node, &["IPv4", "IPv6", "FQDN"], report));
    if let Some(family) = family.filter(|family| family.value == "FQDN") {
        not_supported(family.span, "addressType `FQDN`", "write a ServiceEntry with `resolution: DNS`", report);
    }
    let ports = fields.list("ports", report, slice_port);
    let endpoints = fields.list("endpoints", report, slice_endpoint);
    fields.finish(report);
    let Some(service) = head.labels.get(SERVICE_NAME) else {
        report
            .add(
                Code::MissingField,
                head.span,
                format!("the slice belongs to no service: it has no label `{SERVICE_NAME}`"),
            )
            .help(format!(
                "add it below metadata.labels, with the name of a service in namespace {}",
                head.name.namespace
            ));
        return None;
    };
    let service = ObjectName { namespace: Arc::clone(&head.name.namespace), name: Arc::clone(service) };
    Some(EndpointSlice { origin, service, ports, endpoints })
}

fn slice_port(node: &Node, report: &mut Report) -> Option<(Arc<str>, u16)> {
    let mut fields = Fields::open(node, "the port", report)?;
    let name = fields.read("name", report, text).map_or_else(|| Arc::from(""), |name| name.value);
    let number = fields.require("port", report, port);
    let transport = fields.read("protocol", report, |node, report| choice(node, &["TCP", "UDP", "SCTP"], report));
    fields.ignore(&["appProtocol"]);
    fields.finish(report);
    if transport.is_some_and(|transport| transport.value != "TCP") {
        return None;
    }
    Some((name, number?.value))
}

fn slice_endpoint(node: &Node, report: &mut Report) -> Option<SliceEndpoint> {
    let mut fields = Fields::open(node, "the endpoint", report)?;
    let addresses =
        fields.require("addresses", report, |node, report| Some(list(node, "addresses", report, address)))?;
    let (ready, serving, terminating) = fields.read("conditions", report, conditions).unwrap_or((None, None, None));
    let zone = fields.read("zone", report, text).map(|zone| zone.value);
    let target = fields.read("targetRef", report, target_name);
    let labels = fields.read("deprecatedTopology", report, labels).unwrap_or_default();
    fields.ignore(&["hints", "hostname", "nodeName"]);
    fields.finish(report);
    let ready = ready.unwrap_or(true);
    Some(SliceEndpoint {
        addresses: addresses.into_iter().map(|address: Spanned<IpAddr>| address.value).collect(),
        ready,
        serving: serving.unwrap_or(ready),
        terminating: terminating.unwrap_or(false),
        zone,
        target,
        labels,
    })
}

type Conditions = (Option<bool>, Option<bool>, Option<bool>);

fn conditions(node: &Node, report: &mut Report) -> Option<Conditions> {
    let mut fields = Fields::open(node, "conditions", report)?;
    let ready = fields.read("ready", report, truth);
    let serving = fields.read("serving", report, truth);
    let terminating = fields.read("terminating", report, truth);
    fields.finish(report);
    Some((ready, serving, terminating))
}

fn target_name(node: &Node, report: &mut Report) -> Option<Arc<str>> {
    let mut fields = Fields::open(node, "targetRef", report)?;
    let name = fields.read("name", report, text).map(|name| name.value);
    fields.ignore(&["apiVersion", "fieldPath", "kind", "namespace", "resourceVersion", "uid"]);
    fields.finish(report);
    name
}

/// A weight that is not zero.
pub(crate) fn weight(node: &Node, report: &mut Report) -> Option<std::num::NonZeroU32> {
    let value = count(node, report)?;
    let weight = std::num::NonZeroU32::new(value);
    if weight.is_none() {
        report
            .add(Code::BadValue, node.span, "an endpoint's weight cannot be 0")
            .help("remove the workload to send it nothing");
    }
    weight
}
