//! Limits of what may be under way to a cluster at once.
//!
//! # Why each refusal has a name
//! "Overflow" sends an operator to four settings. The limit that tripped is known here, so it is said.
//!
//! # What this module does not do
//! It does not count: counters belong to who opens connections and sends requests. A question and the counting after it are
//! two steps, so under contention a limit may be passed by one for each thread, as in Envoy.

use tidegate_xds::resource::cluster::Thresholds;

/// What is under way to a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Open connections, those being opened included.
    pub connections: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Retries in flight or waiting for their time.
    pub retries: u32,
}

/// What is under way to one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// Open connections, those being opened included.
    pub connections: u32,
    /// Requests in flight.
    pub requests: u32,
}

/// The limit that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tripped {
    /// `max_connections`
    Connections,
    /// `max_pending_requests`
    PendingRequests,
    /// `max_requests`
    Requests,
    /// `max_retries`
    Retries,
    /// `retry_budget`
    RetryBudget,
    /// `per_host_thresholds.max_connections`
    ConnectionsPerEndpoint,
    /// `max_requests_per_endpoint`
    RequestsPerEndpoint,
}

impl Tripped {
    /// For response details and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::PendingRequests => "max_pending_requests",
            Self::Requests => "max_requests",
            Self::Retries => "max_retries",
            Self::RetryBudget => "retry_budget",
            Self::ConnectionsPerEndpoint => "max_connections_per_endpoint",
            Self::RequestsPerEndpoint => "max_requests_per_endpoint",
        }
    }
}

/// Whether one more connection may be opened.
pub fn connection(limits: &Thresholds, cluster: Counters, endpoint: EndpointCounters) -> Result<(), Tripped> {
    check(cluster.connections, limits.max_connections, Tripped::Connections)?;
    let own = limits.max_connections_per_endpoint.unwrap_or(u32::MAX);
    check(endpoint.connections, own, Tripped::ConnectionsPerEndpoint)
}

/// Whether one more request may wait for a connection.
pub fn pending_request(limits: &Thresholds, cluster: Counters) -> Result<(), Tripped> {
    check(cluster.pending, limits.max_pending_requests, Tripped::PendingRequests)
}

/// Whether one more request may be sent.
pub fn request(limits: &Thresholds, cluster: Counters) -> Result<(), Tripped> {
    check(cluster.requests, limits.max_requests, Tripped::Requests)
}

/// Whether an endpoint has room for one more request; a balancer asks before it settles on one.
pub fn request_to_endpoint(limits: &Thresholds, endpoint: EndpointCounters) -> Result<(), Tripped> {
    let own = limits.max_requests_per_endpoint.unwrap_or(u32::MAX);
    check(endpoint.requests, own, Tripped::RequestsPerEndpoint)
}

/// Whether one more retry may be made.
pub fn retry(limits: &Thresholds, cluster: Counters) -> Result<(), Tripped> {
    let reason = if limits.retry_budget.is_some() { Tripped::RetryBudget } else { Tripped::Retries };
    check(cluster.retries, retries_max(limits, cluster), reason)
}

/// How many retries may be under way now: a share of all that is in flight or waiting, but never fewer than the budget's
/// least; without a budget, a fixed number.
pub fn retries_max(limits: &Thresholds, cluster: Counters) -> u32 {
    let Some(budget) = limits.retry_budget else { return limits.max_retries };
    let active = f64::from(cluster.requests) + f64::from(cluster.pending);
    // Rounded down; the conversion saturates, and a share that is no number is none.
    ((budget.percent / 100.0 * active) as u32).max(budget.min_concurrency)
}

fn check(now: u32, max: u32, reason: Tripped) -> Result<(), Tripped> {
    if now < max { Ok(()) } else { Err(reason) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_xds::resource::cluster::RetryBudget;

    use super::*;

    fn budget(percent: f64, min_concurrency: u32) -> Thresholds {
        Thresholds { retry_budget: Some(RetryBudget { percent, min_concurrency }), ..Thresholds::default() }
    }

    #[test]
    fn a_limit_lets_so_many_through_and_names_itself_when_it_refuses() {
        let limits = Thresholds {
            max_connections: 2,
            max_pending_requests: 1,
            max_requests: 3,
            max_retries: 1,
            retry_budget: None,
            max_connections_per_endpoint: Some(1),
            max_requests_per_endpoint: Some(2),
        };
        let at = |connections, pending, requests, retries| Counters { connections, pending, requests, retries };
        let none = EndpointCounters::default();

        assert_eq!(connection(&limits, at(1, 0, 0, 0), none), Ok(()));
        assert_eq!(connection(&limits, at(2, 0, 0, 0), none), Err(Tripped::Connections));
        let one = EndpointCounters { connections: 1, requests: 1 };
        assert_eq!(connection(&limits, at(1, 0, 0, 0), one), Err(Tripped::ConnectionsPerEndpoint));
        assert_eq!(request_to_endpoint(&limits, one), Ok(()));
        let full = EndpointCounters { connections: 1, requests: 2 };
        assert_eq!(request_to_endpoint(&limits, full), Err(Tripped::RequestsPerEndpoint));
        assert_eq!(pending_request(&limits, at(0, 1, 0, 0)), Err(Tripped::PendingRequests));
        assert_eq!(request(&limits, at(0, 0, 2, 0)), Ok(()));
        assert_eq!(request(&limits, at(0, 0, 3, 0)), Err(Tripped::Requests));
        assert_eq!(retry(&limits, at(0, 0, 0, 1)), Err(Tripped::Retries));
        assert_eq!(Tripped::Requests.as_str(), "max_requests");
    }

    #[test]
    fn a_limit_of_zero_refuses_everything() {
        let limits = Thresholds { max_requests: 0, ..Thresholds::default() };

        assert_eq!(request(&limits, Counters::default()), Err(Tripped::Requests));
    }

    #[test]
    fn a_budget_grows_with_what_is_in_flight_and_waiting_and_keeps_its_least() {
        let busy = Counters { requests: 80, pending: 20, retries: 19, connections: 0 };
        assert_eq!(retries_max(&budget(20.0, 3), busy), 20);
        assert_eq!(retry(&budget(20.0, 3), busy), Ok(()));
        assert_eq!(retry(&budget(19.0, 3), busy), Err(Tripped::RetryBudget));
        assert_eq!(retries_max(&budget(20.0, 3), Counters::default()), 3);
        assert_eq!(retries_max(&budget(f64::NAN, 3), busy), 3);
    }

    proptest! {
        #[test]
        fn a_budget_never_lets_more_through_than_its_share_or_its_least(
            percent in 0.0_f64..=100.0,
            least in 0_u32..10,
            requests in any::<u32>(),
            pending in any::<u32>(),
        ) {
            let now = Counters { requests, pending, ..Counters::default() };
            let max = f64::from(retries_max(&budget(percent, least), now));
            let share = percent / 100.0 * (f64::from(requests) + f64::from(pending));
            prop_assert!(max <= share.max(f64::from(least)));
            prop_assert!(max + 1.0 > share.min(f64::from(u32::MAX)));
        }
    }
}
