//! Active health checks as fields of a cluster.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::health_check::{HealthCheck, Probe};
use tidegate_xds::resource::cluster::{HealthCheck as XdsHealthCheck, HealthCheckKind, HttpHealthCheck};
use tidegate_xds::resource::route::HeaderMutations;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const UNHEALTHY: NonZeroU32 = NonZeroU32::new(3).expect("3 is not zero");
/// What counts as well when nobody says.
const OK_STATUSES: (u16, u16) = (200, 201);

/// How endpoints of `service`, called by its host, are asked. `http2`: they speak nothing else.
pub(super) fn check(check: &HealthCheck, service: &Arc<str>, http2: bool) -> XdsHealthCheck {
    let interval = check.interval.unwrap_or(INTERVAL);
    let kind = match &check.probe {
        Probe::Http { path, host, method, expected_statuses } => HealthCheckKind::Http(Box::new(HttpHealthCheck {
            host: host.as_ref().unwrap_or(service).clone(),
            path: path.clone(),
            method: method.clone().unwrap_or_else(|| "GET".into()),
            expected_statuses: match expected_statuses.as_slice() {
                [] => vec![OK_STATUSES],
                // Written with both ends, and half open on the wire.
                given => given.iter().map(|(first, last)| (*first, last.saturating_add(1))).collect(),
            },
            retriable_statuses: Vec::new(),
            request_headers: HeaderMutations::default(),
            http2,
        })),
        Probe::Grpc { service } => HealthCheckKind::Grpc { service: service.clone(), authority: service.clone() },
        Probe::Tcp => HealthCheckKind::Tcp { send: Arc::from([].as_slice()), receive: Vec::new() },
    };
    XdsHealthCheck {
        timeout: check.timeout.unwrap_or(TIMEOUT),
        interval,
        // A tenth spreads the checks of many proxies that were started together.
        interval_jitter: interval / 10,
        // A policy that says how often means it, whether there is traffic or not.
        no_traffic_interval: interval,
        unhealthy_interval: interval,
        unhealthy_threshold: check.unhealthy_threshold.unwrap_or(UNHEALTHY),
        healthy_threshold: check.healthy_threshold.unwrap_or(NonZeroU32::MIN),
        alt_port: check.port,
        kind,
    }
}
