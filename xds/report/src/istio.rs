//! Istio's standard metrics: their names, labels and buckets, by which Kiali, Istio's dashboards and KubeSphere read a mesh.
//!
//! Sources: Istio's "Standard Metrics" for names and labels; Envoy's default histogram buckets, because Istio sets none.

use crate::metric::{Kind, Metric};

/// Upper bounds of all histograms, in milliseconds or bytes.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// [`BOUNDS`] and what is above.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bounds in thousandths, which are whole.
const BOUNDS_THOUSANDTHS: [u64; BOUNDS.len()] = {
    let mut bounds = [0; BOUNDS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (BOUNDS[at] * 1_000.0) as u64;
        at += 1;
    }
    bounds
};

/// By how many bits a value has: the first bucket that it may be in. Bounds are so far apart that the right one is this or one of
/// the next two, which is found sooner than by halving all of them.
const FIRST_BY_BITS: [u8; 65] = {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits < first.len() {
        let least = 1_u64 << (bits - 1);
        let mut at = first[bits - 1] as usize;
        while at < BOUNDS_THOUSANDTHS.len() && BOUNDS_THOUSANDTHS[at] < least {
            at += 1;
        }
        first[bits] = at as u8;
        bits += 1;
    }
    first
};

/// The bucket of a value in thousandths: of a time in microseconds. A bound belongs to the bucket below it.
#[inline]
pub fn bucket_of_thousandths(value: u64) -> usize {
    let mut at = usize::from(FIRST_BY_BITS[(u64::BITS - value.leading_zeros()) as usize]);
    while BOUNDS_THOUSANDTHS.get(at).is_some_and(|bound| *bound < value) {
        at += 1;
    }
    at
}

/// The bucket of a whole value, such as a number of bytes.
#[inline]
pub fn bucket_of(value: u64) -> usize {
    bucket_of_thousandths(value.saturating_mul(1_000))
}

/// What a label says when it is not known. Kiali drops series with an empty or missing label.
pub const UNKNOWN: &str = "unknown";

/// The labels of all series about requests, in the order in which they are written.
pub const REQUEST_LABELS: [&str; 25] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "connection_security_policy",
    "response_flags",
    "response_code",
    "grpc_response_status",
];

/// The labels of all series about TCP connections: those of requests, without what only a request has.
pub const CONNECTION_LABELS: [&str; 23] = {
    let mut labels = [""; 23];
    let mut at = 0;
    while at < labels.len() {
        labels[at] = REQUEST_LABELS[at];
        at += 1;
    }
    labels
};

const fn requests(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { name, kind, labels: &REQUEST_LABELS, help, question: "" }
}

const fn connections(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels: &CONNECTION_LABELS, help, question: "" }
}

/// Who calls whom, how often, and how does it end?
pub const REQUESTS: Metric =
    requests("istio_requests_total", Kind::Counter, "Requests, by who called whom and how it ended.")
        .asks("Who calls whom, how often, and how does it end?");
/// How long do callers wait?
pub const REQUEST_DURATION: Metric = requests(
    "istio_request_duration_milliseconds",
    Kind::Histogram,
    "Time from a request's head to the end of its answer, in milliseconds.",
)
.asks("How long do callers wait?");
/// How large are requests?
pub const REQUEST_BYTES: Metric = requests("istio_request_bytes", Kind::Histogram, "Bytes of the bodies of requests.")
    .asks("How large are requests?");
/// How large are answers?
pub const RESPONSE_BYTES: Metric =
    requests("istio_response_bytes", Kind::Histogram, "Bytes of the bodies of answers.").asks("How large are answers?");
/// How much do connections of bytes send?
pub const TCP_SENT_BYTES: Metric =
    connections("istio_tcp_sent_bytes_total", "Bytes sent to callers of TCP connections.")
        .asks("How much do TCP connections carry towards callers?");
/// How much do connections of bytes receive?
pub const TCP_RECEIVED_BYTES: Metric =
    connections("istio_tcp_received_bytes_total", "Bytes received from callers of TCP connections.")
        .asks("How much do TCP connections carry from callers?");
/// How many connections of bytes are begun?
pub const TCP_CONNECTIONS_OPENED: Metric = connections("istio_tcp_connections_opened_total", "TCP connections begun.")
    .asks("How many TCP connections are begun?");
/// How many are over?
pub const TCP_CONNECTIONS_CLOSED: Metric = connections("istio_tcp_connections_closed_total", "TCP connections ended.")
    .asks("How many TCP connections are over?");

/// All of them, in the order in which they are exported.
pub const ALL: [Metric; 8] = [
    REQUESTS,
    REQUEST_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    TCP_SENT_BYTES,
    TCP_RECEIVED_BYTES,
    TCP_CONNECTIONS_OPENED,
    TCP_CONNECTIONS_CLOSED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next() {
        assert_eq!(bucket_of_thousandths(0), 0);
        assert_eq!(bucket_of_thousandths(500), 0);
        assert_eq!(bucket_of_thousandths(501), 1);
        assert_eq!(bucket_of_thousandths(5_000), 2);
        assert_eq!(bucket_of(5), 2);
        assert_eq!(bucket_of(6), 3);
        assert_eq!(bucket_of(3_600_000), BOUNDS.len() - 1);
        assert_eq!(bucket_of(u64::MAX), BOUNDS.len());
        for bound in BOUNDS_THOUSANDTHS {
            for value in [bound - 1, bound, bound + 1, bound * 3 / 2] {
                let halved = BOUNDS_THOUSANDTHS.partition_point(|bound| *bound < value);
                assert_eq!(bucket_of_thousandths(value), halved, "{value}");
            }
        }
    }
}
