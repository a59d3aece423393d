//! The limit that this proxy keeps by itself.
//!
//! # Which buckets a request must satisfy
//! Each of its descriptions has at most one: the bucket configured for exactly these entries, or else the first whose
//! empty values stand for any. The bucket for all requests is asked when no description had one, and beside them where
//! the resource says so. All of them must have the tokens.
//!
//! # A refusal costs nothing
//! First every bucket is looked at; only if all have the tokens are they taken, from the fullest last. So a request
//! that is refused by one bucket takes nothing from another. Two workers may both have looked before either took: then
//! the slower one is refused and what it took before stays taken, which errs on the side of the limit. (Envoy takes in
//! order of the buckets' speeds and stops at the first that refuses, so a refused request has paid the slower ones.)
//!
//! # What a caller is told
//! The bucket that refused and would refuse longest, or, when none did, the one with the least left, fills
//! `x-ratelimit-limit`, `-remaining` and `-reset`. The last says in how many seconds there is a token again, rounded
//! up: Envoy rounds down, and who obeys it comes too early. `retry-after` says when *this* request could pass.

mod connection;
mod sole;

use std::sync::Arc;
use std::time::Duration;

use tidegate_xds::resource::filter::{LocalDescriptor, LocalRateLimit, VirtualHostLimits};

use super::bucket::{Bucket, Rate};
use super::descriptor::{CompiledActions, Descriptor, Facts, Sources, lists};
use super::keyed::Keyed;
use crate::error::CompileError;
use crate::filters::Scope;
use crate::header_mutation::{Additions, HeadEditor};
use crate::matcher::Share;
use crate::request::{RequestView, is_grpc};

pub use self::connection::ConnectionBuckets;
use self::sole::Sole;

/// The body of a refusal, as Envoy writes it.
pub const REFUSED_BODY: &str = "local_rate_limited";
/// `true` on every refusal by a rate limit, so that the proxy before this one knows that a retry would be refused too.
pub const RATELIMITED_HEADER: &str = "x-envoy-ratelimited";

/// `UNAVAILABLE`
const GRPC_UNAVAILABLE: u32 = 14;
/// `RESOURCE_EXHAUSTED`
const GRPC_RESOURCE_EXHAUSTED: u32 = 8;
/// What a status that is no error counts as.
const STATUS_DEFAULT: u16 = 429;

/// A local rate limit, compiled.
#[derive(Clone, Debug)]
pub struct CompiledLocalRateLimit {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    /// The refusal's status, 400 to 599.
    pub status: u16,
    /// Each downstream connection has buckets of its own ([`ConnectionBuckets`]).
    pub per_connection: bool,
    /// Added to the refusal.
    pub response_headers: Additions,
    /// Added to the request when it is over the limit and passes all the same.
    pub request_headers_when_not_enforced: Additions,
    default: Option<Rate>,
    always_consume_default: bool,
    descriptors: Box<[CompiledDescriptor]>,
    keys_max: u32,
    enabled: Share,
    enforced: Share,
    own: Box<[CompiledActions]>,
    host_limits: VirtualHostLimits,
    stage: u32,
    ratelimit_headers: bool,
    retry_after: bool,
    resource_exhausted: bool,
    buckets: Arc<LocalBuckets>,
    sole: Option<Sole>,
}

#[derive(Clone, Debug)]
struct CompiledDescriptor {
    /// An empty value stands for any.
    entries: Box<[(Arc<str>, Arc<str>)]>,
    rate: Rate,
}

/// The tokens of one limit.
#[derive(Debug)]
pub struct LocalBuckets {
    default: Option<Arc<Bucket>>,
    descriptors: Box<[DescriptorBuckets]>,
}

#[derive(Debug)]
enum DescriptorBuckets {
    One(Arc<Bucket>),
    PerValue(Arc<Keyed>),
}

/// A draw for each share, made only where it decides.
#[derive(Clone, Copy, Debug)]
pub struct LocalDice<E, F> {
    /// Whether the limit is asked.
    pub enabled: E,
    /// Whether its word is enforced.
    pub enforced: F,
}

/// What a limit says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalVerdict {
    /// Whether it passes.
    pub outcome: Outcome,
    /// What its caller is told; `None` where nothing is said.
    pub quota: Option<Quota>,
    /// For `retry-after`; only on a refusal, and only where the resource asks for it.
    pub retry_after_seconds: Option<u64>,
}

