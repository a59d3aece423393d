//! ServiceEntry: a service that the registry does not know.

use std::net::IpAddr;
use std::sync::Arc;

use super::workload_entry::{self, Entry};
use super::{Host, export_to};
use crate::diagnostic::{Code, Report};
use crate::dialect::core::{from_app_protocol, from_port_name};
use crate::dialect::{Context, ServiceShape, spec};
use crate::head::Head;
use crate::ir::world::{External, Labels, Protocol, Service, ServicePort, TargetPort, Workload, WorkloadPort};
use crate::ir::{ObjectName, Origin};
use crate::schema::{Fields, choice, labels, list, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

const RESOLUTIONS: &[&str] = &["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"];

pub(crate) fn read(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<ServiceShape> {
    let mut fields = spec(document, "a ServiceEntry", cx)?;
    let origin = cx.origin(head, head.span);
    let report = &mut cx.report;
    let span = fields.span();
    let hosts = fields.list("hosts", report, host);
    let addresses = fields.list("addresses", report, virtual_address);
    let ports = fields.list("ports", report, service_port);
    let resolution = fields.read("resolution", report, |node, report| choice(node, RESOLUTIONS, report));
    fields.read("location", report, |node, report| choice(node, &["MESH_EXTERNAL", "MESH_INTERNAL"], report));
    let endpoints_at = fields.entry("endpoints");
    let endpoints = endpoints_at.map_or_else(Vec::new, |entry| {
        list(&entry.value, "endpoints", report, |node, report| {
            Some(workload_entry::fields_of(Fields::open(node, "the endpoint", report)?, report))
        })
    });
    let selector_at = fields.entry("workloadSelector");
    let selector = selector_at.and_then(|entry| workload_selector(&entry.value, report));
    export_to(&mut fields, report);
    fields.unsupported(&["subjectAltNames"], "", report);
    fields.finish(report);
    if hosts.is_empty() {
        report
            .add(Code::MissingField, span, "service entry must have at least one host")
            .help("add `hosts:` with the name clients use");
    }
    if ports.is_empty() {
        report
            .add(Code::MissingField, span, "service entry must have at least one port")
            .help("add `ports:` with number, name and protocol");
    }
    if let (Some(endpoints), Some(selector)) = (endpoints_at, selector_at) {
        report
            .add(
                Code::InvalidRule,
                selector.key_span,
                "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
            )
            .also(endpoints.key_span, "the other is here")
            .help("keep one");
    }
    let resolution = resolution.unwrap_or(Spanned { value: "NONE", span });
    let names: Vec<Arc<str>> = hosts.iter().map(|host| Arc::clone(&host.value)).collect();
    let mut ports: Vec<ServicePort> = ports;
    let external = match (resolution.value, &selector) {
        (_, Some(_)) => External::No,
        ("STATIC", None) => External::Static(static_endpoints(head, &origin, &endpoints, &mut ports, report)),
        ("DNS" | "DNS_ROUND_ROBIN", None) => External::Dns(dns_names(&endpoints, &names, report)),
        (other, None) => {
            not_supported(
                resolution.span,
                &format!("resolution `{other}`"),
                "write `resolution: DNS`, or STATIC with endpoints",
                report,
            );
            External::No
        }
    };
    let undeclared = Vec::new();
    let service = Service { name: head.name.clone(), origin, hosts: names, ports, selector, addresses, external };
    (!service.hosts.is_empty()).then_some(ServiceShape { service, undeclared })
}

fn host(node: &Node, report: &mut Report) -> Option<Host> {
    let host = word(node, report)?;
    if host.value.contains('*') {
        not_supported(host.span, "a wildcard among the hosts of a ServiceEntry", "name each host", report);
        return None;
    }
    let good = host.value.len() <= 253
        && host.value.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if !good {
        report
            .add(Code::BadName, host.span, format!("\"{}\" cannot be a host", shortened(&host.value)))
            .help("write a host name such as api.example.com, without scheme, port or path");
        return None;
    }
    Some(host.map(|host| Arc::from(host.to_ascii_lowercase())))
}

fn virtual_address(node: &Node, report: &mut Report) -> Option<IpAddr> {
    let address = text(node, report)?;
    if address.value.contains('/') {
        not_supported(address.span, "a range of addresses", "write single addresses", report);
        return None;
    }
    let parsed = address.value.parse().ok();
    if parsed.is_none() {
        report.add(Code::BadValue, address.span, format!("\"{}\" is not an IP address", shortened(&address.value)));
    }
    parsed
}

fn service_port(node: &Node, report: &mut Report) -> Option<ServicePort> {
    let mut fields = Fields::open(node, "the port", report)?;
    let number = fields.require("number", report, port);
    let protocol = fields.read("protocol", report, text);
    let name = fields.require("name", report, word);
    let target = fields.read("targetPort", report, port);
    fields.finish(report);
    let (number, name) = (number?, name?);
    let protocol = match protocol {
        None => from_port_name(&name.value).unwrap_or(Protocol::Tcp),
        Some(written) => match from_app_protocol(&written.value) {
            Some(protocol) => protocol,
            None => {
                report
                    .add(Code::BadValue, written.span, format!("\"{}\" is not a protocol", shortened(&written.value)))
                    .help("write HTTP, HTTP2, GRPC, HTTPS, TLS or TCP");
                return None;
            }
        },
    };
    let target = TargetPort::Number(target.map_or(number.value, |target| target.value));
    Some(ServicePort { name: name.value, port: number.value, target, protocol })
}

fn workload_selector(node: &Node, report: &mut Report) -> Option<Labels> {
    let mut fields = Fields::open(node, "workloadSelector", report)?;
    let labels = fields.require("labels", report, labels);
    fields.finish(report);
    labels
}

/// Endpoints that are addresses. Where one maps a port by name, every port is looked up by name at the endpoint.
fn static_endpoints(
    head: &Head,
    origin: &Origin,
    endpoints: &[Entry],
    ports: &mut [ServicePort],
    report: &mut Report,
) -> Vec<Workload> {
    let mapped = endpoints.iter().any(|endpoint| !endpoint.ports.is_empty());
    let mut workloads = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let Some(address) = endpoint_address(endpoint, report) else { continue };
        let Some(address) = workload_entry::ip(address, report) else { continue };
        check_ports(endpoint, ports, report);
        let at = |port: &ServicePort| {
            let written = endpoint.ports.iter().find(|(name, _)| name.value == port.name).map(|(_, number)| *number);
            written.unwrap_or(match port.target {
                TargetPort::Number(number) => number,
                TargetPort::Name(_) => port.port,
            })
        };
        let own = ports
            .iter()
            .map(|port| WorkloadPort {
                name: Arc::clone(&port.name),
                port: at(port),
                application: None,
                protocol: port.protocol,
            })
            .collect();
        workloads.push(Workload {
            name: ObjectName {
                namespace: Arc::clone(&head.name.namespace),
                name: Arc::from(format!("{}-{index}", head.name.name)),
            },
            origin: origin.clone(),
            labels: endpoint.labels.clone(),
            address,
            ports: own,
            weight: endpoint.weight,
            locality: endpoint.locality.clone(),
            sidecar: None,
        });
    }
    if mapped {
        for port in ports {
            port.target = TargetPort::Name(Arc::clone(&port.name));
        }
    }
    workloads
}

fn check_ports(endpoint: &Entry, ports: &[ServicePort], report: &mut Report) {
    for (name, _) in &endpoint.ports {
        if !ports.iter().any(|port| port.name == name.value) {
            report
                .add(
                    Code::UnknownPort,
                    name.span,
                    format!("the service entry has no port named \"{}\"", shortened(&name.value)),
                )
                .help("name one of its `ports`");
        }
    }
}

fn endpoint_address<'e>(endpoint: &'e Entry, report: &mut Report) -> Option<&'e Spanned<Arc<str>>> {
    if endpoint.address.is_none() {
        missing_address(endpoint.span, report);
    }
    endpoint.address.as_ref()
}

fn missing_address(span: Span, report: &mut Report) {
    report.add(Code::MissingField, span, "the endpoint needs `address`").help("add `address: ...`");
}

/// Names to resolve: those of the endpoints, or the hosts themselves.
fn dns_names(endpoints: &[Entry], hosts: &[Arc<str>], report: &mut Report) -> Vec<Arc<str>> {
    if endpoints.is_empty() {
        return hosts.to_vec();
    }
    let mut names = Vec::new();
    for endpoint in endpoints {
        if let Some((name, _)) = endpoint.ports.first() {
            not_supported(
                name.span,
                "`ports` of an endpoint with `resolution: DNS`",
                "use targetPort in the service entry's ports",
                report,
            );
        }
        names.extend(endpoint_address(endpoint, report).map(|address| Arc::clone(&address.value)));
    }
    names
}
