//! The soak: every trouble that a mesh must live through, one after the other, under a load that must not notice.
//!
//! `make soak` takes ten minutes, `make soak ARGS=--short` one and a half. It prints a line for each stage and writes
//! `target/soak/report.json`. A request that failed, a panic, memory or descriptors that did not come back are failures.
//!
//! # Why namespaces
//! Some stages lose packets, and a rule for that must not outlive the run or meet anybody else; another has a disk of its own,
//! to fill it. So the whole run moves into a network and a mount namespace of its own first, which go with its last process.
//!
//! # Times
//! What a request may take is judged only where the machine has the time for it: each stage measures how late it is woken
//! itself, and says so where it judges nothing.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "a soak fails by panicking, and uses a part of the harness"
)]

#[path = "../bad_input/broken.rs"]
mod broken;
mod certificates;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod relay;
mod scarce;
mod stages;
mod troubled;
mod world;

/// Where [`broken`] looks for a good configuration.
mod split {
    pub(crate) use crate::harness::moving::canary;
}

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use serde_json::json;

use crate::harness::{process, wait};
use crate::stages::Stage;
use crate::world::{Row, World};

/// Set in the process that has a network of its own.
const INSIDE: &str = "TIDEGATE_SOAK_INSIDE";

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole plan.
    Full,
    /// Nearly each stage once, in a minute and a half together.
    Short,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Form::Full,
        ["--short"] => Form::Short,
        _ => {
            eprintln!("arguments: --short, or none");
            return ExitCode::FAILURE;
        }
    };
    if std::env::var_os(INSIDE).is_none() {
        return move_inside(&arguments);
    }
    run_tool("ip", &["link", "set", "lo", "up"]);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(soak(form))
}

/// Becomes the same program in a network and with mounts of its own. Whoever is not root is it in a user namespace, for this alone.
fn move_inside(arguments: &[String]) -> ExitCode {
    let program = std::env::current_exe().expect("this program has a path");
    let error = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount"])
        .arg(program)
        .args(arguments)
        .env(INSIDE, "yes")
        .exec();
    eprintln!("cannot make namespaces with unshare: {error}");
    ExitCode::FAILURE
}

/// Runs a tool that must succeed; what it printed.
pub(crate) fn run_tool(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{tool}: {error}; run `bash tests/install.sh`"));
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn soak(form: Form) -> ExitCode {
    let start = wait::now();
    let mut world = World::start(form).await;
    println!("{}", Row::HEADER);
    let mut rows = Vec::new();
    for stage in Stage::of(form) {
        let row = world.stage(stage).await;
        println!("{row}");
        rows.push(row);
    }
    let leaks = world.leaks().await;
    let panics = world.panics().await;
    let failures: Vec<String> = rows
        .iter()
        .flat_map(|row| row.failures.iter().map(|why| format!("{}: {why}", row.stage)))
        .chain(leaks.iter().filter(|leak| leak.is_one(form)).map(ToString::to_string))
        .chain((panics > 0).then(|| format!("{panics} panics")))
        .collect();
    leaks.iter().for_each(|leak| println!("{leak}{}", if leak.is_one(form) { "; FAILED" } else { "" }));
    let (requests, failed) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.requests, sum.1 + row.failed));
    let seconds = start.elapsed().as_secs();
    println!("{requests} requests in {seconds} s, {failed} failed, {panics} panics");
    let report = json!({
        "form": format!("{form:?}"),
        "seconds": seconds,
        "requests": requests,
        "failed": failed,
        "panics": panics,
        "stages": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        "processes": leaks.iter().map(world::Leak::to_json).collect::<Vec<_>>(),
        "failures": failures,
    });
    let folder = process::root().join("target/soak");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    std::fs::write(folder.join("report.json"), format!("{report:#}\n")).expect("the target folder is writable");
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
