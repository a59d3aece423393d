//! What would happen to a request, and why: the route that takes it, why the ones before it do not, and all that acts
//! on it on its way.
//!
//! # Why here
//! An explanation that is computed by other code than the one that acts is a guess. Routes are walked by the conditions
//! that [`RouteTable::find`] asks; the control plane explains from the resources it sends, a proxy from the snapshot it
//! serves with, and both come through this module, so that two answers can be compared line by line.
//!
//! # What chance decides
//! Nothing is drawn. Where a share of requests goes another way all ways are given, each with its share.

mod chain;
mod facts;
mod question;
mod text;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::endpoint::{Endpoint, Health, LocalityEndpoints};
use tidegate_xds::resource::filter::HttpFilter;
use tidegate_xds::resource::listener::{Direction, HttpConnectionManager, Listener, RouteSource};
use tidegate_xds::resource::route::{Policies, Route, RouteAction, RouteConfiguration, VirtualHost};

use crate::route::{RouteTable, Unmet, written};
pub use question::{Question, QuestionError};

/// Routes that are named with the reason why they were passed over. A page of them is read; ten thousand are not.
const PASSED_OVER_MAX: usize = 100;
/// Endpoints that are named of a cluster; the others are counted.
const ENDPOINTS_MAX: usize = 100;

/// What a proxy has, or would be given.
pub trait Mesh {
    /// Its listeners.
    fn listeners(&self) -> Vec<&Listener>;
    /// The routes of a listener's HTTP.
    fn routes(&self, listener: &Listener, source: &RouteSource) -> Option<(&RouteConfiguration, &RouteTable)>;
    /// A cluster.
    fn cluster(&self, name: &str) -> Option<&Cluster>;
    /// The endpoints of a cluster, as far as they are known.
    fn localities<'m>(&'m self, cluster: &'m Cluster) -> &'m [LocalityEndpoints];
    /// The object in which a route was written, by its source.
    fn object(&self, _source: &str) -> Option<String> {
        None
    }
    /// Where the chain of a listener is written.
    fn written(&self, _chain: &str) -> Option<String> {
        None
    }
    /// What has been learned about a cluster.
    fn learned(&self, _cluster: &str) -> Vec<Fact> {
        Vec::new()
    }
    /// What has been learned about an endpoint of a cluster.
    fn learned_of_endpoint(&self, _cluster: &str, _endpoint: &Endpoint) -> Option<Learned> {
        None
    }
    /// What waits for the request where it arrives: limits of the workload's own sidecar.
    fn arrival(&self, _endpoints: &[LocalityEndpoints]) -> Vec<Fact> {
        Vec::new()
    }
}

/// What a proxy knows of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// It may be chosen.
    pub usable: bool,
    /// In words.
    pub text: String,
}

/// Something that acts, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// `fault`, `rate_limit`, `timeout`, …
    pub kind: String,
    /// In words.
    pub text: String,
    /// `namespace/name FILE:LINE`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Fact {
    /// A fact whose origin is what `policies` say about its kind.
    pub fn new(kind: &str, text: String, policies: &Policies) -> Self {
        Self { kind: kind.to_owned(), text, from: policies.get(kind).map(ToString::to_string) }
    }
}

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whose view it is: `sidecar of default/web`.
    pub proxy: String,
    /// `GET http://reviews:9080/x`
    pub request: String,
    /// The listener that takes it.
    pub listener: Option<String>,
    /// How its TLS ends, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Fact>,
    /// The virtual host of its `Host`.
    pub virtual_host: Option<String>,
    /// Routes in front of the one that takes it.
    pub passed_over: Vec<PassedOver>,
    /// Further ones that are not in the list.
    #[serde(default)]
    pub passed_over_more: usize,
    /// The route that takes it; several when some take a share.
    pub routes: Vec<Taken>,
    /// Why the request would not be served.
    pub refused: Option<String>,
}

/// A route that does not take the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its position in the virtual host, from 0.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// The object in which it was written, where known: `VirtualService shop/reviews`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Where it was written, `FILE:LINE`.
    pub source: Option<String>,
    /// The first of its conditions that fails.
    pub because: String,
}

