//! Limits for workloads chosen by label, and what is known about the workloads of a service.

use std::collections::HashMap;
use std::sync::Arc;

use super::Held;
use crate::diagnostic::Code;
use crate::dialect::Context;
use crate::dialect::tidegate::Target;
use crate::head::Head;
use crate::ir::world::{External, Labels, Service, Workload};
use crate::ir::{ObjectName, PolicySet, WorkloadLimits};

/// Puts the limits of a policy to the workloads that it selects.
pub(super) fn limit(
    head: &Head,
    target: &Target,
    labels: &Labels,
    said: &Held,
    set: &mut PolicySet,
    cx: &mut Context<'_>,
) {
    let namespace = &head.name.namespace;
    let first = ObjectName { namespace: Arc::clone(namespace), name: Arc::from("") };
    let mut selected = set
        .workloads
        .range(first..)
        .map(|(_, workload)| workload)
        .take_while(|workload| workload.name.namespace == *namespace)
        .filter(|workload| fits(&workload.labels, labels))
        .peekable();
    if selected.peek().is_none() {
        cx.report
            .add(Code::TargetNotFound, target.span, format!("no workload of namespace {namespace} has these labels"))
            .say("the policy has no effect")
            .help("compare the selector with the labels of the workloads");
        return;
    }
    if !selected.any(|workload| workload.sidecar.is_some()) {
        cx.report
            .add(Code::NobodyCounts, target.span, "no workload with these labels has a sidecar, so nobody counts")
            .say("has no effect")
            .help("give the workloads a sidecar, or attach the limit to a route or gateway");
    }
    set.workload_limits.push(WorkloadLimits {
        namespace: Arc::clone(namespace),
        labels: labels.clone(),
        limits: said.rate_limits.iter().map(|claim| claim.stated.clone()).collect(),
    });
}

fn fits(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// What is known about the endpoints of a service, or of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `None`: names are resolved later.
    pub(crate) endpoints: Option<usize>,
    /// One of them has a sidecar.
    pub(crate) sidecar: bool,
}

/// Workloads by label, so that ten thousand services do not each look at ten thousand workloads.
#[derive(Default)]
pub(crate) struct Index<'a> {
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Workload>>,
    /// Endpoints of slices: their labels, and the workload that they are.
    slices: HashMap<&'a ObjectName, Vec<(&'a Labels, Option<&'a Workload>)>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(set: &'a PolicySet) -> Self {
        let mut index = Self::default();
        for workload in set.workloads.values() {
            for (key, value) in &workload.labels {
                index.by_label.entry((&*workload.name.namespace, &**key, &**value)).or_default().push(workload);
            }
        }
        for slice in &set.endpoint_slices {
            let known = slice.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()).map(|endpoint| {
                let name = endpoint.target.as_ref().map(|target| ObjectName {
                    namespace: Arc::clone(&slice.service.namespace),
                    name: Arc::clone(target),
                });
                (&endpoint.labels, name.and_then(|name| set.workloads.get(&name)))
            });
            index.slices.entry(&slice.service).or_default().extend(known);
        }
        index
    }

    pub(crate) fn facts(&self, service: &Service, version: Option<&Labels>) -> Facts {
        let chosen = |labels: &Labels| version.is_none_or(|wanted| fits(labels, wanted));
        match &service.external {
            External::Dns(_) => return Facts { endpoints: None, sidecar: false },
            External::Static(workloads) => {
                let endpoints = workloads.iter().filter(|workload| chosen(&workload.labels)).count();
                return Facts { endpoints: Some(endpoints), sidecar: false };
            }
            External::No => {}
        }
        let has_sidecar = |workload: &Workload| workload.sidecar.is_some();
        let listed = self.slices.get(&service.name).map_or(&[][..], Vec::as_slice);
        let listed: Vec<Option<&Workload>> =
            listed.iter().filter(|(labels, _)| chosen(labels)).map(|(_, workload)| *workload).collect();
        // A slice may list what the selector chooses as well.
        let again: std::collections::HashSet<&ObjectName> =
            listed.iter().flatten().map(|workload| &workload.name).collect();
        let selector = service.selector.iter().flatten();
        let lists = selector.map(|(key, value)| {
            self.by_label.get(&(&*service.name.namespace, &**key, &**value)).map_or(&[][..], Vec::as_slice)
        });
        let shortest = lists.min_by_key(|list| list.len()).unwrap_or_default();
        let selected: Vec<&Workload> = shortest
            .iter()
            .copied()
            .filter(|workload| {
                let labels = &workload.labels;
                service.selector.as_ref().is_some_and(|wanted| fits(labels, wanted)) && chosen(labels)
            })
            .filter(|workload| !again.contains(&workload.name))
            .collect();
        Facts {
            endpoints: Some(listed.len() + selected.len()),
            sidecar: listed.iter().flatten().any(|workload| has_sidecar(workload))
                || selected.iter().any(|workload| has_sidecar(workload)),
        }
    }
}
