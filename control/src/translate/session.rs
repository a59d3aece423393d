//! Sessions and consistent hashes: who stays where.
//!
//! # Two cookies for a session
//! A session stays with an endpoint, and with a version while shares move. The first is a cookie that names the endpoint,
//! the second one that is only hashed to draw the version. They are two because the first changes when its endpoint is
//! gone, and the version must not.
//!
//! # Why shares are scaled
//! The draw is the hash modulo the sum of the weights, so a sum that changes from edit to edit would send everybody
//! elsewhere. Scaled to one sum, the interval of the last member only grows while its share does: nobody who has been
//! sent to a candidate is sent back.

use std::sync::Arc;
use std::time::Duration;

use tidegate_policies::ir::load_balancing::LoadBalancing;
use tidegate_policies::ir::session::{ConsistentHash, HashKey, SessionCarrier, SessionPersistence};
use tidegate_xds::resource::filter::{
    FilterConfig, FilterOverride, FilterOverrides, STATEFUL_SESSION, SessionCarrier as XdsCarrier, StatefulSession,
};
use tidegate_xds::resource::route::{ClusterSpecifier, Forward, HashPolicy, HashSource, WeightDraw};

/// The sum of the weights that a hash is drawn from: fine enough for a hundredth of a percent of a percent.
const SHARES: u64 = 1_000_000;
/// What is added to a session's name for the cookie that holds the version.
const VERSION_SUFFIX: &str = "-version";
/// Cookies of a session are for the whole site unless somebody says otherwise.
const PATH: &str = "/";

/// Makes a route's requests stay where their session is.
pub(super) fn persist(session: &SessionPersistence, forward: &mut Forward, filters: &mut FilterOverrides) {
    let carrier = match &session.carrier {
        SessionCarrier::Cookie { name, path, ttl } => {
            XdsCarrier::Cookie { name: name.clone(), path: path.clone().unwrap_or_else(|| PATH.into()), ttl: *ttl }
        }
        SessionCarrier::Header { name } => XdsCarrier::Header { name: name.clone() },
    };
    // An endpoint that is gone is no reason to refuse the caller.
    let config = FilterConfig::StatefulSession(Some(Arc::new(StatefulSession { carrier, strict: false })));
    filters.insert(STATEFUL_SESSION.into(), FilterOverride { disabled: false, config: Some(config) });
    let ClusterSpecifier::Weighted(weighted) = &mut forward.cluster else { return };
    let source = match &session.carrier {
        SessionCarrier::Cookie { name, path, ttl } => HashSource::Cookie {
            name: format!("{name}{VERSION_SUFFIX}").into(),
            ttl: Some(ttl.unwrap_or(Duration::ZERO)),
            path: path.clone().unwrap_or_else(|| PATH.into()),
            attributes: Vec::new(),
        },
        SessionCarrier::Header { name } => HashSource::Header(name.clone()),
    };
    forward.hash_policy.push(HashPolicy { source, terminal: true });
    weighted.draw = WeightDraw::Hash;
    let total = weighted.total.get();
    let (mut sum, mut given) = (0_u64, 0_u64);
    for member in &mut weighted.clusters {
        sum += u64::from(member.weight);
        // Boundaries are rounded, not shares, so that the shares sum up exactly.
        let boundary = sum * SHARES / total;
        member.weight = u32::try_from(boundary - given).unwrap_or(member.weight);
        given = boundary;
    }
    weighted.total = std::num::NonZeroU64::new(given).unwrap_or(weighted.total);
}

/// What a destination's consistent hash is computed from, after what the route has already.
pub(super) fn hash(balancing: &LoadBalancing, forward: &mut Forward) {
    let LoadBalancing::ConsistentHash(ConsistentHash { key, .. }) = balancing else { return };
    let source = match key {
        HashKey::Header(name) => HashSource::Header(name.clone()),
        HashKey::Cookie { name, path, ttl, attributes } => HashSource::Cookie {
            name: name.clone(),
            ttl: *ttl,
            path: path.clone().unwrap_or_else(|| "".into()),
            attributes: attributes.clone(),
        },
        HashKey::SourceAddress => HashSource::SourceIp,
        HashKey::QueryParameter(name) => HashSource::QueryParameter(name.clone()),
    };
    let policy = HashPolicy { source, terminal: true };
    // Two versions may be hashed by different keys; the first that a request has decides.
    if !forward.hash_policy.contains(&policy) {
        forward.hash_policy.push(policy);
    }
}
