//! What is to be reached, and whether it was.

use super::cases::{Measured, Series};
use super::peers::Peer;
use super::report::{figure, ratio_to};

/// What a figure of ours may be.
#[derive(Clone, Copy, Debug)]
enum Most {
    /// In the unit of the case.
    Figure(f64),
    /// So many times the figure of a peer.
    Times(f64, Peer),
    /// So much above the figure of a peer.
    Above(f64, Peer),
}

const GOALS: [(&str, Most); 23] = [
    ("h1-get", Most::Times(0.22, Peer::Envoy)),
    ("h1-get", Most::Times(1.30, Peer::Relay)),
    ("h1-get", Most::Times(0.85, Peer::Nginx)),
    ("h1-get", Most::Times(0.85, Peer::HaProxy)),
    ("h1-instructions", Most::Figure(10_000.0)),
    ("h1-post", Most::Times(0.28, Peer::Envoy)),
    ("h1-post", Most::Times(1.45, Peer::Relay)),
    ("h1-tls", Most::Times(0.25, Peer::Envoy)),
    ("h2-unary", Most::Times(0.23, Peer::Envoy)),
    ("h2-tls", Most::Times(0.23, Peer::Envoy)),
    ("tls-handshake", Most::Times(0.65, Peer::Envoy)),
    ("h1-rate", Most::Times(0.55, Peer::Envoy)),
    ("h1-rate-p50", Most::Above(15.0, Peer::Relay)),
    ("idle-rss", Most::Figure(8.0 * 1024.0)),
    ("idle-pairs", Most::Figure(3.0)),
    ("large-rss", Most::Figure(40.0 * 1024.0)),
    ("large-rss-disk", Most::Figure(40.0 * 1024.0)),
    ("idle-cpu", Most::Figure(100.0)),
    ("start-disk", Most::Figure(50.0)),
    ("growth-routes", Most::Times(1.10, Peer::Small)),
    ("growth-endpoints-keyed", Most::Times(1.10, Peer::Small)),
    ("growth-endpoints-turn", Most::Times(1.10, Peer::Small)),
    ("telemetry-traces-1", Most::Times(1.10, Peer::Small)),
];

/// A goal beside what came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: &'static str,
    pub(crate) goal: String,
    pub(crate) measured: f64,
    /// The measured by the allowed: up to 1 the goal is reached.
    pub(crate) share: f64,
}

impl Outcome {
    pub(crate) fn is_reached(&self) -> bool {
        self.share <= 1.0
    }

    pub(crate) fn verdict(&self) -> String {
        if self.is_reached() { "reached".to_owned() } else { format!("missed by {:.1} %", (self.share - 1.0) * 100.0) }
    }
}

/// Of all goals whose case was measured.
pub(crate) fn outcomes(measured: &Measured) -> Vec<Outcome> {
    let find = |case: &str, peer| measured.series.iter().find(|series| series.case == case && series.peer == peer);
    let outcome = |(case, most): &(&'static str, Most)| {
        let ours: &Series = find(case, Peer::Ours)?;
        let unit = ours.unit.as_str();
        let (goal, figure, allowed) = match *most {
            Most::Figure(most) => (format!("<= {most} {unit}"), figure(ours), most),
            Most::Times(most, peer) => {
                (format!("<= {most} x {}", peer.name()), ratio_to(ours, find(case, peer)?)?, most)
            }
            Most::Above(most, peer) => {
                (format!("<= {most} {unit} above {}", peer.name()), figure(ours) - figure(find(case, peer)?), most)
            }
        };
        Some(Outcome { case, goal, measured: figure, share: figure / allowed })
    };
    GOALS.iter().filter_map(outcome).collect()
}
