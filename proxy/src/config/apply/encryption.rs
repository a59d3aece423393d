//! The applier's care for certificates: what is refused at once, what is waited for, what is read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_xds::resource::Listener;
use tidegate_xds::resource::cluster::Cluster;
use tidegate_xds::resource::tls::{DownstreamTls, UpstreamTls};
use tokio::time::Instant;
use tracing::info;

use super::Applier;
use crate::clock;
use crate::config::snapshot::chains;
use crate::limits::PEM_FILES_EVERY;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;

impl Applier {
    /// Refuses a listener whose encryption could never come about. A secret or a file may still come.
    pub(super) fn check_terminations(&mut self, listener: &Listener) -> Result<(), String> {
        for tls in chains(listener).filter_map(|chain| chain.tls.as_ref()) {
            let made = match self.desired.keyring.of_chain(tls) {
                Ok(parts) => ServerTls::new(tls, parts).map(drop),
                Err(_) if !tls.is_inline() => Ok(()),
                Err(error) => Err(error),
            };
            made.map_err(|error| format!("filter_chains: transport_socket: {error}"))?;
        }
        Ok(())
    }

    /// The same of a cluster.
    pub(super) fn check_encryption(&mut self, cluster: &Cluster) -> Result<(), String> {
        let Some(tls) = &cluster.tls else { return Ok(()) };
        let made = match self.desired.keyring.of_cluster(tls) {
            Ok(parts) => ClientTls::new(tls, parts, &[], None).map(drop),
            Err(_) if !tls.is_inline() => Ok(()),
            Err(error) => Err(error),
        };
        made.map_err(|error| format!("transport_socket: {error}"))
    }

    /// The secrets that what is wanted or active names.
    pub(super) fn secret_names(&self) -> BTreeSet<Arc<str>> {
        let of_chains = self.terminations().into_iter().flat_map(DownstreamTls::secrets);
        let of_clusters = self.encryptions().into_iter().flat_map(UpstreamTls::secrets);
        of_chains.chain(of_clusters).cloned().collect()
    }

    /// Drops secrets and files that nothing names any more. A secret that nothing has named yet stays: it may have come
    /// before its listener.
    pub(super) fn forget_material(&mut self) {
        let named = self.secret_names();
        let of_chains = self.terminations().into_iter().flat_map(DownstreamTls::files);
        let of_clusters = self.encryptions().into_iter().flat_map(UpstreamTls::files);
        let files: BTreeSet<Arc<str>> = of_chains.chain(of_clusters).cloned().collect();
        let once = &self.subscribed.secrets;
        self.desired.keyring.retain(|name| named.contains(name) || !once.contains(name));
        self.desired.keyring.forget_files(|name| files.contains(name));
    }

    /// Reads files again when it is time.
    pub(super) fn look_at_files(&mut self, now: Instant) {
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.desired.keyring.report_expired();
            if self.desired.keyring.look() {
                info!("a file with certificates has changed");
            }
        }
    }

    /// Sets the time for that.
    pub(super) fn plan_to_look(&mut self) {
        if self.look_at.is_none() && self.desired.keyring.is_in_use() {
            self.look_at = Some(clock::now() + PEM_FILES_EVERY);
        }
    }

    fn terminations(&self) -> Vec<&DownstreamTls> {
        let wanted = self.desired.listeners.values().map(|wanted| &wanted.config);
        let active = self.active.listeners.values().map(|active| &active.config);
        let in_use = wanted.chain(active).flat_map(|listener| chains(listener));
        in_use.filter_map(|chain| chain.tls.as_ref()).chain(self.given_up.terminations()).collect()
    }

    fn encryptions(&self) -> Vec<&UpstreamTls> {
        let wanted = self.desired.clusters.values().map(|wanted| &wanted.config);
        let active = self.active.clusters.values().map(|active| &active.config);
        wanted.chain(active).filter_map(|cluster| cluster.tls.as_ref()).collect()
    }
}
