//! BackendTLSPolicies: which ports of which services are called with TLS.
//!
//! # Who wins
//! A policy for one port goes before one for the whole service, then the older before the newer; and what Gateway API says
//! goes before a dialect.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::certificates::Credentials;
use crate::diagnostic::Code;
use crate::dialect::gateway_api::backend_tls_policy::{BackendTlsPolicy, Target, Validation};
use crate::dialect::{Context, Object};
use crate::head::Head;
use crate::ir::load_balancing::{BackendSettings, TrafficSettings};
use crate::ir::tls::{BackendTls, Origination, Roots};
use crate::ir::world::Service;
use crate::ir::{ObjectName, PolicySet, Stated};
use crate::source::{Span, Spanned};

/// A name that no certificate has: the domain is nobody's (RFC 6761 section 6.4).
const NOBODY: &str = "unresolved-roots.invalid";

pub(super) fn policies(
    policies: &[Object<BackendTlsPolicy>],
    credentials: &mut Credentials<'_>,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let mut policies: Vec<&Object<BackendTlsPolicy>> = policies.iter().collect();
    policies.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let targets = |with_section: bool| {
        let each = policies.iter().flat_map(|policy| policy.spec.targets.iter().map(move |target| (*policy, target)));
        each.filter(move |(_, target)| target.section.is_some() == with_section)
    };
    let mut stanzas: HashMap<Span, Stated<BackendTls>> = HashMap::new();
    let mut winners: HashMap<(ObjectName, u16), (Span, bool)> = HashMap::new();
    for (Object { head, spec }, target) in targets(true).chain(targets(false)) {
        let Some((service, ports)) = ports(head, target, set, cx) else { continue };
        let stanza =
            stanzas.entry(head.span).or_insert_with(|| stanza(head, &spec.validation, credentials, cx)).clone();
        let origin = cx.origin(head, head.span);
        let settings = set.backends.entry(service.clone()).or_insert_with(|| BackendSettings {
            origin,
            traffic: TrafficSettings::default(),
            ports: BTreeMap::new(),
            subsets: BTreeMap::new(),
        });
        for port in ports {
            match winners.get(&(service.clone(), port)) {
                None => {
                    winners.insert((service.clone(), port), (target.name.span, target.section.is_some()));
                    settings.traffic.tls_of_ports.insert(port, stanza.clone());
                }
                // That a port is another policy's is what a section is for.
                Some((_, true)) if target.section.is_none() => {}
                Some((first, _)) => {
                    let message = format!("an older BackendTLSPolicy is for port {port} of {service} already");
                    cx.report
                        .add(Code::ConflictingSettings, target.name.span, message)
                        .say("has no effect here")
                        .also(*first, "this one counts")
                        .help("set it in one place");
                }
            }
        }
    }
}

/// The service and those of its ports that a policy is for.
fn ports(head: &Head, target: &Target, set: &PolicySet, cx: &mut Context<'_>) -> Option<(ObjectName, Vec<u16>)> {
    let name = ObjectName { namespace: Arc::clone(&head.name.namespace), name: Arc::clone(&target.name.value) };
    let service: Option<&Service> = set.services.get(&name).filter(|service| service.origin.kind == "Service");
    let Some(service) = service else {
        cx.report
            .add(Code::UnknownParent, target.name.span, format!("there is no service {name}"))
            .say("the policy has no effect here")
            .help("add the Service, or correct the name");
        return None;
    };
    let wanted = |name: &str| target.section.as_ref().is_none_or(|section| *section.value == *name);
    let ports: Vec<u16> = service.ports.iter().filter(|port| wanted(&port.name)).map(|port| port.port).collect();
    if let (true, Some(section)) = (ports.is_empty(), &target.section) {
        let names: Vec<&str> = service.ports.iter().map(|port| &*port.name).filter(|name| !name.is_empty()).collect();
        cx.report
            .add(Code::UnknownParent, section.span, format!("service {name} has no port named `{}`", section.value))
            .say("the policy has no effect here")
            .help(format!("its ports are named {}", names.join(", ")));
        return None;
    }
    Some((name, ports))
}

fn stanza(
    head: &Head,
    validation: &Validation,
    credentials: &mut Credentials<'_>,
    cx: &mut Context<'_>,
) -> Stated<BackendTls> {
    let Validation { span, roots, hostname, names } = validation;
    let (roots, names) = match credentials.roots(head, roots, cx) {
        Some(name) => (Roots::Credential(name), names.clone()),
        None if roots.is_empty() => (Roots::System, names.clone()),
        // Nobody can be believed without the roots, and nobody is called in the clear who was to be called with TLS.
        None => (Roots::System, vec![Arc::from(NOBODY)]),
    };
    let origination = Origination { sni: Some(Arc::clone(hostname)), names, roots, client: None };
    cx.stated(head, &Spanned { value: BackendTls::Originate(origination), span: *span })
}
