//! What the proxies of a workload or gateway would do with a request: computed from the resources they are given.
//!
//! # Why from the resources
//! The same view that is encoded and sent is explained, so the answer is about what proxies have and not about what the
//! YAML seems to say. Routes are walked in `tidegate-traffic`, by the code that proxies run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_policies::ir::{ObjectName, Origin};
use tidegate_traffic::RouteTable;
use tidegate_traffic::explain::{Explanation, Fact, Mesh, Question, QuestionError, arrival, explain, near};
use tidegate_xds::resource::cluster::{Cluster, Discovery};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, LocalityEndpoints};
use tidegate_xds::resource::listener::{Listener, RouteSource};
use tidegate_xds::resource::{Resource, RouteConfiguration};

use crate::snapshot::{Compiler, Encoded, View};
use crate::translate::{listener, name, route};
use crate::world::{Reader, World};

/// Questions of one call: more are asked in several, so that an answer stays some megabytes.
pub const QUESTIONS_MAX: usize = 1_000;
/// Workloads of a destination whose own sidecars are looked at. Versions differ in limits; replicas do not.
const ARRIVALS_MAX: usize = 20;
/// Where a name without a namespace is.
const NAMESPACE_DEFAULT: &str = "default";

/// A request to be explained, as it is asked over the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `[NAMESPACE/]NAME` of a workload, a service or a gateway; `gateway NAMESPACE/NAME` for a gateway only.
    pub from: String,
    /// `GET` when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// `http://HOST[:PORT]/PATH[?QUERY]`
    pub url: String,
    /// `name:value`
    #[serde(default)]
    pub headers: Vec<String>,
    /// The listener, where the request shall not find it by itself.
    #[serde(default)]
    pub listener: Option<String>,
}

/// One answer of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explained {
    /// What would happen.
    Explanation(Box<Explanation>),
    /// Why that cannot be said.
    Error(String),
}

/// Why a request cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The request as it is typed.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// Nobody has that name.
    #[error("there is no workload, service or gateway {name}; names that begin alike: {near}")]
    Unknown { name: String, near: String },
    /// It has no proxy.
    #[error("{name} has no sidecar, so its requests are not Tidegate's; those of these workloads are: {near}")]
    NoSidecar { name: String, near: String },
    /// What proxies are given cannot be put to work.
    #[error("the routes {name} that its proxy is given do not compile: {reason}")]
    Routes { name: String, reason: String },
}

/// Whose proxy takes the request.
pub fn view_of(from: &str, world: &World) -> Result<View, ExplainError> {
    let policies = world.policies();
    let (only_gateways, name) = match from.trim().split_once(['/', ' ']) {
        Some(("gateway", rest)) if from.contains(' ') || rest.contains('/') => (true, rest.trim()),
        _ => (false, from.trim()),
    };
    let (namespace, short) = name.split_once('/').unwrap_or((NAMESPACE_DEFAULT, name));
    let named = ObjectName { namespace: namespace.into(), name: short.into() };
    let has_sidecar = |name: &ObjectName| policies.workloads.get(name).is_some_and(|w| w.sidecar.is_some());
    if !only_gateways {
        if has_sidecar(&named) {
            return Ok(View::Sidecar(named));
        }
        if let Some(member) = world.members(&named).iter().find(|member| has_sidecar(member)) {
            return Ok(View::Sidecar(member.clone()));
        }
    }
    if policies.gateways.contains_key(&named) {
        return Ok(View::Gateway { name: named, address: None, locality: Default::default() });
    }
    let all = |names: Vec<&ObjectName>| {
        let names: Vec<String> = names.into_iter().map(ToString::to_string).collect();
        near(names.iter().map(String::as_str), &named.to_string())
    };
    let gateways = policies.gateways.keys();
    if only_gateways {
        return Err(ExplainError::Unknown { name: format!("gateway {named}"), near: all(gateways.collect()) });
    }
    let sidecars = policies.workloads.keys().filter(|name| has_sidecar(name));
    let name = named.to_string();
    if policies.workloads.contains_key(&named) || policies.services.contains_key(&named) {
        return Err(ExplainError::NoSidecar { name, near: all(sidecars.collect()) });
    }
    Err(ExplainError::Unknown { name, near: all(sidecars.chain(policies.services.keys()).chain(gateways).collect()) })
}