/// Whether a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The limit is not asked for this request: not its share, or nothing that counts it.
    NotAsked,
    /// Its tokens were there, and are taken.
    Within,
    /// They were not, but the limit is not enforced for it: it passes and is counted.
    OverNotEnforced,
    /// They were not.
    Refused,
}

/// What a caller is told about the bucket that matters most to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its capacity.
    pub limit: u32,
    /// Whole tokens left.
    pub remaining: u64,
    /// Until there is one, rounded up; 0 while there is.
    pub reset_seconds: u64,
}

impl CompiledLocalRateLimit {
    pub(crate) fn compile(limit: &LocalRateLimit, scope: &Scope<'_>) -> Result<Self, CompileError> {
        let descriptors = limit.descriptors.iter();
        let buckets = LocalBuckets {
            default: limit.bucket.map(|bucket| scope.limiters().single(scope.place(), &[], bucket)),
            descriptors: descriptors.clone().map(|d| find(d, limit.dynamic_descriptors_max, scope)).collect(),
        };
        let mut compiled = Self {
            sole: None,
            stat_prefix: Arc::clone(&limit.stat_prefix),
            status: if (400..600).contains(&limit.status) { limit.status } else { STATUS_DEFAULT },
            per_connection: limit.per_connection,
            response_headers: Additions::compile(&limit.response_headers, "response_headers_to_add")?,
            request_headers_when_not_enforced: Additions::compile(
                &limit.request_headers_when_not_enforced,
                "request_headers_to_add_when_not_enforced",
            )?,
            default: limit.bucket.map(Rate::new),
            always_consume_default: limit.always_consume_default,
            descriptors: descriptors
                .map(|d| CompiledDescriptor { entries: d.entries.as_slice().into(), rate: Rate::new(d.bucket) })
                .collect(),
            keys_max: limit.dynamic_descriptors_max,
            enabled: Share::compile(limit.enabled).map_err(|e| e.under("filter_enabled"))?,
            enforced: Share::compile(limit.enforced).map_err(|e| e.under("filter_enforced"))?,
            own: CompiledActions::compile_all(&limit.rate_limits, "rate_limits")?,
            host_limits: limit.virtual_host_limits,
            stage: limit.stage,
            ratelimit_headers: limit.ratelimit_headers,
            retry_after: limit.retry_after,
            resource_exhausted: limit.resource_exhausted,
            buckets: Arc::new(buckets),
        };
        compiled.sole = compiled.sole();
        Ok(compiled)
    }

    /// The buckets that all workers and all snapshots share.
    pub fn buckets(&self) -> &LocalBuckets {
        &self.buckets
    }

    /// The `grpc-status` of a refusal; `None` for a caller that does not speak gRPC.
    pub fn grpc_status(&self, request: &impl RequestView) -> Option<u32> {
        let status = if self.resource_exhausted { GRPC_RESOURCE_EXHAUSTED } else { GRPC_UNAVAILABLE };
        is_grpc(request).then_some(status)
    }

    /// Whether a request passes. `now_nanos` is a clock that does not jump.
    pub fn decide(
        &self,
        buckets: &LocalBuckets,
        request: &impl RequestView,
        sources: Sources<'_>,
        facts: &Facts<'_>,
        dice: LocalDice<impl FnOnce() -> u64, impl FnOnce() -> u64>,
        now_nanos: u64,
    ) -> LocalVerdict {
        if !self.enabled.takes_one(dice.enabled) {
            return LocalVerdict::NOT_ASKED;
        }
        if !self.ratelimit_headers && self.takes_from_sole(buckets, now_nanos) {
            return LocalVerdict { outcome: Outcome::Within, ..LocalVerdict::NOT_ASKED };
        }
        let mut counts = self.counting(buckets, request, sources, facts);
        let Some(Admission { passed, strictest }) = admit(counts.as_mut_slice(), now_nanos, self.ratelimit_headers)
        else {
            return LocalVerdict::NOT_ASKED;
        };
        let outcome = match passed {
            true => Outcome::Within,
            false if self.enforced.takes_one(dice.enforced) => Outcome::Refused,
            false => Outcome::OverNotEnforced,
        };
        let until_passing = strictest.and_then(|seen| seen.until_passing);
        let until_passing = until_passing.filter(|_| self.retry_after && outcome == Outcome::Refused);
        LocalVerdict {
            outcome,
            quota: strictest.filter(|_| self.ratelimit_headers).map(|seen| seen.quota()),
            // At once would be refused again.
            retry_after_seconds: until_passing.map(|wait| seconds_up(Some(wait)).max(1)),
        }
    }

