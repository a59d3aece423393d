//! Which rule is tried first.
//!
//! # One list
//! A VirtualService's rules, and a sorted HTTPRoute's, are tried in their own order. When several objects have rules for one
//! service, their lists are merged like sorted lists: of the next rules of all lists the most specific is taken; among equals
//! the older object's, then the first by name. So no object's order is ever changed, two objects with different paths both
//! work whichever comes first, and a catch-all at the end of one does not hide the other.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::ir::route::{PathMatch, RequestMatch, RouteEntry};
use crate::source::Span;

/// Greater is tried first: Gateway API's precedence, with Istio's conditions after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    path: u8,
    path_length: usize,
    method: bool,
    headers: usize,
    query_parameters: usize,
    others: usize,
}

impl Specificity {
    pub(super) fn of(matches: &RequestMatch) -> Self {
        // Where Gateway API leaves patterns open: after prefixes, before "any path", or a default route would hide them.
        let (path, path_length) = match &matches.path {
            PathMatch::Exact { value, .. } => (3, value.chars().count()),
            PathMatch::SegmentPrefix(value) | PathMatch::StringPrefix { value, .. } => (2, value.chars().count()),
            PathMatch::Regex(value) => (1, value.chars().count()),
            PathMatch::Any => (0, 0),
        };
        let client = &matches.client;
        let others = usize::from(matches.authority.is_some())
            + usize::from(matches.scheme.is_some())
            + usize::from(matches.port.is_some())
            + usize::from(matches.grpc)
            + usize::from(client.namespace.is_some())
            + client.labels.len();
        Self {
            path,
            path_length,
            method: matches.method.is_some(),
            headers: matches.headers.len(),
            query_parameters: matches.query_parameters.len(),
            others,
        }
    }
}

/// An entry and the rule it came from.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) entry: RouteEntry,
    pub(super) span: Span,
}

/// Merges lists, given from the oldest to the newest.
pub(super) fn merge(lists: Vec<Vec<Placed>>) -> Vec<Placed> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut heads = BinaryHeap::new();
    for (index, list) in lists.iter_mut().enumerate() {
        heads.extend(list.next().map(|placed| Head {
            specificity: Specificity::of(&placed.entry.matches),
            list: Reverse(index),
            placed,
        }));
    }
    let mut merged = Vec::new();
    while let Some(Head { list, placed, .. }) = heads.pop() {
        merged.push(placed);
        let next = lists.get_mut(list.0).and_then(Iterator::next);
        heads.extend(next.map(|placed| Head { specificity: Specificity::of(&placed.entry.matches), list, placed }));
    }
    merged
}

struct Head {
    specificity: Specificity,
    list: Reverse<usize>,
    placed: Placed,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.specificity, self.list).cmp(&(other.specificity, other.list))
    }
}
