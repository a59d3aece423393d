//! Istio's standard metrics, written from the edges: what Kiali, Istio's dashboards and KubeSphere read.
//!
//! # What is not known is `unknown`
//! Kiali drops series with an empty or missing label, so each label of each series says something. Principals are known once
//! callers show certificates of the mesh.
//!
//! # How much there is
//! A series for each edge and way to end: both are bounded ([`EDGES_MAX`](super::edges::table::EDGES_MAX),
//! [`OUTCOMES_MAX`](super::edges::cells::OUTCOMES_MAX)), and an edge that is over goes after ten minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_report::Metric;
use tidegate_report::exposition::Page;
use tidegate_report::istio::{self, BOUNDS, UNKNOWN};
use tidegate_xds::report_service::{EdgeKey, Protocol, Reporter, Security, Service, Workload};

use super::Cell;
use super::edges::cells::{Ended, Histogram, OutcomeCells, Row};
use super::edges::{Edge, Edges};

/// What of a request is a histogram.
type Pick = fn(&OutcomeCells) -> &Histogram;

/// What of a connection of bytes is a counter.
type PickOfTcp = fn(&Row) -> &Cell;

/// A histogram, added up over workers.
#[derive(Default)]
struct Sum {
    buckets: [u64; istio::BUCKETS],
    sum: u64,
}

impl Sum {
    fn add(&mut self, counted: &Histogram) {
        self.buckets.iter_mut().zip(&counted.buckets).for_each(|(sum, cell)| *sum += cell.value());
        self.sum += counted.sum.value();
    }

