//! Hands each proxy its view, and a new one whenever the world changes.
//!
//! # Who is who
//! A node id is `WORKLOAD.NAMESPACE`, or Istio's `sidecar~IP~WORKLOAD.NAMESPACE~DOMAIN` (and `router~…` for gateways).
//! What a node *is* depends on the world: the workload it names may be added after it connected. So a session belongs to a
//! client as it introduced itself, and its view is looked up anew in every world.
//!
//! # Nobody but the neighbours
//! Streams are not authenticated yet, therefore this port is served on loopback only ([`crate::command::serve`] refuses
//! anything else), and a node's claim about itself is believed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_policies::ir::ObjectName;
use tidegate_xds::ads::server::{ResourceSet, StreamEvent};
use tidegate_xds::ads::{Mode, Node};
use tidegate_xds::resource::endpoint::Locality;
use tidegate_xds::transport::server::{Control, Refusal, Session};
use tokio::sync::watch;
use tracing::debug;

use crate::api::model::{self, ProxyKind, ProxyStatus, Status};
use crate::explain::{Asked, Explained, Views};
use crate::fleet::{Fleet, Introduction};
use crate::programmed::{Carried, Given, Index, reports};
use crate::snapshot::{Compiler, View, Work};
use crate::splits::{self, Places, PlacesOf, Splits};
use crate::world::World;

/// Kubernetes' limit for a name (253), twice, and the rest of Istio's form.
const NODE_ID_BYTES_MAX: usize = 1_024;
/// `INVALID_ARGUMENT`
const INVALID_ARGUMENT: i32 = 3;

/// A client as its node id introduces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// The workload or gateway it says it is.
    pub name: Option<ObjectName>,
    /// It says that it is a gateway.
    pub router: bool,
    /// The address in its id.
    pub address: Option<IpAddr>,
    /// Where it says it is: region, zone, sub-zone.
    pub locality: [Arc<str>; 3],
}

impl Client {
    /// Reads a node id. Whatever it is, it is a client: an unknown form is a client without a name.
    pub fn parse(id: &str) -> Self {
        let mut parts = id.split('~');
        let (first, address, full_name) = (parts.next(), parts.next(), parts.next());
        match (first, address, full_name) {
            (Some(kind @ ("sidecar" | "router")), Some(address), Some(name)) => Self {
                name: object_name(name),
                router: kind == "router",
                address: address.parse().ok(),
                locality: Default::default(),
            },
            _ => Self { name: object_name(id), router: false, address: None, locality: Default::default() },
        }
    }

    /// What this client is given in `world`.
    pub fn view(&self, world: &World) -> View {
        let Some(name) = &self.name else { return View::Other };
        let has_sidecar = world.policies().workloads.get(name).is_some_and(|w| w.sidecar.is_some());
        if has_sidecar && !self.router {
            View::Sidecar(name.clone())
        } else if world.policies().gateways.contains_key(name) {
            View::Gateway { name: name.clone(), address: self.address, locality: self.locality.clone() }
        } else {
            View::Other
        }
    }
}

/// `NAME.NAMESPACE`; a namespace has no dot in it, a name may.
fn object_name(text: &str) -> Option<ObjectName> {
    let (name, namespace) = text.rsplit_once('.')?;
    // A tilde separates the parts of Istio's form; this is one that we do not know.
    let whole = !name.is_empty() && !namespace.is_empty() && !text.contains('~');
    whole.then(|| ObjectName { namespace: namespace.into(), name: name.into() })
}

/// The place where worlds become views and views reach streams.
pub struct Hub {
    inner: Mutex<Inner>,
    fleet: Arc<Fleet>,
    /// For those who follow the policies and must not wait while a world is translated.
    worlds: watch::Sender<Option<Arc<World>>>,
}

#[derive(Default)]
struct Inner {
    compiler: Compiler,
    generation: u64,
    channels: BTreeMap<Client, watch::Sender<Arc<ResourceSet>>>,
    /// What each view is given in this generation, as far as somebody has asked: a workload's proxies share it, whatever
    /// else their node ids say.
    views: BTreeMap<View, Arc<ResourceSet>>,
    splits: Splits,
}

