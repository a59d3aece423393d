//! Tells the control plane what was used, and puts its leases in place. Runs on the control thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_xds::rate_limit_service as message;
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_response::{BucketAction, bucket_action};
use tidegate_xds::rate_limit_service::rlqs::rate_limit_quota_usage_reports::BucketQuotaUsage;
use tidegate_xds::rate_limit_service::rlqs::{BucketId, RateLimitQuotaResponse, RateLimitQuotaUsageReports};
use tidegate_xds::rate_limit_service::strategy::rate_limit_strategy::Strategy;
use tidegate_xds::transport::rate_limit::{Quotas, quotas};
use tokio::time::Instant;
use tracing::{debug, info};

use super::cell::{Cell, Grant};
use super::{Leases, UP, lock};
use crate::clock;

/// How often usage is reported while there is any.
const ROUND: Duration = Duration::from_millis(100);
/// Between two attempts to reach the control plane. Short, because it learns from those who come back what is given out.
const RETRY: Duration = Duration::from_millis(250);
/// Cells in one message, which then is some hundred kilobytes.
const CELLS_PER_MESSAGE_MAX: usize = 1_000;
/// A cell with a value of a request that nobody uses for so long is let go.
const UNUSED_MAX: Duration = Duration::from_secs(90);
/// The entry by which the control plane learns what is held.
const HELD: &str = "tidegate.held";
/// The namespace of our limits.
const DOMAIN: &str = "tidegate";
/// A lease without an end is taken for one of this length.
const ENDLESS: Duration = Duration::from_secs(365 * 24 * 3_600);

type Name = Vec<(String, String)>;

struct Known {
    cell: Arc<Cell>,
    /// The control plane has heard of it on this stream.
    said: bool,
    /// To be reported although nobody used it: that is how a lease is confirmed.
    confirms: bool,
    looked: Instant,
    used: Instant,
}

/// See the module.
pub(crate) struct Reporter {
    leases: Arc<Leases>,
    server: String,
    cells: HashMap<Name, Known>,
}

impl Reporter {
    pub(crate) fn new(leases: Arc<Leases>, server: String) -> Self {
        Self { leases, server, cells: HashMap::new() }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        let mut was_up = true;
        loop {
            while self.cells.is_empty() {
                self.leases.wake.notified().await;
                self.meet();
            }
            self.cells.values_mut().for_each(|known| known.said = false);
            let first = self.usage();
            let server = self.server.clone();
            let dialled = self.meanwhile(quotas(&server, first)).await;
            let reason = match dialled {
                Ok(stream) => {
                    was_up = true;
                    self.leases.down_since.store(UP, Ordering::Relaxed);
                    let reason = self.converse(stream).await;
                    self.leases.down_since.store(clock::nanos_since_start(clock::now()), Ordering::Relaxed);
                    reason
                }
                Err(reason) => reason,
            };
            if std::mem::take(&mut was_up) {
                info!(reason, "nobody keeps shared limits; each goes on by its own word");
            } else {
                debug!(reason, "nobody keeps shared limits");
            }
            self.meanwhile(tokio::time::sleep(RETRY)).await;
        }
    }