/// A route that takes the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its position in the virtual host, from 0.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// The object in which it was written, where known: `VirtualService shop/reviews`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Where it was written, `FILE:LINE`.
    pub source: Option<String>,
    /// Its conditions.
    pub matches: String,
    /// The share of requests that it takes, where that is not all.
    pub share: Option<String>,
    /// What it does.
    pub action: String,
    /// What acts there.
    pub facts: Vec<Fact>,
    /// The policies that stand behind it, by kind.
    pub policies: BTreeMap<String, String>,
    /// Where the request may go.
    pub destinations: Vec<Destination>,
}

/// A cluster to which a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its name.
    pub cluster: String,
    /// Its weight.
    pub weight: u32,
    /// Of this total.
    pub total: u64,
    /// What acts only on requests that go here.
    pub facts: Vec<Fact>,
    /// The policies that stand behind the cluster, by kind.
    pub policies: BTreeMap<String, String>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointFacts>,
    /// Further ones that are not in the list.
    #[serde(default)]
    pub endpoints_more: usize,
    /// What waits where the request arrives.
    pub arrival: Vec<Fact>,
    /// Why nothing can be sent there.
    pub problem: Option<String>,
}

/// One address behind a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFacts {
    /// Where it is.
    pub address: String,
    /// `region/zone/sub-zone`; empty when unknown.
    pub locality: String,
    /// 0 is used first.
    pub priority: u32,
    /// Relative weight.
    pub weight: u32,
    /// The workload it belongs to, `namespace/name`.
    pub workload: Option<String>,
    /// `healthy`, `degraded`, `draining`, `unhealthy`: what the control plane says.
    pub health: String,
    /// What the proxy has learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<String>,
    /// It may be chosen.
    pub usable: bool,
}

/// A route with the levels around it.
#[derive(Clone, Copy)]
struct Scene<'s> {
    manager: &'s HttpConnectionManager,
    config: &'s RouteConfiguration,
    host: &'s VirtualHost,
    route: &'s Route,
}

/// Explains a request at a proxy. `listener`: its name, where the request shall not find it by itself.
pub fn explain(proxy: &str, mesh: &impl Mesh, question: &Question, listener: Option<&str>) -> Explanation {
    let mut answer = Explanation { proxy: proxy.to_owned(), request: question.to_string(), ..Explanation::default() };
    let chosen = choose_listener(&mesh.listeners(), question, listener)
        .and_then(|(listener, _)| Ok((listener, chain::choose(listener, question)?)));
    let (listener, chain::Chosen { manager, encrypted }) = match chosen {
        Ok(chosen) => chosen,
        Err(why) => return Explanation { refused: Some(why), ..answer },
    };
    answer.listener = Some(words::listener(listener));
    if let Some(chain) = encrypted {
        let from = mesh.written(&chain.name);
        answer.tls = chain::downstream(chain).map(|text| Fact { kind: "tls".to_owned(), text, from });
    }
    let Some((config, table)) = mesh.routes(listener, &manager.routes) else {
        let why = format!("the routes of listener {} are not there", listener.name);
        return Explanation { refused: Some(why), ..answer };
    };
    let Some(walk) = table.walk(question) else {
        let why = format!(
            "404: no virtual host of {} serves `{}`; names that begin alike: {}",
            config.name,
            question.authority,
            near(config.virtual_hosts.iter().flat_map(|h| &h.domains).map(|d| &**d), &question.authority)
        );
        return Explanation { refused: Some(why), ..answer };
    };
    let host = &config.virtual_hosts[walk.virtual_host];
    answer.virtual_host = Some(host.name.to_string());
    for step in &walk.steps {
        let route = &host.routes[step.position];
        match step.unmet {
            Some(unmet) => pass_over(&mut answer, mesh, (step.position, route), unmet, question),
            None => answer.routes.push(taken(mesh, Scene { manager, config, host, route }, step.position)),
        }
    }
    answer.refused = refusal(&answer, host);
    answer
}

fn pass_over(
    answer: &mut Explanation,
    mesh: &impl Mesh,
    (position, route): (usize, &Route),
    unmet: Unmet,
    question: &Question,
) {
    if answer.passed_over.len() == PASSED_OVER_MAX {
        answer.passed_over_more += 1;
        return;
    }
    answer.passed_over.push(PassedOver {
        position,
        name: route.name.to_string(),
        object: route.source.as_deref().and_then(|source| mesh.object(source)),
        source: route.source.as_ref().map(ToString::to_string),
        because: words::unmet(&route.matches, unmet, question),
    });
}

