//! What proxies report of who calls whom, in any order, by any clock: the books stay exact and within their bounds.

use std::collections::BTreeMap;

use prost::Message as _;
use tidegate_control::fuzzing::{Books, Known};
use tidegate_control::topology::Of;
use tidegate_control::topology::model::View;
use tidegate_control::topology::query::Query;
use tidegate_xds::report_service::{Edge, EdgeKey, EdgeReport, Outcome, Service, Workload};

/// Few, so that edges make room.
const EDGES_MAX: usize = 12;
/// Beside them: what made room, for each reporter and protocol.
const OTHERS_MAX: usize = 8;
/// More steps repeat what fewer have shown.
const STEPS_MAX: usize = 64;
/// Beyond this the books count no further than the largest number, and are not exact.
const EXACT_MAX: u128 = 1 << 62;
/// 2023-11-14.
const NOW_MS: u64 = 1_700_000_000_000;
/// Steps of time, of which every second one goes back.
const STEPS_MS: [u64; 6] = [500, 5_000, 61_000, 130_000, 3_600_000, 90_000_000];
const NODES: [&str; 4] = ["web-1.shop", "web-2.shop", "", "web\n"];
const NAMES: [&str; 8] = ["", "web", "reviews", "ratings", "__other__", "a/b>c", "\u{1b}[2J", "\u{fc}ber"];
const FLAGS: [&str; 5] = ["", "UF", "DC", "UF,URX", "ZZ"];
const CODES: [u32; 8] = [0, 99, 200, 404, 503, 599, 999, 1_000];
const QUERIES: [&str; 6] = ["1m", "5m", "10m", "1h", "24h", "total"];
const GROUPINGS: [&str; 4] = ["versionedApp", "app", "workload", "service"];

/// Each step is a message on one of several streams, the end of one, time, a restart or a question.
pub(crate) fn edge_reports(bytes: &[u8]) {
    let (mut rest, mut run) = (Bytes(bytes), Run::new());
    for _ in 0..STEPS_MAX {
        if rest.0.is_empty() {
            break;
        }
        run.step(&mut rest);
        run.holds();
    }
    run.look();
}

/// The input; behind its end there are zeros.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// Mostly a small number.
    fn number(&mut self) -> u64 {
        match self.byte() {
            0xff => u64::MAX,
            0xfe => 1 << 53,
            0xfd => (1 << 53) + 1,
            0xfc => u64::from(self.byte()) << 40,
            small => small.into(),
        }
    }
}

/// An edge of a process, as its reports name it.
type Named = (String, u64, u32);

