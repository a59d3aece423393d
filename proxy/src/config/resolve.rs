//! Names to addresses, for clusters that are given as names.
//!
//! Off the data path: a cluster keeps the addresses it had while a name server is slow or gone. A name that never resolved
//! counts as a cluster without endpoints, so that it cannot hold up a route to everything else.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::cluster::{Cluster, Discovery};
use tidegate_xds::resource::endpoint::{ClusterLoadAssignment, Endpoint, Health, Locality, LocalityEndpoints};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::debug;

/// How often a name is asked for again. Envoy's default.
const EVERY: Duration = Duration::from_secs(5);

/// A name server that does not answer within this has failed.
const LIMIT: Duration = Duration::from_secs(5);

/// The addresses of a cluster.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) cluster: Arc<str>,
    pub(crate) assignment: ClusterLoadAssignment,
}

/// One task per cluster.
#[derive(Debug)]
pub(crate) struct Resolver {
    tasks: BTreeMap<Arc<str>, (Arc<Cluster>, AbortHandle)>,
    results: mpsc::Sender<Resolved>,
}

impl Resolver {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Resolved>) {
        let (results, received) = mpsc::channel(64);
        (Self { tasks: BTreeMap::new(), results }, received)
    }

    /// Resolves exactly these from now on.
    pub(crate) fn keep(&mut self, wanted: Vec<(Arc<str>, Arc<Cluster>)>) {
        self.tasks.retain(|name, (cluster, task)| {
            let kept = wanted.iter().any(|(wanted, config)| wanted == name && Arc::ptr_eq(config, cluster));
            if !kept {
                task.abort();
            }
            kept
        });
        for (name, cluster) in wanted {
            if !self.tasks.contains_key(&name) {
                let work = resolve_for_ever(Arc::clone(&name), Arc::clone(&cluster), self.results.clone());
                let task = tokio::spawn(work).abort_handle();
                self.tasks.insert(name, (cluster, task));
            }
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

async fn resolve_for_ever(name: Arc<str>, cluster: Arc<Cluster>, results: mpsc::Sender<Resolved>) {
    let Discovery::StrictDns { endpoints } = &cluster.discovery else { return };
    let mut known = false;
    loop {
        let mut found = Vec::new();
        let mut failed = false;
        for endpoint in endpoints {
            let asked = tokio::time::timeout(LIMIT, tokio::net::lookup_host((&*endpoint.host, endpoint.port))).await;
            match asked {
                Ok(Ok(addresses)) => {
                    found.extend(addresses.map(|address| (address, Arc::clone(&endpoint.host))));
                }
                Ok(Err(error)) => {
                    failed = true;
                    debug!(host = %endpoint.host, %error, "name not resolved");
                }
                Err(_elapsed) => failed = true,
            }
        }
        if !failed || !known {
            // Name servers answer in any order; the order must not look like a change.
            found.sort();
            found.dedup();
            known = true;
            let assignment = assignment(&name, found);
            if results.send(Resolved { cluster: Arc::clone(&name), assignment }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn assignment(cluster: &Arc<str>, found: Vec<(std::net::SocketAddr, Arc<str>)>) -> ClusterLoadAssignment {
    let endpoints = found.into_iter().map(|(address, host)| Endpoint {
        address,
        weight: NonZeroU32::MIN,
        health: Health::Healthy,
        hostname: Some(host),
        workload: None,
    });
    let locality =
        LocalityEndpoints { locality: Locality::default(), priority: 0, weight: None, endpoints: endpoints.collect() };
    ClusterLoadAssignment { localities: vec![locality], ..ClusterLoadAssignment::empty(Arc::clone(cluster)) }
}
