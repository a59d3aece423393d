//! Which routes of a virtual host can match a path at all.
//!
//! # Why an index, and why the order survives it
//! The first route in the list that matches wins. Scanning ten thousand routes for that is what makes large
//! configurations slow. Here each kind of path condition has a structure of its own (exact paths a hash, prefixes a
//! radix tree, the rest a list), each gives ascending route positions, and [`Candidates`] merges them in ascending
//! order. So routes are evaluated in list order, only those are left out whose path cannot match.

use tidegate_xds::resource::route::PathMatcher;

use crate::prefix_tree::{Chain, PrefixTree};
use crate::text_map::TextMap;

#[derive(Clone, Debug)]
pub(crate) struct PathIndex {
    exact: TextMap<Vec<u32>>,
    exact_ignoring_case: TextMap<Vec<u32>>,
    prefixes: PrefixTree,
    prefixes_ignoring_case: PrefixTree,
    /// Patterns and CONNECT: candidates for every path.
    others: Vec<u32>,
}

impl PathIndex {
    pub(crate) fn new<'r>(paths: impl Iterator<Item = &'r PathMatcher>) -> Self {
        let mut index = Self {
            exact: TextMap::new(false),
            exact_ignoring_case: TextMap::new(true),
            prefixes: PrefixTree::new(false),
            prefixes_ignoring_case: PrefixTree::new(true),
            others: Vec::new(),
        };
        for (route, path) in (0_u32..).zip(paths) {
            match path {
                PathMatcher::Exact { path, case_sensitive: true } => {
                    index.exact.or_insert_with(path.as_bytes(), Vec::new).push(route);
                }
                PathMatcher::Exact { path, case_sensitive: false } => {
                    index.exact_ignoring_case.or_insert_with(path.as_bytes(), Vec::new).push(route);
                }
                PathMatcher::Prefix { prefix, case_sensitive }
                | PathMatcher::SeparatedPrefix { prefix, case_sensitive } => {
                    let tree = if *case_sensitive { &mut index.prefixes } else { &mut index.prefixes_ignoring_case };
                    tree.insert(prefix, route);
                }
                PathMatcher::Regex(_) | PathMatcher::Connect => index.others.push(route),
            }
        }
        index.prefixes.link();
        index.prefixes_ignoring_case.link();
        index
    }

    /// Positions of the routes that may match `path`, ascending, without repetition.
    pub(crate) fn candidates(&self, path: &str) -> Candidates<'_> {
        let path = path.as_bytes();
        Candidates {
            lists: [list(&self.exact, path), list(&self.exact_ignoring_case, path), &self.others],
            chains: [self.prefixes.find(path), self.prefixes_ignoring_case.find(path)],
            from: 0,
        }
    }
}

fn list<'m>(map: &'m TextMap<Vec<u32>>, path: &[u8]) -> &'m [u32] {
    map.find(path).map_or(&[], Vec::as_slice)
}

/// Ascending route positions out of several ascending lists.
#[derive(Debug)]
pub(crate) struct Candidates<'i> {
    lists: [&'i [u32]; 3],
    chains: [Chain<'i>; 2],
    from: u32,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut next = None;
        let mut offer = |list: &[u32]| match first_from(list, self.from) {
            Some(first) if next.is_none_or(|least| first < least) => next = Some(first),
            Some(_) | None => {}
        };
        self.lists.iter().for_each(|list| offer(list));
        for chain in self.chains {
            chain.for_each(&mut offer);
        }
        let next = next?;
        self.from = next + 1;
        Some(next)
    }
}

#[inline]
fn first_from(list: &[u32], from: u32) -> Option<u32> {
    match list.first() {
        Some(first) if *first >= from => Some(*first),
        Some(_) => list.get(list.partition_point(|route| *route < from)).copied(),
        None => None,
    }
}
