//! What callers asked of services in the last minute, by the version that was called: what a split's shares are made of.
//!
//! # Why not the graph
//! Weights are looked at whenever something stirs, as long as a console is open. The graph adds up latencies, of both reporters, and of
//! an edge it names one service only. Here are a few numbers of one reporter: it is the caller's proxy that splits, and it alone knows
//! which service was asked for.

use std::collections::{HashMap, HashSet};

use tidegate_xds::report_service::{Protocol, Reporter};

use super::Topology;
use super::key::Key;
use super::query::Window;
use super::view::{Picture, Span};

/// Requests, or connections where nothing is asked on them, by service and version.
#[derive(Debug, Default)]
pub struct Called(HashMap<Box<str>, HashMap<Box<str>, u64>>);

impl Called {
    /// Of a version; `None`: of all of them.
    pub fn of(&self, host: &str, version: Option<&str>) -> u64 {
        let Some(versions) = self.0.get(host) else { return 0 };
        match version {
            Some(version) => versions.get(version).copied().unwrap_or(0),
            None => versions.values().fold(0, |sum, count| sum.saturating_add(*count)),
        }
    }

    pub(crate) fn add(&mut self, host: &str, version: &str, count: u64) {
        let sum = self.0.entry(host.into()).or_default().entry(version.into()).or_default();
        *sum = sum.saturating_add(count);
    }
}

impl Topology {
    /// What was asked of services, by the hosts they are called by.
    pub fn called(&self, hosts: &HashSet<&str>) -> Called {
        let is_wanted = |key: &Key| key.reporter == Reporter::Source && hosts.contains(&*key.service.host);
        of(&self.picture_of(is_wanted))
    }
}

fn of(picture: &Picture) -> Called {
    let span = Span::of(Window::Minute, picture);
    let mut called = Called::default();
    for (key, edge) in &picture.edges {
        let numbers = span.numbers(&edge.lock());
        let count = if key.protocol == Protocol::Tcp { numbers.opened } else { numbers.requests };
        called.add(&key.service.host, &key.destination.version, count);
    }
    called
}
