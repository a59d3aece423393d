//! Takes reports and keeps the books: what was heard of each process, and what that adds up to.
//!
//! # Exact by differences
//! A process says numbers that count from its start. What they have grown by since it was heard last is added to its edges, so a
//! message that comes twice adds nothing, and one that was lost is made good by the next. A number that has become smaller cannot
//! be true; the stream ends with a word about it, and nothing is taken away.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_xds::report_service::{Edge as Said, EdgeReport};

use super::counts::Counts;
use super::edges::{EDGES_MAX, Edges};
use super::epoch::{EDGES_PER_EPOCH_MAX, Epoch, Grave, Heard, Node};
use super::key::Key;

/// Node ids that are remembered: more than any mesh that one control plane serves.
const NODES_MAX: usize = 10_000;
/// What is kept of all processes together: two thousand sidecars with a hundred edges each. Some 500 bytes each.
const HEARD_MAX: usize = 200_000;
/// The part of either that makes room at a time.
const BURIED_PART: usize = 64;
/// As ADS has it.
const NODE_BYTES_MAX: usize = 1_024;
/// A stream begins with all edges, in several messages if they are many. What is named for the first time later has just
/// begun.
const BEGINNING_MS: u64 = 10_000;
/// Things that a checkpoint must take off the disk. When there are more, the next one writes everything anew.
const UNSAVED_MAX: usize = 50_000;

/// The state of the topology.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) edges: Edges,
    pub(super) nodes: HashMap<Arc<str>, Node>,
    /// Entries of all processes together.
    pub(super) heard: usize,
    /// Streams that are open.
    pub(super) streams: usize,
    /// Since when totals are counted.
    pub(super) since_ms: u64,
    /// Since when windows are.
    pub(super) began_ms: u64,
    /// Requests that proxies could not tell apart themselves.
    pub(super) folded_by_proxies: u64,
    /// Processes buried since the last checkpoint.
    pub(super) buried: Vec<(Arc<str>, u64)>,
    /// The next checkpoint writes everything.
    pub(super) whole: bool,
}

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct Stream {
    place: Option<(Arc<str>, u64)>,
    sequence: u64,
    began_ms: u64,
    /// How long nothing was heard of the process before.
    gap_ms: u64,
    said_last: bool,
    /// What it says has been counted.
    is_counted: bool,
}

impl Core {
    pub(super) fn new(now_ms: u64) -> Self {
        Self::bounded(now_ms, EDGES_MAX)
    }

    pub(super) fn bounded(now_ms: u64, edges_max: usize) -> Self {
        Self {
            edges: Edges::new(edges_max),
            nodes: HashMap::new(),
            heard: 0,
            streams: 0,
            since_ms: now_ms,
            began_ms: now_ms,
            folded_by_proxies: 0,
            buried: Vec::new(),
            whole: true,
        }
    }

    /// Takes one message. `Err`: why the stream must end.
    pub(super) fn take(&mut self, stream: &mut Stream, report: &EdgeReport, now_ms: u64) -> Result<(), String> {
        if stream.place.is_none() {
            self.open(stream, report, now_ms)?;
        }
        stream.follow(report)?;
        if !stream.is_counted {
            self.count(stream, report, now_ms)?;
        }
        stream.said_last = report.last;
        self.bound_unsaved();
        Ok(())
    }

    /// A stream has ended.
    pub(super) fn close(&mut self, stream: &Stream) {
        let Some((node, number)) = &stream.place else { return };
        self.streams = self.streams.saturating_sub(1);
        if let Some(epoch) = self.nodes.get_mut(node).and_then(|node| node.epochs.get_mut(number)) {
            epoch.streams = epoch.streams.saturating_sub(1);
        }
    }