    /// Whether it has no bucket at all: a place in the listener's list for what routes may say.
    pub fn counts_nothing(&self) -> bool {
        self.default.is_none() && self.descriptors.is_empty()
    }

    /// The buckets that count this request.
    fn counting<'a>(
        &'a self,
        buckets: &'a LocalBuckets,
        request: &'a impl RequestView,
        sources: Sources<'a>,
        facts: &Facts<'a>,
    ) -> Counts<'a> {
        let mut counts = Counts::default();
        if !self.descriptors.is_empty() {
            for list in lists(&self.own, sources, self.host_limits, self.stage) {
                if let Some(counting) = self.of_constants(list, buckets) {
                    counts.push(counting);
                } else if let Some(description) = list.describe(request, facts)
                    && let Some(counting) = self.of_description(description, buckets)
                {
                    counts.push(counting);
                }
            }
        }
        if (counts.is_empty() || self.always_consume_default)
            && let (Some(rate), Some(bucket)) = (&self.default, &buckets.default)
        {
            counts.push(Counting { rate, tokens: 1, bucket: Which::One(bucket) });
        }
        counts
    }

    /// The bucket of a description that is the same for all requests, if that is one bucket: found without describing.
    fn of_constants<'a>(&'a self, list: &CompiledActions, buckets: &'a LocalBuckets) -> Option<Counting<'a>> {
        let position = self.position_of_constants(list, buckets)?;
        match &buckets.descriptors[position] {
            DescriptorBuckets::One(bucket) => {
                let rate = &self.descriptors[position].rate;
                Some(Counting { rate, tokens: list.hits, bucket: Which::One(bucket) })
            }
            DescriptorBuckets::PerValue(_) => None,
        }
    }

    /// Where that bucket is.
    fn position_of_constants(&self, list: &CompiledActions, buckets: &LocalBuckets) -> Option<usize> {
        let constants = list.constants()?;
        let found = self.descriptors.iter().position(|configured| *configured.entries == *constants)?;
        matches!(buckets.descriptors.get(found), Some(DescriptorBuckets::One(_))).then_some(found)
    }

    fn of_description<'a>(&'a self, description: Descriptor<'a>, buckets: &'a LocalBuckets) -> Option<Counting<'a>> {
        let position = self.position(&description)?;
        let tokens = description.hits;
        let bucket = match buckets.descriptors.get(position)? {
            DescriptorBuckets::One(bucket) => Which::One(bucket),
            DescriptorBuckets::PerValue(keyed) => Which::PerValue(keyed, description),
        };
        Some(Counting { rate: &self.descriptors[position].rate, tokens, bucket })
    }

    /// The configured descriptor for a description: the one that names its values, or else the first for any.
    fn position(&self, description: &Descriptor<'_>) -> Option<usize> {
        let matching = |exactly: bool| {
            self.descriptors.iter().position(|configured| {
                configured.entries.len() == description.entries.len()
                    && configured.entries.iter().zip(&description.entries).all(|((key, value), entry)| {
                        key.as_ref() == entry.key && (value.as_ref() == entry.value || !exactly && value.is_empty())
                    })
            })
        };
        matching(true).or_else(|| matching(false))
    }
}

fn find(descriptor: &LocalDescriptor, keys_max: u32, scope: &Scope<'_>) -> DescriptorBuckets {
    let LocalDescriptor { entries, bucket } = descriptor;
    match is_per_value(entries) {
        true => DescriptorBuckets::PerValue(scope.limiters().keyed(scope.place(), entries, *bucket, keys_max)),
        false => DescriptorBuckets::One(scope.limiters().single(scope.place(), entries, *bucket)),
    }
}

fn is_per_value(entries: &[(Arc<str>, Arc<str>)]) -> bool {
    entries.iter().any(|(_, value)| value.is_empty())
}

/// A bucket that counts a request.
struct Counting<'a> {
    rate: &'a Rate,
    tokens: u32,
    bucket: Which<'a>,
}

enum Which<'a> {
    One(&'a Bucket),
    PerValue(&'a Keyed, Descriptor<'a>),
}

