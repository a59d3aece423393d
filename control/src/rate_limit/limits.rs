//! The limits that policies want kept for many proxies, by name.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::ir::rate_limit::{OnStoreUnavailable, RateLimit, RateScope};

use super::Name;
use super::share::Limit;
use crate::translate::rate_limit::RULE;
use crate::world::every_limit;

/// A limit in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedLimit {
    pub(crate) limit: Limit,
    /// Requests in each `per_seconds`, as the policy says it.
    pub(crate) requests: u32,
    pub(crate) per_seconds: u64,
    pub(crate) shadow: bool,
    pub(crate) on_unavailable: OnStoreUnavailable,
    /// What a refusal says besides.
    pub(crate) fields: Arc<[(Arc<str>, Arc<str>)]>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(HashMap<Arc<str>, Arc<SharedLimit>>);

impl Limits {
    /// Every shared limit of a policy set, wherever it is attached.
    pub(crate) fn of_policies(policies: &PolicySet) -> Self {
        let shared = every_limit(policies).map(|stated| &*stated.value).filter(|l| l.scope == RateScope::Shared);
        shared.map(|limit| (limit.name.clone(), Arc::new(shared_limit(limit)))).collect()
    }

    /// The limit behind a bucket.
    pub(super) fn of(&self, name: &Name) -> Option<Arc<SharedLimit>> {
        let rule = name.iter().find(|(key, _)| key == RULE)?;
        self.0.get(rule.1.as_str()).cloned()
    }
}

fn shared_limit(limit: &RateLimit) -> SharedLimit {
    let seconds = limit.per.as_secs_f64().max(1e-9);
    SharedLimit {
        limit: Limit { per_second: f64::from(limit.requests.get()) / seconds, capacity: limit.burst },
        requests: limit.requests.get(),
        per_seconds: limit.per.as_secs(),
        shadow: limit.shadow,
        on_unavailable: limit.on_store_unavailable,
        // Who asks can only add, and has nothing of that name otherwise.
        fields: limit.on_deny.headers.set.iter().chain(&limit.on_deny.headers.add).cloned().collect(),
    }
}

impl FromIterator<(Arc<str>, Arc<SharedLimit>)> for Limits {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<SharedLimit>)>>(limits: I) -> Self {
        Self(limits.into_iter().collect())
    }
}