    fn number(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Writes all series. Each metric goes over the edges anew: what is kept of all of them would be larger than the counts
/// themselves.
pub(crate) fn write(page: &mut Page, edges: &Edges) {
    let edges = edges.all();
    let duration: Pick = |cells| &cells.duration;
    page.head(&istio::REQUESTS);
    for_each_series(&edges, duration, |labels, sum| page.sample(&istio::REQUESTS, labels, sum.number()));
    // Durations were counted in thousandths of what the bounds say.
    let histograms: [(&Metric, Pick, f64); 3] = [
        (&istio::REQUEST_DURATION, duration, 1_000.0),
        (&istio::REQUEST_BYTES, |cells| &cells.request_bytes, 1.0),
        (&istio::RESPONSE_BYTES, |cells| &cells.response_bytes, 1.0),
    ];
    for (metric, pick, parts) in histograms {
        page.head(metric);
        for_each_series(&edges, pick, |labels, sum| histogram(page, metric, labels, sum, parts));
    }
    let tcp: [(&Metric, PickOfTcp); 4] = [
        (&istio::TCP_SENT_BYTES, |row| &row.received),
        (&istio::TCP_RECEIVED_BYTES, |row| &row.sent),
        (&istio::TCP_CONNECTIONS_OPENED, |row| &row.opened),
        (&istio::TCP_CONNECTIONS_CLOSED, |row| &row.closed),
    ];
    for (metric, cell) in tcp {
        page.head(metric);
        for edge in edges.iter().filter(|edge| edge.key.protocol() == Protocol::Tcp) {
            let labels = labels(&edge.key);
            // Of the flags: connections of bytes are counted without them.
            let labels: Vec<_> = labels.iter().map(String::as_str).chain(["-"]).collect();
            page.sample(metric, &labels, edge.rows.sum(cell));
        }
    }
}

/// Gives each series about requests, with its labels.
fn for_each_series(edges: &[Arc<Edge>], pick: Pick, mut write: impl FnMut(&[&str], &Sum)) {
    for edge in edges {
        let mut by_outcome: BTreeMap<_, Sum> = BTreeMap::new();
        for (ended, cells) in edge.rows.rows().flat_map(Row::outcomes) {
            by_outcome.entry(outcome(ended)).or_default().add(pick(cells));
        }
        let of_edge = labels(&edge.key);
        for ((code, grpc, flags), sum) in &by_outcome {
            let code = code.to_string();
            let labels: Vec<_> = of_edge.iter().map(String::as_str).chain([flags.as_str(), &code, grpc]).collect();
            write(&labels, sum);
        }
    }
}

/// `parts`: in so many parts of what the bounds say the values were counted.
fn histogram(page: &mut Page, metric: &Metric, labels: &[&str], values: &Sum, parts: f64) {
    let mut below = 0;
    let cumulative = BOUNDS.iter().zip(&values.buckets).map(|(bound, count)| {
        below += count;
        (*bound, below)
    });
    let cumulative: Vec<_> = cumulative.collect();
    #[expect(clippy::cast_precision_loss, reason = "as Prometheus keeps it")]
    let sum = values.sum as f64 / parts;
    page.histogram(metric, labels, &cumulative, values.number(), sum);
}

/// Code, gRPC status and flags as labels say them.
fn outcome(ended: Ended) -> (u16, String, String) {
    let flags = ended.flag_codes();
    let grpc = ended.grpc_status.map(|status| status.to_string()).unwrap_or_default();
    (ended.code, grpc, if flags.is_empty() { "-".to_owned() } else { flags })
}

fn known(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() }
}

/// Labels of an edge, in the order of [`istio::CONNECTION_LABELS`], but for the flags at their end.
fn labels(key: &EdgeKey) -> Vec<String> {
    let reporter = match key.reporter() {
        Reporter::Source | Reporter::Unspecified => "source",
        Reporter::Destination => "destination",
    };
    let protocol = match key.protocol() {
        Protocol::Http | Protocol::Unspecified => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    // Istio's own rule: only the proxy of the one that was called knows it for certain.
    let security = match (key.reporter(), key.security()) {
        (Reporter::Destination, Security::Mutual) => "mutual_tls",
        (Reporter::Destination, Security::Plain | Security::Tls) => "none",
        (Reporter::Destination, Security::Unspecified) | (Reporter::Source | Reporter::Unspecified, _) => UNKNOWN,
    };
    let (source, destination) = (named(key.source.as_ref()), named(key.destination.as_ref()));
    let Service { host, name, namespace } = key.service.clone().unwrap_or_default();
    let fixed = |text: &str| text.to_owned();
    let mut labels = vec![fixed(reporter)];
    labels.extend(of_workload(&source));
    labels.extend([known(&host), known(&namespace), known(&name)]);
    labels.extend(of_workload(&destination));
    labels.extend([fixed(protocol), fixed(security)]);
    labels
}

fn named(workload: Option<&Workload>) -> Workload {
    workload.cloned().unwrap_or_default()
}

/// Workload, canonical service and revision, namespace, principal, app, version, cluster.
fn of_workload(workload: &Workload) -> [String; 8] {
    let Workload { name, namespace, app, version } = workload;
    // A workload without a version is Istio's revision `latest`.
    let revision = if version.is_empty() && !name.is_empty() { "latest" } else { version };
    let unknown = || UNKNOWN.to_owned();
    [known(name), known(app), known(revision), known(namespace), unknown(), known(app), known(version), unknown()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_report::exposition::Format;

    use super::*;
    use crate::telemetry::edges::cells::Request;

    fn workload(name: &str, app: &str, version: &str) -> Option<Workload> {
        let [name, app, version] = [name, app, version].map(str::to_owned);
        Some(Workload { name, namespace: "shop".to_owned(), app, version })
    }

    fn page(edges: &Edges) -> String {
        let mut page = Page::new(Format::Prometheus, 0);
        write(&mut page, edges);
        page.finish()
    }

    #[test]
    fn a_request_is_a_series_with_all_labels_of_istio() {
        let edges = Edges::new(2);
        let service =
            Service { host: "reviews.shop.svc.cluster.local".into(), name: "reviews".into(), namespace: "shop".into() };
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Destination.into(),
            source: workload("web-1", "web", ""),
            destination: workload("reviews-v1", "reviews", "v1"),
            service: Some(service),
            protocol: Protocol::Http.into(),
            security: Security::Mutual.into(),
        });
        let ended =
            Ended { code: 503, grpc_status: None, flags: 1 << tidegate_report::ResponseFlag::UpstreamTimeout as u8 };
        for worker in 0..2 {
            let took = Duration::from_micros(4_500);
            edge.rows.of(worker).count(&Request { ended, took, received: 0, sent: 12 });
        }

        let text = page(&edges);
        let labels = "reporter=\"destination\",source_workload=\"web-1\",source_canonical_service=\"web\",\
            source_canonical_revision=\"latest\",source_workload_namespace=\"shop\",source_principal=\"unknown\",\
            source_app=\"web\",source_version=\"unknown\",source_cluster=\"unknown\",\
            destination_service=\"reviews.shop.svc.cluster.local\",destination_service_namespace=\"shop\",\
            destination_service_name=\"reviews\",destination_workload=\"reviews-v1\",\
            destination_canonical_service=\"reviews\",destination_canonical_revision=\"v1\",\
            destination_workload_namespace=\"shop\",destination_principal=\"unknown\",destination_app=\"reviews\",\
            destination_version=\"v1\",destination_cluster=\"unknown\",request_protocol=\"http\",\
            connection_security_policy=\"mutual_tls\",response_flags=\"UT\",response_code=\"503\",grpc_response_status=\"\"";
        assert!(text.contains(&format!("istio_requests_total{{{labels}}} 2\n")), "{text}");
        let bucket = |le: &str| format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"{le}\"}}");
        assert!(text.contains(&format!("{} 0\n{} 2\n", bucket("1.0"), bucket("5.0"))), "{text}");
        assert!(text.contains(&format!("istio_request_duration_milliseconds_sum{{{labels}}} 9\n")), "{text}");
        assert!(text.contains(&format!("istio_response_bytes_sum{{{labels}}} 24\n")), "{text}");
    }

