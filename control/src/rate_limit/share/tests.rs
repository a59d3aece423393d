//! Proxies are simulated: they take from their grants, report every 100 ms, and messages take some milliseconds.

use super::*;

const STEP: Duration = Duration::from_millis(1);
const LATENCY: Duration = Duration::from_millis(5);
const ROUND_MS: u128 = 100;
const LIMIT: Limit = Limit { per_second: 100.0, capacity: 50 };

#[derive(Debug, Default)]
struct Proxy {
    grant: Option<Grant>,
    level: f64,
    per_second: f64,
    due: f64,
    allowed: u64,
    denied: u64,
    reported: Duration,
    accepted: u64,
    /// What the two are saying to each other.
    up: Vec<(Duration, Usage)>,
    down: Vec<(Duration, Grant)>,
}

impl Proxy {
    fn offered(per_second: f64) -> Self {
        Self { per_second, ..Self::default() }
    }

    fn apply(&mut self, grant: Grant) {
        let before = self.grant.unwrap_or_default().capacity;
        self.level = (self.level + f64::from(grant.capacity) - f64::from(before).min(f64::from(grant.capacity)))
            .min(f64::from(grant.capacity));
        self.grant = Some(grant);
    }

    fn report(&mut self, now: Duration) {
        let usage =
            Usage { held: self.grant, elapsed: now - self.reported, allowed: self.allowed, denied: self.denied };
        (self.allowed, self.denied, self.reported) = (0, 0, now);
        self.up.push((now + LATENCY, usage));
    }

    fn live(&mut self, now: Duration) {
        if let Some(grant) = self.grant {
            let gain = grant.per_second() * STEP.as_secs_f64();
            self.level = (self.level + gain).min(f64::from(grant.capacity));
        }
        self.due += self.per_second * STEP.as_secs_f64();
        while self.due >= 1.0 {
            self.due -= 1.0;
            if self.level >= 1.0 {
                self.level -= 1.0;
                self.allowed += 1;
                self.accepted += 1;
            } else {
                self.denied += 1;
            }
        }
        if now.as_millis().is_multiple_of(ROUND_MS) {
            self.report(now);
        }
    }
}

struct Mesh {
    now: Duration,
    keeper: Option<SharedBucket>,
    learning_until: Duration,
    proxies: Vec<Proxy>,
    /// Accepted until each millisecond.
    history: Vec<u64>,
}

impl Mesh {
    fn new(offered: &[f64]) -> Self {
        let proxies: Vec<Proxy> = offered.iter().map(|_| Proxy::offered(0.0)).collect();
        let keeper = Some(SharedBucket::new(LIMIT, true, Duration::ZERO));
        let mut mesh =
            Self { now: Duration::ZERO, keeper, learning_until: Duration::ZERO, proxies, history: Vec::new() };
        for proxy in &mut mesh.proxies {
            proxy.report(Duration::ZERO);
        }
        mesh.run(Duration::from_millis(500));
        for (proxy, offered) in mesh.proxies.iter_mut().zip(offered) {
            proxy.per_second = *offered;
        }
        mesh
    }

    fn accepted(&self) -> u64 {
        self.proxies.iter().map(|p| p.accepted).sum()
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.proxies.iter_mut().for_each(|p| p.live(self.now));
            self.talk();
            self.history.push(self.accepted());
        }
    }

    fn talk(&mut self) {
        let now = self.now;
        let mut speaks = now.as_millis() % ROUND_MS == 50;
        for (id, proxy) in (1..).zip(&mut self.proxies) {
            let (arrived, waiting) = proxy.up.drain(..).partition(|(at, _)| *at <= now);
            proxy.up = waiting;
            let arrived: Vec<(Duration, Usage)> = arrived;
            if let Some(keeper) = &mut self.keeper {
                for (_, usage) in arrived {
                    speaks |= keeper.report(id, &usage, now);
                }
            }
        }
        if let Some(keeper) = &mut self.keeper
            && speaks
        {
            for (id, grant) in keeper.assign(now < self.learning_until, now) {
                self.proxies[id as usize - 1].down.push((now + LATENCY, grant));
            }
        }
        for proxy in &mut self.proxies {
            let (arrived, waiting): (Vec<_>, Vec<_>) = proxy.down.drain(..).partition(|(at, _)| *at <= now);
            proxy.down = waiting;
            for (_, grant) in arrived {
                proxy.apply(grant);
                proxy.report(now);
            }
        }
    }

    /// Whether in no window more was accepted than a bucket of the limit would have.
    fn assert_every_window_is_within(&self) {
        let rate = LIMIT.per_second / 1e3;
        // The most that was ever accepted above the rate since some moment.
        let mut lowest = f64::MAX;
        let mut worst = f64::MIN;
        for (ms, accepted) in self.history.iter().enumerate() {
            let above = *accepted as f64 - rate * ms as f64;
            lowest = lowest.min(above);
            worst = worst.max(above - lowest);
        }
        let burst = f64::from(LIMIT.capacity);
        assert!(worst <= burst * 1.05 + 1.0, "{worst} above the rate, the burst is {burst}");
    }
}

fn ten_seconds_of(offered: &[f64]) -> Mesh {
    let mut mesh = Mesh::new(offered);
    mesh.run(Duration::from_secs(10));
    mesh
}

fn assert_is_the_limit(mesh: &Mesh) {
    let accepted = mesh.accepted();
    println!("{accepted} of 1050, {:?}", mesh.proxies.iter().map(|p| p.accepted).collect::<Vec<_>>());
    assert!(accepted.abs_diff(1050) * 20 <= 1050, "{accepted} of 1050");
    mesh.assert_every_window_is_within();
}

