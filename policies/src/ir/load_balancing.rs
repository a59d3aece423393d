//! How a service is called: versions, balancing and connection settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::circuit_breaker::{BreakerLimits, Outlier};
use super::fault::Fault;
use super::health_check::HealthCheck;
use super::locality::LocalitySettings;
use super::rate_limit::RateLimit;
use super::retry::Retry;
use super::session::{ConsistentHash, SessionPersistence};
use super::timeout::Timeouts;
use super::tls::BackendTls;
use super::world::Labels;
use super::{Origin, Stated};

/// Settings of one service as a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendSettings {
    /// Where they were written.
    pub origin: Origin,
    /// For all of the service.
    pub traffic: TrafficSettings,
    /// For one port, in place of what a DestinationRule says for all (Istio `portLevelSettings`); see
    /// [`BackendSettings::effective`].
    pub ports: BTreeMap<u16, TrafficSettings>,
    /// Named versions.
    pub subsets: BTreeMap<Arc<str>, Subset>,
}

/// A named set of a service's endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    /// Where it was written.
    pub origin: Origin,
    /// Endpoints with all these labels.
    pub labels: Labels,
    /// Replaces the service's settings stanza by stanza.
    pub traffic: TrafficSettings,
    /// For one port of the version.
    pub ports: BTreeMap<u16, TrafficSettings>,
}

impl BackendSettings {
    /// What holds for a port of the service, or of one of its versions.
    ///
    /// A version's stanza replaces the service's. The settings of a port replace everything that a DestinationRule says
    /// about choosing endpoints, connections, limits, ejection and nearness, also what they do not mention.
    pub fn effective(&self, subset: Option<&str>, port: u16) -> TrafficSettings {
        let mut traffic = self.traffic.clone();
        if let Some(settings) = self.ports.get(&port) {
            traffic.replace_for_port(settings);
        }
        if let Some(subset) = subset.and_then(|subset| self.subsets.get(subset)) {
            traffic.replace_stanzas(&subset.traffic);
            if let Some(settings) = subset.ports.get(&port) {
                traffic.replace_for_port(settings);
            }
        }
        // Gateway API goes before a dialect.
        let of_port = self.traffic.tls_of_ports.get(&port).cloned();
        replace(&mut traffic.tls, &of_port);
        traffic
    }
}

impl TrafficSettings {
    /// Takes every stanza that `specific` has. Rate limits are added: all are asked.
    pub fn replace_stanzas(&mut self, specific: &Self) {
        let Self {
            load_balancing,
            connection,
            limits,
            outlier,
            health_check,
            locality,
            session,
            retry,
            timeouts,
            fault,
            rate_limits,
            tls,
            // Of the service as a whole.
            tls_of_ports: _,
        } = specific;
        replace(&mut self.load_balancing, load_balancing);
        replace(&mut self.connection, connection);
        replace(&mut self.limits, limits);
        replace(&mut self.outlier, outlier);
        replace(&mut self.health_check, health_check);
        replace(&mut self.locality, locality);
        replace(&mut self.session, session);
        replace(&mut self.retry, retry);
        replace(&mut self.timeouts, timeouts);
        replace(&mut self.fault, fault);
        replace(&mut self.tls, tls);
        self.rate_limits.extend(rate_limits.iter().cloned());
    }

    fn replace_for_port(&mut self, port: &Self) {
        let budget = self.limits.as_ref().and_then(|limits| Some((limits.origin.clone(), limits.value.retry_budget?)));
        port_stanza(&mut self.load_balancing, &port.load_balancing);
        port_stanza(&mut self.connection, &port.connection);
        port_stanza(&mut self.limits, &port.limits);
        port_stanza(&mut self.outlier, &port.outlier);
        port_stanza(&mut self.locality, &port.locality);
        port_stanza(&mut self.tls, &port.tls);
        // A budget is not among what can be written for a port, so it stays.
        if let Some((origin, budget)) = budget {
            let mut limits = self.limits.as_ref().map(|limits| *limits.value).unwrap_or_default();
            limits.retry_budget = limits.retry_budget.or(Some(budget));
            let origin = self.limits.as_ref().map_or(origin, |limits| Arc::clone(&limits.origin));
            self.limits = Some(Stated { origin, value: Arc::new(limits) });
        }
    }
}

fn replace<T>(stanza: &mut Option<Stated<T>>, specific: &Option<Stated<T>>) {
    if let Some(specific) = specific {
        *stanza = Some(Stated { origin: Arc::clone(&specific.origin), value: Arc::clone(&specific.value) });
    }
}

/// What our own kinds say is not replaced by a dialect's settings of a port.
fn port_stanza<T>(stanza: &mut Option<Stated<T>>, port: &Option<Stated<T>>) {
    let own = stanza.as_ref().is_some_and(|stanza| !matches!(stanza.origin.kind, "DestinationRule" | "MeshDefaults"));
    if own {
        return;
    }
    *stanza = port.as_ref().map(|port| Stated { origin: Arc::clone(&port.origin), value: Arc::clone(&port.value) });
}