    #[test]
    fn connections_of_bytes_have_series_of_their_own() {
        let edges = Edges::new(1);
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Source.into(),
            source: workload("web-1", "web", ""),
            protocol: Protocol::Tcp.into(),
            ..EdgeKey::default()
        });
        let row = edge.rows.of(0);
        row.opened.increment();
        row.sent.add(7);
        row.received.add(11);

        let text = page(&edges);
        for (metric, value) in
            [("sent_bytes", 11), ("received_bytes", 7), ("connections_opened", 1), ("connections_closed", 0)]
        {
            let begins = format!("istio_tcp_{metric}_total{{reporter=\"source\",source_workload=\"web-1\"");
            let line = text.lines().find(|line| line.starts_with(&begins)).expect(metric);
            assert!(
                line.ends_with(&format!(
                    "request_protocol=\"tcp\",connection_security_policy=\"unknown\",response_flags=\"-\"}} {value}"
                )),
                "{line}"
            );
        }
        assert!(!text.contains("istio_requests_total{"), "{text}");
    }

    #[test]
    fn a_caller_that_reached_nobody_is_a_series_too() {
        let edges = Edges::new(1);
        let edge = edges.edge(EdgeKey {
            reporter: Reporter::Source.into(),
            source: workload("web-1", "web", ""),
            ..EdgeKey::default()
        });
        let ended = Ended { code: 404, grpc_status: None, flags: 0 };
        edge.rows.of(0).count(&Request { ended, took: Duration::ZERO, received: 0, sent: 0 });

        let text = page(&edges);
        let reached = "destination_service=\"unknown\",destination_service_namespace=\"unknown\",destination_service_name=\"unknown\",\
            destination_workload=\"unknown\"";
        assert!(text.contains(reached), "{text}");
        assert!(text.contains("response_flags=\"-\",response_code=\"404\""), "{text}");
    }
}
