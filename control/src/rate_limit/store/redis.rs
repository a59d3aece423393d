//! Redis as the store: the only file that knows its client.
//!
//! # What is kept there
//! A hash for each bucket, under a digest of its name: what callers sent in headers does not leave this process. It expires
//! by itself when all tokens are back and all leases have ended. Beside them is one key that says since when the store
//! remembers, so that one that was emptied is noticed.
//!
//! # Why a script
//! A report reads and changes a whole bucket, and no other may come between. The script's clock is the store's, so control
//! planes need not agree on the time.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, Value,
};
use sha2::{Digest as _, Sha256};

use super::super::Name;
use super::super::share::{CREDIT, DEMAND_MIN, FLOOR, LEASE, Limit, NOISE, REPAYMENT, SLACK};
use super::super::together::{Question, Reply};
use super::StoreAddress;
use crate::rate_limit::{LEARNING, ROUND};

/// Before the name of each bucket.
const BUCKETS: &str = "tidegate:limit:";
/// Since when the store remembers.
const SINCE: &str = "tidegate:limits:since";
/// Who has not reported for so many rounds demands nothing.
const SILENT_ROUNDS: f64 = 5.0;
/// A bucket that would fill more slowly than in a year is forgotten after one.
const AGE_MAX_SECONDS: f64 = 365.0 * 24.0 * 3_600.0;

/// Where and as whom.
#[derive(Clone)]
pub(super) struct Target(ConnectionInfo);

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let info = text.into_connection_info().map_err(|error| reason(&error))?;
        match info.addr() {
            ConnectionAddr::Tcp(host, _) if host.is_empty() => return Err("it names no host".to_owned()),
            ConnectionAddr::Tcp(..) => {}
            _ => return Err("it is not reached over TCP".to_owned()),
        }
        if info.redis_settings().db() < 0 {
            return Err("a database has a number from 0".to_owned());
        }
        Ok(Self(info))
    }
}

/// A name for this process among the members of a bucket. A restarted one is another: nobody knows what it remembers.
pub(super) fn new_member() -> String {
    // Seeded by the operating system; two of some dozen never meet in 64 bits.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// An open connection with the script loaded. After any error it is thrown away: what is under way on it is unknown.
pub(super) struct Connection {
    connection: MultiplexedConnection,
    script: String,
}

impl Connection {
    /// Who has no past may be the first who ever uses the store, which then has forgotten nothing.
    pub(super) async fn open(address: &StoreAddress, may_have_past: bool) -> Result<Self, String> {
        let client = Client::open(address.target.0.clone()).map_err(|error| reason(&error))?;
        // Whoever calls has a deadline for the whole.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(|error| reason(&error))?;
        let loading = redis::cmd("SCRIPT").arg("LOAD").arg(script()).to_owned();
        let script = loading.query_async(&mut connection).await.map_err(|error| reason(&error))?;
        if !may_have_past {
            let first = redis::cmd("SET").arg(SINCE).arg(0).arg("NX").to_owned();
            first.exec_async(&mut connection).await.map_err(|error| reason(&error))?;
        }
        Ok(Self { connection, script })
    }

    pub(super) async fn ping(&mut self) -> Result<(), String> {
        redis::cmd("PING").exec_async(&mut self.connection).await.map_err(|error| reason(&error))
    }

    /// Reports all at once. Each is one script, so that others come in between.
    pub(super) async fn ask(&mut self, me: &str, questions: &[Question]) -> Result<Vec<(Name, Reply)>, String> {
        let mut pipeline = redis::pipe();
        for question in questions {
            let Question { name, limit, held, answer, fits, demand, returned, is_learning } = question;
            pipeline.cmd("EVALSHA").arg(&self.script).arg(2).arg(key(name)).arg(SINCE).arg(me);
            pipeline.arg(limit.per_second).arg(limit.capacity);
            match held {
                Some(held) => pipeline.arg(held.per_second).arg(held.capacity),
                None => pipeline.arg("").arg(""),
            };
            pipeline.arg(*answer).arg(u8::from(*fits)).arg(*demand).arg(*returned).arg(u8::from(*is_learning));
        }
        let values: Vec<Value> = pipeline.query_async(&mut self.connection).await.map_err(|error| reason(&error))?;
        if values.len() != questions.len() {
            return Err("it has not answered every question".to_owned());
        }
        questions.iter().zip(values).map(|(question, value)| Ok((question.name.clone(), reply(value)?))).collect()
    }
}

/// The script, with the numbers that both storeys of the division share.
fn script() -> String {
    let numbers = [
        ("FLOOR", FLOOR),
        ("SLACK", SLACK),
        ("NOISE", NOISE),
        ("CREDIT", CREDIT.into()),
        ("REPAYMENT", REPAYMENT),
        ("DEMAND_MIN", DEMAND_MIN),
        ("LEASE", LEASE.as_secs_f64()),
        ("LEARNING", LEARNING.as_secs_f64()),
        ("SILENCE", SILENT_ROUNDS * ROUND.as_secs_f64()),
        ("AGE_MAX", AGE_MAX_SECONDS),
    ];
    let numbers = numbers.map(|(name, value)| format!("local {name} = {value}\n"));
    numbers.concat() + include_str!("divide.lua")
}

/// A name's digest; lengths stand before parts, so that no two names are written alike.
fn key(name: &Name) -> String {
    let mut digest = Sha256::new();
    for part in name.iter().flat_map(|(key, value)| [key, value]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let hex = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{BUCKETS}{hex}")
}

fn reply(value: Value) -> Result<Reply, String> {
    let (answer, rate, capacity, is_in_demand): (u64, String, u32, bool) =
        redis::from_redis_value(value).map_err(|error| format!("an answer that cannot be read: {error}"))?;
    let per_second = rate.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
    let per_second = per_second.ok_or_else(|| "an answer without a rate".to_owned())?;
    Ok(Reply { answer, part: Limit { per_second, capacity }, is_in_demand })
}

/// What went wrong. The client's own words name no password.
fn reason(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{} ({detail})", error.category()),
        None => error.to_string(),
    }
}
