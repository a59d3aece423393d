//! The Prometheus page. Written from the registry; the only reader of the cells.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_report::exposition::Page;
use tidegate_report::{ResponseFlag, metric};
use tidegate_xds::name::ResourceType;

use super::trace::Traces;
use super::{ByClass, Silence, istio};
use crate::balance::circuit_breaker::LIMITS;
use crate::balance::outlier::REASONS;
use crate::config::registry::{ClusterState, Registry};
use crate::tls::server::Failure;

/// Writes everything that is counted. `unlogged`: lines that the access log has lost.
pub(crate) fn write(
    mut page: Page,
    registry: &Registry,
    unlogged: u64,
    traces: Option<&Traces>,
    families: Families,
) -> String {
    if families != Families::Istio {
        ours(&mut page, registry, unlogged, traces);
    }
    if families != Families::Ours {
        istio::write(&mut page, &registry.edges);
    }
    page.finish()
}

/// Which metrics are wanted. A series for each pair that calls, with all the labels that Istio's have, is most of a page: whoever
/// looks often at the proxy itself need not have them made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    All,
    Istio,
    Ours,
}

impl Families {
    /// As a URL's query asks: `names=tidegate`, `names=istio`, or nothing of that.
    pub(crate) fn asked(query: &str) -> Result<Self, String> {
        match query.split('&').find_map(|pair| pair.strip_prefix("names=")) {
            None => Ok(Self::All),
            Some("tidegate") => Ok(Self::Ours),
            Some("istio") => Ok(Self::Istio),
            Some(other) => {
                Err(format!("names={other} is neither tidegate nor istio, with which the names of metrics begin"))
            }
        }
    }
}

fn ours(page: &mut Page, registry: &Registry, unlogged: u64, traces: Option<&Traces>) {
    listeners(page, registry);
    clusters(page, registry);
    process(page, registry);
    page.head(&metric::ACCESS_LOG_DROPPED);
    page.sample(&metric::ACCESS_LOG_DROPPED, &[], unlogged);
    page.head(&metric::SPANS);
    for queue in traces.into_iter().flat_map(|traces| &traces.queues) {
        for (outcome, count) in queue.counts.all() {
            page.sample(&metric::SPANS, &[&queue.name, outcome], count);
        }
    }
    page.head(&metric::EDGES);
    page.sample(&metric::EDGES, &[], registry.edges.all().len() as u64);
    page.head(&metric::EDGES_FOLDED);
    page.sample(&metric::EDGES_FOLDED, &[], registry.edges.folded());
}

fn listeners(page: &mut Page, registry: &Registry) {
    let listeners = registry.all_listeners();
    page.head(&metric::REQUESTS);
    for listener in &listeners {
        for (class, label) in ByClass::LABELS.iter().enumerate() {
            let value = listener.cells.sum(|row| row.requests.cell(class));
            page.sample(&metric::REQUESTS, &[&listener.name, label], value);
        }
    }
    page.head(&metric::DOWNSTREAM_CONNECTIONS);
    for listener in &listeners {
        let value = listener.cells.sum(|row| &row.connections);
        page.sample(&metric::DOWNSTREAM_CONNECTIONS, &[&listener.name], value);
    }
    page.head(&metric::LOCAL_RATE_LIMIT);
    for listener in &listeners {
        let mut sample = |outcome, value| page.sample(&metric::LOCAL_RATE_LIMIT, &[&listener.name, outcome], value);
        sample("passed", listener.cells.sum(|row| &row.rate_limit_passed));
        sample("shadowed", listener.cells.sum(|row| &row.rate_limit_shadowed));
        sample("refused", listener.cells.sum(|row| &row.rate_limit_refused));
    }
}

