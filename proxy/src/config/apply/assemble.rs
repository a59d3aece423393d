//! Puts a snapshot together from what is wanted and what is active. No effects besides the registry's entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt as _};
use tidegate_traffic::outlier::ClusterOutlier;
use tidegate_traffic::{Balancer, Chain, ClusterSettings, EndpointSet, Scope};
use tidegate_xds::name::ResourceType;
use tidegate_xds::resource::Listener;
use tidegate_xds::resource::cluster::{Cluster, Discovery};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, LocalityEndpoints, OVERPROVISIONING_PERCENT_DEFAULT};
use tidegate_xds::resource::listener::{FilterChain, ListenerKind, NetworkFilter, RouteSource};

use super::Desired;
use crate::clock;
use crate::config::registry::Registry;
use crate::config::snapshot::{
    ActiveChain, ActiveCluster, ActiveListener, ActiveRoutes, ChainKind, HttpChain, Snapshot, chains, eds_service, key,
    localities, route_names,
};
use crate::telemetry::edges::place::Ways;
use crate::tls::client::ClientTls;
use crate::tls::material::{Keyring, Parts};
use crate::tls::server::ServerTls;

type Clusters = HashMap<Arc<str>, Arc<ActiveCluster>>;
type Warming = BTreeMap<Arc<str>, Arc<ActiveCluster>>;
type Routes = HashMap<Arc<str>, Arc<ActiveRoutes>>;

/// The best snapshot that can be shown now. What is whole but for its first health checks is put into `desired.warming`.
pub(super) fn assemble(desired: &mut Desired, active: &Snapshot, registry: &Registry, draw: u64) -> Snapshot {
    // Put back below; made apart, because it remembers what it has made.
    let mut keyring = std::mem::take(&mut desired.keyring);
    let (mut clusters, warming) = wanted_clusters(desired, active, registry, &mut keyring, draw);
    desired.warming = warming;
    let mut routes = wanted_routes(desired, active, &clusters);
    let listeners = wanted_listeners(desired, active, &clusters, &routes, registry, &mut keyring);
    desired.keyring = keyring;

    let named: BTreeSet<&Arc<str>> = listeners.values().flat_map(|listener| route_names(&listener.config)).collect();
    routes.retain(|name, _| named.contains(name));
    for name in referenced(&listeners) {
        if !clusters.contains_key(&name)
            && let Some(kept) = active.clusters.get(&name)
        {
            clusters.insert(name, Arc::clone(kept));
        }
    }
    let clusters = if same(&clusters, &active.clusters) { Arc::clone(&active.clusters) } else { Arc::new(clusters) };
    Snapshot { generation: active.generation, listeners, clusters, routes }
}

/// Whether anything that a request could see has changed.
pub(super) fn differs(assembled: &Snapshot, active: &Snapshot) -> bool {
    !Arc::ptr_eq(&assembled.clusters, &active.clusters)
        || !same(&assembled.listeners, &active.listeners)
        || !same(&assembled.routes, &active.routes)
}

fn same<T>(a: &HashMap<Arc<str>, Arc<T>>, b: &HashMap<Arc<str>, Arc<T>>) -> bool {
    a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| Arc::ptr_eq(a, b)))
}

fn assignment<'d>(desired: &'d Desired, cluster: &Cluster) -> Option<&'d Arc<ClusterLoadAssignment>> {
    match &cluster.discovery {
        Discovery::Eds { service_name } => desired.assignments.get(service_name).map(|wanted| &wanted.config),
        Discovery::StrictDns { .. } => desired.resolved.get(&cluster.name),
        Discovery::Static(_) | Discovery::OriginalDestination => None,
    }
}

/// Whether a cluster knows where its endpoints are.
fn is_ready(desired: &Desired, cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::Static(_)) || assignment(desired, cluster).is_some()
}

