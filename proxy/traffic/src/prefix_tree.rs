//! Which prefixes a path starts with.
//!
//! # Why a radix tree
//! All prefixes of a path lie on one way from the root, so finding them costs the length of the longest one that
//! matches and not the number of prefixes configured. Each node that ends a prefix knows the next shorter one that
//! does, so the answer is a chain and needs no list of its own.

/// No such node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct PrefixTree {
    ignore_case: bool,
    /// The first is the root, whose label is empty.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// What follows the parent's text. Not empty except in the root.
    label: Box<[u8]>,
    /// First byte of the label and position, ordered by byte.
    children: Vec<(u8, u32)>,
    /// Ascending. Empty where nothing ends.
    routes: Vec<u32>,
    /// The nearest node towards the root where a prefix ends. Valid after [`PrefixTree::link`].
    shorter: u32,
}

impl PrefixTree {
    pub(crate) fn new(ignore_case: bool) -> Self {
        Self { ignore_case, nodes: vec![Node { shorter: NONE, ..Node::default() }] }
    }

    /// Adds a route; indices are added in ascending order.
    pub(crate) fn insert(&mut self, prefix: &str, route: u32) {
        let folded = if self.ignore_case { prefix.to_ascii_lowercase() } else { prefix.to_owned() };
        let mut rest = folded.as_bytes();
        let mut at = 0_usize;
        while let Some(first) = rest.first() {
            match self.nodes[at].children.binary_search_by_key(first, |(byte, _)| *byte) {
                Err(place) => {
                    let leaf = self.push(Node { label: rest.into(), ..Node::default() });
                    self.nodes[at].children.insert(place, (*first, leaf));
                    at = leaf as usize;
                    rest = &[];
                }
                Ok(place) => {
                    let child = self.nodes[at].children[place].1 as usize;
                    let common = self.nodes[child].label.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    if common < self.nodes[child].label.len() {
                        self.split(child, common);
                    }
                    at = child;
                    rest = &rest[common..];
                }
            }
        }
        self.nodes[at].routes.push(route);
    }

    /// Cuts a node's label in two; the node keeps its position and the first part.
    fn split(&mut self, at: usize, keep: usize) {
        let (head, tail) = self.nodes[at].label.split_at(keep);
        let (head, tail): (Box<[u8]>, Box<[u8]>) = (head.into(), tail.into());
        let byte = tail[0];
        let node = &mut self.nodes[at];
        node.label = head;
        let lower = Node {
            label: tail,
            children: std::mem::take(&mut node.children),
            routes: std::mem::take(&mut node.routes),
            shorter: NONE,
        };
        let lower = self.push(lower);
        self.nodes[at].children = vec![(byte, lower)];
    }

    fn push(&mut self, node: Node) -> u32 {
        let position = u32::try_from(self.nodes.len()).expect("a resource is smaller than four gigabytes");
        self.nodes.push(node);
        position
    }

    /// Ties each node to the next shorter prefix. Called once, after the last insertion.
    pub(crate) fn link(&mut self) {
        let mut open = vec![(0_u32, NONE)];
        while let Some((at, shorter)) = open.pop() {
            let node = &mut self.nodes[at as usize];
            node.shorter = shorter;
            let below = if node.routes.is_empty() { shorter } else { at };
            open.extend(node.children.iter().map(|(_, child)| (*child, below)));
        }
    }

    /// The prefixes that `path` starts with, longest first.
    #[inline]
    pub(crate) fn find(&self, path: &[u8]) -> Chain<'_> {
        match &self.nodes[..] {
            [root] if root.routes.is_empty() => Chain { tree: self, at: NONE },
            _ => self.descend(path),
        }
    }

    fn descend(&self, path: &[u8]) -> Chain<'_> {
        let mut at = 0_usize;
        let mut rest = path;
        while let Some(first) = rest.first() {
            let byte = if self.ignore_case { first.to_ascii_lowercase() } else { *first };
            let children = &self.nodes[at].children;
            let Ok(place) = children.binary_search_by_key(&byte, |(byte, _)| *byte) else { break };
            let child = children[place].1 as usize;
            let label = &self.nodes[child].label;
            match rest.get(..label.len()) {
                Some(head) if crate::matcher::equal(head, label, self.ignore_case) => rest = &rest[label.len()..],
                _ => break,
            }
            at = child;
        }
        let node = &self.nodes[at];
        Chain { tree: self, at: if node.routes.is_empty() { node.shorter } else { at as u32 } }
    }
}

/// The route lists of the prefixes of one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'t> {
    tree: &'t PrefixTree,
    at: u32,
}

impl<'t> Iterator for Chain<'t> {
    type Item = &'t [u32];

    #[inline]
    fn next(&mut self) -> Option<&'t [u32]> {
        if self.at == NONE {
            return None;
        }
        let node = &self.tree.nodes[self.at as usize];
        self.at = node.shorter;
        Some(&node.routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tree: &PrefixTree, path: &str) -> Vec<Vec<u32>> {
        tree.find(path.as_bytes()).map(<[u32]>::to_vec).collect()
    }

    #[test]
    fn every_prefix_of_a_path_is_found_longest_first() {
        let mut tree = PrefixTree::new(false);
        for (route, prefix) in ["/abc", "/abd", "/ab", "/", "/abc", "/abcde", ""].iter().enumerate() {
            tree.insert(prefix, route as u32);
        }
        tree.link();

        assert_eq!(found(&tree, "/abcd"), [vec![0, 4], vec![2], vec![3], vec![6]]);
        assert_eq!(found(&tree, "/abcdef"), [vec![5], vec![0, 4], vec![2], vec![3], vec![6]]);
        assert_eq!(found(&tree, "/a"), [vec![3], vec![6]]);
        assert_eq!(found(&tree, "x"), [vec![6]]);
    }

    #[test]
    fn case_is_ignored_when_asked() {
        let mut tree = PrefixTree::new(true);
        tree.insert("/API", 0);
        tree.insert("/api/V1", 1);
        tree.link();

        assert_eq!(found(&tree, "/Api/v1/x"), [vec![1], vec![0]]);
        assert_eq!(found(&tree, "/ap"), Vec::<Vec<u32>>::new());
    }
}