fn clusters(page: &mut Page, registry: &Registry) {
    let clusters = registry.all_clusters();
    page.head(&metric::UPSTREAM_REQUESTS);
    for cluster in &clusters {
        for (class, label) in ByClass::LABELS.iter().enumerate() {
            let value = cluster.cells.sum(|row| row.requests.cell(class));
            page.sample(&metric::UPSTREAM_REQUESTS, &[&cluster.name, label], value);
        }
    }
    page.head(&metric::UPSTREAM_CONNECTS);
    for cluster in &clusters {
        page.sample(&metric::UPSTREAM_CONNECTS, &[&cluster.name], cluster.cells.sum(|row| &row.connects));
    }
    page.head(&metric::UPSTREAM_CONNECT_FAILURES);
    for cluster in &clusters {
        let value = cluster.cells.sum(|row| &row.connect_failures);
        page.sample(&metric::UPSTREAM_CONNECT_FAILURES, &[&cluster.name], value);
    }
    page.head(&metric::UPSTREAM_RETRIES);
    for cluster in &clusters {
        page.sample(&metric::UPSTREAM_RETRIES, &[&cluster.name], cluster.cells.sum(|row| &row.retries));
    }
    page.head(&metric::MIRRORS);
    for cluster in &clusters {
        let mut sample = |outcome, value| page.sample(&metric::MIRRORS, &[&cluster.name, outcome], value);
        sample("mirrored", cluster.cells.sum(|row| &row.mirrored));
        sample("abandoned", cluster.cells.sum(|row| &row.mirror_abandoned));
        sample("failed", cluster.cells.sum(|row| &row.mirror_failed));
    }
    page.head(&metric::UPSTREAM_REQUESTS_ACTIVE);
    for cluster in &clusters {
        let value = u64::from(cluster.breaker.requests());
        page.sample(&metric::UPSTREAM_REQUESTS_ACTIVE, &[&cluster.name], value);
    }
    breakers(page, &clusters);
    ejections(page, &clusters);
}

fn breakers(page: &mut Page, clusters: &[Arc<ClusterState>]) {
    page.head(&metric::UPSTREAM_REQUESTS_PENDING);
    for cluster in clusters {
        page.sample(&metric::UPSTREAM_REQUESTS_PENDING, &[&cluster.name], u64::from(cluster.breaker.pending()));
    }
    page.head(&metric::UPSTREAM_CONNECTIONS_ACTIVE);
    for cluster in clusters {
        let value = u64::from(cluster.breaker.connections());
        page.sample(&metric::UPSTREAM_CONNECTIONS_ACTIVE, &[&cluster.name], value);
    }
    page.head(&metric::UPSTREAM_OVERFLOWS);
    for cluster in clusters {
        // Mostly none of seven: what has never happened takes no line.
        for limit in LIMITS.into_iter().filter(|limit| cluster.breaker.trips(*limit) > 0) {
            let value = cluster.breaker.trips(limit);
            page.sample(&metric::UPSTREAM_OVERFLOWS, &[&cluster.name, limit.as_str()], value);
        }
    }
    page.head(&metric::UPSTREAM_DROPS);
    for cluster in clusters {
        page.sample(&metric::UPSTREAM_DROPS, &[&cluster.name], cluster.cells.sum(|row| &row.dropped));
    }
}

fn ejections(page: &mut Page, clusters: &[Arc<ClusterState>]) {
    page.head(&metric::EJECTIONS_ACTIVE);
    for cluster in clusters {
        page.sample(&metric::EJECTIONS_ACTIVE, &[&cluster.name], cluster.ejected());
    }
    page.head(&metric::EJECTIONS);
    for cluster in clusters {
        for reason in REASONS.into_iter().filter(|reason| cluster.ejections.of(*reason) > 0) {
            let value = cluster.ejections.of(reason);
            page.sample(&metric::EJECTIONS, &[&cluster.name, reason.as_str()], value);
        }
    }
    page.head(&metric::EJECTIONS_REFUSED);
    for cluster in clusters {
        page.sample(&metric::EJECTIONS_REFUSED, &[&cluster.name], cluster.ejections.refused());
    }
}

