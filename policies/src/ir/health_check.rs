//! Asking endpoints whether they are well.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// How.
    pub probe: Probe,
    /// How often; 10 s when absent.
    pub interval: Option<Duration>,
    /// How long one may take; 1 s when absent.
    pub timeout: Option<Duration>,
    /// Failures in a row that make an endpoint unhealthy; 3 when absent.
    pub unhealthy_threshold: Option<NonZeroU32>,
    /// Successes in a row that make it healthy; 1 when absent.
    pub healthy_threshold: Option<NonZeroU32>,
    /// Another port than the endpoint's.
    pub port: Option<u16>,
}

/// How an endpoint is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A request.
    Http { path: Arc<str>, host: Option<Arc<str>>, method: Option<Arc<str>>, expected_statuses: Vec<(u16, u16)> },
    /// `grpc.health.v1.Health/Check`
    Grpc { service: Arc<str> },
    /// A connection.
    Tcp,
}
