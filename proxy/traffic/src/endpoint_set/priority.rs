//! How the load of a cluster is shared out among priorities.
//!
//! # As Envoy does it
//! A priority can carry its full load until fewer than 1/1.4 of its endpoints are healthy (the overprovisioning factor);
//! beyond that, load spills over the healthy ones of the next priorities, then over the degraded ones of all. When all
//! of that does not add up to a whole, each part is scaled up, and a priority with too few usable endpoints *panics*: it
//! uses all of its endpoints, because what is left would be overrun. When every priority panics, load follows the number
//! of endpoints. Percentages are whole numbers rounded down, and what rounding leaves over goes to the first.

/// Shares are in percent.
pub(super) const WHOLE: u32 = 100;

/// How many endpoints of one priority are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) healthy: u64,
    pub(super) degraded: u64,
    pub(super) total: u64,
}

/// What one priority carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// On its healthy endpoints, in percent of the cluster's load.
    pub(super) healthy: u32,
    /// On its degraded endpoints.
    pub(super) degraded: u32,
    /// Both go to all of its endpoints alike.
    pub(super) panic: bool,
}

/// The load of each priority. The sum is 100 when any endpoint is usable or any priority panics.
pub(super) fn share_out(census: &[Census], overprovisioning_percent: u32, panic_threshold_percent: u8) -> Vec<Load> {
    let availability = |usable: u64, total: u64| {
        let available = (u64::from(overprovisioning_percent) * usable).checked_div(total).unwrap_or(0);
        available.min(u64::from(WHOLE)) as u32
    };
    let healthy: Vec<u32> = census.iter().map(|c| availability(c.healthy, c.total)).collect();
    let degraded: Vec<u32> = census.iter().map(|c| availability(c.degraded, c.total)).collect();
    let normal = healthy.iter().chain(&degraded).sum::<u32>().min(WHOLE);
    let panics = |c: &Census| {
        normal < WHOLE
            && u64::from(WHOLE) * (c.healthy + c.degraded) < u64::from(panic_threshold_percent.min(100)) * c.total
    };
    let panic: Vec<bool> = census.iter().map(panics).collect();
    // A priority without endpoints has nobody to panic with, and does not keep the others from a common panic.
    if panic_threshold_percent > 0 && census.iter().zip(&panic).all(|(c, panic)| *panic || c.total == 0) {
        return by_size(census);
    }
    let mut left = WHOLE;
    let mut distribute = |available: &u32| {
        let load = (available * WHOLE).checked_div(normal).unwrap_or(0).min(left);
        left -= load;
        load
    };
    let mut healthy_loads: Vec<u32> = healthy.iter().map(&mut distribute).collect();
    let mut degraded_loads: Vec<u32> = degraded.iter().map(&mut distribute).collect();
    let mut loads = healthy_loads.iter_mut().chain(&mut degraded_loads).zip(healthy.iter().chain(&degraded));
    if let Some((load, _)) = loads.find(|(_, available)| **available > 0) {
        *load += left;
    }
    let all = healthy_loads.into_iter().zip(degraded_loads).zip(panic);
    all.map(|((healthy, degraded), panic)| Load { healthy, degraded, panic }).collect()
}

/// Everybody panics: load follows the number of endpoints.
fn by_size(census: &[Census]) -> Vec<Load> {
    let all: u64 = census.iter().map(|c| c.total).sum();
    let part = |c: &Census| (u64::from(WHOLE) * c.total).checked_div(all).unwrap_or(0) as u32;
    let mut loads: Vec<Load> = census.iter().map(|c| Load { healthy: part(c), degraded: 0, panic: true }).collect();
    let left = WHOLE - loads.iter().map(|load| load.healthy).sum::<u32>();
    if let Some((_, first)) = census.iter().zip(&mut loads).find(|(c, _)| c.total > 0) {
        first.healthy += left;
    }
    loads
}

#[cfg(test)]
mod tests;