impl Hub {
    /// A hub without a world. It must not be served before the first [`Self::publish`].
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Self { inner: Mutex::default(), fleet, worlds: watch::channel(None).0 }
    }

    /// Where proxies that keep no leases find the rate limit service.
    pub fn set_rate_limit_service(&self, address: SocketAddr) {
        self.lock().compiler.set_rate_limit_service(address);
    }

    /// Gives every connected proxy its view of a new world. Takes as long as translating takes; not for a thread that others
    /// wait for.
    pub fn publish(&self, world: Arc<World>, generation: u64) -> Work {
        self.worlds.send_replace(Some(world.clone()));
        let mut guard = self.lock();
        let Inner { compiler, generation: current, channels, views, splits } = &mut *guard;
        *current = generation;
        splits.enter(&world, generation);
        // What opening streams has cost since the last change is not the cost of this one.
        let opening = compiler.take_work();
        debug!(?opening, "work since the last generation");
        compiler.advance(world.clone());
        channels.retain(|_, channel| channel.receiver_count() > 0);
        let before = std::mem::take(views);
        for (client, channel) in channels.iter() {
            let view = client.view(&world);
            let set = views.entry(view.clone()).or_insert_with(|| {
                let previous = before.get(&view).cloned().unwrap_or_else(|| channel.borrow().clone());
                Arc::new(compiler.set(&view, generation, Some(&previous)))
            });
            channel.send_replace(set.clone());
        }
        compiler.forget_unused();
        self.fleet.stir();
        compiler.take_work()
    }

    /// The same, to be kept.
    pub fn shared_fleet(&self) -> Arc<Fleet> {
        self.fleet.clone()
    }

    /// The connected proxies and the changes.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The policies in force.
    pub fn world(&self) -> Arc<World> {
        self.lock().compiler.world().clone()
    }

    /// The policies in force, once there are any, and those that come after them.
    pub fn worlds(&self) -> watch::Receiver<Option<Arc<World>>> {
        self.worlds.subscribe()
    }

    /// Everything that is known: the fleet's status, and what has become of each object.
    pub fn status(&self) -> Status {
        let mut status = self.fleet.status();
        let newest = self.fleet.objects();
        let mut guard = self.lock();
        let Inner { compiler, views, .. } = &mut *guard;
        let world = compiler.world().clone();
        let index = Index::new(world.policies());
        // Proxies of one workload or gateway are given the same objects, wherever they are.
        let mut carried: BTreeMap<(ProxyKind, String), Carried> = BTreeMap::new();
        for view in views.keys() {
            let Some(of) = workload_of(view) else { continue };
            carried.entry(of).or_insert_with(|| index.carried(view, &compiler.resources(view)));
        }
        drop(guard);
        let given = status.proxies.iter().filter_map(|proxy| Some((proxy, carried.get(&of_proxy(proxy)?)?)));
        let given: Vec<Given<'_>> = given.collect();
        status.objects = reports(&newest, world.policies(), status.generation, &given);
        status
    }

    /// Weights as they are in force, and as proxies have acknowledged them.
    pub fn splits(&self) -> model::Splits {
        // Before the views are: a proxy that comes in between is looked at next time.
        let Status { proxies, .. } = self.fleet.status();
        let mut guard = self.lock();
        let Inner { compiler, views, splits, generation, .. } = &mut *guard;
        let mut places_of = PlacesOf::default();
        let mut places: BTreeMap<(ProxyKind, String), Vec<Arc<Places>>> = BTreeMap::new();
        for view in views.keys() {
            if let Some(of) = workload_of(view) {
                places.entry(of).or_insert_with(|| places_of.routes(&compiler.routes(view)));
            }
        }
        let (splits, generation) = (splits.clone(), *generation);
        drop(guard);
        let given = proxies.iter().filter_map(|proxy| Some((proxy, places.get(&of_proxy(proxy)?)?.as_slice())));
        let given: Vec<splits::Given<'_>> = given.collect();
        let mut splits = splits.reports(&given);
        if !splits.is_empty() {
            let called = self.fleet.topology().called(&splits::observed::services(&splits));
            splits::observed::observe(&mut splits, &called);
        }
        model::Splits { generation, splits }
    }

    /// What proxies would do with requests.
    pub fn explain(&self, asked: &[Asked]) -> Vec<Explained> {
        let mut guard = self.lock();
        let views = Views::of(asked, &mut guard.compiler);
        let world = guard.compiler.world().clone();
        drop(guard);
        views.explain(asked, &world)
    }

    /// Keeps everybody else out, as a long translation does.
    #[cfg(test)]
    pub(crate) fn occupy(&self) -> impl Sized + '_ {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while compiling leaves memos that are complete or absent, never half made.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self, client: Client) -> (View, watch::Receiver<Arc<ResourceSet>>) {
        let mut guard = self.lock();
        let Inner { compiler, generation, channels, views, .. } = &mut *guard;
        let view = client.view(compiler.world());
        let channel = channels.entry(client).or_insert_with(|| {
            let set = views.entry(view.clone()).or_insert_with(|| Arc::new(compiler.set(&view, *generation, None)));
            watch::channel(set.clone()).0
        });
        (view, channel.subscribe())
    }
}

/// Whose proxies a view is for; none for clients without one.
fn workload_of(view: &View) -> Option<(ProxyKind, String)> {
    match view {
        View::Sidecar(name) => Some((ProxyKind::Sidecar, name.to_string())),
        View::Gateway { name, .. } => Some((ProxyKind::Gateway, name.to_string())),
        View::Other => None,
    }
}

/// The same of a connected proxy.
fn of_proxy(proxy: &ProxyStatus) -> Option<(ProxyKind, String)> {
    Some((proxy.kind, proxy.workload.clone()?))
}

impl Control for Hub {
    fn open(&self, node: &Node, mode: Mode, peer: SocketAddr) -> Result<Session, Refusal> {
        if node.id.len() > NODE_ID_BYTES_MAX {
            let message = format!("node id is longer than {NODE_ID_BYTES_MAX} bytes");
            return Err(Refusal { code: INVALID_ARGUMENT, message });
        }
        let Locality { region, zone, sub_zone } = node.locality.clone();
        let client = Client { locality: [region, zone, sub_zone], ..Client::parse(&node.id) };
        let (view, resources) = self.subscribe(client);
        let (kind, workload) = match view {
            View::Sidecar(name) => (ProxyKind::Sidecar, Some(name.to_string())),
            View::Gateway { name, .. } => (ProxyKind::Gateway, Some(name.to_string())),
            View::Other => (ProxyKind::Other, None),
        };
        let introduction = Introduction { node: node.id.clone(), kind, workload, mode, peer };
        let presence = Presence { session: self.fleet.connect(introduction), fleet: self.fleet.clone() };
        let observer = Box::new(move |event: StreamEvent| presence.fleet.record(presence.session, event));
        Ok(Session { resources, observer })
    }
}

/// A proxy is in the fleet as long as its stream lives, however that ends.
struct Presence {
    session: u64,
    fleet: Arc<Fleet>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.fleet.disconnect(self.session);
    }
}

#[cfg(test)]
mod tests;
