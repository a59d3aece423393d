//! WorkloadEntry: a machine without sidecar, or an endpoint within a ServiceEntry.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::core::{from_port_name, weight};
use crate::dialect::tidegate::{locality, no_locality};
use crate::dialect::{Context, PlainWorkload, spec};
use crate::head::Head;
use crate::ir::world::{Labels, Protocol, Workload, WorkloadPort};
use crate::schema::{Fields, labels, map, not_supported, port, text, word};
use crate::source::{Span, Spanned};
use crate::tree::{Node, shortened};

/// The fields that a WorkloadEntry and an endpoint share.
pub(super) struct Entry {
    pub(super) span: Span,
    pub(super) address: Option<Spanned<Arc<str>>>,
    pub(super) ports: Vec<(Spanned<Arc<str>>, u16)>,
    pub(super) labels: Labels,
    pub(super) weight: NonZeroU32,
    pub(super) locality: [Arc<str>; 3],
}

pub(crate) fn read(head: &Head, document: &Node, cx: &mut Context<'_>) -> Option<PlainWorkload> {
    let fields = spec(document, "a WorkloadEntry", cx)?;
    let origin = cx.origin(head, head.span);
    let report = &mut cx.report;
    let entry = fields_of(fields, report);
    let Some(written) = &entry.address else {
        report
            .add(Code::MissingField, entry.span, "a WorkloadEntry needs `address`")
            .help("add the IP address at which peers reach the machine");
        return None;
    };
    let address = ip(written, report)?;
    let mut all = head.labels.clone();
    all.extend(entry.labels);
    let ports = entry
        .ports
        .into_iter()
        .map(|(name, port)| WorkloadPort {
            protocol: from_port_name(&name.value).unwrap_or(Protocol::Tcp),
            name: name.value,
            port,
            application: None,
        })
        .collect();
    let workload = Workload {
        name: head.name.clone(),
        origin,
        labels: all,
        address,
        ports,
        weight: entry.weight,
        locality: entry.locality,
        sidecar: None,
    };
    Some(Spanned { value: workload, span: head.span })
}

pub(super) fn fields_of(mut fields: Fields<'_>, report: &mut Report) -> Entry {
    let address = fields.read("address", report, word);
    let ports = fields
        .read("ports", report, |node, report| Some(map(node, "ports", report, port)))
        .unwrap_or_default()
        .into_iter()
        .map(|(name, port)| (name, port.value))
        .collect();
    let labels = fields.read("labels", report, labels).unwrap_or_default();
    let weight = fields.read("weight", report, weight).unwrap_or(NonZeroU32::MIN);
    let locality = fields.read("locality", report, locality).unwrap_or_else(no_locality);
    let network = fields.read("network", report, text).filter(|network| !network.value.is_empty());
    if let Some(network) = network {
        not_supported(network.span, "`network`", "leave it out: every address is dialled directly", report);
    }
    // An identity for mutual TLS; there is none to check yet, and nothing it could change.
    fields.ignore(&["serviceAccount"]);
    let span = fields.span();
    fields.finish(report);
    Entry { span, address, ports, labels, weight, locality }
}

pub(super) fn ip(address: &Spanned<Arc<str>>, report: &mut Report) -> Option<IpAddr> {
    if address.value.starts_with("unix://") {
        not_supported(address.span, "a unix socket as address", "write an IP address", report);
        return None;
    }
    let parsed = address.value.parse().ok();
    if parsed.is_none() {
        report
            .add(Code::BadValue, address.span, format!("\"{}\" is not an IP address", shortened(&address.value)))
            .help("write an IP address; a ServiceEntry with `resolution: DNS` takes names");
    }
    parsed
}