#[test]
fn equal_proxies_share_the_limit_and_its_burst() {
    assert_is_the_limit(&ten_seconds_of(&[120.0, 120.0, 120.0]));
}

#[test]
fn unequal_proxies_share_it_by_their_demand() {
    let mesh = ten_seconds_of(&[10.0, 100.0, 300.0]);
    assert_is_the_limit(&mesh);
    assert!(mesh.proxies[2].accepted > 2 * mesh.proxies[1].accepted, "{:?}", mesh.proxies);
}

#[test]
fn one_proxy_alone_gets_almost_all_of_it_while_others_are_idle() {
    assert_is_the_limit(&ten_seconds_of(&[0.0, 0.0, 300.0]));
}

#[test]
fn demand_that_moves_takes_the_limit_with_it() {
    let mut mesh = Mesh::new(&[300.0, 0.0, 0.0]);
    for _ in 0..5 {
        mesh.run(Duration::from_secs(2));
        let offered: Vec<f64> = mesh.proxies.iter().map(|p| p.per_second).collect();
        for (at, proxy) in mesh.proxies.iter_mut().enumerate() {
            proxy.per_second = offered[(at + 2) % 3];
        }
    }
    // Each of the four moves costs less than a quarter of a second: until it is noticed, and both have been told.
    let accepted = mesh.accepted();
    assert!((950..=1_050).contains(&accepted), "{accepted}");
    mesh.assert_every_window_is_within();
}

#[test]
fn a_keeper_that_comes_back_gives_no_second_burst() {
    let mut mesh = Mesh::new(&[120.0, 120.0, 120.0]);
    mesh.run(Duration::from_millis(3_300));
    mesh.keeper = None;
    mesh.proxies.iter_mut().for_each(|p| p.down.clear());
    mesh.run(Duration::from_secs(3));
    mesh.keeper = Some(SharedBucket::new(LIMIT, false, mesh.now));
    mesh.learning_until = mesh.now + Duration::from_secs(2);
    mesh.run(Duration::from_millis(3_700));
    assert_is_the_limit(&mesh);
}

#[test]
fn after_a_pause_the_whole_burst_is_there_again() {
    let mut mesh = ten_seconds_of(&[300.0, 0.0, 0.0]);
    mesh.proxies[0].per_second = 0.0;
    mesh.run(Duration::from_secs(5));
    let before = mesh.accepted();
    mesh.proxies.iter_mut().for_each(|p| p.per_second = 1_000.0);
    mesh.run(Duration::from_millis(200));
    let burst = mesh.accepted() - before;
    assert!((60..=75).contains(&burst), "{burst} of 50 and 20");
    mesh.assert_every_window_is_within();
}

#[test]
fn a_limit_of_one_token_is_with_one_proxy_at_a_time_and_goes_where_it_is_wanted() {
    let limit = Limit { per_second: 1.0 / 3600.0, capacity: 1 };
    let mut bucket = SharedBucket::new(limit, true, Duration::ZERO);
    let mut now = Duration::ZERO;
    bucket.report(1, &Usage::default(), now);
    let told = bucket.assign(false, now);
    bucket.report(2, &Usage::default(), now);
    let first = told[0].1;
    assert_eq!((told.len(), first.capacity), (1, 1));
    bucket.report(1, &Usage { held: Some(first), ..Usage::default() }, now);
    now += STEP;
    let refused = Usage { denied: 1, elapsed: STEP, ..Usage::default() };
    bucket.report(2, &refused, now);

    let told = bucket.assign(false, now);
    let taken = told.iter().find(|(id, _)| *id == 1).expect("the first one gives it back").1;
    assert_eq!(taken.capacity, 0);
    assert!(told.iter().all(|(id, grant)| *id == 1 || grant.capacity == 0), "not before it is back: {told:?}");
    bucket.report(1, &Usage { held: Some(taken), ..Usage::default() }, now);
    let told = bucket.assign(false, now);
    assert_eq!(told.iter().find(|(id, _)| *id == 2).expect("the second one is told").1.capacity, 1);
}

#[test]
fn shares_of_who_leaves_are_given_to_others_only_when_its_lease_has_ended() {
    let mut mesh = Mesh::new(&[0.0, 0.0]);
    let keeper = mesh.keeper.as_mut().expect("it is there");
    keeper.leave(1, mesh.now);
    let rate_at = |mesh: &Mesh| mesh.proxies[1].grant.expect("it has one").per_second();
    let before = rate_at(&mesh);
    mesh.proxies[0].reported = Duration::MAX;
    let gone = mesh.proxies.remove(0);
    drop(gone);
    let keeper = mesh.keeper.as_mut().expect("it is there");
    let told = keeper.assign(false, mesh.now + LEASE - STEP);
    assert!(told.iter().all(|(_, grant)| grant.per_second() <= before + 1.0), "{told:?}");
    let told = keeper.assign(false, mesh.now + LEASE + STEP);
    assert!(told.iter().any(|(id, grant)| *id == 2 && grant.per_second() > 99.0), "{told:?}");
}

#[test]
fn who_asks_here_is_one_member_more() {
    let mut bucket = SharedBucket::new(LIMIT, true, Duration::ZERO);
    let mut passed = 0;
    for ms in 0..10_000 {
        let now = Duration::from_millis(ms);
        bucket.take_here(0, 0, now);
        bucket.assign(false, now);
        bucket.confirm_here(0);
        if ms % 3 == 0 {
            passed += u32::from(bucket.take_here(0, 1, now));
        }
    }
    assert!((1030..=1050).contains(&passed), "{passed}");
}