fn wanted_clusters(
    desired: &Desired,
    active: &Snapshot,
    registry: &Registry,
    keyring: &mut Keyring,
    draw: u64,
) -> (Clusters, Warming) {
    let mut clusters = HashMap::with_capacity(desired.clusters.len());
    let mut warming = Warming::new();
    for (name, wanted) in &desired.clusters {
        let before = active.clusters.get(name);
        let parts = wanted.config.tls.as_ref().map(|tls| keyring.of_cluster(tls)).transpose();
        let (true, Ok(parts)) = (is_ready(desired, &wanted.config), parts) else {
            if let Some(before) = before {
                clusters.insert(Arc::clone(name), Arc::clone(before));
            }
            continue;
        };
        let assignment = assignment(desired, &wanted.config);
        let known = desired.warming.get(name).into_iter().chain(before);
        let unchanged = known.into_iter().find(|before| {
            Arc::ptr_eq(&before.config, &wanted.config)
                && before.assignment.as_ref().map(Arc::as_ptr) == assignment.map(Arc::as_ptr)
                && is_encrypted_with(before, parts.as_ref())
        });
        let cluster = match unchanged {
            Some(before) => Arc::clone(before),
            None => {
                let compiled = compile_cluster(&wanted.config, assignment, before, registry, draw);
                let localities = localities_of(&wanted.config, assignment);
                match encrypt(&wanted.config, parts, localities, before) {
                    Ok(tls) => Arc::new(ActiveCluster { tls, ..compiled }),
                    // Tried when the cluster was accepted; what it names has changed since, and is logged there.
                    Err(_) => match before {
                        Some(before) => Arc::clone(before),
                        None => continue,
                    },
                }
            }
        };
        if cluster.state.is_warm(&cluster.config) {
            clusters.insert(Arc::clone(name), cluster);
            continue;
        }
        if let Some(before) = before {
            clusters.insert(Arc::clone(name), Arc::clone(before));
        }
        warming.insert(Arc::clone(name), cluster);
    }
    (clusters, warming)
}

fn compile_cluster(
    config: &Arc<Cluster>,
    assignment: Option<&Arc<ClusterLoadAssignment>>,
    before: Option<&Arc<ActiveCluster>>,
    registry: &Registry,
    draw: u64,
) -> ActiveCluster {
    let localities = localities_of(config, assignment);
    let addresses: Vec<_> =
        localities.iter().flat_map(|locality| &locality.endpoints).map(|endpoint| endpoint.address).collect();
    let state = registry.cluster(&config.name);
    let known = registry.endpoints(&state, &addresses);
    let known: HashMap<_, _> = addresses.into_iter().zip(known).collect();
    let overprovisioning =
        assignment.map_or(OVERPROVISIONING_PERCENT_DEFAULT, |assignment| assignment.overprovisioning_percent);
    let now = clock::now();
    let endpoints = EndpointSet::new(localities, ClusterSettings::of(config, overprovisioning), |_, endpoint| {
        known.get(&endpoint.address).map(|state| state.learned.health(config, now)).unwrap_or_default()
    });
    let states = endpoints.endpoints().iter().filter_map(|endpoint| known.get(&endpoint.address).cloned()).collect();
    // The turn of a round robin is learned state: a change of endpoints must not send everybody back to the first.
    let balancer = match before {
        Some(before) if before.config.load_balancing == config.load_balancing => Arc::clone(&before.balancer),
        Some(_) | None => Arc::new(Balancer::new(&config.load_balancing, draw)),
    };
    ActiveCluster {
        ways: Ways::new(endpoints.endpoints().len()),
        config: Arc::clone(config),
        assignment: assignment.cloned(),
        live: ArcSwap::from_pointee(endpoints.clone()),
        endpoints,
        states,
        balancer,
        outlier: config.outlier_detection.clone().map(ClusterOutlier::new),
        state,
        tls: None,
    }
}

fn localities_of<'a>(
    config: &'a Cluster,
    assignment: Option<&'a Arc<ClusterLoadAssignment>>,
) -> &'a [LocalityEndpoints] {
    match &config.discovery {
        Discovery::StrictDns { .. } => assignment.map_or(&[][..], |resolved| &resolved.localities),
        Discovery::Eds { .. } | Discovery::Static(_) | Discovery::OriginalDestination => localities(config, assignment),
    }
}

fn is_encrypted_with(cluster: &ActiveCluster, parts: Option<&Parts>) -> bool {
    match (&cluster.config.tls, &cluster.tls, parts) {
        (Some(source), Some(tls), Some(parts)) => tls.is_made_of(source, parts),
        (None, None, None) => true,
        (Some(_) | None, _, _) => false,
    }
}

fn encrypt(
    config: &Cluster,
    parts: Option<Parts>,
    localities: &[LocalityEndpoints],
    before: Option<&Arc<ActiveCluster>>,
) -> Result<Option<Arc<ClientTls>>, String> {
    let (Some(source), Some(parts)) = (&config.tls, parts) else { return Ok(None) };
    let before = before.and_then(|before| before.tls.as_deref());
    ClientTls::new(source, parts, localities, before).map(|tls| Some(Arc::new(tls)))
}

