//! Whatever gets lost, comes twice or begins anew: the sum of the totals is what has happened.
//!
//! # What happens here
//! Some processes count on their edges and report, with answers that get lost and streams that break, end and crash; the
//! control plane writes checkpoints and is killed. It has room for fewer edges than there are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_xds::report_service::{Edge, EdgeKey, EdgeReport, Protocol, Reporter};

use super::super::core::{Core, Stream};
use super::super::counts::Counts;
use super::{edge, keep, key, outcome, workload};

const PROCESSES: usize = 3;
const EDGES: u32 = 12;
/// Room for edges.
const ROOM: usize = 7;
const CRASHES_MAX: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A process counts: which edge, how many that went well, how many that did not.
    Traffic(usize, u32, u64, u64),
    /// It reports what has changed. The answer may get lost.
    Report(usize, bool),
    /// Its stream breaks.
    Reconnect(usize),
    /// It says its last words; the answer to them may get lost, and it says them again.
    End(usize, bool),
    /// It is killed, some time after its last report.
    Crash(usize),
    Checkpoint,
    /// The control plane is killed.
    Kill,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    prop_oneof![
        8 => (process.clone(), 0..EDGES, 0..5_u64, 0..3_u64).prop_map(|(p, e, good, bad)| Step::Traffic(p, e, good, bad)),
        6 => (process.clone(), any::<bool>()).prop_map(|(p, lost)| Step::Report(p, lost)),
        1 => process.clone().prop_map(Step::Reconnect),
        1 => (process.clone(), any::<bool>()).prop_map(|(p, lost)| Step::End(p, lost)),
        1 => process.prop_map(Step::Crash),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Kill),
        1 => (0..200_000_u64).prop_map(Step::Pass),
    ]
}

/// A proxy.
#[derive(Default)]
struct Process {
    epoch: u64,
    /// What it has counted: good and bad.
    counted: BTreeMap<u32, (u64, u64)>,
    /// What it has said in an acknowledged message.
    acknowledged: BTreeMap<u32, (u64, u64)>,
    stream: Option<(Stream, u64)>,
}

struct World {
    core: Core,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    processes: Vec<Process>,
    epochs: u64,
    now_ms: u64,
    /// What processes have counted that are gone.
    past: (u64, u64),
    crashes: usize,
}

fn edge_key(process: usize, id: u32) -> EdgeKey {
    let reporter = if id.is_multiple_of(2) { Reporter::Source } else { Reporter::Destination };
    let source = Some(workload(&format!("web{process}"), "v1"));
    EdgeKey { source, ..key(reporter, &format!("v{id}")) }
}

impl World {
    fn new() -> Self {
        let processes = (0..PROCESSES).map(|_| Process::default()).collect();
        let core = Core::bounded(1, ROOM);
        let mut world = Self { core, rows: BTreeMap::new(), processes, epochs: 0, now_ms: 1, past: (0, 0), crashes: 0 };
        (0..PROCESSES).for_each(|process| world.begin(process));
        world
    }

    fn begin(&mut self, process: usize) {
        self.disconnect(process);
        self.epochs += 1;
        self.processes[process] = Process { epoch: self.epochs, ..Process::default() };
    }

    fn disconnect(&mut self, process: usize) {
        if let Some((stream, _)) = self.processes[process].stream.take() {
            self.core.close(&stream);
        }
    }

    /// All that has changed, or all there is in a new stream.
    fn report(&mut self, process: usize, last: bool, answer_is_lost: bool) {
        let of = &mut self.processes[process];
        let is_new = of.stream.is_none();
        let (stream, sequence) = of.stream.get_or_insert_with(Default::default);
        *sequence += 1;
        let changed = of.counted.iter().filter(|(id, now)| is_new || of.acknowledged.get(id) != Some(now));
        let edges: Vec<Edge> = changed
            .map(|(id, (good, bad))| {
                let names = is_new || !of.acknowledged.contains_key(id);
                edge(
                    *id,
                    names.then(|| edge_key(process, *id)),
                    vec![outcome(200, "", *good), outcome(503, "UF", *bad)],
                )
            })
            .collect();
        let node = format!("node{}", process / 2);
        let report = EdgeReport { node, epoch: of.epoch, sequence: *sequence, edges, last, folded: 0 };
        self.core.take(stream, &report, self.now_ms).unwrap();
        if last {
            keep(&mut self.rows, self.core.checkpoint());
        }
        if answer_is_lost {
            self.disconnect(process);
        } else {
            let of = &mut self.processes[process];
            of.acknowledged.clone_from(&of.counted);
        }
    }

