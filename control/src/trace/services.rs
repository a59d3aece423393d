//! Which services there are, and which operations they have: counted as spans come and go, so that the lists that every user
//! interface asks for first need no look at the spans.

use std::collections::BTreeMap;

use super::model::{Kind, Span};

/// What an entry of a map costs beside its text.
const ENTRY_BYTES: usize = 96;

/// The services of all spans in the store.
#[derive(Debug, Default)]
pub(super) struct Services(BTreeMap<Box<str>, BTreeMap<Box<str>, [u32; Kind::ALL.len()]>>);

impl Services {
    /// Counts a span in. Gives the memory that this took.
    pub(super) fn add(&mut self, span: &Span) -> usize {
        let mut bytes = 0;
        if !self.0.contains_key(&span.process.service) {
            bytes += ENTRY_BYTES + span.process.service.len();
            self.0.insert(span.process.service.clone(), BTreeMap::new());
        }
        let Some(operations) = self.0.get_mut(&span.process.service) else { return bytes };
        let count = |kinds: &mut [u32; Kind::ALL.len()]| {
            if let Some(count) = kinds.get_mut(usize::from(span.kind.number())) {
                *count += 1;
            }
        };
        if let Some(kinds) = operations.get_mut(&span.name) {
            count(kinds);
        } else {
            bytes += ENTRY_BYTES + span.name.len();
            count(operations.entry(span.name.clone()).or_default());
        }
        bytes
    }

    /// Counts a span out. Gives the memory that this freed.
    pub(super) fn remove(&mut self, span: &Span) -> usize {
        let mut bytes = 0;
        let Some(operations) = self.0.get_mut(&span.process.service) else { return bytes };
        let Some(kinds) = operations.get_mut(&span.name) else { return bytes };
        if let Some(count) = kinds.get_mut(usize::from(span.kind.number())) {
            *count = count.saturating_sub(1);
        }
        if kinds.iter().all(|count| *count == 0) {
            operations.remove(&span.name);
            bytes += ENTRY_BYTES + span.name.len();
        }
        if operations.is_empty() {
            self.0.remove(&span.process.service);
            bytes += ENTRY_BYTES + span.process.service.len();
        }
        bytes
    }

    /// Their names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.to_string()).collect()
    }

    /// The operations of a service, or of all, and their kinds; sorted, each once.
    pub(super) fn operations(&self, service: Option<&str>) -> Vec<(String, Kind)> {
        let of = self.0.iter().filter(|(name, _)| service.is_none_or(|service| ***name == *service));
        let each = of.flat_map(|(_, operations)| operations).flat_map(|(name, kinds)| {
            let used = Kind::ALL.into_iter().zip(kinds).filter(|(_, count)| **count > 0);
            used.map(|(kind, _)| (name.to_string(), kind))
        });
        let mut found: Vec<(String, Kind)> = each.collect();
        found.sort();
        found.dedup();
        found
    }
}
