//! How much room windows take, and what happens when it is too much.

use super::super::counts::Counts;
use super::super::edges::Edges;
use super::super::key::Key;
use super::*;

/// Fills every slot of every ring.
const DAY: [(u64, usize); 3] = [(3_600_000, 24), (60_000, 60), (5_000, 60)];

#[test]
fn an_edge_that_is_called_all_the_time_takes_as_much_after_a_day_as_after_two() {
    let mut edges = Edges::new(1);
    let key = Arc::new(Key::of(&key(Reporter::Source, "v1")).unwrap());
    let mut said = edge(1, None, vec![outcome(200, "", 49), outcome(503, "UF,URX", 1)]);
    (said.buckets, said.counts) = (vec![3; 24], vec![5; 24]);
    let more = Counts::of(&said).unwrap();
    let mut now_ms = NOON_MS;
    let mut fill = |edges: &mut Edges| {
        for step in DAY.into_iter().flat_map(|(step, slots)| [step].repeat(slots)) {
            now_ms += step;
            edges.add(&key, &more, now_ms, 0);
        }
        edges.history
    };

    let (day, two_days) = (fill(&mut edges), fill(&mut edges));

    println!("144 slots of 2 outcomes and 24 buckets: {day} bytes");
    assert!(day < 16 * 1_024, "{day}");
    assert!(two_days <= day + day / 8, "{day} became {two_days}");
}

#[test]
fn beyond_its_bound_history_loses_precision_of_times_and_no_count() {
    let bench = Bench::new();
    let mut stream = Stream::default();
    let say = |stream: &mut Stream, step: u64| {
        let said = edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", 100 * step)]);
        bench.topology.take(stream, &report(step, vec![said])).unwrap();
        bench.pass(5_000);
    };
    (1..=2).for_each(|step| say(&mut stream, step));
    let fine = bench.topology.lock().edges.history;
    assert!(!bench.topology.lock().sweep(NOON_MS));

    bench.topology.lock().edges.bound_history(0);
    (3..=8).for_each(|step| say(&mut stream, step));

    assert!(bench.topology.lock().sweep(NOON_MS + 40_000));
    let coarse = bench.topology.lock().edges.history - fine;
    assert!(coarse < 6 * fine, "six slots have {coarse} bytes, the one before had {fine}");
    let view = bench.view(Window::Minute, Grouping::VersionedApp);
    let shown = find(&view, V1);
    assert_eq!((shown.requests, shown.errors), (800, 0));
    assert!(shown.latency_ms.p50.is_some_and(|p50| (128.0..1_024.0).contains(&p50)), "{:?}", shown.latency_ms);
}
