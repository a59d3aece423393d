//! Where a VirtualService's rules hold: in the mesh, at gateways, or both; and rules by the server's name, which only
//! gateways have.

use std::sync::Arc;

use super::{WeightedDestination, check_weights, destinations};
use crate::diagnostic::{Code, Report};
use crate::dialect::istio::{Host, gateway};
use crate::ir::ObjectName;
use crate::schema::{Fields, list, not_supported, port, word};
use crate::source::{Span, Spanned};
use crate::tree::{Entry, Node};

/// Where the rules hold.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// For calls inside the mesh.
    pub(crate) mesh: bool,
    /// At these gateways; the namespace is empty for that of the object.
    pub(crate) gateways: Vec<Spanned<ObjectName>>,
}

/// A rule for TLS that goes through a gateway.
#[derive(Clone, Debug)]
pub(crate) struct TlsRule {
    pub(crate) span: Span,
    /// The names of servers, and the port where one is named.
    pub(crate) matches: Vec<(Vec<Host>, Option<u16>)>,
    pub(crate) route: Vec<WeightedDestination>,
}

pub(super) fn read(entry: Option<&Entry>, report: &mut Report) -> Binding {
    let names = entry.map_or_else(Vec::new, |entry| list(&entry.value, "gateways", report, word));
    let mesh = names.is_empty() || names.iter().any(|name| &*name.value == "mesh");
    let gateways = names.into_iter().filter(|name| &*name.value != "mesh").map(|name| {
        let (namespace, short) = name.value.split_once('/').unwrap_or(("", &name.value));
        Spanned { value: ObjectName { namespace: Arc::from(namespace), name: Arc::from(short) }, span: name.span }
    });
    Binding { mesh, gateways: gateways.collect() }
}

/// The hosts of rules at gateways, in lower case.
pub(super) fn hosts(hosts: Vec<Host>, report: &mut Report) -> Vec<Host> {
    hosts.into_iter().filter_map(|host| gateway::name(&host.value.to_ascii_lowercase(), host.span, report)).collect()
}

/// The rules of `tls`. `hosts`: those of the object, which name all servers that its rules may.
pub(super) fn tls(entry: &Entry, hosts: &[Host], binding: &Binding, report: &mut Report) -> Vec<TlsRule> {
    if binding.mesh {
        let cure = "name the gateways at which it holds, without `mesh`: inside the mesh it would not be enforced";
        not_supported(entry.key_span, "`tls` of a VirtualService for the mesh", cure, report);
        return Vec::new();
    }
    list(&entry.value, "tls", report, |node, report| rule(node, hosts, report))
}

fn rule(node: &Node, hosts: &[Host], report: &mut Report) -> Option<TlsRule> {
    let mut fields = Fields::open(node, "the TLS rule", report)?;
    let span = fields.span();
    let matches = fields.list("match", report, |node, report| {
        let mut fields = Fields::open(node, "the match", report)?;
        let names = fields.list("sniHosts", report, word);
        let names = self::hosts(names, report);
        let number = fields.read("port", report, port);
        fields.unsupported(
            &["destinationSubnets", "gateways", "sourceLabels", "sourceNamespace"],
            "TLS that goes through is told apart by the server's name and the port",
            report,
        );
        if names.is_empty() {
            fields.missing("sniHosts", report);
        }
        fields.finish(report);
        for name in names.iter().filter(|name| !hosts.iter().any(|host| stands_for(&host.value, &name.value))) {
            let message =
                format!("SNI host \"{}\" is not a compatible subset of any of the virtual service hosts", name.value);
            report.add(Code::InvalidRule, name.span, message).help("name it among `hosts`, too");
        }
        Some((names, number.map(|number| number.value)))
    });
    let route = fields.entry("route");
    if matches.is_empty() {
        report
            .add(Code::InvalidRule, span, "TLS match must have at least one SNI host")
            .help("add `match: [{sniHosts: [...]}]`");
    }
    if route.is_none() {
        report.add(Code::InvalidRule, span, "TLS route is required").help("add `route` with a destination");
    }
    fields.finish(report);
    let entry = route?;
    let destinations = destinations(&entry.value, "route", report);
    if destinations.is_empty() {
        return None;
    }
    check_weights(entry, &destinations, report);
    Some(TlsRule { span, matches, route: destinations.into_iter().map(|(destination, _)| destination).collect() })
}

fn stands_for(host: &str, name: &str) -> bool {
    host == name || host.strip_prefix('*').is_some_and(|suffix| name.ends_with(suffix))
}