/// Settings; each stanza is replaced whole by a more specific one: version > service > namespace > mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficSettings {
    /// How an endpoint is chosen.
    pub load_balancing: Option<Stated<LoadBalancing>>,
    /// Connections.
    pub connection: Option<Stated<ConnectionSettings>>,
    /// Limits of what is under way.
    pub limits: Option<Stated<BreakerLimits>>,
    /// Ejection of endpoints that fail.
    pub outlier: Option<Stated<Outlier>>,
    /// Active health checks.
    pub health_check: Option<Stated<HealthCheck>>,
    /// Nearness.
    pub locality: Option<Stated<LocalitySettings>>,
    /// Sessions.
    pub session: Option<Stated<SessionPersistence>>,
    /// Retries of calls whose route does not say.
    pub retry: Option<Stated<Retry>>,
    /// Limits in time of calls whose route does not say.
    pub timeouts: Option<Stated<Timeouts>>,
    /// Faults of calls whose route does not say.
    pub fault: Option<Stated<Fault>>,
    /// Limits of requests that arrive at its workloads; all are asked.
    pub rate_limits: Vec<Stated<RateLimit>>,
    /// Whether connections to endpoints are TLS.
    pub tls: Option<Stated<BackendTls>>,
    /// Likewise for single ports, whatever else is said (BackendTLSPolicy).
    pub tls_of_ports: BTreeMap<u16, Stated<BackendTls>>,
}

impl LoadBalancing {
    /// The better of two drawn at random.
    pub const LEAST_REQUEST: Self = Self::LeastRequest { warmup: None };
    /// In turn.
    pub const ROUND_ROBIN: Self = Self::RoundRobin { warmup: None };
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadBalancing {
    /// The better of two drawn at random (the default).
    LeastRequest { warmup: Option<Warmup> },
    /// At random.
    Random,
    /// In turn.
    RoundRobin { warmup: Option<Warmup> },
    /// By what a request carries.
    ConsistentHash(ConsistentHash),
}

/// A new endpoint's share grows during this time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// How long.
    pub duration: Duration,
    /// The least share of its weight, in percent; 10 when absent.
    pub min_percent: Option<f64>,
    /// 1 grows linearly.
    pub aggression: Option<f64>,
}

/// Connection settings of a backend. Unset fields have the mesh's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// TCP connect.
    pub connect_timeout: Option<Duration>,
    /// Requests per connection; zero: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// A pooled connection is closed after this long without use.
    pub idle_timeout: Option<Duration>,
    /// HTTP/2 to the endpoints although the port says HTTP (Istio `h2UpgradePolicy: UPGRADE`).
    pub http2: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ObjectName;
    use crate::ir::circuit_breaker::RetryBudget;

    const BUDGET: RetryBudget = RetryBudget { percent: 20.0, min_concurrency: 3 };

    fn origin(kind: &'static str) -> Origin {
        let name = ObjectName { namespace: Arc::from("shop"), name: Arc::from("reviews") };
        Origin { kind, object: name, file: Arc::from("a.yaml"), line: 1 }
    }

    fn stated<T>(kind: &'static str, value: T) -> Option<Stated<T>> {
        Some(Stated { origin: Arc::new(origin(kind)), value: Arc::new(value) })
    }

    fn limits(max_connections: Option<u32>, retry_budget: Option<RetryBudget>) -> BreakerLimits {
        BreakerLimits { max_connections, retry_budget, ..BreakerLimits::default() }
    }

    fn settings(kind: &'static str) -> BackendSettings {
        BackendSettings {
            origin: origin(kind),
            traffic: TrafficSettings {
                load_balancing: stated(kind, LoadBalancing::Random),
                limits: stated(kind, limits(Some(5), Some(BUDGET))),
                outlier: stated(kind, Outlier::default()),
                ..TrafficSettings::default()
            },
            ports: BTreeMap::new(),
            subsets: BTreeMap::new(),
        }
    }

    fn with_port(kind: &'static str) -> BackendSettings {
        let port =
            TrafficSettings { limits: stated("DestinationRule", limits(Some(1), None)), ..TrafficSettings::default() };
        BackendSettings { ports: BTreeMap::from([(9080, port)]), ..settings(kind) }
    }

    #[test]
    fn the_settings_of_a_port_drop_what_they_do_not_mention_but_the_retry_budget() {
        let effective = with_port("DestinationRule").effective(None, 9080);

        assert_eq!(effective.load_balancing, None);
        assert_eq!(effective.outlier, None);
        assert_eq!(effective.limits.map(|limits| *limits.value), Some(limits(Some(1), Some(BUDGET))));
    }

    #[test]
    fn other_ports_keep_what_is_said_for_all() {
        let backend = with_port("DestinationRule");

        assert_eq!(backend.effective(None, 80), backend.traffic);
    }

    #[test]
    fn the_settings_of_a_port_do_not_replace_what_our_own_kinds_say() {
        let backend = with_port("CircuitBreaker");

        assert_eq!(backend.effective(None, 9080).limits, backend.traffic.limits);
    }

    #[test]
    fn a_version_replaces_stanzas_and_its_port_replaces_them_all() {
        let mut backend = settings("DestinationRule");
        let own = stated("DestinationRule", LoadBalancing::ROUND_ROBIN);
        let port = TrafficSettings { load_balancing: own.clone(), ..TrafficSettings::default() };
        backend.subsets.insert(
            Arc::from("v1"),
            Subset {
                origin: origin("DestinationRule"),
                labels: Labels::new(),
                traffic: TrafficSettings { load_balancing: own.clone(), ..TrafficSettings::default() },
                ports: BTreeMap::from([(9080, port)]),
            },
        );

        let (all, one) = (backend.effective(Some("v1"), 80), backend.effective(Some("v1"), 9080));

        assert_eq!((&all.load_balancing, &all.outlier), (&own, &backend.traffic.outlier));
        assert_eq!((&one.load_balancing, &one.outlier), (&own, &None));
        assert_eq!(backend.effective(Some("v2"), 80), backend.traffic);
    }
}