/// Views that were asked about, so that the questions of one call share them.
#[derive(Default)]
pub struct Views {
    given: BTreeMap<View, Vec<Encoded>>,
}

impl Views {
    /// Compiles what the askers' proxies are given. Quick where they are connected: then it is known.
    pub fn of(asked: &[Asked], compiler: &mut Compiler) -> Self {
        let world = compiler.world().clone();
        let mut given = BTreeMap::new();
        for view in asked.iter().filter_map(|asked| view_of(&asked.from, &world).ok()) {
            given.entry(view).or_insert_with_key(|view| compiler.resources(view));
        }
        Self { given }
    }

    /// Answers each question.
    pub fn explain(&self, asked: &[Asked], world: &Arc<World>) -> Vec<Explained> {
        let mut sent: BTreeMap<View, Result<Sent, ExplainError>> = BTreeMap::new();
        let mut answer = |asked: &Asked| {
            let view = view_of(&asked.from, world)?;
            let headers = asked.headers.iter().map(String::as_str);
            let question = Question::parse(asked.method.as_deref().unwrap_or("GET"), &asked.url, headers)?;
            let given = self.given.get(&view).map(Vec::as_slice).unwrap_or_default();
            let sent = sent.entry(view.clone()).or_insert_with(|| Sent::new(&view, given, world.clone()));
            let sent = sent.as_ref().map_err(Clone::clone)?;
            Ok(explain(&title(&view), sent, &question, asked.listener.as_deref()))
        };
        let answers = asked.iter().map(|asked| match answer(asked) {
            Ok(explanation) => Explained::Explanation(Box::new(explanation)),
            Err(error) => {
                let error: ExplainError = error;
                Explained::Error(error.to_string())
            }
        });
        answers.collect()
    }
}

fn title(view: &View) -> String {
    match view {
        View::Sidecar(name) => format!("sidecar of {name}"),
        View::Gateway { name, .. } => format!("gateway {name}"),
        View::Other => "a client without a proxy".to_owned(),
    }
}

/// The objects of all rules, by where they are written.
fn objects(world: &World) -> BTreeMap<String, String> {
    let policies = world.policies();
    let of_mesh = policies.mesh_routes.values().flatten().flat_map(|routes| &routes.rules);
    let hosts = policies.gateways.values().flat_map(|gateway| &gateway.listeners).flat_map(|l| &l.hosts);
    let origins = of_mesh.chain(hosts.flat_map(|host| &host.rules)).map(|entry| &entry.rule.origin);
    let named =
        |origin: &Origin| (format!("{}:{}", origin.file, origin.line), format!("{} {}", origin.kind, origin.object));
    origins.map(named).collect()
}

/// By workload (as endpoints name it) and port.
type Arrivals = BTreeMap<(Arc<str>, u16), Vec<Fact>>;

/// What a proxy is sent.
struct Sent {
    world: Arc<World>,
    /// Whose they are, if they are a gateway's.
    gateway: Option<ObjectName>,
    listeners: Vec<Arc<Listener>>,
    routes: BTreeMap<Arc<str>, (Arc<RouteConfiguration>, RouteTable)>,
    clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
    assignments: BTreeMap<Arc<str>, Arc<ClusterLoadAssignment>>,
    /// Which object has a rule at `FILE:LINE`.
    objects: BTreeMap<String, String>,
    /// What waits at a workload's port.
    arrivals: RefCell<Arrivals>,
}

