//! What is written to disk so that a restart loses no count, and how it is read again.
//!
//! # What must be together
//! Totals and what was heard of processes are two sides of one book: whatever is in the totals must be in what was heard, or a proxy that
//! says it again is counted twice. A checkpoint is therefore taken in one piece, under the lock, and written in one
//! transaction. It holds what has changed since the one before.
//!
//! # What is not written
//! The rings: a restart begins the windows anew.

use std::sync::Arc;

use super::core::Core;
use super::counts::Counts;
use super::epoch::{Epoch, Grave, Heard};
use super::key::Key;
use super::packed::{put, take};

/// Kinds of rows: the first byte of their names.
const EDGE: u8 = b'e';
const HEARD: u8 = b'h';
const PROCESS: u8 = b'p';
const GRAVES: u8 = b'g';
const NUMBERS: u8 = b'n';
/// Ends a node's id in a name: an id has no control characters.
const END: u8 = 0;
/// The form of what is written. Rows of another are left unread.
const VERSION: u64 = 1;

/// A name and its content.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows to be written in one transaction.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// All earlier rows go first.
    pub whole: bool,
    /// All rows whose names begin so go next.
    pub gone: Vec<Vec<u8>>,
    /// Names and contents.
    pub rows: Vec<Row>,
}

impl Checkpoint {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.whole && self.gone.is_empty() && self.rows.is_empty()
    }
}

impl Core {
    /// What has changed since the last call.
    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        let whole = std::mem::take(&mut self.whole);
        let mut checkpoint = Checkpoint { whole, ..Checkpoint::default() };
        let Checkpoint { gone, rows, .. } = &mut checkpoint;
        for key in self.edges.gone.drain(..) {
            gone.push(edge_name(&key));
        }
        for (node, epoch) in self.buried.drain(..) {
            gone.extend([name(PROCESS, &node, Some(epoch)), name(HEARD, &node, Some(epoch))]);
            rows.extend(self.nodes.get(&node).map(|of| (name(GRAVES, &node, None), graves(&of.graves))));
        }
        for (key, edge) in self.edges.iter() {
            let mut record = edge.lock();
            if std::mem::take(&mut record.unsaved) || whole {
                let mut bytes = Vec::new();
                put(&mut bytes, record.active_ms);
                record.total.write(&mut bytes);
                rows.push((edge_name(key), bytes));
            }
        }
        for (id, node) in &mut self.nodes {
            if whole && !node.graves.is_empty() {
                rows.push((name(GRAVES, id, None), graves(&node.graves)));
            }
            node.epochs.iter_mut().for_each(|(number, epoch)| process(id, *number, epoch, whole, rows));
        }
        if !checkpoint.is_empty() {
            let mut bytes = Vec::new();
            self.numbers().into_iter().for_each(|number| put(&mut bytes, number));
            checkpoint.rows.push((vec![NUMBERS], bytes));
        }
        checkpoint
    }

    fn numbers(&self) -> [u64; 6] {
        let edges = &self.edges;
        let folded = [edges.folded_edges, edges.folded_requests, self.folded_by_proxies];
        [VERSION, self.since_ms, folded[0], folded[1], folded[2], edges.collapsed]
    }

    /// Takes up what an earlier process left. Says how many rows could not be read.
    pub(super) fn restore(&mut self, rows: &[Row]) -> usize {
        let numbers = rows.iter().find(|(name, _)| **name == [NUMBERS]);
        let Some((_, mut numbers)) = numbers.map(|(name, bytes)| (name, &**bytes)) else { return rows.len() };
        let numbers: Vec<u64> = std::iter::from_fn(|| take(&mut numbers)).collect();
        let [VERSION, since_ms, folded_edges, folded_requests, folded_by_proxies, collapsed] = *numbers else {
            return rows.len();
        };
        (self.since_ms, self.folded_by_proxies) = (since_ms, folded_by_proxies);
        self.edges.folded_edges = folded_edges;
        (self.edges.folded_requests, self.edges.collapsed) = (folded_requests, collapsed);
        let unread = rows.iter().filter(|(name, bytes)| self.restore_row(name, bytes).is_none()).count();
        self.heard = self.count_heard();
        // What could not be read must not come back after the next restart either.
        self.whole = unread > 0;
        unread
    }

    fn restore_row(&mut self, name: &[u8], mut bytes: &[u8]) -> Option<()> {
        let (kind, mut rest) = name.split_first()?;
        match *kind {
            EDGE => {
                let (key, active_ms) = (Key::read(&mut rest)?, take(&mut bytes)?);
                self.edges.put(Arc::new(key), Counts::read(&mut bytes)?, active_ms);
            }
            HEARD => {
                let (node, epoch, rest) = parse_name(rest)?;
                let id = u32::from_be_bytes(*rest.first_chunk()?);
                let (key, counts) = (Key::read(&mut bytes)?, Counts::read(&mut bytes)?);
                // Edges come first: their names begin with a letter before this one.
                let key = self.edges.shared(key);
                let epoch = self.nodes.entry(node).or_default().epochs.entry(epoch).or_default();
                epoch.heard.insert(id, Heard { key, counts, unsaved: false });
            }
            PROCESS => {
                let (node, number, _) = parse_name(rest)?;
                let epoch = self.nodes.entry(node).or_default().epochs.entry(number).or_default();
                (epoch.spoke_ms, epoch.folded) = (take(&mut bytes)?, take(&mut bytes)?);
                epoch.ended_ms = Some(take(&mut bytes)?).filter(|at| *at > 0);
            }
            GRAVES => {
                let (node, _) = split_node(rest)?;
                let graves = &mut self.nodes.entry(node).or_default().graves;
                while !bytes.is_empty() {
                    let grave = if take(&mut bytes)? == 0 { Grave::Ended } else { Grave::GivenUp };
                    graves.push_back((take(&mut bytes)?, grave));
                }
            }
            NUMBERS => {}
            _ => return None,
        }
        Some(())
    }
}

