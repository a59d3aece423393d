//! The soak: every trouble that a mesh must live through, one after the other, under a load that must not notice.
//!
//! `make soak` takes ten minutes, `make soak ARGS=--short` one and a half. It prints a line for each stage and writes
//! `target/soak/report.json`. A request that failed, a panic, memory or descriptors that did not come back are failures. Where
//! memory has grown, all comes once more: an allocator that needed more room once has it then, while a leak goes on.
//! `ARGS='--only "memory runs out" --times 20'` takes one stage again and again, as long as in the short form.
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
mod leak;
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
use crate::leak::Leak;
use crate::stages::Stage;
use crate::world::{Row, World};

/// Set in the process that has a network of its own.
const INSIDE: &str = "TIDEGATE_SOAK_INSIDE";

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole plan.
    Full,
    /// Each stage once, in a minute and a half together.
    Short,
}

/// What is done.
struct Plan {
    form: Form,
    stages: Vec<Stage>,
}

impl Plan {
    fn of(arguments: &[&str]) -> Option<Self> {
        match arguments {
            [] => Some(Self { form: Form::Full, stages: Stage::ALL.to_vec() }),
            ["--short"] => Some(Self { form: Form::Short, stages: Stage::ALL.to_vec() }),
            ["--only", name, "--times", times] => {
                let stage = Stage::ALL.into_iter().find(|stage| stage.name() == *name)?;
                Some(Self { form: Form::Short, stages: vec![stage; times.parse().ok()?] })
            }
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = Plan::of(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) else {
        eprintln!("arguments: none, --short, or --only STAGE --times NUMBER");
        return ExitCode::FAILURE;
    };
    if std::env::var_os(INSIDE).is_none() {
        return move_inside(&arguments);
    }
    run_tool("ip", &["link", "set", "lo", "up"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(soak(plan))
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

/// For what a run leaves behind.
pub(crate) fn folder() -> std::path::PathBuf {
    let folder = process::root().join("target/soak");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

async fn soak(Plan { form, stages }: Plan) -> ExitCode {
    let start = wait::now();
    let mut world = World::start(form).await;
    println!("{}", Row::HEADER);
    let mut rows = Vec::new();
    for stage in stages.iter().copied() {
        let row = world.stage(stage).await;
        println!("{row}");
        rows.push(row);
    }
    let mut leaks = world.leaks().await;
    if leaks.iter().any(Leak::has_grown) {
        leaks.iter().for_each(|leak| println!("{leak}"));
        println!("memory has grown: all of it again");
        world.begin_again(&leaks);
        for stage in stages {
            let row = world.stage(stage).await;
            println!("{row}");
            rows.push(row);
        }
        let second = world.leaks().await;
        leaks.iter_mut().zip(&second).for_each(|(leak, second)| leak.again(second));
    }
    for leak in leaks.iter().filter(|leak| leak.is_one()) {
        println!("what {} has open stands in {}", leak.name, world.write_down(leak.name).await.display());
    }
    let panics = world.panics().await;
    let failures: Vec<String> = rows
        .iter()
        .flat_map(|row| row.failures.iter().map(|why| format!("{}: {why}", row.stage)))
        .chain(leaks.iter().filter(|leak| leak.is_one()).map(ToString::to_string))
        .chain((panics > 0).then(|| format!("{panics} panics")))
        .collect();
    leaks.iter().for_each(|leak| println!("{leak}{}", if leak.is_one() { "; FAILED" } else { "" }));
    let (requests, failed) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.requests, sum.1 + row.failed));
    let seconds = start.elapsed().as_secs();
    let well = rows.iter().filter(|row| row.failures.is_empty()).count();
    println!(
        "{well} of {} stages well; {requests} requests in {seconds} s, {failed} failed, {panics} panics",
        rows.len()
    );
    let report = json!({
        "form": format!("{form:?}"),
        "seconds": seconds,
        "requests": requests,
        "failed": failed,
        "panics": panics,
        "stages": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        "processes": leaks.iter().map(Leak::to_json).collect::<Vec<_>>(),
        "failures": failures,
    });
    std::fs::write(folder().join("report.json"), format!("{report:#}\n")).expect("the target folder is writable");
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
