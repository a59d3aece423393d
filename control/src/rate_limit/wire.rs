//! Reports and answers as the messages of both services have them.

use std::time::Duration;

use tidegate_xds::rate_limit_service as message;
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_response::{BucketAction, bucket_action};
use tidegate_xds::rate_limit_service::rlqs::{
    BucketId, RateLimitQuotaResponse, RateLimitQuotaUsageReports, rate_limit_quota_usage_reports::BucketQuotaUsage,
};
use tidegate_xds::rate_limit_service::rls::rate_limit_response::{Code, DescriptorStatus, RateLimit, rate_limit::Unit};
use tidegate_xds::rate_limit_service::rls::{RateLimitRequest, RateLimitResponse};
use tidegate_xds::rate_limit_service::strategy;

use super::share::{Grant, LEASE, Usage};
use super::{Name, Said, Verdict};

/// The entry of a bucket's name by which a proxy says what it holds: `CAPACITY/REFILL/INTERVAL_NANOS`.
pub(crate) const HELD: &str = "tidegate.held";
/// Entries of one description. A rule has a name, two marks and some keys.
const ENTRIES_MAX: usize = 32;
/// Bytes of one description: header values are a few kilobytes at most, and only their sum is bounded.
const NAME_BYTES_MAX: usize = 16 * 1024;

/// A report about one bucket.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) name: Name,
    pub(crate) usage: Usage,
}

/// The reports of a message that can be read.
pub(super) fn reports(message: RateLimitQuotaUsageReports) -> impl Iterator<Item = Report> {
    message.bucket_quota_usages.into_iter().filter_map(report)
}

fn report(usage: BucketQuotaUsage) -> Option<Report> {
    let BucketQuotaUsage { bucket_id, time_elapsed, num_requests_allowed, num_requests_denied } = usage;
    let mut entries = bucket_id?.bucket;
    let held = entries.remove(HELD).and_then(|text| grant(&text));
    let elapsed = time_elapsed.and_then(|elapsed| {
        let nanos = u32::try_from(elapsed.nanos).ok()?;
        Duration::try_from_secs_f64(elapsed.seconds as f64 + f64::from(nanos) / 1e9).ok()
    });
    let usage = Usage {
        held,
        elapsed: elapsed.unwrap_or_default(),
        allowed: num_requests_allowed,
        denied: num_requests_denied,
    };
    Some(Report { name: name(entries.into_iter().collect())?, usage })
}

fn grant(text: &str) -> Option<Grant> {
    let mut parts = text.split('/');
    let grant = Grant {
        capacity: parts.next()?.parse().ok()?,
        refill: parts.next()?.parse().ok()?,
        interval_nanos: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(grant)
}

fn name(mut entries: Vec<(String, String)>) -> Option<Name> {
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    if entries.len() > ENTRIES_MAX || bytes > NAME_BYTES_MAX {
        return None;
    }
    entries.sort();
    Some(entries.into())
}

/// What is said to a stream.
pub(super) fn answer(words: Vec<(Name, Said)>) -> RateLimitQuotaResponse {
    let actions = words.into_iter().map(|(name, said)| BucketAction {
        bucket_id: Some(BucketId { bucket: name.iter().cloned().collect() }),
        bucket_action: Some(match said {
            Said::Abandoned => bucket_action::BucketAction::AbandonAction(bucket_action::AbandonAction {}),
            Said::Assigned(grant) => assignment(grant, LEASE),
            // A lease that has ended already: its own word for that case holds from now on.
            Said::GivenUp(grant) => assignment(grant, Duration::ZERO),
        }),
    });
    RateLimitQuotaResponse { bucket_action: actions.collect() }
}

fn assignment(grant: Grant, time_to_live: Duration) -> bucket_action::BucketAction {
    bucket_action::BucketAction::QuotaAssignmentAction(bucket_action::QuotaAssignmentAction {
        assignment_time_to_live: Some(duration(time_to_live)),
        rate_limit_strategy: Some(token_bucket(grant)),
    })
}

fn token_bucket(grant: Grant) -> strategy::RateLimitStrategy {
    let bucket = strategy::TokenBucket {
        max_tokens: grant.capacity,
        tokens_per_fill: Some(message::UInt32Value { value: grant.refill }),
        fill_interval: Some(duration(Duration::from_nanos(grant.interval_nanos))),
    };
    strategy::RateLimitStrategy { strategy: Some(strategy::rate_limit_strategy::Strategy::TokenBucket(bucket)) }
}

fn duration(duration: Duration) -> message::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    message::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

/// The descriptions of a question, each with its tokens. `None` stands for one that is too large to be kept.
pub(super) fn asked(question: RateLimitRequest) -> Vec<Option<(Name, u32)>> {
    let RateLimitRequest { descriptors, hits_addend, .. } = question;
    let descriptions = descriptors.into_iter().map(|descriptor| {
        let own = descriptor.hits_addend.map(|hits| u32::try_from(hits.value).unwrap_or(u32::MAX));
        let entries = descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        Some((name(entries)?, own.unwrap_or_else(|| hits_addend.max(1))))
    });
    descriptions.collect()
}

/// The answer to a question.
pub(super) fn verdict(verdicts: &[Option<Verdict>]) -> RateLimitResponse {
    let is_over = |v: &Verdict| !v.is_within && !v.limit.shadow;
    let code = |is_over: bool| if is_over { Code::OverLimit } else { Code::Ok }.into();
    let statuses = verdicts.iter().map(|verdict| match verdict {
        None => DescriptorStatus { code: code(false), ..DescriptorStatus::default() },
        Some(verdict) => DescriptorStatus {
            code: code(is_over(verdict)),
            current_limit: unit(verdict.limit.per_seconds).map(|unit| RateLimit {
                name: String::new(),
                requests_per_unit: verdict.limit.requests,
                unit: unit.into(),
            }),
            limit_remaining: verdict.remaining,
            duration_until_reset: Some(duration(Duration::from_secs_f64(
                (1.0 / verdict.limit.limit.per_second).ceil().clamp(1.0, 1e9),
            ))),
            quota: None,
        },
    });
    // The first limit that refuses has the word.
    let refusing = verdicts.iter().flatten().find(|verdict| is_over(verdict));
    let fields = refusing.into_iter().flat_map(|verdict| verdict.limit.fields.iter());
    let fields = fields.map(|(key, value)| message::HeaderValue {
        key: key.to_string(),
        value: value.to_string(),
        raw_value: Vec::new(),
    });
    RateLimitResponse {
        overall_code: code(refusing.is_some()),
        statuses: statuses.collect(),
        response_headers_to_add: fields.collect(),
        ..RateLimitResponse::default()
    }
}

fn unit(seconds: u64) -> Option<Unit> {
    match seconds {
        1 => Some(Unit::Second),
        60 => Some(Unit::Minute),
        3_600 => Some(Unit::Hour),
        86_400 => Some(Unit::Day),
        _ => None,
    }
}
