//! `/clusters`: what the proxy knows of every endpoint it may choose, and how near each breaker is to its limits.
//!
//! The manner is that of Envoy's page, `cluster::address::what::value`, so that eyes and scripts find their way. What
//! Envoy's page does not say is here as well: why an endpoint is out and for how long, and which limit has refused how often.

use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering;

use crate::balance::circuit_breaker::LIMITS;
use crate::balance::outlier::{REASONS, moment};
use crate::config::snapshot::ActiveCluster;
use crate::worker::Shared;

/// The page.
pub(super) fn page(shared: &Shared) -> String {
    let snapshot = shared.snapshot.load();
    let mut names: Vec<_> = snapshot.clusters.iter().collect();
    names.sort_unstable_by(|a, b| a.0.cmp(b.0));
    let mut page = String::new();
    for (name, cluster) in names {
        // Writing to a String cannot fail.
        if of_cluster(&mut page, name, cluster).is_err() {
            break;
        }
    }
    page
}

fn of_cluster(page: &mut String, name: &str, cluster: &ActiveCluster) -> fmt::Result {
    let breaker = &cluster.state.breaker;
    writeln!(page, "{name}::rq_active::{}", breaker.requests())?;
    writeln!(page, "{name}::rq_pending::{}", breaker.pending())?;
    writeln!(page, "{name}::rq_retry_active::{}", breaker.retries())?;
    writeln!(page, "{name}::cx_active::{}", breaker.connections())?;
    for limit in LIMITS {
        let trips = breaker.trips(limit);
        if trips > 0 {
            writeln!(page, "{name}::overflow::{}::{trips}", limit.as_str())?;
        }
    }
    of_outlier(page, name, cluster)?;
    let live = cluster.live.load();
    let now = moment(cluster);
    for (index, (endpoint, state)) in cluster.endpoints.endpoints().iter().zip(&cluster.states).enumerate() {
        let at = format!("{name}::{}", endpoint.address);
        writeln!(page, "{at}::rq_active::{}", state.in_flight.load(Ordering::Relaxed))?;
        writeln!(page, "{at}::cx_active::{}", state.connections.load(Ordering::Relaxed))?;
        writeln!(page, "{at}::weight::{}", endpoint.weight)?;
        writeln!(page, "{at}::health::{:?}", endpoint.health)?;
        writeln!(page, "{at}::usable::{}", live.is_usable(index))?;
        if live.is_in_panic(index) {
            writeln!(page, "{at}::panic::true")?;
        }
        if !cluster.config.health_checks.is_empty() {
            writeln!(page, "{at}::check::{:?}::{}", state.learned.checked(), state.learned.reason())?;
        }
        let outlier = &state.learned.outlier;
        if cluster.outlier.is_some()
            && let Some(ejection) = outlier.ejection()
        {
            let left = ejection.lasts.saturating_sub(now.saturating_sub(ejection.since));
            writeln!(page, "{at}::ejected::{}::{:.1}s", ejection.reason.as_str(), left.as_secs_f64())?;
        }
        if outlier.ejections() > 0 {
            writeln!(page, "{at}::ejections::{}", outlier.ejections())?;
        }
    }
    Ok(())
}

fn of_outlier(page: &mut String, name: &str, cluster: &ActiveCluster) -> fmt::Result {
    if cluster.outlier.is_none() {
        return Ok(());
    }
    let ejections = &cluster.state.ejections;
    let active = cluster.states.iter().filter(|state| state.learned.outlier.is_ejected()).count();
    writeln!(page, "{name}::outlier::ejections_active::{active}")?;
    writeln!(page, "{name}::outlier::ejections_refused::{}", ejections.refused())?;
    for reason in REASONS {
        let count = ejections.of(reason);
        if count > 0 {
            writeln!(page, "{name}::outlier::ejections_total::{}::{count}", reason.as_str())?;
        }
    }
    Ok(())
}