fn wanted_routes(desired: &Desired, active: &Snapshot, clusters: &Clusters) -> Routes {
    let mut routes = HashMap::new();
    for (name, wanted) in &desired.routes {
        let before = active.routes.get(name);
        let unchanged = before.is_some_and(|before| Arc::ptr_eq(before, &wanted.config));
        if unchanged || wanted.config.table.clusters().all(|cluster| clusters.contains_key(cluster)) {
            routes.insert(Arc::clone(name), Arc::clone(&wanted.config));
        } else if let Some(before) = before {
            routes.insert(Arc::clone(name), Arc::clone(before));
        }
    }
    routes
}

fn wanted_listeners(
    desired: &Desired,
    active: &Snapshot,
    clusters: &Clusters,
    routes: &Routes,
    registry: &Registry,
    keyring: &mut Keyring,
) -> HashMap<Arc<str>, Arc<ActiveListener>> {
    let mut listeners = HashMap::with_capacity(desired.listeners.len());
    for (name, wanted) in &desired.listeners {
        let before = active.listeners.values().find(|before| before.config.name == *name);
        let inline = desired.inline.get(name).map_or(&[][..], Vec::as_slice);
        let unchanged = before.is_some_and(|before| Arc::ptr_eq(&before.config, &wanted.config));
        let parts: Result<Vec<_>, _> = chains(&wanted.config)
            .map(|chain| chain.tls.as_ref().map(|tls| keyring.of_chain(tls)).transpose())
            .collect();
        let whole = parts.is_ok()
            && (unchanged || named_clusters(&wanted.config, inline).all(|cluster| clusters.contains_key(cluster)))
            && route_names(&wanted.config).all(|route| routes.contains_key(route));
        let listener = match parts {
            Ok(parts) if whole => {
                let tls = terminations(&wanted.config, &parts, before);
                match before {
                    Some(before) if unchanged && !routes_changed(before, routes) && same_tls(before, &tls) => {
                        Some(Arc::clone(before))
                    }
                    Some(_) | None => compile_listener(&wanted.config, inline, routes, registry, &tls).map(Arc::new),
                }
            }
            Ok(_) | Err(_) => before.map(|before| by_present_routes(before, routes)),
        };
        if let Some(listener) = listener {
            listeners.insert(Arc::clone(&listener.key), listener);
        }
    }
    listeners
}

/// What each chain is terminated with, in the order of [`chains`]. A handle stays when it would be made again as it is, so
/// that sessions outlive a change of routes.
fn terminations(
    config: &Listener,
    parts: &[Option<Parts>],
    before: Option<&Arc<ActiveListener>>,
) -> Vec<Option<Arc<ServerTls>>> {
    let known: Vec<&Arc<ServerTls>> =
        before.into_iter().flat_map(|before| all_chains(before)).filter_map(|chain| chain.tls.as_ref()).collect();
    let make = |(chain, parts): (&FilterChain, &Option<Parts>)| {
        let (source, parts) = (chain.tls.as_ref()?, parts.as_ref()?);
        let same = known.iter().find(|known| known.is_made_of(source, parts));
        // Made once already when the listener was accepted or the material came, so this does not fail.
        same.map(|same| Arc::clone(same)).or_else(|| ServerTls::new(source, parts.clone()).ok().map(Arc::new))
    };
    chains(config).zip(parts).map(make).collect()
}

fn same_tls(listener: &ActiveListener, tls: &[Option<Arc<ServerTls>>]) -> bool {
    let now = tls.iter().map(|tls| tls.as_ref().map(Arc::as_ptr));
    all_chains(listener).map(|chain| chain.tls.as_ref().map(Arc::as_ptr)).eq(now)
}

fn all_chains(listener: &ActiveListener) -> impl Iterator<Item = &ActiveChain> {
    listener.chains.iter().chain(&listener.default_chain)
}

fn routes_changed(listener: &ActiveListener, routes: &Routes) -> bool {
    http_chains(listener).any(|http| !Arc::ptr_eq(present_routes(http, routes), &http.routes))
}

fn present_routes<'r>(http: &'r HttpChain, routes: &'r Routes) -> &'r Arc<ActiveRoutes> {
    match &http.manager.routes {
        RouteSource::Rds(name) => routes.get(name).unwrap_or(&http.routes),
        RouteSource::Inline(_) => &http.routes,
    }
}

