//! The table for people and the file for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cases::{Measured, Series};
use super::peers::Peer;

/// Ours against one peer in one case.
struct Row<'m> {
    ours: &'m Series,
    peer: &'m Series,
    /// Median over the rounds; `None`: a peer's figure is zero.
    ratio: Option<f64>,
    /// Between the largest and the smallest ratio of a round, by the median.
    spread: Option<f64>,
}

fn rows(measured: &Measured) -> Vec<Row<'_>> {
    let ours = measured.series.iter().filter(|series| series.peer == Peer::Ours);
    let pairs = ours.flat_map(|ours| {
        let others = measured.series.iter().filter(|series| series.peer != Peer::Ours && series.case == ours.case);
        others.map(move |peer| (ours, peer))
    });
    pairs
        .map(|(ours, peer)| {
            let rounds = ours.rounds.iter().zip(&peer.rounds).filter(|(_, theirs)| **theirs > 0.0);
            let mut ratios: Vec<f64> = rounds.map(|(mine, theirs)| mine / theirs).collect();
            ratios.sort_by(f64::total_cmp);
            let ratio = median(&ratios);
            // A single round has none.
            let spread = ratio
                .filter(|ratio| *ratio > 0.0 && ratios.len() > 1)
                .and_then(|ratio| Some((ratios.last()? - ratios.first()?) / ratio));
            Row { ours, peer, ratio, spread }
        })
        .collect()
}

/// Of sorted figures.
fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

fn figure(series: &Series) -> f64 {
    let mut rounds = series.rounds.clone();
    rounds.sort_by(f64::total_cmp);
    median(&rounds).unwrap_or(f64::NAN)
}

pub(crate) fn table(measured: &Measured) -> String {
    let mut text = String::new();
    for (peer, version) in &measured.versions {
        writeln!(text, "{:9} {version}", peer.name()).ok();
    }
    writeln!(
        text,
        "\n{:12} {:10} {:9} {:>10} {:>10} {:>7} {:>7}  unit",
        "case", "regime", "peer", "ours", "peer", "ratio", "spread"
    )
    .ok();
    let or_none = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    for Row { ours, peer, ratio, spread } in rows(measured) {
        writeln!(
            text,
            "{:12} {:10} {:9} {:>10.1} {:>10.1} {:>7} {:>7}  {}",
            ours.case,
            ours.regime,
            peer.peer.name(),
            figure(ours),
            figure(peer),
            or_none(ratio),
            or_none(spread),
            ours.unit.as_str()
        )
        .ok();
    }
    text
}

/// Writes a list of rows, with the versions of all beside it.
pub(crate) fn write(measured: &Measured, file: &Path) -> anyhow::Result<()> {
    let rows: Vec<Value> = rows(measured)
        .iter()
        .map(|row| {
            json!({
                "case": row.ours.case,
                "regime": row.ours.regime,
                "target": Peer::Ours.name(),
                "peer": row.peer.peer.name(),
                "ratio": row.ratio,
                "spread": row.spread,
                "us": figure(row.ours),
                "peer_us": figure(row.peer),
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
    let beside = file.with_file_name("versions.json");
    std::fs::write(&beside, serde_json::to_string_pretty(&versions)?)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}
