//! How services are called: DestinationRules of one host are put together.
//!
//! Istio appends subsets and takes the first traffic policy, silently. Here a subset defined twice is an error, and a stanza
//! set twice a warning that names the winner.

use std::collections::HashMap;

use super::world::World;
use crate::diagnostic::Code;
use crate::dialect::istio::destination_rule::{DestinationRule, duplicate_subset};
use crate::dialect::{Context, Object};
use crate::ir::load_balancing::{BackendSettings, Subset, TrafficSettings};
use crate::ir::{ObjectName, PolicySet};
use crate::source::Span;

pub(super) fn destination_rules(
    rules: &[Object<DestinationRule>],
    world: &World,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let mut rules: Vec<&Object<DestinationRule>> = rules.iter().collect();
    rules.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
    let mut subset_spans: HashMap<(ObjectName, &str), Span> = HashMap::new();
    let mut policy_spans: HashMap<ObjectName, Span> = HashMap::new();
    for Object { head, spec } in rules {
        let Some(service) = world.service(&spec.host, &head.name.namespace, &set.services, &mut cx.report) else {
            continue;
        };
        let service = service.name.clone();
        if service.namespace != head.name.namespace {
            cx.report
                .add(
                    Code::ForeignNamespace,
                    spec.host.span,
                    format!("{service} is in another namespace than this DestinationRule, which is not yet supported"),
                )
                .say(format!("lives in namespace `{}`", service.namespace))
                .help(format!("move the DestinationRule to namespace `{}`", service.namespace));
            continue;
        }
        let origin = cx.origin(head, head.span);
        let settings = set.backends.entry(service.clone()).or_insert_with(|| BackendSettings {
            origin,
            traffic: TrafficSettings::default(),
            subsets: std::collections::BTreeMap::new(),
        });
        if let Some(traffic) = &spec.traffic {
            let first = *policy_spans.entry(service.clone()).or_insert(traffic.span);
            if combine(&mut settings.traffic, &traffic.value) {
                cx.report
                    .add(
                        Code::ConflictingSettings,
                        traffic.span,
                        format!("an older DestinationRule already sets the same for {service}"),
                    )
                    .say("has no effect where both set the same")
                    .also(first, "this one counts")
                    .help("set it in one place");
            }
        }
        for shape in &spec.subsets {
            match subset_spans.get(&(service.clone(), &*shape.name.value)) {
                Some(first) => duplicate_subset(&shape.name, *first, &mut cx.report),
                None => {
                    subset_spans.insert((service.clone(), &shape.name.value), shape.name.span);
                    let origin = crate::ir::Origin {
                        kind: "DestinationRule",
                        object: head.name.clone(),
                        file: cx.map.path(shape.name.span.file),
                        line: cx.map.line(shape.name.span),
                    };
                    settings.subsets.insert(
                        shape.name.value.clone(),
                        Subset { origin, labels: shape.labels.clone(), traffic: shape.traffic.clone() },
                    );
                }
            }
        }
    }
}

/// Fills what is unset; true when both set the same stanza.
fn combine(older: &mut TrafficSettings, newer: &TrafficSettings) -> bool {
    let conflict = (older.load_balancing.is_some() && newer.load_balancing.is_some())
        || (older.connection.is_some() && newer.connection.is_some());
    older.load_balancing = older.load_balancing.or(newer.load_balancing);
    older.connection = older.connection.or(newer.connection);
    conflict
}