impl Counting<'_> {
    fn with<R>(&self, ask: impl FnOnce(&Bucket) -> R) -> R {
        match &self.bucket {
            Which::One(bucket) => ask(bucket),
            Which::PerValue(keyed, description) => {
                keyed.with(description.entries.iter().map(|entry| entry.value.as_bytes()), ask)
            }
        }
    }

    fn try_take(&self, now_nanos: u64) -> bool {
        self.with(|bucket| bucket.try_take(self.rate, self.tokens, now_nanos))
    }

    fn look(&self, now_nanos: u64) -> Looked {
        self.with(|bucket| {
            let until_passing = bucket.wait(self.rate, self.tokens, now_nanos);
            Looked {
                passed: self.tokens == 0 || until_passing == Some(Duration::ZERO),
                limit: self.rate.capacity(),
                remaining: bucket.remaining(self.rate, now_nanos),
                until_one: bucket.wait(self.rate, 1, now_nanos),
                until_passing,
            }
        })
    }
}

/// The buckets that count one request: seldom more than one, so seldom a list.
#[derive(Default)]
enum Counts<'a> {
    #[default]
    None,
    One(Counting<'a>),
    Many(Vec<Counting<'a>>),
}

impl<'a> Counts<'a> {
    fn push(&mut self, counting: Counting<'a>) {
        match self {
            Self::None => *self = Self::One(counting),
            Self::Many(all) => all.push(counting),
            Self::One(_) => {
                if let Self::One(first) = std::mem::take(self) {
                    *self = Self::Many(vec![first, counting]);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    fn as_mut_slice(&mut self) -> &mut [Counting<'a>] {
        match self {
            Self::None => &mut [],
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(all) => all,
        }
    }
}

/// What a bucket looks like to a request.
#[derive(Clone, Copy)]
struct Looked {
    passed: bool,
    limit: u32,
    remaining: u64,
    until_one: Option<Duration>,
    until_passing: Option<Duration>,
}

impl Looked {
    fn quota(self) -> Quota {
        Quota { limit: self.limit, remaining: self.remaining, reset_seconds: seconds_up(self.until_one) }
    }
}

/// What all buckets say together.
struct Admission {
    passed: bool,
    /// What matters most to the caller; of a request that passes only where somebody wants to know.
    strictest: Option<Looked>,
}

/// Takes the tokens of all, or of none. `None` when nothing counts the request.
fn admit(counts: &mut [Counting<'_>], now_nanos: u64, is_told: bool) -> Option<Admission> {
    let refused = |strictest| Some(Admission { passed: false, strictest: Some(strictest) });
    // One bucket alone is asked and paid at once.
    if counts.len() > 1 {
        // What never passes waits longest.
        let worst = counts.iter().map(|c| c.look(now_nanos)).filter(|seen| !seen.passed);
        if let Some(worst) = worst.max_by_key(|seen| seen.until_passing.unwrap_or(Duration::MAX)) {
            return refused(worst);
        }
        // The emptiest first: it is the one that another worker may have emptied meanwhile.
        counts.sort_by_key(|c| c.with(|bucket| bucket.remaining(c.rate, now_nanos)));
    }
    if let Some(count) = counts.iter().find(|count| !count.try_take(now_nanos)) {
        return refused(count.look(now_nanos));
    }
    let least = || counts.iter().map(|c| c.look(now_nanos)).min_by_key(|seen| seen.remaining);
    (!counts.is_empty()).then(|| Admission { passed: true, strictest: if is_told { least() } else { None } })
}

/// What never comes (a capacity of zero) is said as 136 years, which any reader can parse.
const NEVER_SECONDS: u64 = u32::MAX as u64;

fn seconds_up(wait: Option<Duration>) -> u64 {
    wait.map_or(NEVER_SECONDS, |wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

impl Quota {
    /// Writes the `x-ratelimit-` fields.
    pub fn write(&self, editor: &mut impl HeadEditor) {
        editor.set("x-ratelimit-limit", self.limit.to_string().as_bytes());
        editor.set("x-ratelimit-remaining", self.remaining.to_string().as_bytes());
        editor.set("x-ratelimit-reset", self.reset_seconds.to_string().as_bytes());
    }
}

impl LocalVerdict {
    const NOT_ASKED: Self = Self { outcome: Outcome::NotAsked, quota: None, retry_after_seconds: None };

    /// Whether there is anything to [`Self::write`].
    pub fn says_something(&self) -> bool {
        self.outcome == Outcome::Refused || self.quota.is_some() || self.retry_after_seconds.is_some()
    }

    /// Writes the fields into the answer's head, be it the upstream's or the refusal.
    pub fn write(&self, editor: &mut impl HeadEditor) {
        if self.outcome == Outcome::Refused {
            editor.set(RATELIMITED_HEADER, b"true");
        }
        if let Some(quota) = self.quota {
            quota.write(editor);
        }
        if let Some(seconds) = self.retry_after_seconds {
            editor.set("retry-after", seconds.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