impl Sent {
    fn new(view: &View, resources: &[Encoded], world: Arc<World>) -> Result<Self, ExplainError> {
        let gateway = match view {
            View::Gateway { name, .. } => Some(name.clone()),
            View::Sidecar(_) | View::Other => None,
        };
        let mut sent = Self {
            gateway,
            objects: objects(&world),
            world,
            listeners: Vec::new(),
            routes: BTreeMap::new(),
            clusters: BTreeMap::new(),
            assignments: BTreeMap::new(),
            arrivals: RefCell::default(),
        };
        for (resource, _) in resources {
            match resource {
                Resource::Listener(listener) => sent.listeners.push(listener.clone()),
                Resource::Route(config) => {
                    let table = RouteTable::compile(config).map_err(|error| ExplainError::Routes {
                        name: config.name.to_string(),
                        reason: error.to_string(),
                    })?;
                    sent.routes.insert(config.name.clone(), (config.clone(), table));
                }
                Resource::Cluster(cluster) => {
                    sent.clusters.insert(cluster.name.clone(), cluster.clone());
                }
                Resource::Endpoint(assignment) => {
                    sent.assignments.insert(assignment.cluster_name.clone(), assignment.clone());
                }
                Resource::Secret(_) => {}
            }
        }
        Ok(sent)
    }

    /// What the sidecar of an endpoint's workload does with what arrives.
    fn arrival_at(&self, endpoint: &Endpoint) -> Option<Vec<Fact>> {
        let workload = endpoint.workload.as_ref()?;
        let port = endpoint.address.port();
        let key = (workload.clone(), port);
        if let Some(known) = self.arrivals.borrow().get(&key) {
            return Some(known.clone());
        }
        let mut parts = workload.split(';');
        let (short, namespace) = (parts.next()?, parts.next()?);
        let named = ObjectName { namespace: namespace.into(), name: short.into() };
        let reader = Reader::new(&self.world);
        let labels = &self.world.policies().workloads.get(&named)?.labels;
        let client = self.world.class_of(&named.namespace, labels);
        let inbound = name::inbound(port);
        let listener = listener::sidecar(&named, &client, &reader).into_iter().find(|l| l.name == inbound)?;
        let config = route::inbound(&named, &reader).into_iter().find(|r| r.name == inbound)?;
        let facts = arrival(&listener, &config);
        self.arrivals.borrow_mut().insert(key, facts.clone());
        Some(facts)
    }
}

impl Mesh for Sent {
    fn listeners(&self) -> Vec<&Listener> {
        self.listeners.iter().map(|listener| &**listener).collect()
    }

    fn routes(&self, _: &Listener, source: &RouteSource) -> Option<(&RouteConfiguration, &RouteTable)> {
        match source {
            RouteSource::Rds(name) => self.routes.get(name).map(|(config, table)| (&**config, table)),
            // The control plane sends routes by name only.
            RouteSource::Inline(_) => None,
        }
    }

    fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.get(name).map(|cluster| &**cluster)
    }

    fn localities<'m>(&'m self, cluster: &'m Cluster) -> &'m [LocalityEndpoints] {
        match &cluster.discovery {
            Discovery::Eds { service_name } => {
                self.assignments.get(service_name).map_or(&[], |assignment| &assignment.localities)
            }
            Discovery::Static(localities) => localities,
            Discovery::StrictDns { .. } | Discovery::OriginalDestination => &[],
        }
    }

    fn written(&self, chain: &str) -> Option<String> {
        let gateway = self.world.policies().gateways.get(self.gateway.as_ref()?)?;
        let tls = gateway.listeners.iter().find(|listener| *listener.name == *chain)?.tls.as_ref()?;
        let Origin { kind, object, file, line } = &tls.origin;
        Some(format!("{kind} {object} {file}:{line}"))
    }

    fn object(&self, source: &str) -> Option<String> {
        self.objects.get(source).cloned()
    }

    fn arrival(&self, endpoints: &[LocalityEndpoints]) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        for endpoint in endpoints.iter().flat_map(|locality| &locality.endpoints).take(ARRIVALS_MAX) {
            for fact in self.arrival_at(endpoint).unwrap_or_default() {
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests;