fn taken(mesh: &impl Mesh, scene: Scene<'_>, position: usize) -> Taken {
    let Scene { manager, route, .. } = scene;
    let mut facts: Vec<Fact> = facts::delegate(&route.policies).into_iter().collect();
    facts.extend(facts::filters(scene, None));
    let mut destinations = Vec::new();
    if let RouteAction::Forward(forward) = &route.action {
        facts.extend(facts::forward(forward, manager, &route.policies));
        let members = facts::members(forward);
        destinations = members.iter().map(|member| destination(mesh, scene, member)).collect();
    }
    facts.extend(facts::header_changes(&route.request_headers, &route.response_headers));
    Taken {
        position,
        name: route.name.to_string(),
        object: route.source.as_deref().and_then(|source| mesh.object(source)),
        source: route.source.as_ref().map(ToString::to_string),
        matches: words::matches(&route.matches),
        share: route.matches.fraction.map(words::fraction),
        action: words::action(&route.action),
        facts,
        policies: text_of(&route.policies),
        destinations,
    }
}

fn destination(mesh: &impl Mesh, scene: Scene<'_>, member: &facts::Member<'_>) -> Destination {
    let mut facts = member.member.map(|own| facts::of_member(scene, own)).unwrap_or_default();
    let mut answer = Destination {
        cluster: member.name.to_string(),
        weight: member.weight,
        total: member.total,
        facts: Vec::new(),
        policies: BTreeMap::new(),
        endpoints: Vec::new(),
        endpoints_more: 0,
        arrival: Vec::new(),
        problem: None,
    };
    let Some(cluster) = mesh.cluster(member.name) else {
        answer.facts = facts;
        answer.problem = Some(if member.by_header {
            format!("the request header {} names the cluster", member.name)
        } else {
            format!("there is no cluster {}", member.name)
        });
        return answer;
    };
    let policies = located(cluster, scene.host);
    facts.extend(facts::cluster(cluster, &policies));
    // The proxy's own knowledge does not know by which route it is asked.
    let learned = mesh.learned(&cluster.name).into_iter();
    facts.extend(learned.map(|fact| Fact::new(&fact.kind, fact.text, &policies)));
    let localities = mesh.localities(cluster);
    let all: Vec<EndpointFacts> = localities
        .iter()
        .flat_map(|locality| locality.endpoints.iter().map(move |endpoint| (locality, endpoint)))
        .map(|(locality, endpoint)| endpoint_facts(mesh, cluster, locality, endpoint))
        .collect();
    let fixed = facts::names_its_endpoints(cluster);
    if all.is_empty() && fixed {
        answer.problem = Some("503: the cluster has no endpoints".to_owned());
    } else if !all.is_empty() && !all.iter().any(|endpoint| endpoint.usable) && cluster.panic_threshold_percent == 0 {
        answer.problem = Some("503: none of the cluster's endpoints may be chosen".to_owned());
    }
    answer.endpoints_more = all.len().saturating_sub(ENDPOINTS_MAX);
    answer.endpoints = all.into_iter().take(ENDPOINTS_MAX).collect();
    answer.arrival = mesh.arrival(localities);
    answer.policies = text_of(&policies);
    answer.facts = facts;
    answer
}

/// The policies behind a cluster, with the places that the host knows.
fn located(cluster: &Cluster, host: &VirtualHost) -> Policies {
    let policy = |(kind, object): (&Arc<str>, &Arc<str>)| {
        let place = written(&host.written, &cluster.name, kind);
        let text = place.map_or_else(|| Arc::clone(object), |place| format!("{object} {place}").into());
        (Arc::clone(kind), text)
    };
    cluster.policies.iter().map(policy).collect()
}

fn endpoint_facts(
    mesh: &impl Mesh,
    cluster: &Cluster,
    locality: &LocalityEndpoints,
    endpoint: &Endpoint,
) -> EndpointFacts {
    let learned = mesh.learned_of_endpoint(&cluster.name, endpoint);
    let said_usable = matches!(endpoint.health, Health::Healthy | Health::Degraded);
    EndpointFacts {
        address: endpoint.address.to_string(),
        locality: words::locality(&locality.locality),
        priority: locality.priority,
        weight: endpoint.weight.get(),
        workload: endpoint.workload.as_deref().map(words::workload),
        health: words::health(endpoint.health).to_owned(),
        usable: learned.as_ref().map_or(said_usable, |learned| learned.usable),
        learned: learned.map(|learned| learned.text),
    }
}