fn process(page: &mut Page, registry: &Registry) {
    page.head(&metric::REJECTIONS);
    for flag in ResponseFlag::ALL {
        page.sample(&metric::REJECTIONS, &[flag.code()], registry.cells.sum(|row| row.rejections(flag)));
    }
    page.head(&metric::DOWNSTREAM_CONNECTIONS_ACTIVE);
    for (worker, row) in registry.cells.rows().enumerate() {
        page.sample(
            &metric::DOWNSTREAM_CONNECTIONS_ACTIVE,
            &[&worker.to_string()],
            row.connections.load(Ordering::Relaxed),
        );
    }
    page.head(&metric::DOWNSTREAM_CONNECTIONS_REFUSED);
    let refused = &metric::DOWNSTREAM_CONNECTIONS_REFUSED;
    page.sample(refused, &["limit"], registry.cells.sum(|row| &row.over_limit));
    page.sample(refused, &["accept"], registry.cells.sum(|row| &row.accept_failures));
    page.head(&metric::DOWNSTREAM_CONNECTIONS_CUT);
    for silence in Silence::ALL {
        let value = registry.cells.sum(|row| row.cuts(silence));
        page.sample(&metric::DOWNSTREAM_CONNECTIONS_CUT, &[silence.as_str()], value);
    }
    page.head(&metric::DOWNSTREAM_TLS_HANDSHAKES);
    page.sample(&metric::DOWNSTREAM_TLS_HANDSHAKES, &[], registry.cells.sum(|row| &row.tls_handshakes));
    page.head(&metric::DOWNSTREAM_TLS_FAILURES);
    for failure in Failure::ALL {
        let value = registry.cells.sum(|row| row.tls_failures(failure));
        page.sample(&metric::DOWNSTREAM_TLS_FAILURES, &[failure.as_str()], value);
    }
    page.head(&metric::CONFIG_APPLIED);
    page.sample(&metric::CONFIG_APPLIED, &[], registry.config_applied.load(Ordering::Relaxed));
    page.head(&metric::CONFIG_REJECTED);
    for (index, resource_type) in ResourceType::ALL.iter().enumerate() {
        let value = registry.config_rejected[index].load(Ordering::Relaxed);
        page.sample(&metric::CONFIG_REJECTED, &[resource_type.short()], value);
    }
    page.head(&metric::CONTROL_CONNECTED);
    page.sample(&metric::CONTROL_CONNECTED, &[], u64::from(registry.control_connected.load(Ordering::Relaxed)));
    page.head(&metric::MEMORY_PRESSURE);
    page.sample(&metric::MEMORY_PRESSURE, &[], u64::from(registry.pressure.level()));
    page.head(&metric::PANICS);
    page.sample(&metric::PANICS, &[], registry.cells.sum(|row| &row.panics));
}

#[cfg(test)]
mod tests {
    use tidegate_report::exposition::Format;

    use super::*;

    fn page(registry: &Registry, families: Families) -> String {
        write(Page::new(Format::Prometheus, 0), registry, 0, None, families)
    }

    #[test]
    fn every_metric_of_the_table_is_on_the_page() {
        let registry = Registry::new(2);
        let _cluster = registry.cluster(&"outbound|80||a".into());
        let _listener = registry.listener(&"outbound".into());

        let text = page(&registry, Families::All);

        for metric in metric::ALL {
            assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{}", metric.name);
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let registry = Registry::new(1);
        let _cluster = registry.cluster(&"a\"b\\c".into());

        let text = page(&registry, Families::All);
        assert!(text.contains(r#"{cluster="a\"b\\c"}"#));
    }

    #[test]
    fn one_family_can_be_asked_for_alone() {
        let registry = Registry::new(1);
        let said = |query| page(&registry, Families::asked(query).unwrap());

        assert!(
            said("").contains("tidegate_panics_total 0") && said("").contains("# TYPE istio_requests_total counter")
        );
        assert!(
            said("names=tidegate").contains("tidegate_panics_total 0") && !said("names=tidegate").contains("istio_")
        );
        assert!(said("a=b&names=istio").contains("istio_requests_total") && !said("names=istio").contains("tidegate_"));
        assert!(Families::asked("names=envoy").is_err());
    }
}
