//! What somebody wants to see of the topology, read from a URL's query.

use std::num::NonZeroUsize;

use super::ring::{SCALES, Scale};

/// Namespaces of one question.
const NAMESPACES_MAX: usize = 64;

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// How far back.
    pub window: Window,
    /// What a node stands for.
    pub grouping: Grouping,
    /// Only edges that begin or end there; empty: all.
    pub namespaces: Vec<String>,
    /// Only so many edges, those with the most requests.
    pub limit: Option<NonZeroUsize>,
}

/// How far back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    #[default]
    Minute,
    FiveMinutes,
    TenMinutes,
    Hour,
    Day,
    /// Since totals are counted.
    Total,
}

/// What a node stands for, in the words of Kiali.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grouping {
    #[default]
    VersionedApp,
    App,
    Workload,
    Service,
}

impl Window {
    const ALL: [Self; 6] = [Self::Minute, Self::FiveMinutes, Self::TenMinutes, Self::Hour, Self::Day, Self::Total];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Total => "total",
        }
    }

    /// The slots that make it up: their scale, and how many. `None`: no slots but totals.
    pub(super) fn slots(self) -> Option<(Scale, u64)> {
        match self {
            Self::Minute => Some((SCALES[0], 12)),
            Self::FiveMinutes => Some((SCALES[0], 60)),
            Self::TenMinutes => Some((SCALES[1], 10)),
            Self::Hour => Some((SCALES[1], 60)),
            Self::Day => Some((SCALES[2], 24)),
            Self::Total => None,
        }
    }

    /// Reads it. `Err`: what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|window| window.as_str() == text)
            .ok_or_else(|| not_one_of("window", text, &Self::ALL.map(Self::as_str)))
    }
}

impl Grouping {
    const ALL: [Self; 4] = [Self::VersionedApp, Self::App, Self::Workload, Self::Service];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VersionedApp => "versionedApp",
            Self::App => "app",
            Self::Workload => "workload",
            Self::Service => "service",
        }
    }

    /// Reads it, whatever the case. `Err`: what may be written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let same = |of: &Self| of.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(same).ok_or_else(|| not_one_of("type", text, &Self::ALL.map(Self::as_str)))
    }
}

impl Query {
    /// Takes up one parameter. `Ok(false)`: it is none of these. `Err`: what is allowed instead.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "window" => self.window = Window::parse(value)?,
            "type" => self.grouping = Grouping::parse(value)?,
            "namespace" => {
                self.namespaces
                    .extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
                self.namespaces.sort_unstable();
                self.namespaces.dedup();
                if self.namespaces.len() > NAMESPACES_MAX {
                    return Err(format!("namespace may name {NAMESPACES_MAX}, separated by commas"));
                }
            }
            "limit" => {
                let limit = value.parse().map_err(|_| "limit is a number of edges, 1 or more".to_owned())?;
                self.limit = Some(limit);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// For a URL.
    pub fn to_text(&self) -> String {
        let mut text = format!("window={}&type={}", self.window.as_str(), self.grouping.as_str());
        if !self.namespaces.is_empty() {
            text.push_str("&namespace=");
            text.push_str(&self.namespaces.join(","));
        }
        if let Some(limit) = self.limit {
            text.push_str(&format!("&limit={limit}"));
        }
        text
    }
}

fn not_one_of(what: &str, text: &str, allowed: &[&str]) -> String {
    let text: String = text.chars().take(40).collect();
    format!("{what}={text} is not one of {}", allowed.join(", "))
}
