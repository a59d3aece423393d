//! The table for people and the file for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cases::{Measured, Series, Unable};
use super::goals::outcomes;
use super::peers::Peer;

/// Ours in one case, against one peer where there is one.
struct Row<'m> {
    ours: &'m Series,
    peer: Option<&'m Series>,
    /// Median over the rounds; `None`: a peer's figure is zero, or there is no peer.
    ratio: Option<f64>,
    /// Between the largest and the smallest ratio of a round, by the median.
    spread: Option<f64>,
}

fn rows(measured: &Measured) -> Vec<Row<'_>> {
    let ours = measured.series.iter().filter(|series| series.peer == Peer::Ours);
    let pairs = ours.flat_map(|ours| {
        let beside = |series: &&Series| series.peer != Peer::Ours && series.case == ours.case;
        let mut others: Vec<Option<&Series>> = measured.series.iter().filter(beside).map(Some).collect();
        if others.is_empty() {
            others.push(None);
        }
        others.into_iter().map(move |peer| (ours, peer))
    });
    pairs
        .map(|(ours, peer)| {
            let ratios = peer.map(|peer| ratios(ours, peer)).unwrap_or_default();
            let ratio = median(&ratios);
            // A single round has none.
            let spread = ratio
                .filter(|ratio| *ratio > 0.0 && ratios.len() > 1)
                .and_then(|ratio| Some((ratios.last()? - ratios.first()?) / ratio));
            Row { ours, peer, ratio, spread }
        })
        .collect()
}

/// Of each round, sorted.
fn ratios(ours: &Series, peer: &Series) -> Vec<f64> {
    let rounds = ours.rounds.iter().zip(&peer.rounds).filter(|(_, theirs)| **theirs > 0.0);
    let mut ratios: Vec<f64> = rounds.map(|(mine, theirs)| mine / theirs).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

/// The median of the ratios within a round.
pub(crate) fn ratio_to(ours: &Series, peer: &Series) -> Option<f64> {
    median(&ratios(ours, peer))
}

/// Of sorted figures.
fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// The median of all rounds.
pub(crate) fn figure(series: &Series) -> f64 {
    let mut rounds = series.rounds.clone();
    rounds.sort_by(f64::total_cmp);
    median(&rounds).unwrap_or(f64::NAN)
}

pub(crate) fn table(measured: &Measured) -> String {
    let mut text = String::new();
    for (peer, version) in &measured.versions {
        writeln!(text, "{:9} {version}", peer.name()).ok();
    }
    let or_none = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    let mut line = |[case, regime, peer, ours, theirs, ratio, spread, unit]: [&str; 8]| {
        let written =
            writeln!(text, "{case:22} {regime:13} {peer:9} {ours:>10} {theirs:>10} {ratio:>7} {spread:>7}  {unit}");
        written.ok();
    };
    line(["\ncase", "regime", "peer", "ours", "peer", "ratio", "spread", "unit"]);
    let mut before = "";
    for Row { ours, peer, ratio, spread } in rows(measured) {
        let (mine, theirs) = (format!("{:.1}", figure(ours)), peer.map(|peer| format!("{:.1}", figure(peer))));
        let name = peer.map_or("-", |peer| peer.peer.name());
        let (ratio, spread) = (or_none(ratio), or_none(spread));
        let theirs = theirs.as_deref().unwrap_or("-");
        if before != ours.case {
            before = ours.case;
            for Unable { peer, reason, .. } in measured.unable.iter().filter(|unable| unable.case == ours.case) {
                line([ours.case, ours.regime, peer.name(), &mine, "-", "-", "-", reason]);
            }
        }
        line([ours.case, ours.regime, name, &mine, theirs, &ratio, &spread, ours.unit.as_str()]);
    }
    text
}

/// Each goal, what was measured, and whether that is enough.
pub(crate) fn verdicts(measured: &Measured) -> String {
    let outcomes = outcomes(measured);
    if outcomes.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{:22} {:28} {:>10}  verdict\n", "goal of", "at most", "measured");
    for outcome in outcomes {
        let (case, goal, verdict) = (outcome.case, &outcome.goal, outcome.verdict());
        writeln!(text, "{case:22} {goal:28} {:>10.2}  {verdict}", outcome.measured).ok();
    }
    text
}

/// Writes a list of rows, with the versions of all and the goals beside it.
pub(crate) fn write(measured: &Measured, file: &Path) -> anyhow::Result<()> {
    let rows: Vec<Value> = rows(measured)
        .iter()
        .map(|row| {
            json!({
                "case": row.ours.case,
                "regime": row.ours.regime,
                "target": Peer::Ours.name(),
                "peer": row.peer.map_or("none", |peer| peer.peer.name()),
                "ratio": row.ratio,
                "spread": row.spread,
                "us": figure(row.ours),
                "peer_us": row.peer.map(figure),
                "unit": row.ours.unit.as_str(),
            })
        })
        .collect();
    let versions: serde_json::Map<String, Value> =
        measured.versions.iter().map(|(peer, version)| (peer.name().to_owned(), json!(version))).collect();
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_string_pretty(&rows)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let goals: Vec<Value> = outcomes(measured)
        .iter()
        .map(|outcome| {
            json!({
                "case": outcome.case,
                "goal": outcome.goal,
                "measured": outcome.measured,
                "reached": outcome.is_reached(),
            })
        })
        .collect();
    std::fs::write(file.with_file_name("versions.json"), serde_json::to_string_pretty(&versions)?)?;
    std::fs::write(file.with_file_name("goals.json"), serde_json::to_string_pretty(&goals)?)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}
