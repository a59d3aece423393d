//! A new endpoint's share grows during its first moments.
//!
//! # Why when the set is built and not at each choice
//! A share that depends on the time would make every choice compute powers, and turns could not be a function of a
//! position. Shares grow in steps instead: whoever rebuilds the set while [`crate::EndpointSet::is_warming`] decides how
//! fine they are.

use std::time::Duration;

use tidegate_xds::resource::cluster::{LoadBalancing, SlowStart};

/// The slow start of a way of load balancing that has one.
pub(super) fn of(load_balancing: &LoadBalancing) -> Option<&SlowStart> {
    let (LoadBalancing::RoundRobin { slow_start } | LoadBalancing::LeastRequest { slow_start, .. }) = load_balancing
    else {
        return None;
    };
    slow_start.as_ref().filter(|slow| !slow.window.is_zero())
}

/// The share of its weight that an endpoint of this age has: `max(min, (age / window)^(1 / aggression))`.
/// `None` once it has all of it.
pub(super) fn factor(slow_start: &SlowStart, age: Duration) -> Option<f64> {
    if age >= slow_start.window {
        return None;
    }
    // As in Envoy an age counts as one millisecond at least, and an aggression that is no positive number as 1.
    let elapsed = age.max(Duration::from_millis(1)).as_secs_f64() / slow_start.window.as_secs_f64();
    let aggression = if slow_start.aggression > 0.0 { slow_start.aggression } else { 1.0 };
    let floor = (slow_start.min_weight_percent / 100.0).clamp(0.0, 1.0);
    Some(elapsed.powf(aggression.recip()).max(floor).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, aggression: f64) -> Option<f64> {
        let window = Duration::from_secs(100);
        factor(&SlowStart { window, aggression, min_weight_percent: 10.0 }, Duration::from_secs(seconds))
    }

    #[test]
    fn a_share_grows_from_the_least_to_the_whole() {
        assert_eq!(at(0, 1.0), Some(0.1));
        assert_eq!(at(5, 1.0), Some(0.1));
        assert_eq!(at(50, 1.0), Some(0.5));
        assert_eq!(at(100, 1.0), None);
    }

    #[test]
    fn a_greater_aggression_grows_faster_at_first() {
        assert_eq!(at(25, 2.0), Some(0.5));
        assert!(at(25, 0.5).unwrap() < 0.11);
        assert_eq!(at(50, 0.0), Some(0.5));
        assert_eq!(at(50, f64::NAN), Some(0.5));
    }

    #[test]
    fn only_round_robin_and_least_request_have_one() {
        let slow_start = SlowStart { window: Duration::from_secs(1), aggression: 1.0, min_weight_percent: 10.0 };
        assert!(of(&LoadBalancing::RoundRobin { slow_start: Some(slow_start.clone()) }).is_some());
        assert!(of(&LoadBalancing::ROUND_ROBIN).is_none());
        assert!(of(&LoadBalancing::Maglev { table_size: 7 }).is_none());
        let zero = SlowStart { window: Duration::ZERO, ..slow_start };
        assert!(of(&LoadBalancing::RoundRobin { slow_start: Some(zero) }).is_none());
    }
}