fn process(id: &str, number: u64, epoch: &mut Epoch, whole: bool, rows: &mut Vec<Row>) {
    if !std::mem::take(&mut epoch.unsaved) && !whole {
        return;
    }
    let mut bytes = Vec::new();
    [epoch.spoke_ms, epoch.folded, epoch.ended_ms.unwrap_or(0)].into_iter().for_each(|number| put(&mut bytes, number));
    rows.push((name(PROCESS, id, Some(number)), bytes));
    for (edge, heard) in &mut epoch.heard {
        if std::mem::take(&mut heard.unsaved) || whole {
            let mut bytes = Vec::new();
            heard.key.write(&mut bytes);
            heard.counts.write(&mut bytes);
            let mut name = name(HEARD, id, Some(number));
            name.extend(edge.to_be_bytes());
            rows.push((name, bytes));
        }
    }
}

fn graves<'g>(graves: impl IntoIterator<Item = &'g (u64, Grave)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, grave) in graves {
        put(
            &mut bytes,
            match grave {
                Grave::Ended => 0,
                Grave::GivenUp => 1,
            },
        );
        put(&mut bytes, *number);
    }
    bytes
}

fn edge_name(key: &Key) -> Vec<u8> {
    let mut name = vec![EDGE];
    key.write(&mut name);
    name
}

fn name(kind: u8, node: &str, epoch: Option<u64>) -> Vec<u8> {
    let mut name = vec![kind];
    name.extend_from_slice(node.as_bytes());
    name.push(END);
    name.extend(epoch.into_iter().flat_map(u64::to_be_bytes));
    name
}

fn split_node(name: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let end = name.iter().position(|byte| *byte == END)?;
    let (node, rest) = name.split_at_checked(end)?;
    Some((std::str::from_utf8(node).ok()?.into(), rest.get(1..)?))
}

fn parse_name(name: &[u8]) -> Option<(Arc<str>, u64, &[u8])> {
    let (node, rest) = split_node(name)?;
    let (epoch, rest) = rest.split_first_chunk()?;
    Some((node, u64::from_be_bytes(*epoch), rest))
}
