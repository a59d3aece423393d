//! `tidegate demo`: the bookshop as a mesh of real processes on this machine.
//!
//! # Why it is a sub-command
//! Newcomers may have nothing but the binaries. The demo needs no container, no cluster and no root: every workload
//! is a process on a loopback address of its own, behind its own `tidegate-proxy`, and the control plane is this same
//! binary. What it shows is what a user would do by hand: edit a file, see it applied, see traffic follow.

mod changes;
mod load;
mod processes;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use processes::Processes;

use super::show;

/// A mesh that is not up by then never will be.
const START_LIMIT: Duration = Duration::from_secs(30);
/// In a run that ends by itself, the last part shows a change.
const SHOWN_CHANGE_MAX: Duration = Duration::from_secs(4);
/// Where the control plane listens: the ports that `tidegate status` and `tidegate-proxy` assume.
const XDS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15010);
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
/// Where the gateway listens.
const FRONT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 2, 10)), 8080);

/// The mesh's files, as users copy them.
const FILES: [(&str, &str); 4] = [
    ("services.yaml", include_str!("../../../../examples/bookinfo/mesh/services.yaml")),
    ("workloads.yaml", include_str!("../../../../examples/bookinfo/mesh/workloads.yaml")),
    ("reviews.yaml", include_str!("../../../../examples/bookinfo/mesh/reviews.yaml")),
    ("gateway.yaml", include_str!("../../../../examples/bookinfo/mesh/gateway.yaml")),
];

/// Flags of `tidegate demo`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// End by itself after this long, e.g. 20s or 2m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    run_for: Option<Duration>,
    /// Write what was seen as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the mesh's files are put; they are written anew at each start
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the demo.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let folder = options.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("tidegate-demo"));
    let mesh = lay_out(&folder)?;
    let mut processes = Processes::start(&folder, &mesh, XDS, API)?;
    let shown = watch(&options, &mesh, &mut processes).await;
    processes.stop().await;
    let report = shown?;
    if let Some(file) = &options.report {
        std::fs::write(file, format!("{report:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
        say(&format!("report written to {}", file.display()));
    }
    Ok(())
}

async fn watch(options: &Options, mesh: &Path, processes: &mut Processes) -> anyhow::Result<serde_json::Value> {
    let proxies = processes.proxies();
    tokio::select! {
        up = changes::all_settled(API, proxies, START_LIMIT) => up?,
        died = processes.first_to_end() => return Err(died),
        () = interrupted() => anyhow::bail!("interrupted while starting"),
    }
    let file = mesh.join("reviews.yaml");
    introduce(processes, &file);

    let load = load::Load::start(FRONT);
    let mut follower = changes::Watch::start(API).await?;
    let shown_change = options.run_for.map(|all| (all / 5).min(SHOWN_CHANGE_MAX));
    let counted = match (options.run_for, shown_change) {
        (Some(all), Some(shown)) => tokio::time::sleep(all.saturating_sub(shown)),
        _ => tokio::time::sleep(Duration::from_secs(u64::from(u32::MAX))),
    };
    let end = tokio::select! {
        () = counted => End::Time,
        () = interrupted() => End::Interrupt,
        died = processes.first_to_end() => End::Died(died),
        failed = follower.print_each() => End::Died(failed),
    };
    let seen = load.seen();
    if let (End::Time, Some(shown)) = (&end, shown_change) {
        say("now the demo edits reviews.yaml by itself, as an editor would:");
        change_weights(&file)?;
        tokio::select! {
            () = tokio::time::sleep(shown) => {}
            () = interrupted() => {}
            died = processes.first_to_end() => return Err(died),
            failed = follower.print_each() => return Err(failed),
        }
    }
    let all = load.stop().await;
    let after = all.since(&seen);
    say(&format!(
        "{} requests, {} failed; reviews: {}",
        all.requests,
        all.failed,
        all.versions.iter().map(|(v, n)| format!("{v} {n}")).collect::<Vec<_>>().join(", ")
    ));
    if let Some(first) = &all.first_failure {
        say(&format!("the first failure was: {first}"));
    }
    if let End::Died(error) = end {
        return Err(error);
    }
    Ok(json!({
        "requests": seen.requests,
        "failed": all.failed,
        "versions": seen.versions,
        "changes": follower.seen(),
        "after_own_edit": {"requests": after.requests, "failed": after.failed, "versions": after.versions},
    }))
}

enum End {
    Time,
    Interrupt,
    Died(anyhow::Error),
}

fn lay_out(folder: &Path) -> anyhow::Result<PathBuf> {
    let mesh = folder.join("mesh");
    // What an earlier run left would be merged with what is written now.
    for old in [&mesh, &folder.join("state")] {
        if old.exists() {
            std::fs::remove_dir_all(old).with_context(|| format!("cannot empty {}", old.display()))?;
        }
    }
    std::fs::create_dir_all(&mesh).with_context(|| format!("cannot make {}", mesh.display()))?;
    for (name, text) in FILES {
        let file = mesh.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(mesh)
}

fn introduce(processes: &Processes, file: &Path) {
    say(&processes.table());
    say(&format!("try:   curl -si http://{FRONT}/productpage | grep x-bookinfo-reviews"));
    say(&format!("edit:  {}   (the weights; save, and see what happens here)", file.display()));
    // Whoever came by `make demo` has nothing in the path yet.
    let own = std::env::current_exe().map_or_else(|_| "tidegate".to_owned(), |path| path.display().to_string());
    say(&format!("look:  http://{API}/ in a browser, or {own} status"));
    say("stop:  Ctrl-C\n");
}

/// Writes 50/50 where the example has 90/10, the way editors save: a new file renamed over the old.
fn change_weights(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let edited = text.replacen("weight: 90", "weight: 50", 1).replacen("weight: 10", "weight: 50", 1);
    let new = file.with_extension("yaml.new");
    std::fs::write(&new, edited).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, file).with_context(|| format!("cannot replace {}", file.display()))
}

async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

fn say(line: &str) {
    show(&format!(
        "{line}
"
    ));
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a duration such as 20s or 2m"))?;
    match unit {
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("`{unit}` is not a unit here; use s or m")),
    }
}

/// Requests by reviews version, for the report.
type Versions = BTreeMap<String, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_a_unit() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("2h").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn the_shown_change_finds_the_weights_of_the_example() {
        let folder = tempfile::tempdir().unwrap();
        let mesh = lay_out(folder.path()).unwrap();
        let file = mesh.join("reviews.yaml");

        change_weights(&file).unwrap();

        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.matches("weight: 50").count(), 2);
    }
}
