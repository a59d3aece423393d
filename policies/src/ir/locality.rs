//! Nearness: which endpoints are used first.

use std::sync::Arc;

/// How localities are chosen. Failover does not need outlier detection.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalitySettings {
    /// `false`: all localities alike.
    pub enabled: bool,
    /// Shares by the caller's locality; empty: the nearest first.
    pub distribute: Vec<Distribution>,
    /// Which region takes over from which; empty: any other.
    pub failover: Vec<(Arc<str>, Arc<str>)>,
    /// Labels whose equality with the caller's makes an endpoint near, most important first (`key` or `key=value`).
    pub failover_priority: Vec<Arc<str>>,
}

/// Where callers of a locality go.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// `region/zone/sub_zone`, parts from the right may be `*` or missing.
    pub from: Arc<str>,
    /// Locality and percent, which sum to 100.
    pub to: Vec<(Arc<str>, u32)>,
}