/// Why none of the ways serves the request. Where one of several does, it is served.
fn refusal(answer: &Explanation, host: &VirtualHost) -> Option<String> {
    let [taken] = answer.routes.as_slice() else {
        let none = answer.routes.is_empty();
        return none.then(|| format!("404: none of the routes of {} takes it", host.name));
    };
    let route = &host.routes[taken.position];
    match &route.action {
        RouteAction::DirectResponse(direct) if direct.status >= 400 => {
            Some(format!("{}: the route answers so itself", direct.status))
        }
        RouteAction::DirectResponse(_) | RouteAction::Redirect(_) => None,
        RouteAction::Forward(_) => {
            if let Some(abort) = facts::certain_abort(&taken.facts) {
                return Some(abort);
            }
            let mut weighted = taken.destinations.iter().filter(|d| d.weight > 0);
            let first = weighted.next().and_then(|d| d.problem.clone().or_else(|| facts::certain_abort(&d.facts)))?;
            weighted.all(|d| d.problem.is_some() || facts::certain_abort(&d.facts).is_some()).then_some(first)
        }
    }
}

/// The listener that a request arrives at: where the application dials out, or a gateway's port.
fn choose_listener<'l>(
    listeners: &[&'l Listener],
    question: &Question,
    wanted: Option<&str>,
) -> Result<(&'l Listener, &'l HttpConnectionManager), String> {
    let speaking: Vec<_> =
        listeners.iter().copied().filter_map(|listener| Some((listener, chain::manager(listener)?))).collect();
    let names = |of: &[(&'l Listener, &'l HttpConnectionManager)]| {
        let names: Vec<&str> = of.iter().map(|(listener, _)| &*listener.name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if let Some(wanted) = wanted {
        let found = speaking.iter().find(|(listener, _)| *listener.name == *wanted);
        let why = || format!("there is no HTTP listener {wanted}; there are: {}", names(&speaking));
        return found.copied().ok_or_else(why);
    }
    let outward: Vec<_> = speaking.into_iter().filter(|(l, _)| l.direction != Direction::Inbound).collect();
    if let Some(outbound) = outward.iter().find(|(l, _)| l.direction == Direction::Outbound) {
        return Ok(*outbound);
    }
    if let ([only], None) = (outward.as_slice(), question.written_port()) {
        return Ok(*only);
    }
    let port = question.port();
    let at_port = outward.iter().find(|(listener, _)| words::port(listener) == Some(port)).copied();
    at_port.ok_or_else(|| {
        format!(
            "nothing listens for HTTP on port {port}; HTTP listeners: {}; the port stands in the URL",
            names(&outward)
        )
    })
}

/// What the filters of a listener do on its first route: of an inbound listener, what waits for whatever arrives.
pub fn arrival(listener: &Listener, config: &RouteConfiguration) -> Vec<Fact> {
    let Some(manager) = chain::manager(listener) else { return Vec::new() };
    let Some((host, route)) = config.virtual_hosts.iter().find_map(|host| Some((host, host.routes.first()?))) else {
        return Vec::new();
    };
    facts::filters(Scene { manager, config, host, route }, None)
}

/// A few names that are most like another.
pub fn near<'n>(names: impl Iterator<Item = &'n str>, wanted: &str) -> String {
    const SHOWN: usize = 5;
    let alike = |name: &str| name.bytes().zip(wanted.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let mut names: Vec<&str> = names.collect();
    names.sort_by(|a, b| alike(b).cmp(&alike(a)).then(a.len().cmp(&b.len())).then(a.cmp(b)));
    names.dedup();
    names.truncate(SHOWN);
    if names.is_empty() { "there are none".to_owned() } else { names.join(", ") }
}

fn text_of(policies: &Policies) -> BTreeMap<String, String> {
    policies.iter().map(|(kind, from)| (kind.to_string(), from.to_string())).collect()
}

/// The filters of a scene's listener.
fn listed<'s>(scene: &Scene<'s>) -> &'s [HttpFilter] {
    &scene.manager.http_filters
}

#[cfg(test)]
mod tests;