    fn open(&mut self, stream: &mut Stream, report: &EdgeReport, now_ms: u64) -> Result<(), String> {
        let EdgeReport { node, epoch, .. } = report;
        if node.is_empty() || node.len() > NODE_BYTES_MAX || node.chars().any(char::is_control) {
            return Err(format!("the node's id must have 1 to {NODE_BYTES_MAX} bytes and no control characters"));
        }
        if *epoch == 0 {
            return Err("the epoch is missing: a process draws a number at its start that is not 0".to_owned());
        }
        let id: Arc<str> = Arc::from(node.as_str());
        if !self.nodes.contains_key(&id) {
            self.room_for_node()?;
        }
        let node = self.nodes.entry(Arc::clone(&id)).or_default();
        let is_new = !node.epochs.contains_key(epoch);
        // Before it is looked for: one that is due itself must not begin anew, or what it says again is counted twice.
        let room_for = usize::from(is_new && node.grave(*epoch).is_none());
        for number in node.bury(now_ms, room_for) {
            self.buried.push((Arc::clone(&id), number));
        }
        self.heard = self.count_heard();
        let node = self.nodes.entry(Arc::clone(&id)).or_default();
        match node.grave(*epoch) {
            // It has not heard our answer to its last words, which are counted.
            Some(Grave::Ended) => stream.is_counted = true,
            Some(Grave::GivenUp) => {
                return Err(format!(
                    "epoch {epoch} of node {id} was silent for too long and its numbers were let go of, so what it says now would be \
                     counted twice: restart the process"
                ));
            }
            None => {}
        }
        if !stream.is_counted {
            let epoch = node.epochs.entry(*epoch).or_default();
            epoch.streams += 1;
            stream.gap_ms = if is_new { 0 } else { now_ms.saturating_sub(epoch.spoke_ms) };
        }
        self.streams += 1;
        stream.began_ms = now_ms;
        stream.place = Some((id, *epoch));
        Ok(())
    }

    fn count(&mut self, stream: &Stream, report: &EdgeReport, now_ms: u64) -> Result<(), String> {
        let Some((id, number)) = &stream.place else { return Ok(()) };
        if self.heard + report.edges.len() > HEARD_MAX {
            self.room_for_heard(report.edges.len())?;
        }
        let epoch = self.nodes.get_mut(id).and_then(|node| node.epochs.get_mut(number));
        let epoch = epoch.ok_or("the process was let go of meanwhile")?;
        epoch.spoke_ms = now_ms;
        epoch.unsaved = true;
        let folded = report.folded.checked_sub(epoch.folded).ok_or_else(|| went_back("folded", report, epoch))?;
        epoch.folded = report.folded;
        self.folded_by_proxies = self.folded_by_proxies.saturating_add(folded);
        for said in &report.edges {
            let is_beginning = said.key.is_some() && now_ms.saturating_sub(stream.began_ms) < BEGINNING_MS;
            let gap_ms = if is_beginning { stream.gap_ms } else { 0 };
            let named = |why: String| format!("edge {} of epoch {number} of node {id}: {why}", said.id);
            let known = epoch.heard.len();
            let grown = grown(epoch, said, &self.edges).map_err(named)?;
            self.heard += epoch.heard.len() - known;
            if let Some((key, more)) = grown {
                self.edges.add(&key, &more, now_ms, gap_ms);
            }
        }
        if report.last {
            epoch.ended_ms = Some(now_ms);
        }
        Ok(())
    }

    fn room_for_node(&mut self) -> Result<(), String> {
        if self.nodes.len() < NODES_MAX {
            return Ok(());
        }
        let idle = |node: &Node| node.epochs.values().all(|epoch| epoch.streams == 0);
        let silent = self.nodes.iter().filter(|(_, node)| idle(node));
        let mut silent: Vec<_> = silent.map(|(id, node)| (node.spoke_ms(), Arc::clone(id))).collect();
        silent.sort_unstable();
        silent.truncate(NODES_MAX / BURIED_PART);
        if silent.is_empty() {
            return Err(format!("{NODES_MAX} nodes report, which is the limit"));
        }
        for (_, id) in silent {
            let node = self.nodes.remove(&id).unwrap_or_default();
            self.buried.extend(node.epochs.into_keys().map(|number| (Arc::clone(&id), number)));
            // Its graves go as well.
            self.whole = true;
        }
        Ok(())
    }

