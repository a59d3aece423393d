//! What exists: namespaces, services, workloads, endpoints, and how they are found by name.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::diagnostic::{Code, Report};
use crate::dialect::tidegate::WorkloadShape;
use crate::dialect::{Context, Object, Objects};
use crate::ir::world::{External, Labels, Namespace, OutboundTcp, Protocol, Service};
use crate::ir::{ObjectName, PolicySet};
use crate::source::{Span, Spanned};
use crate::spelling;

/// Names of everything that can be called.
#[derive(Default)]
pub(crate) struct World {
    /// Host name to services, usually one.
    hosts: HashMap<Arc<str>, Vec<ObjectName>>,
    spans: HashMap<ObjectName, Span>,
    /// Places that send requests to a service or subset: the first of each.
    used: BTreeMap<(ObjectName, Option<Arc<str>>), Span>,
}

pub(super) fn build(objects: &Objects, set: &mut PolicySet, cx: &mut Context<'_>) -> World {
    let mut world = World::default();
    for head in &objects.namespaces {
        set.namespaces.insert(Arc::clone(&head.name.name), Namespace { labels: head.labels.clone() });
    }
    for Object { head, spec } in &objects.services {
        if let Some(first) = world.spans.get(&head.name) {
            name_taken(head.kind.as_str(), &head.name, head.span, *first, &mut cx.report);
            continue;
        }
        for host in &spec.service.hosts {
            world.hosts.entry(Arc::clone(host)).or_default().push(head.name.clone());
        }
        world.spans.insert(head.name.clone(), head.span);
        set.services.insert(head.name.clone(), spec.service.clone());
    }
    workloads(&objects.workloads, &world, set, cx);
    endpoint_slices(objects, set);
    for head in objects.heads() {
        set.namespaces.entry(Arc::clone(&head.name.namespace)).or_default();
    }
    world
}

fn name_taken(kind: &str, name: &ObjectName, span: Span, first: Span, report: &mut Report) {
    report
        .add(Code::NameTaken, span, format!("{kind} {name} has the name of another object of the mesh"))
        .also(first, "taken here")
        .help("give one of the two another name");
}

fn workloads(workloads: &[Object<WorkloadShape>], world: &World, set: &mut PolicySet, cx: &mut Context<'_>) {
    let mut spans: HashMap<ObjectName, Span> = HashMap::new();
    let mut sockets: HashMap<SocketAddr, (Span, &'static str, ObjectName)> = HashMap::new();
    for Object { head, spec } in workloads {
        if let Some(first) = spans.insert(head.name.clone(), head.span) {
            name_taken(head.kind.as_str(), &head.name, head.span, first, &mut cx.report);
            continue;
        }
        for (socket, purpose) in &spec.sockets {
            claim(socket, purpose, &head.name, &mut sockets, &mut cx.report);
        }
        let mut workload = spec.workload.clone();
        if let Some(sidecar) = &mut workload.sidecar {
            for shape in &spec.outbound_tcp {
                let Some(service) = world.service(&shape.service, &head.name.namespace, &set.services, &mut cx.report)
                else {
                    continue;
                };
                let name = service.name.clone();
                match service.ports.iter().find(|port| port.port == shape.port.value) {
                    Some(_) => sidecar.outbound_tcp.push(OutboundTcp {
                        listen: shape.listen,
                        service: name,
                        port: shape.port.value,
                    }),
                    None => unknown_port(&shape.port, service, &mut cx.report),
                }
            }
        }
        set.workloads.insert(head.name.clone(), workload);
    }
}

fn claim(
    socket: &Spanned<SocketAddr>,
    purpose: &'static str,
    owner: &ObjectName,
    sockets: &mut HashMap<SocketAddr, (Span, &'static str, ObjectName)>,
    report: &mut Report,
) {
    match sockets.get(&socket.value) {
        // An application at its own sidecar's port has been reported with better words.
        Some((first, _, other))
            if other == owner && first.file == socket.span.file && purpose == "the application listens" => {}
        Some((first, other_purpose, other)) => {
            report
                .add(Code::DuplicateListener, socket.span, format!("{} is taken twice", socket.value))
                .say(format!("{owner}: {purpose}"))
                .also(*first, format!("{other}: {other_purpose}"))
                .help("give one of them another address or port");
        }
        None => {
            sockets.insert(socket.value, (socket.span, purpose, owner.clone()));
        }
    }
}

fn endpoint_slices(objects: &Objects, set: &mut PolicySet) {
    for Object { spec, .. } in &objects.endpoint_slices {
        let mut slice = spec.clone();
        for endpoint in &mut slice.endpoints {
            let Some(target) = &endpoint.target else { continue };
            let name = ObjectName { namespace: Arc::clone(&slice.service.namespace), name: Arc::clone(target) };
            if let Some(workload) = set.workloads.get(&name) {
                endpoint.labels.extend(workload.labels.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value))));
            }
        }
        set.endpoint_slices.push(slice);
    }
}

