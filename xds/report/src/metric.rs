//! The metric tables: every number that is exported, with its unit, its labels and the question it answers. The proxy's is here,
//! the control plane's in [`control`].
//!
//! Labels are bounded by the configuration (listener, cluster) or by this crate (class, flag). Never a path, a header or
//! a user: a label that a caller can choose is a leak of memory that a caller can cause.

pub mod control;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by buckets, with their sum and their number.
    Histogram,
    /// Only grows, under a name without `_total` that others gave and dashboards ask for.
    Untyped,
}

impl Kind {
    /// The word in Prometheus' `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Untyped => "untyped",
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
    /// What its reader wants to know.
    pub question: &'static str,
}

impl Metric {
    /// With the question that it answers.
    pub const fn asks(self, question: &'static str) -> Self {
        Self { question, ..self }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, question: "" }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, question: "" }
}

/// Answers by listener and class of status: is a listener's traffic healthy?
pub const REQUESTS: Metric =
    counter("tidegate_requests_total", &["listener", "code_class"], "Requests answered, by class of status.")
        .asks("Is a listener's traffic healthy?");
/// Answers by cluster: is an upstream healthy?
pub const UPSTREAM_REQUESTS: Metric = counter(
    "tidegate_upstream_requests_total",
    &["cluster", "code_class"],
    "Requests answered by a cluster, by class of status.",
)
.asks("Is an upstream healthy?");
/// Answers made by the proxy itself: why does it refuse?
pub const REJECTIONS: Metric =
    counter("tidegate_rejections_total", &["flag"], "Answers made or exchanges ended by the proxy, by response flag.")
        .asks("Why does the proxy refuse?");
/// Connections accepted.
pub const DOWNSTREAM_CONNECTIONS: Metric =
    counter("tidegate_downstream_connections_total", &["listener"], "Connections accepted.")
        .asks("How many callers come, and do they keep their connections?");
/// Connections open now: what is a drain waiting for?
pub const DOWNSTREAM_CONNECTIONS_ACTIVE: Metric =
    gauge("tidegate_downstream_connections_active", &["worker"], "Connections open now.")
        .asks("What is a drain waiting for?");
/// Connections turned away at the limit: is the limit too low?
pub const DOWNSTREAM_CONNECTIONS_REFUSED: Metric = counter(
    "tidegate_downstream_connections_refused_total",
    &["reason"],
    "Connections closed at once because a limit was reached, and accepts that failed.",
)
.asks("Is the limit too low?");
/// Connections let go because their caller did nothing: is somebody holding them for nothing?
pub const DOWNSTREAM_CONNECTIONS_CUT: Metric = counter(
    "tidegate_downstream_connections_cut_total",
    &["reason"],
    "Connections closed without an answer because their caller was silent: before its first bytes told the protocol (detection), while HTTP/2 was being set up (handshake), between requests (idle), or asked by a PING (ping).",
).asks("Is somebody holding connections for nothing?");
/// TLS handshakes that callers finished.
pub const DOWNSTREAM_TLS_HANDSHAKES: Metric =
    counter("tidegate_downstream_tls_handshakes_total", &[], "TLS handshakes with callers that succeeded.")
        .asks("How much of the work is handshakes?");
/// TLS handshakes that failed: who cannot get in, and why?
pub const DOWNSTREAM_TLS_FAILURES: Metric = counter(
    "tidegate_downstream_tls_failures_total",
    &["reason"],
    "TLS handshakes with callers that failed: not TLS (garbage, plaintext), no certificate or not one for us (no_certificate, bad_certificate), turned down by the caller (alert), nothing_in_common, against the protocol (protocol), hung up (closed), not in time (late).",
).asks("Who cannot get in, and why?");
/// Connections opened towards endpoints: does the pool work?
pub const UPSTREAM_CONNECTS: Metric =
    counter("tidegate_upstream_connect_total", &["cluster"], "Connections opened to endpoints.")
        .asks("Does the pool work?");
/// Failures of those.
pub const UPSTREAM_CONNECT_FAILURES: Metric = counter(
    "tidegate_upstream_connect_failures_total",
    &["cluster"],
    "Connections to endpoints that were refused or timed out.",
)
.asks("Can endpoints be reached at all?");
/// Copies of requests: do mirrors keep up?
pub const MIRRORS: Metric = counter(
    "tidegate_mirrored_requests_total",
    &["cluster", "outcome"],
    "Copies sent to a mirror: answered (mirrored), given up because it was too slow or the original ended (abandoned), or failed.",
).asks("Do mirrors keep up?");
/// Requests that a local rate limit was asked about: does it bite?
pub const LOCAL_RATE_LIMIT: Metric = counter(
    "tidegate_local_rate_limit_total",
    &["listener", "outcome"],
    "Requests counted by a local rate limit: within it (passed), over it and let through (shadowed), or refused.",
)
.asks("Does a limit bite?");
/// Attempts after the first: how much is hidden from callers?
pub const UPSTREAM_RETRIES: Metric =
    counter("tidegate_upstream_retries_total", &["cluster"], "Attempts beyond the first.")
        .asks("How much is hidden from callers?");