    /// Waits without forgetting that cells may have to go on alone.
    async fn meanwhile<F: Future>(&mut self, what: F) -> F::Output {
        tokio::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                () = tokio::time::sleep(ROUND) => {}
            }
            self.meet();
            let now = clock::nanos_since_start(clock::now());
            if self.leases.is_away(now) {
                self.cells.values().for_each(|known| known.cell.go_alone(now));
            }
        }
    }

    /// One stream, until it ends; why it did.
    async fn converse(&mut self, mut stream: Quotas) -> String {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = stream.next() => match answer {
                    Ok(answer) => self.obey(answer),
                    Err(reason) => return reason,
                },
                _ = rounds.tick() => self.let_go(),
                () = self.leases.wake.notified() => {}
            }
            self.meet();
            loop {
                let usage = self.usage();
                if usage.bucket_quota_usages.is_empty() {
                    break;
                }
                if let Err(reason) = stream.report(usage) {
                    return reason;
                }
            }
        }
    }

    /// Cells that workers or a new configuration have made.
    pub(crate) fn meet(&mut self) {
        let now = clock::now();
        for cell in std::mem::take(&mut *lock(&self.leases.fresh)) {
            let known = Known { cell: Arc::clone(&cell), said: false, confirms: false, looked: now, used: now };
            self.cells.insert(name(&cell), known);
        }
        self.cells.retain(|_, known| !known.cell.is_retired());
    }

    fn let_go(&mut self) {
        let now = clock::now();
        for known in self.cells.values() {
            if now.saturating_duration_since(known.used) > UNUSED_MAX && !self.leases.is_fixed(&known.cell) {
                self.leases.forget(&known.cell);
            }
        }
    }

    /// What is to be reported now.
    pub(crate) fn usage(&mut self) -> RateLimitQuotaUsageReports {
        let now = clock::now();
        let mut usages = Vec::new();
        for (name, known) in &mut self.cells {
            if usages.len() >= CELLS_PER_MESSAGE_MAX {
                break;
            }
            let elapsed = now.saturating_duration_since(std::mem::replace(&mut known.looked, now));
            let allowed = known.cell.allowed.swap(0, Ordering::Relaxed);
            let denied = known.cell.denied.swap(0, Ordering::Relaxed);
            if allowed + denied > 0 {
                known.used = now;
            }
            let confirms = std::mem::take(&mut known.confirms);
            if allowed + denied == 0 && !confirms && known.said {
                continue;
            }
            known.said = true;
            let mut bucket: HashMap<String, String> = name.iter().cloned().collect();
            if let Some(Grant { capacity, refill, interval_nanos }) = known.cell.held() {
                bucket.insert(HELD.to_owned(), format!("{capacity}/{refill}/{interval_nanos}"));
            }
            usages.push(BucketQuotaUsage {
                bucket_id: Some(BucketId { bucket }),
                time_elapsed: Some(message::Duration {
                    seconds: i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX),
                    nanos: i32::try_from(elapsed.subsec_nanos()).unwrap_or_default(),
                }),
                num_requests_allowed: allowed,
                num_requests_denied: denied,
            });
        }
        RateLimitQuotaUsageReports { domain: DOMAIN.to_owned(), bucket_quota_usages: usages }
    }

    pub(crate) fn obey(&mut self, answer: RateLimitQuotaResponse) {
        let now = clock::nanos_since_start(clock::now());
        for BucketAction { bucket_id, bucket_action } in answer.bucket_action {
            let mut name: Name = bucket_id.unwrap_or_default().bucket.into_iter().collect();
            name.sort();
            let Some(known) = self.cells.get_mut(&name) else { continue };
            match bucket_action {
                Some(bucket_action::BucketAction::QuotaAssignmentAction(assignment)) => {
                    let Some((grant, time_to_live)) = lease(assignment) else {
                        debug!(?name, "a lease that cannot be read is ignored");
                        continue;
                    };
                    // A renewal needs no word.
                    known.confirms |= known.cell.held() != Some(grant);
                    known.cell.assign(grant, time_to_live, now);
                }
                Some(bucket_action::BucketAction::AbandonAction(_)) if self.leases.is_fixed(&known.cell) => {
                    known.cell.abandon(now);
                }
                Some(bucket_action::BucketAction::AbandonAction(_)) => self.leases.forget(&known.cell),
                None => {}
            }
        }
    }
}

fn name(cell: &Cell) -> Name {
    let mut name: Name = cell.entries().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    // The wire has them without order, and each key once.
    name.sort();
    name.dedup_by(|a, b| a.0 == b.0);
    name
}

fn lease(assignment: bucket_action::QuotaAssignmentAction) -> Option<(Grant, Duration)> {
    let bucket_action::QuotaAssignmentAction { assignment_time_to_live, rate_limit_strategy } = assignment;
    let Some(Strategy::TokenBucket(bucket)) = rate_limit_strategy?.strategy else { return None };
    let interval = read(bucket.fill_interval?)?;
    let grant = Grant {
        capacity: bucket.max_tokens,
        refill: bucket.tokens_per_fill.map_or(1, |tokens| tokens.value),
        interval_nanos: u64::try_from(interval.as_nanos()).ok().filter(|nanos| *nanos > 0)?,
    };
    let time_to_live = match assignment_time_to_live {
        Some(duration) => read(duration)?,
        None => ENDLESS,
    };
    Some((grant, time_to_live))
}

fn read(duration: message::Duration) -> Option<Duration> {
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, u32::try_from(duration.nanos).ok()?))
}