/// What serves while the listener's next version is not whole. Its routes do not wait with it: they count as applied.
fn by_present_routes(before: &Arc<ActiveListener>, routes: &Routes) -> Arc<ActiveListener> {
    if !routes_changed(before, routes) {
        return Arc::clone(before);
    }
    let present = |chain: &ActiveChain| match &chain.kind {
        ChainKind::Http(http) => {
            let routes = Arc::clone(present_routes(http, routes));
            let http = HttpChain { manager: http.manager.clone(), routes, filters: http.filters.clone() };
            ActiveChain { kind: ChainKind::Http(Arc::new(http)), ..chain.clone() }
        }
        ChainKind::Tcp(_) => chain.clone(),
    };
    Arc::new(ActiveListener {
        config: Arc::clone(&before.config),
        key: Arc::clone(&before.key),
        address: before.address,
        detection_timeout: before.detection_timeout,
        chains: before.chains.iter().map(present).collect(),
        default_chain: before.default_chain.as_ref().map(present),
        state: Arc::clone(&before.state),
    })
}

fn http_chains(listener: &ActiveListener) -> impl Iterator<Item = &Arc<HttpChain>> {
    listener.chains.iter().chain(&listener.default_chain).filter_map(|chain| match &chain.kind {
        ChainKind::Http(http) => Some(http),
        ChainKind::Tcp(_) => None,
    })
}

/// The compiled inline routes of an active listener, in the order of its chains.
pub(super) fn inline_routes(listener: &ActiveListener) -> Vec<Arc<ActiveRoutes>> {
    let inline = http_chains(listener).filter(|chain| matches!(chain.manager.routes, RouteSource::Inline(_)));
    inline.map(|chain| Arc::clone(&chain.routes)).collect()
}

fn compile_listener(
    config: &Arc<Listener>,
    inline: &[Arc<ActiveRoutes>],
    routes: &Routes,
    registry: &Registry,
    tls: &[Option<Arc<ServerTls>>],
) -> Option<ActiveListener> {
    let ListenerKind::Socket(socket) = &config.kind else { return None };
    let mut inline = inline.iter();
    let mut tls = tls.iter().cloned();
    let place = |index: usize| filter_place(&config.name, index);
    let mut compiled = Vec::with_capacity(socket.filter_chains.len());
    for (index, chain) in socket.filter_chains.iter().enumerate() {
        let scope = Scope::new(&registry.limiters, place(index));
        compiled.push(compile_chain(chain, &mut inline, routes, &scope, tls.next().flatten())?);
    }
    let default_chain = match &socket.default_filter_chain {
        Some(chain) => {
            let scope = Scope::new(&registry.limiters, place(socket.filter_chains.len()));
            Some(compile_chain(chain, &mut inline, routes, &scope, tls.next().flatten())?)
        }
        None => None,
    };
    Some(ActiveListener {
        key: key(&config.name, socket.address),
        address: socket.address,
        detection_timeout: socket.detection_timeout,
        chains: compiled,
        default_chain,
        state: registry.listener(&config.name),
        config: Arc::clone(config),
    })
}

/// Where the filters of a chain stand, which names the state that outlives their configuration.
pub(super) fn filter_place(listener: &str, chain: usize) -> String {
    format!("listener\n{listener}\n{chain}")
}

fn compile_chain<'a>(
    chain: &FilterChain,
    inline: &mut impl Iterator<Item = &'a Arc<ActiveRoutes>>,
    routes: &Routes,
    scope: &Scope<'_>,
    tls: Option<Arc<ServerTls>>,
) -> Option<ActiveChain> {
    if tls.is_some() != chain.tls.is_some() {
        // Never in plaintext what should be encrypted.
        return None;
    }
    let kind = match &chain.filter {
        NetworkFilter::Http(manager) => {
            let routes = match &manager.routes {
                RouteSource::Rds(name) => routes.get(name)?,
                RouteSource::Inline(_) => inline.next()?,
            };
            ChainKind::Http(Arc::new(HttpChain {
                manager: (**manager).clone(),
                routes: Arc::clone(routes),
                // Compiled once already when the listener was accepted, so this does not fail.
                filters: Chain::compile(&manager.http_filters, scope).ok()?,
            }))
        }
        NetworkFilter::Tcp(tcp) => ChainKind::Tcp(Arc::new(tcp.clone())),
    };
    Some(ActiveChain { matches: chain.matches.clone(), tls, kind })
}