/// Requests in flight: how near is a circuit breaker?
pub const UPSTREAM_REQUESTS_ACTIVE: Metric =
    gauge("tidegate_upstream_requests_active", &["cluster"], "Requests in flight to a cluster.")
        .asks("How near is a circuit breaker?");
/// Requests that a limit of the circuit breaker holds up: does it need more connections?
pub const UPSTREAM_REQUESTS_PENDING: Metric =
    gauge("tidegate_upstream_requests_pending", &["cluster"], "Requests that wait for a connection to a cluster.")
        .asks("Does a circuit breaker need more connections?");
/// Connections open: how near is a circuit breaker?
pub const UPSTREAM_CONNECTIONS_ACTIVE: Metric =
    gauge("tidegate_upstream_connections_active", &["cluster"], "Connections open to the endpoints of a cluster.")
        .asks("How near is a circuit breaker?");
/// Refusals of the circuit breaker: which limit is too low?
pub const UPSTREAM_OVERFLOWS: Metric = counter(
    "tidegate_upstream_overflow_total",
    &["cluster", "limit"],
    "Requests, connections and retries that a circuit breaker refused, by limit.",
)
.asks("Which limit is too low?");
/// Requests refused because the control plane asked for it: is somebody shedding load?
pub const UPSTREAM_DROPS: Metric = counter(
    "tidegate_upstream_dropped_total",
    &["cluster"],
    "Requests refused because the control plane asked for a share of them to be.",
)
.asks("Is somebody shedding load?");
/// Endpoints out: is a cluster losing capacity?
pub const EJECTIONS_ACTIVE: Metric =
    gauge("tidegate_outlier_ejections_active", &["cluster"], "Endpoints of a cluster that are ejected now.")
        .asks("Is a cluster losing capacity?");
/// Ejections: why do endpoints go?
pub const EJECTIONS: Metric =
    counter("tidegate_outlier_ejections_total", &["cluster", "reason"], "Endpoints ejected, by reason.")
        .asks("Why do endpoints go?");
/// Ejections that were due and could not be: is the whole cluster bad?
pub const EJECTIONS_REFUSED: Metric = counter(
    "tidegate_outlier_ejections_refused_total",
    &["cluster"],
    "Ejections that would have left too few endpoints.",
)
.asks("Is the whole cluster bad?");
/// Configuration applied.
pub const CONFIG_APPLIED: Metric =
    counter("tidegate_config_applied_total", &[], "Configurations made visible to requests.")
        .asks("Does configuration arrive?");
/// Resources refused: whose configuration is wrong?
pub const CONFIG_REJECTED: Metric =
    counter("tidegate_config_rejected_total", &["type"], "Resources refused, by type of resource.")
        .asks("Whose configuration is wrong?");
/// Lines of the access log that found its queue full: is the log whole?
pub const ACCESS_LOG_DROPPED: Metric =
    counter("tidegate_access_log_dropped_total", &[], "Lines of the access log dropped because its queue was full.")
        .asks("Is the log whole?");
/// Finished spans: does the collector get them?
pub const SPANS: Metric = counter(
    "tidegate_spans_total",
    &["collector", "outcome"],
    "Finished spans: taken by the collector (exported), not kept because its queue was full (dropped), or not taken in the end (failed).",
)
.asks("Does the collector get them?");
/// Edges with series of their own: how many series does Prometheus get of this proxy?
pub const EDGES: Metric = gauge("tidegate_edges", &[], "Pairs of a caller and one that is called that are told apart.")
    .asks("How many series does Prometheus get of this proxy?");
/// Edges without: are there numbers that cannot be told apart any more?
pub const EDGES_FOLDED: Metric = counter(
    "tidegate_edges_folded_total",
    &[],
    "Endpoints and connections that found no pair of their own left, so that their requests are counted under `__other__`.",
)
.asks("Are there requests of which it is not known any more who called whom?");
/// Whether the control plane is connected.
pub const CONTROL_CONNECTED: Metric =
    gauge("tidegate_control_connected", &[], "Whether the stream to the control plane is up.")
        .asks("Does the proxy live by the newest configuration?");
/// How scarce memory is: why are requests refused that nothing else forbids?
pub const MEMORY_PRESSURE: Metric = gauge(
    "tidegate_memory_pressure",
    &[],
    "What is not done any more because the cgroup's memory runs out: 0 nothing, 1 keeping connections, 2 also serving requests, 3 also accepting connections.",
).asks("Why are requests refused that nothing else forbids?");
/// Panics caught: a bug that cost one connection.
pub const PANICS: Metric = counter("tidegate_panics_total", &[], "Panics caught at the border of a connection's task.")
    .asks("Is there a bug that costs connections?");

/// Every metric, in the order in which they are exported.
pub const ALL: [Metric; 31] = [
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
    SPANS,
    EDGES,
    EDGES_FOLDED,
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
    fn every_metric_says_what_it_is_and_what_for() {
        for metric in ALL.iter().chain(&control::ALL) {
            assert!(metric.help.ends_with('.') && metric.question.ends_with('?'), "{}", metric.name);
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