    fn go(&mut self, step: &Step) {
        match *step {
            Step::Traffic(process, id, good, bad) => {
                let counted = self.processes[process].counted.entry(id).or_default();
                *counted = (counted.0 + good, counted.1 + bad);
            }
            Step::Report(process, lost) => self.report(process, false, lost),
            Step::Reconnect(process) => self.disconnect(process),
            Step::End(process, lost) => {
                self.report(process, true, lost);
                if lost {
                    self.now_ms += 200_000;
                    self.core.sweep(self.now_ms);
                    self.report(process, true, false);
                }
                self.bury(process);
            }
            // What is neither reported nor on disk when a process dies is lost; it dies after that.
            Step::Crash(process) => {
                self.crashes += 1;
                // More of one node, and one that still lives might be given up as well.
                if self.crashes > CRASHES_MAX {
                    return;
                }
                self.report(process, false, true);
                keep(&mut self.rows, self.core.checkpoint());
                self.bury(process);
            }
            Step::Checkpoint => {
                self.core.sweep(self.now_ms);
                keep(&mut self.rows, self.core.checkpoint());
            }
            Step::Kill => {
                (0..PROCESSES).for_each(|process| self.processes[process].stream = None);
                self.core = Core::bounded(self.now_ms, ROOM);
                self.core.restore(&self.rows.clone().into_iter().collect::<Vec<_>>());
            }
            Step::Pass(ms) => self.now_ms += ms,
        }
    }

    fn bury(&mut self, process: usize) {
        let sum = sum(&self.processes[process].counted);
        self.past = (self.past.0 + sum.0, self.past.1 + sum.1);
        self.begin(process);
    }

    fn truth(&self) -> (u64, u64) {
        let living = self.processes.iter().map(|process| sum(&process.counted));
        living.fold(self.past, |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn totals(&self) -> Counts {
        let mut all = Counts::default();
        for (_, edge) in self.core.edges.iter() {
            all.add(&edge.lock().total, Protocol::Http);
        }
        all
    }
}

fn sum(counted: &BTreeMap<u32, (u64, u64)>) -> (u64, u64) {
    counted.values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

proptest! {
    #[test]
    fn the_sum_of_the_totals_is_what_has_happened(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.go(step));

        // Everybody who lives speaks once more.
        (0..PROCESSES).for_each(|process| world.report(process, false, false));

        let (good, bad) = world.truth();
        let totals = world.totals();
        let errors: u64 = totals.outcomes.iter().filter(|(outcome, _)| outcome.is_error(Protocol::Http)).map(|(_, n)| n).sum();
        prop_assert_eq!((totals.requests(), errors), (good + bad, bad));
        prop_assert_eq!(totals.times.buckets().map(|(_, count)| count).sum::<u64>(), good + bad);
        // Two more edges hold what made room, one of each reporter.
        prop_assert!(world.core.edges.iter().count() <= ROOM + 2);
    }
}

#[test]
fn a_disk_that_failed_is_written_anew_and_nothing_is_counted_twice() {
    let mut world = World::new();
    world.go(&Step::Traffic(0, 2, 5, 1));
    world.report(0, false, false);
    // Taken, and then lost on its way to the disk.
    let _lost = world.core.checkpoint();
    world.core.whole = true;
    world.go(&Step::Traffic(0, 4, 1, 0));
    world.report(0, false, false);

    world.go(&Step::Checkpoint);
    world.go(&Step::Kill);
    world.report(0, false, false);

    assert_eq!(world.totals().requests(), 7);
}