/// The clusters that a listener names itself: in inline routes and in TCP chains.
fn named_clusters<'a>(listener: &'a Listener, inline: &'a [Arc<ActiveRoutes>]) -> impl Iterator<Item = &'a Arc<str>> {
    let tcp = chains(listener).flat_map(|chain| match &chain.filter {
        NetworkFilter::Tcp(tcp) => tcp.clusters.as_slice(),
        NetworkFilter::Http(_) => &[],
    });
    tcp.map(|(cluster, _)| cluster).chain(inline.iter().flat_map(|routes| routes.table.clusters()))
}

/// Every cluster that an active listener leads to.
fn referenced(listeners: &HashMap<Arc<str>, Arc<ActiveListener>>) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for listener in listeners.values() {
        names.extend(named_clusters(&listener.config, &[]).cloned());
        names.extend(http_chains(listener).flat_map(|chain| chain.routes.table.clusters()).cloned());
    }
    names
}

/// Whether a resource is wanted, waits for what it names, and so is not active. Listeners that wait for routes by name do
/// not count: their answer may be what makes the control plane send the routes.
pub(super) fn missing(desired: &Desired, active: &Snapshot, resource_type: ResourceType, name: &Arc<str>) -> bool {
    match resource_type {
        ResourceType::Route => desired.routes.get(name).is_some_and(|wanted| {
            let is_active = active.routes.get(name).is_some_and(|active| Arc::ptr_eq(active, &wanted.config));
            !is_active && route_lacks(desired, &wanted.config).is_some()
        }),
        ResourceType::Listener => desired.listeners.get(name).is_some_and(|wanted| {
            let is_active = active.listeners.values().any(|active| Arc::ptr_eq(&active.config, &wanted.config));
            let inline = desired.inline.get(name).map_or(&[][..], Vec::as_slice);
            !is_active && listener_lacks(desired, &wanted.config, inline).is_some()
        }),
        ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => false,
    }
}

/// What routes wait for.
pub(super) fn route_lacks(desired: &Desired, routes: &ActiveRoutes) -> Option<String> {
    waits_for(desired, routes.table.clusters())
}

/// What a listener waits for, but for routes by name.
pub(super) fn listener_lacks(desired: &Desired, listener: &Listener, inline: &[Arc<ActiveRoutes>]) -> Option<String> {
    lacks_material(desired, listener).or_else(|| waits_for(desired, named_clusters(listener, inline)))
}

/// The first cluster that is not ready, and why.
fn waits_for<'a>(desired: &Desired, mut clusters: impl Iterator<Item = &'a Arc<str>>) -> Option<String> {
    clusters.find_map(|name| match desired.clusters.get(name) {
        None => Some(format!("cluster {name:?} is not known")),
        Some(wanted) if is_ready(desired, &wanted.config) => {
            let tls = wanted.config.tls.as_ref();
            if let Some(reason) = tls.and_then(|tls| desired.keyring.lacks_of_cluster(tls)) {
                return Some(format!("cluster {name:?}: {reason}"));
            }
            let warming = desired.warming.contains_key(name);
            warming.then(|| format!("the first health checks of cluster {name:?} have not ended"))
        }
        Some(wanted) => match eds_service(&wanted.config) {
            Some(service) => Some(format!("endpoints {service:?} of cluster {name:?} have not arrived")),
            None => Some(format!("the addresses of cluster {name:?} are not resolved")),
        },
    })
}

/// Why a listener cannot shake hands yet.
fn lacks_material(desired: &Desired, listener: &Listener) -> Option<String> {
    let tls = chains(listener).filter_map(|chain| chain.tls.as_ref());
    tls.filter_map(|tls| desired.keyring.lacks_of_chain(tls)).next()
}

/// Why a resource has not become active.
pub(super) fn reason(desired: &Desired, resource_type: ResourceType, name: &Arc<str>) -> String {
    let waiting = match resource_type {
        ResourceType::Route => desired.routes.get(name).and_then(|wanted| route_lacks(desired, &wanted.config)),
        ResourceType::Listener => desired.listeners.get(name).and_then(|wanted| {
            let inline = desired.inline.get(name).map_or(&[][..], Vec::as_slice);
            listener_lacks(desired, &wanted.config, inline)
        }),
        ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Secret => None,
    };
    waiting.unwrap_or_else(|| "not whole within 15 s".to_owned())
}