impl World {
    /// The service that `host` means to an object in `namespace`.
    pub(super) fn resolve(
        &self,
        host: &str,
        namespace: &str,
        services: &BTreeMap<ObjectName, Service>,
    ) -> Option<ObjectName> {
        let lower = host.to_ascii_lowercase();
        let host = lower.strip_suffix('.').unwrap_or(&lower);
        if let Some(found) = self.hosts.get(host) {
            // The same external name may be known to several namespaces; one's own comes first.
            return found.iter().find(|name| &*name.namespace == namespace).or_else(|| found.first()).cloned();
        }
        let short = host.strip_suffix(".svc.cluster.local").or_else(|| host.strip_suffix(".svc")).unwrap_or(host);
        let name = match short.split_once('.') {
            None => ObjectName { namespace: Arc::from(namespace), name: Arc::from(short) },
            Some((name, namespace)) => ObjectName { namespace: Arc::from(namespace), name: Arc::from(name) },
        };
        let service = services.get(&name)?;
        // A ServiceEntry's own name is no host.
        let is_kubernetes = service.origin.kind == "Service";
        is_kubernetes.then_some(name)
    }

    /// The service, or a finding.
    pub(super) fn service<'s>(
        &self,
        host: &Spanned<Arc<str>>,
        namespace: &str,
        services: &'s BTreeMap<ObjectName, Service>,
        report: &mut Report,
    ) -> Option<&'s Service> {
        if let Some(name) = self.resolve(&host.value, namespace, services) {
            return services.get(&name);
        }
        let shown = crate::tree::shortened(&host.value);
        let finding = report.add(
            Code::UnknownService,
            host.span,
            format!("there is no service `{shown}` for an object in namespace `{namespace}`"),
        );
        let word = host.value.split('.').next().unwrap_or_default();
        let elsewhere = services.keys().find(|name| *name.name == *word && *name.namespace != *namespace);
        let here = services.keys().filter(|name| *name.namespace == *namespace).map(|name| &*name.name);
        if let (Some(other), false) = (elsewhere, host.value.contains('.')) {
            finding.say("not in this namespace").help(format!(
                "short names are looked up in the object's own namespace; write `{}.{}`",
                other.name, other.namespace
            ));
        } else if let Some(near) = spelling::nearest(word, here) {
            finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`"));
        } else if let Some(near) = spelling::nearest(&host.value, self.hosts.keys().map(|host| &**host)) {
            finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`"));
        } else {
            finding.help("add a Service (or, for a name outside the mesh, a ServiceEntry), or correct the name");
        }
        None
    }

    pub(super) fn span(&self, service: &ObjectName) -> Option<Span> {
        self.spans.get(service).copied()
    }

    /// Remembers that requests are sent there.
    pub(super) fn uses(&mut self, service: &ObjectName, subset: Option<&Arc<str>>, span: Span) {
        self.used.entry((service.clone(), subset.cloned())).or_insert(span);
    }

    /// Whether requests are sent there.
    pub(super) fn is_used(&self, service: &ObjectName, subset: Option<&Arc<str>>) -> bool {
        self.used.contains_key(&(service.clone(), subset.cloned()))
    }

    /// Services and subsets that get requests and have nothing to serve them.
    pub(super) fn warn_of_missing_endpoints(&self, set: &PolicySet, cx: &mut Context<'_>) {
        let index = Index::new(set);
        for ((service, subset), span) in &self.used {
            let Some(known) = set.services.get(service) else { continue };
            let what = match subset {
                None if index.has_endpoint(known, None) => continue,
                None => format!("service {service} has no endpoints"),
                Some(subset) => {
                    // Clients of one namespace may mean others by it.
                    let meant = set.ways(service).filter_map(|(whose, all)| Some((whose, all?.subsets.get(subset)?)));
                    let mut empty = meant.filter(|(_, subset)| !index.has_endpoint(known, Some(&subset.labels)));
                    let Some((whose, _)) = empty.next() else { continue };
                    let whose = whose.map(|namespace| format!(" for clients of namespace `{namespace}`"));
                    format!("subset `{subset}` of service {service} has no endpoints{}", whose.unwrap_or_default())
                }
            };
            let finding = cx.report.add(Code::NoEndpoints, *span, what);
            finding
                .say("requests sent here are answered with 503")
                .help("compare its labels with those of the workloads in its namespace");
            if let Some(at) = self.span(service) {
                finding.also(at, "the service");
            }
        }
    }
}

