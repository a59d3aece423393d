//! The store by which several control planes keep one limit together.
//!
//! # How
//! A control plane is to the store what a proxy is to a control plane: a member of each bucket that it uses, with a part of
//! it and a lease. [`redis`] has one atomic script that takes a report and answers with the part; here is the loop that
//! exchanges both, once a round.
//!
//! # What a member promises
//! It gives out no more than its part; it says what its proxies still hold until they have confirmed less. What it does not
//! say again within a lease is free for others: so a control plane that was killed, or that cannot reach the store, holds
//! nobody up for longer.

mod address;
mod redis;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

pub use self::address::{StoreAddress, StoreAddressError, StoreText};

use self::redis::Connection;
use super::service::Keeper;
use super::together::QUESTIONS_MAX;
use super::{BUCKETS_MAX, ROUND};

/// Connecting, with a password and a script to load: a few round trips on any network that a limit can be kept over.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// One exchange. A store that needs longer is too slow to keep limits by; the lease has room for many attempts.
const EXCHANGE_MAX: Duration = Duration::from_millis(250);
/// Without an answer for so long the store is gone, and each limit's own word holds; as long as proxies wait before they
/// take their control plane for gone.
const GRACE: Duration = Duration::from_secs(1);
/// When nobody uses any limit, the store is asked for its health so often.
const HEALTH: Duration = Duration::from_millis(500);
/// Exchanges in a row: all buckets once.
const EXCHANGES_MAX: usize = BUCKETS_MAX / QUESTIONS_MAX;

/// How the store is, for those who look.
#[derive(Debug, Default)]
pub struct Health {
    is_used: AtomicBool,
    is_reached: AtomicBool,
    failures: AtomicU64,
}

impl Health {
    /// Whether it can be reached; `None`: there is none.
    pub fn is_reached(&self) -> Option<bool> {
        self.is_used.load(Ordering::Relaxed).then(|| self.is_reached.load(Ordering::Relaxed))
    }

    /// As if there were one.
    #[cfg(test)]
    pub(crate) fn set_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Exchanges that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Divides limits with others by the store, for ever.
pub async fn run(keeper: Keeper, address: StoreAddress, health: &Health) {
    let me = redis::new_member();
    health.is_used.store(true, Ordering::Relaxed);
    health.is_reached.store(true, Ordering::Relaxed);
    info!(store = %address, member = me, "limits are shared with other control planes");
    let mut connection = None;
    let mut heard = Instant::now();
    let mut is_reached = true;
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            // Only who is connected can hurry.
            () = keeper.is_new(), if connection.is_some() => {}
        }
        match exchange(&keeper, &address, &me, heard, &mut connection).await {
            Ok(has_answered) => {
                if has_answered {
                    heard = Instant::now();
                }
                if !is_reached {
                    info!(store = %address, "the store is back, limits are shared again");
                    is_reached = true;
                    keeper.set_reached(true);
                }
            }
            Err(reason) => {
                connection = None;
                health.failures.fetch_add(1, Ordering::Relaxed);
                debug!(reason, "the store has not answered");
                if is_reached && heard.elapsed() >= GRACE {
                    warn!(store = %address, reason, "the store is gone, each shared limit goes on by its own word");
                    is_reached = false;
                    keeper.set_reached(false);
                }
            }
        }
        health.is_reached.store(is_reached, Ordering::Relaxed);
    }
}

/// Asks all that is to be asked. Gives whether there was anything.
async fn exchange(
    keeper: &Keeper,
    address: &StoreAddress,
    me: &str,
    heard: Instant,
    connection: &mut Option<Connection>,
) -> Result<bool, String> {
    let is_new = connection.is_none();
    let store = match connection {
        Some(store) => store,
        None => {
            let opening = Connection::open(address, keeper.may_have_past());
            let opened = timeout(CONNECT_MAX, opening).await;
            connection.insert(opened.map_err(|_| "it cannot be connected in time")??)
        }
    };
    let mut has_answered = is_new;
    for _ in 0..EXCHANGES_MAX {
        let questions = keeper.questions();
        let is_all = questions.len() < QUESTIONS_MAX;
        if !questions.is_empty() {
            let answered = timeout(EXCHANGE_MAX, store.ask(me, &questions)).await;
            keeper.obey(answered.map_err(|_| "it does not answer in time")??);
            has_answered = true;
        }
        if is_all {
            break;
        }
    }
    if !has_answered && heard.elapsed() >= HEALTH {
        timeout(EXCHANGE_MAX, store.ping()).await.map_err(|_| "it does not answer in time")??;
        has_answered = true;
    }
    Ok(has_answered)
}