    fn room_for_heard(&mut self, wanted: usize) -> Result<(), String> {
        let epochs = self.nodes.iter().flat_map(|(id, node)| node.epochs.iter().map(move |(n, epoch)| (id, *n, epoch)));
        let silent = epochs.filter(|(_, _, epoch)| epoch.streams == 0);
        let mut silent: Vec<_> =
            silent.map(|(id, number, epoch)| (epoch.spoke_ms, Arc::clone(id), number, epoch.heard.len())).collect();
        silent.sort_unstable();
        let goal = (HEARD_MAX - HEARD_MAX / BURIED_PART).saturating_sub(wanted);
        for (_, id, number, entries) in silent {
            if self.heard <= goal {
                break;
            }
            if self.nodes.get_mut(&id).is_some_and(|node| node.give_up(number)) {
                self.heard -= entries;
                self.buried.push((id, number));
            }
        }
        if self.heard + wanted > HEARD_MAX {
            return Err(format!(
                "the control plane keeps {HEARD_MAX} edges of all proxies together, and they are in use"
            ));
        }
        Ok(())
    }

    /// What time asks for: processes that are due are buried, slots that are old are let go of. Says whether there is so much
    /// history that a part is kept coarse.
    pub(super) fn sweep(&mut self, now_ms: u64) -> bool {
        for (id, node) in &mut self.nodes {
            self.buried.extend(node.bury(now_ms, 0).into_iter().map(|number| (Arc::clone(id), number)));
        }
        self.heard = self.count_heard();
        self.edges.sweep(now_ms);
        self.bound_unsaved();
        self.edges.is_coarse()
    }

    pub(super) fn count_heard(&self) -> usize {
        self.nodes.values().flat_map(|node| node.epochs.values()).map(|epoch| epoch.heard.len()).sum()
    }

    fn bound_unsaved(&mut self) {
        if self.edges.gone.len() + self.buried.len() > UNSAVED_MAX {
            self.edges.gone = Vec::new();
            self.buried = Vec::new();
            self.whole = true;
        }
    }
}

impl Stream {
    /// Whether a message is the one that comes next.
    fn follow(&mut self, report: &EdgeReport) -> Result<(), String> {
        let EdgeReport { node, epoch, sequence, .. } = report;
        if self.place.as_ref().is_some_and(|(id, number)| **id != **node || number != epoch) {
            return Err("a stream speaks for one process, and this message is of another".to_owned());
        }
        if self.said_last {
            return Err("nothing follows a last message".to_owned());
        }
        if *sequence != self.sequence + 1 {
            return Err(format!("message {sequence} came where {} was to come", self.sequence + 1));
        }
        self.sequence = *sequence;
        Ok(())
    }
}

fn went_back(what: &str, report: &EdgeReport, epoch: &Epoch) -> String {
    let EdgeReport { node, epoch: number, folded, .. } = report;
    format!("epoch {number} of node {node}: {what} went back from {} to {folded}", epoch.folded)
}

/// What has happened on an edge since the process was heard last; `None`: nothing.
fn grown(epoch: &mut Epoch, said: &Said, edges: &Edges) -> Result<Option<(Arc<Key>, Counts)>, String> {
    let counts = Counts::of(said)?;
    let key = said.key.as_ref().map(Key::of).transpose()?;
    if let Some(heard) = epoch.heard.get_mut(&said.id) {
        if key.is_some_and(|key| key != *heard.key) {
            return Err("its number stood for another edge before".to_owned());
        }
        let more = counts.since(&heard.counts)?;
        if more.is_zero() {
            return Ok(None);
        }
        heard.counts = counts;
        heard.unsaved = true;
        return Ok(Some((Arc::clone(&heard.key), more)));
    }
    let key = edges.shared(key.ok_or("it has a number that nobody has explained")?);
    if epoch.heard.len() >= EDGES_PER_EPOCH_MAX {
        return Err(format!("a process may have {EDGES_PER_EPOCH_MAX} edges"));
    }
    let heard = Heard { key: Arc::clone(&key), counts: counts.clone(), unsaved: true };
    epoch.heard.insert(said.id, heard);
    Ok((!counts.is_zero()).then_some((key, counts)))
}
