//! Over real connections: what a proxy and what a foreign data plane see.

use std::num::NonZeroU32;

use tidegate_policies::ir::rate_limit::{RateLimit, RateScope};
use tidegate_policies::ir::{PolicySet, WorkloadLimits};
use tidegate_xds::rate_limit_service::descriptor::{RateLimitDescriptor, rate_limit_descriptor::Entry};
use tidegate_xds::rate_limit_service::rlqs::BucketId;
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_response::bucket_action::BucketAction;
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_usage_reports::BucketQuotaUsage;
use tidegate_xds::rate_limit_service::rls::rate_limit_response::Code;
use tidegate_xds::rate_limit_service::strategy::rate_limit_strategy::Strategy;
use tidegate_xds::transport::rate_limit::{Asking, quotas};
use tidegate_xds::transport::server::serve_with_others;
use tokio::net::TcpListener;

use super::*;
use crate::ads::Hub;
use crate::clock::Clock;
use crate::fixture::{mesh, rate_limit, stated};
use crate::fleet::Fleet;

const RULE: &str = "shop/limits/all";

/// A control plane with one shared limit: 10 an hour, bursts of 5.
async fn serving() -> String {
    let shared = RateLimit {
        requests: NonZeroU32::new(10).expect("ten"),
        per: Duration::from_secs(3_600),
        burst: 5,
        scope: RateScope::Shared,
        ..rate_limit("all")
    };
    let limits = vec![stated("RateLimit", "limits", shared)];
    let of_workloads = WorkloadLimits { namespace: "shop".into(), labels: Default::default(), limits };
    let policies = PolicySet { workload_limits: vec![of_workloads], ..mesh() };

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has one").to_string();
    let hub = Arc::new(Hub::new(Arc::new(Fleet::new(
        String::new(),
        Clock::system(),
        crate::store::Store::none(),
        crate::changes::ChangeLog::resume(Vec::new()),
        0,
    ))));
    let keeper = Keeper::new(false, false);
    keeper.set_world(&World::new(Arc::new(policies)));
    tokio::spawn(crate::rate_limit::run(keeper.clone(), hub.worlds(), None));
    tokio::spawn(serve_with_others(listener, hub, Some(Arc::new(keeper)), Vec::new(), std::future::pending()));
    address
}

fn question(rule: &str) -> RateLimitRequest {
    let entries = vec![Entry { key: "rule".to_owned(), value: rule.to_owned() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    RateLimitRequest { domain: "tidegate".to_owned(), descriptors, hits_addend: 0 }
}

#[tokio::test]
async fn who_asks_for_each_request_is_told_when_the_burst_is_used() {
    let server = serving().await;
    let mut asking = Asking::new(&server).expect("an address");

    let mut codes = Vec::new();
    for _ in 0..7 {
        codes.push(asking.ask(question(RULE)).await.expect("an answer").overall_code());
    }
    let unknown = asking.ask(question("shop/limits/none")).await.expect("an answer").overall_code();

    assert_eq!(codes, [Code::Ok, Code::Ok, Code::Ok, Code::Ok, Code::Ok, Code::OverLimit, Code::OverLimit]);
    assert_eq!(unknown, Code::Ok);
}

#[tokio::test]
async fn who_reports_a_bucket_is_told_its_share() {
    let server = serving().await;
    let bucket = BucketId { bucket: [("rule".to_owned(), RULE.to_owned())].into() };
    let usage = BucketQuotaUsage { bucket_id: Some(bucket.clone()), ..Default::default() };
    let first = RateLimitQuotaUsageReports { domain: "tidegate".to_owned(), bucket_quota_usages: vec![usage] };

    let answer = quotas(&server, first).await.expect("a stream").next().await.expect("an answer");

    let action = &answer.bucket_action[0];
    assert_eq!(action.bucket_id, Some(bucket));
    let Some(BucketAction::QuotaAssignmentAction(assignment)) = action.bucket_action else { panic!("{action:?}") };
    assert!(assignment.assignment_time_to_live.is_some());
    let strategy = assignment.rate_limit_strategy.expect("one is given").strategy;
    let Some(Strategy::TokenBucket(bucket)) = strategy else { panic!("{strategy:?}") };
    assert_eq!(bucket.max_tokens, 5);
}