pub(super) fn unknown_port(port: &Spanned<u16>, service: &Service, report: &mut Report) {
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|port| if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) })
        .collect();
    let finding =
        report.add(Code::UnknownPort, port.span, format!("service {} has no port {}", service.name, port.value));
    if ports.is_empty() {
        finding.help("the service has no TCP port at all");
    } else {
        finding.help(format!("it has {}", ports.join(", ")));
    }
}

/// Whether a service speaks HTTP anywhere.
pub(super) fn speaks_http(service: &Service) -> bool {
    service.ports.iter().any(|port| port.protocol != Protocol::Tcp)
}

/// Endpoints by label, so that ten thousand services do not each look at ten thousand workloads.
struct Index<'a> {
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Labels>>,
    by_service: HashMap<&'a ObjectName, Vec<&'a Labels>>,
}

impl<'a> Index<'a> {
    fn new(set: &'a PolicySet) -> Self {
        let mut by_label: HashMap<_, Vec<&Labels>> = HashMap::new();
        for workload in set.workloads.values() {
            for (key, value) in &workload.labels {
                by_label.entry((&*workload.name.namespace, &**key, &**value)).or_default().push(&workload.labels);
            }
        }
        let mut by_service: HashMap<_, Vec<&Labels>> = HashMap::new();
        for slice in &set.endpoint_slices {
            let labels = slice
                .endpoints
                .iter()
                .filter(|endpoint| !endpoint.addresses.is_empty())
                .map(|endpoint| &endpoint.labels);
            by_service.entry(&slice.service).or_default().extend(labels);
        }
        Self { by_label, by_service }
    }

    fn has_endpoint(&self, service: &Service, subset: Option<&Labels>) -> bool {
        let fits = |labels: &Labels, wanted: &Labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
        let in_subset = |labels: &Labels| subset.is_none_or(|wanted| fits(labels, wanted));
        match &service.external {
            External::Dns(names) => return !names.is_empty() && subset.is_none(),
            External::Static(workloads) => return workloads.iter().any(|workload| in_subset(&workload.labels)),
            External::No => {}
        }
        if self.by_service.get(&service.name).is_some_and(|all| all.iter().any(|labels| in_subset(labels))) {
            return true;
        }
        let Some(selector) = &service.selector else { return false };
        let lists = selector.iter().map(|(key, value)| {
            self.by_label.get(&(&*service.name.namespace, &**key, &**value)).map_or(&[][..], Vec::as_slice)
        });
        let shortest = lists.min_by_key(|list| list.len()).unwrap_or_default();
        shortest.iter().any(|labels| fits(labels, selector) && in_subset(labels))
    }
}