struct Run {
    books: Books,
    /// What each edge of each process was last heard to say.
    heard: BTreeMap<Named, Edge>,
    /// Streams that are open: whose they are, the last number, and whether what is said on them was counted before.
    open: BTreeMap<u8, (String, u64, u64, bool)>,
    before: u128,
    folded: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            books: Books::new(EDGES_MAX, NOW_MS),
            heard: BTreeMap::new(),
            open: BTreeMap::new(),
            before: 0,
            folded: 0,
        }
    }

    fn step(&mut self, rest: &mut Bytes<'_>) {
        let (what, stream) = (rest.byte() % 8, rest.byte() % 3);
        match what {
            0..=3 => {
                let report = self.made(stream, rest);
                self.take(stream, &report);
            }
            4 => {
                let length = usize::from(rest.byte()).min(rest.0.len());
                let (message, behind) = rest.0.split_at(length);
                rest.0 = behind;
                if let Ok(report) = EdgeReport::decode(message) {
                    self.take(stream, &report);
                }
            }
            5 => {
                self.open.remove(&stream);
                self.books.close(stream);
            }
            6 => {
                let step = rest.byte();
                let ms = STEPS_MS[usize::from(step / 2) % STEPS_MS.len()];
                let now = self.books.now_ms();
                self.books.set_time(if step.is_multiple_of(2) { now + ms } else { now.saturating_sub(ms) });
                if step & 0x80 != 0 {
                    self.books.sweep();
                }
            }
            _ if stream == 0 => {
                self.open.clear();
                self.books.restart();
            }
            _ => self.look(),
        }
    }

    /// A message that has something of what was said before.
    fn made(&self, stream: u8, rest: &mut Bytes<'_>) -> EdgeReport {
        let shape = rest.byte();
        let (node, epoch, sequence) = match self.open.get(&stream) {
            Some((node, epoch, sequence, _)) if shape & 0x80 == 0 => (node.clone(), *epoch, sequence + 1),
            Some(_) | None => (rest.one_of(&NODES).to_owned(), u64::from(rest.byte() % 12), 1),
        };
        let edges = (0..shape & 3).map(|_| self.made_edge(&node, epoch, rest)).collect();
        let folded = if shape & 4 == 0 { 0 } else { rest.number() };
        EdgeReport { node, epoch, sequence, edges, last: shape & 0x78 == 0x78, folded }
    }

    fn made_edge(&self, node: &str, epoch: u64, rest: &mut Bytes<'_>) -> Edge {
        let (shape, id) = (rest.byte(), u32::from(rest.byte() % 32));
        let known = self.heard.get(&(node.to_owned(), epoch, id));
        if let Some(known) = known.filter(|_| shape & 1 == 0) {
            let mut edge = known.clone();
            edge.outcomes.iter_mut().for_each(|outcome| outcome.count = outcome.count.saturating_add(rest.number()));
            edge.counts.iter_mut().for_each(|count| *count = count.saturating_add(rest.number()));
            edge.connections_opened = edge.connections_opened.saturating_add(rest.number());
            edge.key = edge.key.filter(|_| shape & 2 == 0);
            return edge;
        }
        Edge {
            id,
            key: (shape & 2 == 0).then(|| made_key(rest)),
            outcomes: (0..shape >> 2 & 3).map(|_| made_outcome(rest)).collect(),
            buckets: (0..shape >> 4 & 3).map(|_| u32::from(rest.byte()) << (shape >> 6)).collect(),
            counts: (0..shape >> 4 & 3).map(|_| rest.number()).collect(),
            bytes_sent: rest.number(),
            bytes_received: rest.number(),
            connections_opened: rest.number(),
            connections_closed: rest.number(),
        }
    }

    fn take(&mut self, stream: u8, report: &EdgeReport) {
        let EdgeReport { node, epoch, sequence, .. } = report;
        let opens = !self.open.contains_key(&stream);
        if opens {
            match self.books.known(node, *epoch) {
                Known::Numbers => {}
                // What was heard has been let go of: it is counted, and nothing is taken from what is said next.
                Known::Nothing => self.heard.retain(|(of, number, _), _| (of, number) != (node, epoch)),
                Known::Grave => {}
            }
        }
        let taken = self.books.take(stream, report);
        // Whoever was buried when the stream began has said it all before, and is told so.
        let counted_before = match self.open.get(&stream) {
            Some((.., counted_before)) => *counted_before,
            None => self.books.known(node, *epoch) == Known::Grave,
        };
        let grown = self.books.requests().checked_sub(self.before).expect("no total falls");

        // The books take edges in their order, and stop at the first that cannot be true.
        let (mut sum, mut heard, mut found) = (0_u128, self.heard.clone(), None);
        let mut steps = report.edges.iter();
        loop {
            if taken.is_err() && sum == grown {
                found = Some(heard.clone());
                break;
            }
            let Some(edge) = steps.next() else { break };
            let named = (node.clone(), *epoch, edge.id);
            let before = heard.get(&named).map_or(0, requests);
            sum += requests(edge).saturating_sub(before);
            let key = edge.key.clone().or_else(|| heard.get(&named)?.key.clone());
            heard.insert(named, Edge { key, ..edge.clone() });
        }
        let is_exact = self.before + sum < EXACT_MAX && self.before + grown < EXACT_MAX;
        match taken {
            Ok(()) => {
                let expected = if counted_before { 0 } else { sum };
                assert!(!is_exact || grown == expected, "{grown} more requests where {expected} were said: {report:?}");
                if !counted_before {
                    self.heard = heard;
                }
                self.open.insert(stream, (node.clone(), *epoch, *sequence, counted_before));
            }
            Err(why) => {
                assert!(
                    !is_exact || found.is_some(),
                    "{grown} more requests of a report that broke off ({why}): {report:?}"
                );
                self.heard = found.unwrap_or_default();
                self.open.remove(&stream);
            }
        }
    }

    fn holds(&mut self) {
        let requests = self.books.requests();
        assert!(requests >= self.before, "{requests} requests, and there were {}", self.before);
        self.before = requests;
        assert!(self.books.edges() <= EDGES_MAX + OTHERS_MAX, "{} edges", self.books.edges());
        assert!(!self.books.is_overfull());
        let folded = self.books.view(&Query::default()).folded;
        assert!(folded.requests >= self.folded, "{folded:?}, and there were {}", self.folded);
        self.folded = folded.requests;
    }

    fn look(&self) {
        for window in QUERIES {
            for grouping in GROUPINGS {
                let mut query = Query::default();
                assert_eq!((query.set("window", window), query.set("type", grouping)), (Ok(true), Ok(true)));
                let view = self.books.view(&query);
                let json = serde_json::to_vec(&view).expect("a graph is JSON");
                let read: View = serde_json::from_slice(&json).expect("and is read as a graph");
                assert_eq!((read.edges.len(), read.nodes.len()), (view.edges.len(), view.nodes.len()));
                self.adds_up(&view);
                if let Some(edge) = view.edges.first() {
                    let series = self.books.series(&query, &Of::Edge(edge.id.clone()));
                    assert_eq!(series.is_some(), window != "total");
                }
            }
        }
    }

    fn adds_up(&self, view: &View) {
        let (mut shown, mut has_tunnels) = (0, false);
        for edge in &view.edges {
            let both =
                [edge.reporters.source, edge.reporters.destination].map(|reported| u128::from(reported.requests));
            shown += both.iter().sum::<u128>();
            has_tunnels |= edge.protocol == "tcp";
            assert!(u128::from(edge.requests) <= both.iter().sum(), "{edge:?}");
            assert!(edge.errors <= edge.requests, "{edge:?}");
            assert!((0.0..=1.0).contains(&edge.share.unwrap_or(0.0)), "{edge:?}");
            let codes = edge.codes.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            assert_eq!(codes, edge.requests, "{edge:?}");
            let ends = [&edge.source, &edge.destination];
            assert!(ends.into_iter().all(|end| view.nodes.iter().any(|node| node.id == *end)), "{edge:?}");
        }
        assert!(shown <= self.before || self.before > EXACT_MAX, "{shown} of {}", self.before);
        if view.window == "total" && !has_tunnels && self.before < EXACT_MAX {
            assert_eq!(shown, self.before, "all edges together are all that was heard");
        }
    }
}

fn requests(edge: &Edge) -> u128 {
    edge.outcomes.iter().map(|outcome| u128::from(outcome.count)).sum()
}

fn made_key(rest: &mut Bytes<'_>) -> EdgeKey {
    let kinds = rest.byte();
    let mut name = || rest.one_of(&NAMES).to_owned();
    let mut workload = || Workload { name: name(), namespace: name(), app: name(), ..Workload::default() };
    let (source, destination) = (workload(), workload());
    let service = Service { host: name(), name: name(), namespace: name() };
    EdgeKey {
        reporter: i32::from(kinds & 3),
        source: Some(source),
        destination: Some(destination),
        service: Some(service),
        protocol: i32::from(kinds >> 2 & 7),
        security: i32::from(kinds >> 5),
    }
}

fn made_outcome(rest: &mut Bytes<'_>) -> Outcome {
    let (code, flags) = (rest.one_of(&CODES), rest.one_of(&FLAGS).to_owned());
    let grpc_status = Some(u32::from(rest.byte())).filter(|status| *status < 20);
    Outcome { code, flags, grpc_status, count: rest.number() }
}
