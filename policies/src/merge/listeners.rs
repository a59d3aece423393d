//! The listeners of each gateway: its own, and those that ListenerSets add.
//!
//! # Who wins
//! A gateway's own listeners come first, then those of its sets, the oldest set first. A listener that cannot stand beside an
//! earlier one is left out; it belongs to somebody else than the one it collides with, so that is a warning and not an error.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::diagnostic::Code;
use crate::dialect::gateway_api::gateway::{GatewayShape, ListenerShape, Namespaces};
use crate::dialect::gateway_api::listener_set::ListenerSet;
use crate::dialect::{Context, Object};
use crate::head::Head;
use crate::ir::ObjectName;
use crate::ir::world::{Labels, Namespace};

/// Most listeners of one gateway. Each is compared with the others of its gateway, so a few megabytes of sets must not make
/// millions of them; a gateway by itself has 64 at most.
const LISTENERS_OF_A_GATEWAY_MAX: usize = 1_000;

/// A listener and who wrote it.
#[derive(Clone, Copy)]
pub(super) struct Listener<'a> {
    /// The set; `None`: the gateway itself.
    pub(super) set: Option<&'a ObjectName>,
    /// The namespace that "same namespace" means.
    pub(super) namespace: &'a Arc<str>,
    pub(super) shape: &'a ListenerShape,
}

impl Listener<'_> {
    /// Unique within the gateway.
    pub(super) fn name(&self) -> Arc<str> {
        match self.set {
            None => Arc::clone(&self.shape.name.value),
            Some(set) => Arc::from(format!("{set}/{}", self.shape.name.value)),
        }
    }
}

/// The listeners of every gateway.
pub(super) struct Listeners<'a> {
    by_gateway: BTreeMap<&'a ObjectName, Vec<Listener<'a>>>,
    /// Sets that were admitted, with their gateways.
    sets: BTreeMap<&'a ObjectName, &'a ObjectName>,
}

impl<'a> Listeners<'a> {
    pub(super) fn new(
        gateways: &'a [Object<GatewayShape>],
        sets: &'a [Object<ListenerSet>],
        namespaces: &BTreeMap<Arc<str>, Namespace>,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut all = Self { by_gateway: BTreeMap::new(), sets: BTreeMap::new() };
        for Object { head, spec } in gateways {
            let own = spec.listeners.iter();
            let own = own.map(|shape| Listener { set: None, namespace: &head.name.namespace, shape });
            all.by_gateway.insert(&head.name, own.collect());
        }
        let by_name: HashMap<&ObjectName, &Object<GatewayShape>> =
            gateways.iter().map(|gateway| (&gateway.head.name, gateway)).collect();
        let mut sets: Vec<&Object<ListenerSet>> = sets.iter().collect();
        sets.sort_by(|a, b| a.head.age().cmp(&b.head.age()));
        for Object { head, spec } in sets {
            let namespace = spec.parent_namespace.as_ref().unwrap_or(&head.name.namespace);
            let name = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(&spec.parent.value) };
            let Some(gateway) = by_name.get(&name) else {
                cx.report
                    .add(Code::UnknownParent, spec.parent.span, format!("there is no gateway {name}"))
                    .say("the listeners have no effect")
                    .help("add the Gateway, or correct name and namespace");
                continue;
            };
            let labels = namespaces.get(&head.name.namespace).map(|namespace| &namespace.labels);
            if !admits(&gateway.spec.sets, &head.name.namespace, labels, &name.namespace) {
                cx.report
                    .add(
                        Code::ListenerNotTaken,
                        spec.parent.span,
                        format!("gateway {name} does not take ListenerSets of namespace {}", head.name.namespace),
                    )
                    .say("the listeners have no effect")
                    .help("allow them in the Gateway: allowedListeners: {namespaces: {from: ...}}");
                continue;
            }
            all.add(&gateway.head.name, head, spec, cx);
        }
        all
    }

    fn add(&mut self, gateway: &'a ObjectName, head: &'a Head, set: &'a ListenerSet, cx: &mut Context<'_>) {
        self.sets.insert(&head.name, gateway);
        let listeners = self.by_gateway.entry(gateway).or_default();
        for shape in &set.listeners {
            if listeners.len() >= LISTENERS_OF_A_GATEWAY_MAX {
                let message = format!("gateway {gateway} has {LISTENERS_OF_A_GATEWAY_MAX} listeners already");
                cx.report
                    .add(Code::ListenerNotTaken, shape.name.span, message)
                    .say("this one and those after it have no effect")
                    .help("share listeners, or use a second gateway");
                return;
            }
            let first = listeners.iter().find(|other| shape.conflict_with(other.shape).is_some());
            if let Some(first) = first {
                cx.report
                    .add(
                        Code::ListenerNotTaken,
                        shape.name.span,
                        format!("listener `{}` collides with an earlier one of gateway {gateway}", shape.name.value),
                    )
                    .say("has no effect")
                    .also(first.shape.name.span, "this one counts")
                    .help("give it another port or hostname");
                continue;
            }
            listeners.push(Listener { set: Some(&head.name), namespace: &head.name.namespace, shape });
        }
    }

    pub(super) fn of(&self, gateway: &ObjectName) -> Option<&[Listener<'a>]> {
        self.by_gateway.get(gateway).map(Vec::as_slice)
    }

    /// The gateway that took a set.
    pub(super) fn gateway_of(&self, set: &ObjectName) -> Option<&'a ObjectName> {
        self.sets.get(set).copied()
    }
}

/// Whether objects of a namespace are allowed, where `same` is the namespace of who allows.
pub(super) fn admits(allowed: &Namespaces, namespace: &str, labels: Option<&Labels>, same: &str) -> bool {
    match allowed {
        Namespaces::All => true,
        Namespaces::Nobody => false,
        Namespaces::Same => *same == *namespace,
        Namespaces::Selected(selector) => selector.selects(namespace, labels.unwrap_or(&Labels::new())),
    }
}
