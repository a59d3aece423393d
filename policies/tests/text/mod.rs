//! A compiled set as lines of text: one for each thing, so that a difference shows what changed.

pub(crate) mod status;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use tidegate_policies::ir::gateway::Gateway;
use tidegate_policies::ir::load_balancing::{BackendSettings, TrafficSettings};
use tidegate_policies::ir::route::{
    Backend, HeaderChanges, PathRewrite, RequestMatch, RouteEntry, RuleAction, RulePolicies,
};
use tidegate_policies::ir::split::Split;
use tidegate_policies::ir::world::{External, Labels, Service, Workload};
use tidegate_policies::ir::{Origin, PolicySet, Stated};

pub(crate) fn describe(set: &PolicySet) -> String {
    let mut out = String::new();
    for (name, namespace) in &set.namespaces {
        writeln!(out, "namespace {name} {}", labels(&namespace.labels)).expect("a string takes everything");
    }
    for service in set.services.values() {
        self::service(&mut out, service);
    }
    for workload in set.workloads.values() {
        self::workload(&mut out, "workload", workload);
    }
    let mut slices: Vec<String> = set
        .endpoint_slices
        .iter()
        .map(|slice| {
            let mut out = format!("slice of {} ports {:?}\n", slice.service, slice.ports);
            for endpoint in &slice.endpoints {
                let state = (endpoint.ready, endpoint.serving, endpoint.terminating);
                writeln!(
                    out,
                    "  {:?} ready,serving,terminating {state:?} zone {:?} target {:?} {}",
                    endpoint.addresses,
                    endpoint.zone,
                    endpoint.target,
                    labels(&endpoint.labels)
                )
                .expect("a string takes everything");
            }
            out
        })
        .collect();
    slices.sort();
    out.extend(slices);
    for (service, everybody) in &set.backends {
        settings(&mut out, &service.to_string(), everybody);
    }
    for (service, of_clients) in &set.client_backends {
        for (namespace, own) in of_clients {
            settings(&mut out, &format!("{service} for clients of {namespace}"), own);
        }
    }
    if !set.mesh.error_header {
        out.push_str("mesh without error header\n");
    }
    for limits in &set.workload_limits {
        let mut text = format!("workloads of {} {}", limits.namespace, labels(&limits.labels));
        limits.limits.iter().for_each(|limit| stated(&mut text, limit));
        writeln!(out, "{text}").expect("a string takes everything");
    }
    for (service, routes) in &set.mesh_routes {
        for routes in routes {
            let port = routes.port.map_or_else(|| "every HTTP port".to_owned(), |port| format!("port {port}"));
            let consumer = routes
                .consumer_namespace
                .as_ref()
                .map_or(String::new(), |namespace| format!(" for clients in {namespace}"));
            writeln!(out, "mesh route {service} {port}{consumer}").expect("a string takes everything");
            rules(&mut out, &routes.rules);
        }
    }
    for (name, credential) in &set.credentials {
        writeln!(out, "credential {name} {credential:?}").expect("a string takes everything");
    }
    set.gateways.values().for_each(|gateway| self::gateway(&mut out, gateway));
    out
}

fn gateway(out: &mut String, gateway: &Gateway) {
    writeln!(out, "gateway {} {:?}", gateway.name, gateway.addresses).expect("a string takes everything");
    for listener in &gateway.listeners {
        writeln!(out, " listener {} port {} hostname {:?}", listener.name, listener.port, listener.hostname)
            .expect("a string takes everything");
        if let Some(tcp) = &listener.tcp {
            writeln!(out, "  connections from {}", origin(&tcp.origin)).expect("a string takes everything");
            split(out, &tcp.split);
        }
        if let Some(tls) = &listener.tls {
            writeln!(out, "  {:?} from {}", tls.mode, origin(&tls.origin)).expect("a string takes everything");
        }
        for server in &listener.servers {
            writeln!(out, "  connections to {} from {}", server.name, origin(&server.rule.origin))
                .expect("a string takes everything");
            split(out, &server.rule.split);
        }
        for host in &listener.hosts {
            writeln!(out, " host {}", host.host).expect("a string takes everything");
            rules(out, &host.rules);
        }
    }
}

