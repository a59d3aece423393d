//! The metric table: every number that the proxy exports, with its unit, its labels and the question it answers.
//!
//! Labels are bounded by the configuration (listener, cluster) or by this crate (class, flag). Never a path, a header or
//! a user: a label that a caller can choose is a leak of memory that a caller can cause.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by buckets, with their sum and their number.
    Histogram,
}

impl Kind {
    /// The word in Prometheus' `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Prometheus name, with base unit and suffix.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// The help sentence.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

/// Answers by listener and class of status: is a listener's traffic healthy?
pub const REQUESTS: Metric =
    counter("tidegate_requests_total", &["listener", "code_class"], "Requests answered, by class of status.");
/// Answers by cluster: is an upstream healthy?
pub const UPSTREAM_REQUESTS: Metric = counter(
    "tidegate_upstream_requests_total",
    &["cluster", "code_class"],
    "Requests answered by a cluster, by class of status.",
);
/// Answers made by the proxy itself: why does it refuse?
pub const REJECTIONS: Metric =
    counter("tidegate_rejections_total", &["flag"], "Answers made or exchanges ended by the proxy, by response flag.");
/// Connections accepted.
pub const DOWNSTREAM_CONNECTIONS: Metric =
    counter("tidegate_downstream_connections_total", &["listener"], "Connections accepted.");
/// Connections open now: what is a drain waiting for?
pub const DOWNSTREAM_CONNECTIONS_ACTIVE: Metric =
    gauge("tidegate_downstream_connections_active", &["worker"], "Connections open now.");
/// Connections turned away at the limit: is the limit too low?
pub const DOWNSTREAM_CONNECTIONS_REFUSED: Metric = counter(
    "tidegate_downstream_connections_refused_total",
    &["reason"],
    "Connections closed at once because a limit was reached, and accepts that failed.",
);
/// Connections let go because their caller did nothing: is somebody holding them for nothing?
pub const DOWNSTREAM_CONNECTIONS_CUT: Metric = counter(
    "tidegate_downstream_connections_cut_total",
    &["reason"],
    "Connections closed without an answer because their caller was silent: before its first bytes told the protocol (detection), while HTTP/2 was being set up (handshake), between requests (idle), or asked by a PING (ping).",
);
/// TLS handshakes that callers finished.
pub const DOWNSTREAM_TLS_HANDSHAKES: Metric =
    counter("tidegate_downstream_tls_handshakes_total", &[], "TLS handshakes with callers that succeeded.");
/// TLS handshakes that failed: who cannot get in, and why?
pub const DOWNSTREAM_TLS_FAILURES: Metric = counter(
    "tidegate_downstream_tls_failures_total",
    &["reason"],
    "TLS handshakes with callers that failed: not TLS (garbage, plaintext), no certificate or not one for us (no_certificate, bad_certificate), turned down by the caller (alert), nothing_in_common, against the protocol (protocol), hung up (closed), not in time (late).",
);
/// Connections opened towards endpoints: does the pool work?
pub const UPSTREAM_CONNECTS: Metric =
    counter("tidegate_upstream_connect_total", &["cluster"], "Connections opened to endpoints.");
/// Failures of those.
pub const UPSTREAM_CONNECT_FAILURES: Metric = counter(
    "tidegate_upstream_connect_failures_total",
    &["cluster"],
    "Connections to endpoints that were refused or timed out.",
);
/// Copies of requests: do mirrors keep up?
pub const MIRRORS: Metric = counter(
    "tidegate_mirrored_requests_total",
    &["cluster", "outcome"],
    "Copies sent to a mirror: answered (mirrored), given up because it was too slow or the original ended (abandoned), or failed.",
);
/// Requests that a local rate limit was asked about: does it bite?
pub const LOCAL_RATE_LIMIT: Metric = counter(
    "tidegate_local_rate_limit_total",
    &["listener", "outcome"],
    "Requests counted by a local rate limit: within it (passed), over it and let through (shadowed), or refused.",
);
/// Attempts after the first: how much is hidden from callers?
pub const UPSTREAM_RETRIES: Metric =
    counter("tidegate_upstream_retries_total", &["cluster"], "Attempts beyond the first.");
/// Requests in flight: how near is a circuit breaker?
pub const UPSTREAM_REQUESTS_ACTIVE: Metric =
    gauge("tidegate_upstream_requests_active", &["cluster"], "Requests in flight to a cluster.");
/// Requests that a limit of the circuit breaker holds up: does it need more connections?
pub const UPSTREAM_REQUESTS_PENDING: Metric =
    gauge("tidegate_upstream_requests_pending", &["cluster"], "Requests that wait for a connection to a cluster.");
/// Connections open: how near is a circuit breaker?
pub const UPSTREAM_CONNECTIONS_ACTIVE: Metric =
    gauge("tidegate_upstream_connections_active", &["cluster"], "Connections open to the endpoints of a cluster.");
/// Refusals of the circuit breaker: which limit is too low?
pub const UPSTREAM_OVERFLOWS: Metric = counter(
    "tidegate_upstream_overflow_total",
    &["cluster", "limit"],
    "Requests, connections and retries that a circuit breaker refused, by limit.",
);
/// Requests refused because the control plane asked for it: is somebody shedding load?
pub const UPSTREAM_DROPS: Metric = counter(
    "tidegate_upstream_dropped_total",
    &["cluster"],
    "Requests refused because the control plane asked for a share of them to be.",
);
/// Endpoints out: is a cluster losing capacity?
pub const EJECTIONS_ACTIVE: Metric =
    gauge("tidegate_outlier_ejections_active", &["cluster"], "Endpoints of a cluster that are ejected now.");
/// Ejections: why do endpoints go?
pub const EJECTIONS: Metric =
    counter("tidegate_outlier_ejections_total", &["cluster", "reason"], "Endpoints ejected, by reason.");
/// Ejections that were due and could not be: is the whole cluster bad?
pub const EJECTIONS_REFUSED: Metric = counter(
    "tidegate_outlier_ejections_refused_total",
    &["cluster"],
    "Ejections that would have left too few endpoints.",
);
/// Configuration applied.
pub const CONFIG_APPLIED: Metric =
    counter("tidegate_config_applied_total", &[], "Configurations made visible to requests.");
/// Resources refused: whose configuration is wrong?
pub const CONFIG_REJECTED: Metric =
    counter("tidegate_config_rejected_total", &["type"], "Resources refused, by type of resource.");
/// Lines of the access log that found its queue full: is the log whole?
pub const ACCESS_LOG_DROPPED: Metric =
    counter("tidegate_access_log_dropped_total", &[], "Lines of the access log dropped because its queue was full.");
/// Whether the control plane is connected.
pub const CONTROL_CONNECTED: Metric =
    gauge("tidegate_control_connected", &[], "Whether the stream to the control plane is up.");
/// How scarce memory is: why are requests refused that nothing else forbids?
pub const MEMORY_PRESSURE: Metric = gauge(
    "tidegate_memory_pressure",
    &[],
    "What is not done any more because the cgroup's memory runs out: 0 nothing, 1 keeping connections, 2 also serving requests, 3 also accepting connections.",
);
/// Panics caught: a bug that cost one connection.
pub const PANICS: Metric = counter("tidegate_panics_total", &[], "Panics caught at the border of a connection's task.");

/// Every metric, in the order in which they are exported.
pub const ALL: [Metric; 28] = [
    REQUESTS,
    UPSTREAM_REQUESTS,
    REJECTIONS,
    DOWNSTREAM_CONNECTIONS,
    DOWNSTREAM_CONNECTIONS_ACTIVE,
    DOWNSTREAM_CONNECTIONS_REFUSED,
    DOWNSTREAM_CONNECTIONS_CUT,
    DOWNSTREAM_TLS_HANDSHAKES,
    DOWNSTREAM_TLS_FAILURES,
    UPSTREAM_CONNECTS,
    UPSTREAM_CONNECT_FAILURES,
    UPSTREAM_RETRIES,
    MIRRORS,
    LOCAL_RATE_LIMIT,
    UPSTREAM_REQUESTS_ACTIVE,
    UPSTREAM_REQUESTS_PENDING,
    UPSTREAM_CONNECTIONS_ACTIVE,
    UPSTREAM_OVERFLOWS,
    UPSTREAM_DROPS,
    EJECTIONS_ACTIVE,
    EJECTIONS,
    EJECTIONS_REFUSED,
    CONFIG_APPLIED,
    CONFIG_REJECTED,
    CONTROL_CONNECTED,
    MEMORY_PRESSURE,
    PANICS,
    ACCESS_LOG_DROPPED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_gauges_do_not() {
        for metric in ALL {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn names_are_unique_and_carry_the_product_prefix() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        assert!(names.iter().all(|name| name.starts_with("tidegate_")));
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), ALL.len());
    }
}
