//! The gate, case by case: what the RFCs say a proxy must refuse, mend or pass on, over real sockets, through a real proxy, to a
//! backend that writes down every byte.
//!
//! # Two judges
//! Each case names its verdict, and the runner compares. Beside that, [`readings`] judges whatever did reach the backend without
//! knowing the verdict: a wrong verdict in a table cannot hide a dangerous message.
//!
//! # Poison
//! After every case an orderly request takes the same way, over the same kept connection where there is one: it must arrive as it
//! is and be answered as it should.

mod answers;
mod backend;
mod case;
mod chunks;
mod client;
mod frames;
mod framing;
mod hops;
mod hosts;
mod limits;
mod methods;
mod mutations;
mod over_http2;
mod paths;
mod readings;
mod requests;
mod syntax;
mod to_http2;

#[path = "../promises/resources.rs"]
#[allow(dead_code, reason = "the words of another binary's tests; this one needs a few")]
mod resources;

use std::time::Duration;

/// The suite does not shrink unseen.
const CASES_MIN: usize = 660;

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a family came to.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    refused: usize,
    as_sent: usize,
    mended: usize,
    torn: usize,
    dangerous: usize,
    faults: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.refused += other.refused;
        self.as_sent += other.as_sent;
        self.mended += other.mended;
        self.torn += other.torn;
        self.dangerous += other.dangerous;
        self.faults.extend(other.faults);
    }

    fn line(&self, family: &str) -> String {
        format!(
            "{family:<12} {:>4} cases: {:>3} refused, {:>3} forwarded as sent, {:>3} mended, {:>2} torn, {} dangerous",
            self.cases, self.refused, self.as_sent, self.mended, self.torn, self.dangerous
        )
    }
}

/// The families of HTTP/1.1 requests.
fn families() -> [(&'static str, Vec<case::Case>); 8] {
    [
        ("framing", framing::cases()),
        ("chunks", chunks::cases()),
        ("syntax", syntax::cases()),
        ("hosts", hosts::cases()),
        ("hops", hops::cases()),
        ("methods", methods::cases()),
        ("limits", limits::cases()),
        ("paths", paths::cases()),
    ]
}

#[tokio::test]
async fn every_message_has_its_verdict_and_nothing_dangerous_is_forwarded() {
    let mut all = Tally::default();
    for (family, cases) in families() {
        let tally = requests::run(cases).await;
        println!("{}", tally.line(family));
        all.add(tally);
    }
    for (family, tally) in [
        ("answers", answers::run().await),
        ("over HTTP/2", over_http2::run().await),
        ("to HTTP/2", to_http2::run().await),
    ] {
        println!("{}", tally.line(family));
        all.add(tally);
    }

    println!("{} cases, {} dangerous forwards", all.cases, all.dangerous);
    assert!(all.cases >= CASES_MIN, "only {} cases: a family is gone", all.cases);
    assert!(all.faults.is_empty(), "{} faults:\n{}", all.faults.len(), all.faults.join("\n"));
    assert_eq!(all.dangerous, 0);
}