fn settings(out: &mut String, whose: &str, backend: &BackendSettings) {
    writeln!(out, "backend {whose} from {}{}", origin(&backend.origin), traffic(&backend.traffic))
        .expect("a string takes everything");
    ports(out, &backend.ports);
    for (name, subset) in &backend.subsets {
        writeln!(
            out,
            "  subset {name} {} from {}{}",
            labels(&subset.labels),
            origin(&subset.origin),
            traffic(&subset.traffic)
        )
        .expect("a string takes everything");
        ports(out, &subset.ports);
    }
}

fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{{{}}}", pairs.join(","))
}

fn origin(origin: &Origin) -> String {
    format!("{} {} {}:{}", origin.kind, origin.object, origin.file, origin.line)
}

fn service(out: &mut String, service: &Service) {
    let selector = service.selector.as_ref().map_or_else(|| "none".to_owned(), labels);
    writeln!(
        out,
        "service {} hosts {:?} selector {selector} addresses {:?}",
        service.name, service.hosts, service.addresses
    )
    .expect("a string takes everything");
    for port in &service.ports {
        writeln!(out, "  port {} \"{}\" -> {:?} {:?}", port.port, port.name, port.target, port.protocol)
            .expect("a string takes everything");
    }
    match &service.external {
        External::No => {}
        External::Dns(names) => writeln!(out, "  resolves {names:?}").expect("a string takes everything"),
        External::Static(workloads) => {
            workloads.iter().for_each(|workload| self::workload(out, "  endpoint", workload))
        }
    }
}

fn workload(out: &mut String, what: &str, workload: &Workload) {
    writeln!(
        out,
        "{what} {} {} {} weight {} locality {:?}",
        workload.name,
        workload.address,
        labels(&workload.labels),
        workload.weight,
        workload.locality
    )
    .expect("a string takes everything");
    for port in &workload.ports {
        let application = port.application.map_or(String::new(), |application| format!(" -> {application}"));
        writeln!(out, "  port {} \"{}\" {:?}{application}", port.port, port.name, port.protocol)
            .expect("a string takes everything");
    }
    if let Some(sidecar) = &workload.sidecar {
        writeln!(out, "  outbound {}", sidecar.outbound).expect("a string takes everything");
        for tcp in &sidecar.outbound_tcp {
            writeln!(out, "  outbound tcp {} -> {}:{}", tcp.listen, tcp.service, tcp.port)
                .expect("a string takes everything");
        }
    }
}

fn traffic(traffic: &TrafficSettings) -> String {
    let mut text = String::new();
    stanza(&mut text, &traffic.load_balancing);
    stanza(&mut text, &traffic.connection);
    stanza(&mut text, &traffic.limits);
    stanza(&mut text, &traffic.outlier);
    stanza(&mut text, &traffic.health_check);
    stanza(&mut text, &traffic.locality);
    stanza(&mut text, &traffic.session);
    stanza(&mut text, &traffic.retry);
    stanza(&mut text, &traffic.timeouts);
    stanza(&mut text, &traffic.fault);
    traffic.rate_limits.iter().for_each(|limit| stated(&mut text, limit));
    stanza(&mut text, &traffic.tls);
    for (port, tls) in &traffic.tls_of_ports {
        write!(text, "\n    port {port}").expect("a string takes everything");
        stated(&mut text, tls);
    }
    text
}

fn ports(out: &mut String, ports: &BTreeMap<u16, TrafficSettings>) {
    for (port, settings) in ports {
        writeln!(out, "  port {port}{}", traffic(settings)).expect("a string takes everything");
    }
}

fn stanza<T: Debug>(text: &mut String, stanza: &Option<Stated<T>>) {
    if let Some(stanza) = stanza {
        stated(text, stanza);
    }
}

/// A stanza on a line of its own, with the place it came from.
fn stated<T: Debug>(text: &mut String, stanza: &Stated<T>) {
    write!(text, "\n    {:?} at {}", stanza.value, origin(&stanza.origin)).expect("a string takes everything");
}

