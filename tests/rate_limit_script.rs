//! Promise: the script in the store gives out no more than the limit, whatever is reported in whatever order, also when the
//! store was emptied; and what it gives is nearly all of it.
//!
//! Members are simulated, the store is a real one. They spend all that they have, give back late, and repeat themselves.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::address::Subnet;
use crate::harness::store::Redis;
use crate::harness::wait;

const RATE: f64 = 100.0;
const CAPACITY: f64 = 50.0;
/// The numbers that the control plane puts before its script.
const NUMBERS: &str = "local FLOOR, SLACK, NOISE, CREDIT, REPAYMENT, DEMAND_MIN, LEASE, LEARNING, SILENCE, AGE_MAX = \
                       0.02, 0.1, 0.002, 2, 0.02, 0.01, 5, 2, 0.5, 31536000\n";
/// Tokens that a member without capacity may get on credit.
const CREDIT: f64 = 2.0;

/// A control plane as the store sees it.
#[derive(Debug)]
struct Member {
    name: String,
    demand: f64,
    answer: u64,
    /// What it was told, and what its proxies still have.
    part: Option<(f64, f64)>,
    held: (f64, f64),
    level: f64,
    returned: f64,
    spent: f64,
    since: Duration,
}

impl Member {
    fn new(number: usize, demand: f64) -> Self {
        Self {
            name: format!("member-{number}"),
            demand,
            answer: 0,
            part: None,
            held: (0.0, 0.0),
            level: 0.0,
            returned: 0.0,
            spent: 0.0,
            since: Duration::ZERO,
        }
    }

    /// Fills by what is held, keeps what it has room for, and spends what is asked for.
    fn live(&mut self, now: Duration) {
        let seconds = (now - self.since).as_secs_f64();
        self.since = now;
        let part = self.part.unwrap_or_default();
        self.level += self.held.0.min(part.0) * seconds;
        let over = (self.level - part.1).max(0.0);
        self.level -= over;
        self.returned += over;
        let spent = self.level.min(self.demand * seconds).max(0.0);
        self.level -= spent;
        self.spent += spent;
    }

    /// Its proxies have given back what they had to.
    fn confirm(&mut self) {
        if let Some(part) = self.part {
            self.held = part;
        }
    }

    fn arguments(&self) -> Vec<String> {
        let held = self.part.map(|_| self.held);
        let number = |number: Option<f64>| number.map(|n| n.to_string()).unwrap_or_default();
        let fits = self.part.is_some_and(|part| self.held.0 <= part.0 && self.held.1 <= part.1);
        [self.name.clone(), RATE.to_string(), CAPACITY.to_string(), number(held.map(|h| h.0))]
            .into_iter()
            .chain([number(held.map(|h| h.1)), self.answer.to_string(), u8::from(fits).to_string()])
            .chain([self.demand.to_string(), self.returned.to_string(), "0".to_owned()])
            .collect()
    }

    /// Reports, and obeys.
    async fn report(&mut self, redis: &Redis, script: &str) {
        let reply = redis.eval(script, &["bucket", "since"], &self.arguments()).await;
        self.returned = 0.0;
        let [answer, rate, capacity, _] = &reply[..] else { panic!("{reply:?}") };
        let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("{reply:?}"));
        let part = (number(rate), number(capacity));
        let is_news = self.answer != number(answer) as u64;
        self.answer = number(answer) as u64;
        if is_news && part != (0.0, 0.0) {
            self.level += (part.1 - self.held.1).max(0.0);
            self.part = Some(part);
            self.held = (self.held.0.max(part.0), self.held.1.max(part.1));
        }
    }
}

#[tokio::test]
async fn whatever_is_reported_no_more_than_the_limit_is_given_out_and_nearly_all_of_it_is() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let redis = Redis::start(SocketAddr::from((Subnet::take().host(250), 6379))).await;
    let script = NUMBERS.to_owned() + include_str!("../control/src/rate_limit/store/divide.lua");
    redis.command("SET since 0").await.expect("Redis answers");
    let mut members: Vec<Member> = [300.0, 60.0, 0.0].into_iter().enumerate().map(|(n, d)| Member::new(n, d)).collect();
    let (start, time) = (wait::now(), Duration::from_secs(9));
    let (mut reports, mut emptied) = (0_u64, false);

    while start.elapsed() < time {
        let now = start.elapsed();
        members.iter_mut().for_each(|member| member.live(now));
        let at = random.random_range(0..members.len());
        // Proxies confirm late.
        if random.random_ratio(1, 5) {
            members[at].confirm();
        }
        members[at].report(&redis, &script).await;
        reports += 1;
        // Some times in all: each costs what is not asked for until the next reports.
        if random.random_ratio(1, 6_000) {
            let [a, b] = [0, 1].map(|_| random.random_range(0..members.len()));
            let demand = members[a].demand;
            members[a].demand = std::mem::replace(&mut members[b].demand, demand);
        }
        if !emptied && start.elapsed() > time / 2 {
            redis.command("FLUSHALL").await.expect("Redis answers");
            emptied = true;
        }

        let rate: f64 = members.iter().map(|m| m.held.0).sum();
        let capacity: f64 = members.iter().map(|m| m.held.1).sum();
        assert!(rate <= RATE * (1.0 + 1e-9) && capacity <= CAPACITY, "after {reports} reports: {members:#?}");
        let spent: f64 = members.iter().map(|m| m.spent).sum();
        let most = CAPACITY + RATE * start.elapsed().as_secs_f64() + CREDIT * members.len() as f64;
        assert!(spent <= most, "after {reports} reports {spent} of {most}: {members:#?}");
    }

    let spent: f64 = members.iter().map(|m| m.spent).sum();
    let wanted = CAPACITY + RATE * time.as_secs_f64();
    println!("{reports} reports in {time:?}: {spent:.0} of {wanted:.0} tokens");
    assert!(spent >= wanted * 0.9, "{spent} of {wanted}");
    let left = redis.command("PTTL bucket").await.expect("Redis answers");
    let left: i64 = left.trim().trim_start_matches(':').parse().expect("a number of milliseconds");
    assert!((1..=10_500).contains(&left), "a bucket expires by itself: {left}");
}
