//! The messages by which proxies and control plane divide limits: whatever one side says, the other keeps its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use prost::Message as _;
use tidegate_control::rate_limit::Keeper;
use tidegate_control::world::World;
use tidegate_policies::{Diagnostic, Severity, Source, compile};
use tidegate_proxy::fuzzing::Leaseholder;
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_response::bucket_action::BucketAction;
use tidegate_xds::rate_limit_service::rlqs::{RateLimitQuotaResponse, RateLimitQuotaUsageReports};
use tidegate_xds::rate_limit_service::rls::{RateLimitRequest, RateLimitResponse};
use tidegate_xds::rate_limit_service::strategy::rate_limit_strategy::Strategy;
use tidegate_xds::transport::rate_limit::{ANSWERS_MAX, RateLimits as _};
use tokio::sync::mpsc;

/// Tokens that the limit of [`POLICIES`] holds.
const BURST: u32 = 50;
const POLICIES: &str = include_str!("../seeds/rate_limit.yaml");

/// The first byte says to whom the message goes.
pub(crate) fn rate_limit(bytes: &[u8]) {
    let Some((choice, message)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => to_the_proxy(message),
        1 => to_the_control_plane(message),
        _ => question(message),
    }
}

/// However a lease reads, no more can be taken at once than it says.
fn to_the_proxy(message: &[u8]) {
    let Ok(answer) = RateLimitQuotaResponse::decode(message) else { return };
    let largest = answer.bucket_action.iter().filter_map(|action| match action.bucket_action.as_ref()? {
        BucketAction::QuotaAssignmentAction(assignment) => {
            match assignment.rate_limit_strategy.as_ref()?.strategy.as_ref()? {
                Strategy::TokenBucket(bucket) => Some(bucket.max_tokens),
                _ => None,
            }
        }
        BucketAction::AbandonAction(_) => None,
    });
    let largest = largest.max().unwrap_or(0).max(Leaseholder::CAPACITY);
    let mut holder = Leaseholder::new();
    holder.obey(answer);
    let taken = holder.take_at_once(Leaseholder::CAPACITY * 4);
    assert!(taken <= largest, "{taken} of {largest}");
    // Usage can be reported, and the next answer finds a holder that still reads.
    holder.report();
    holder.obey(RateLimitQuotaResponse::default());
}

static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
    let sources = [Source { path: "rate_limit.yaml".into(), text: POLICIES.into() }];
    let compiled = compile(&sources);
    let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
    assert!(!compiled.diagnostics.iter().any(is_error), "{}", compiled.render(&sources, false));
    Arc::new(World::new(Arc::new(compiled.set)))
});

fn keeper() -> Keeper {
    let keeper = Keeper::new(false, false);
    keeper.set_world(&WORLD);
    keeper
}

/// Whatever a proxy reports, it is not given more than the limit holds, or than it says it has already: until all have been
/// heard, what each has is left to it.
fn to_the_control_plane(message: &[u8]) {
    let Ok(reports) = RateLimitQuotaUsageReports::decode(message) else { return };
    let claims = reports.bucket_quota_usages.iter().filter_map(|usage| {
        let held = usage.bucket_id.as_ref()?.bucket.get("tidegate.held")?;
        held.split('/').next()?.parse::<u32>().ok()
    });
    let bound = claims.max().unwrap_or(0).max(BURST);
    let keeper = keeper();
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut session = keeper.open(peer, answers);
    session.report(reports.clone());
    session.report(reports);
    drop(session);

    while let Ok(answer) = answered.try_recv() {
        for action in answer.bucket_action {
            let Some(BucketAction::QuotaAssignmentAction(assignment)) = action.bucket_action else { continue };
            let strategy = assignment.rate_limit_strategy.and_then(|strategy| strategy.strategy);
            let Some(Strategy::TokenBucket(bucket)) = strategy else { panic!("no bucket was given") };
            assert!(bucket.max_tokens <= bound, "{} of {bound} tokens", bucket.max_tokens);
        }
    }
}

/// Every description of a question gets a word of its own.
fn question(message: &[u8]) {
    let Ok(question) = RateLimitRequest::decode(message) else { return };
    let descriptions = question.descriptors.len();
    let keeper = keeper();
    for _ in 0..2 {
        let answer: RateLimitResponse = ready(keeper.ask(question.clone()));
        assert_eq!(answer.statuses.len(), descriptions);
        assert!(answer.statuses.iter().all(|status| status.limit_remaining <= BURST));
    }
}

/// Without a store nobody waits.
fn ready<T>(mut future: std::pin::Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("an answer waits for a store that there is not"),
    }
}