fn policies(policies: &RulePolicies) -> String {
    let mut text = String::new();
    stanza(&mut text, &policies.fault);
    policies.rate_limits.iter().for_each(|limit| stated(&mut text, limit));
    stanza(&mut text, &policies.retry);
    policies.mirrors.iter().for_each(|mirror| stated(&mut text, mirror));
    stanza(&mut text, &policies.cors);
    stanza(&mut text, &policies.session);
    if let Some(from) = &policies.timeouts_from {
        write!(text, "\n    timeouts at {}", origin(from)).expect("a string takes everything");
    }
    text
}

fn backend(backend: &Backend) -> String {
    match backend {
        Backend::Service { service, port, subset } => {
            format!("{service}:{port}{}", subset.as_ref().map_or(String::new(), |subset| format!(" {subset}")))
        }
        Backend::Invalid(why) => format!("500 ({why})"),
    }
}

fn split(out: &mut String, split: &Split) {
    for destination in &split.destinations {
        let host = destination.host_rewrite.as_ref().map_or(String::new(), |host| format!(" host {host}"));
        let changes =
            headers("request", &destination.request_headers) + &headers("response", &destination.response_headers);
        writeln!(out, "      {} {}{host}{changes}", destination.weight, backend(&destination.backend))
            .expect("a string takes everything");
    }
}

fn rules(out: &mut String, rules: &[RouteEntry]) {
    for entry in rules {
        let rule = &entry.rule;
        writeln!(out, "  when {}", matches(&entry.matches)).expect("a string takes everything");
        let name = if rule.name.is_empty() { String::new() } else { format!(" \"{}\"", rule.name) };
        let mut extra = String::new();
        extra.push_str(&headers("request", &rule.request_headers));
        extra.push_str(&headers("response", &rule.response_headers));
        if rule.path_rewrite != PathRewrite::Keep {
            write!(extra, " rewrite {:?}", rule.path_rewrite).expect("a string takes everything");
        }
        if let Some(host) = &rule.host_rewrite {
            write!(extra, " host {host}").expect("a string takes everything");
        }
        if rule.timeouts != Default::default() {
            write!(extra, " timeouts {:?}/{:?}", rule.timeouts.request, rule.timeouts.backend_request)
                .expect("a string takes everything");
        }
        let by =
            rule.delegated_by.as_ref().map_or_else(String::new, |by| format!(" delegated by {}", origin(&by.origin)));
        let extra = format!("{extra} from {}{by}{}", origin(&rule.origin), policies(&rule.policies));
        match &rule.action {
            RuleAction::Split(split) => {
                writeln!(out, "    split{name}{extra}").expect("a string takes everything");
                self::split(out, split);
            }
            other => writeln!(out, "    {other:?}{name}{extra}").expect("a string takes everything"),
        }
    }
}

fn matches(matches: &RequestMatch) -> String {
    let mut text = format!("{:?}", matches.path);
    for (what, condition) in
        [("method", &matches.method), ("scheme", &matches.scheme), ("authority", &matches.authority)]
    {
        if let Some(condition) = condition {
            write!(text, " {what} {condition:?}").expect("a string takes everything");
        }
    }
    for (name, condition) in &matches.headers {
        write!(text, " header {name} {condition:?}").expect("a string takes everything");
    }
    for (name, condition) in &matches.query_parameters {
        write!(text, " query {name} {condition:?}").expect("a string takes everything");
    }
    if matches.grpc {
        text.push_str(" grpc");
    }
    if let Some(port) = matches.port {
        write!(text, " port {port}").expect("a string takes everything");
    }
    if let Some(namespace) = &matches.client.namespace {
        write!(text, " from namespace {namespace}").expect("a string takes everything");
    }
    if !matches.client.labels.is_empty() {
        write!(text, " from {}", labels(&matches.client.labels)).expect("a string takes everything");
    }
    text
}

fn headers(what: &str, changes: &HeaderChanges) -> String {
    if *changes == HeaderChanges::default() {
        String::new()
    } else {
        format!(" {what} set {:?} add {:?} remove {:?}", changes.set, changes.add, changes.remove)
    }
}
