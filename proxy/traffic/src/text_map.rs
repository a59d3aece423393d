//! A hash map from text that can be asked without regard to case and without an allocation.
//!
//! # Why not `HashMap<String, _>`
//! Hosts are compared without regard to case. Lower-casing the key of every request allocates; here the hash is taken
//! over a lower-cased window on the stack and the stored key is compared in place.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::matcher::equal;

/// How many bytes are lower-cased at a time.
const WINDOW_BYTES: usize = 64;

/// Tables of so few entries are looked through: comparing lengths is cheaper than a hash.
const LOOKED_THROUGH_MAX: usize = 4;

/// No further entry with this hash.
const END: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct TextMap<T> {
    ignore_case: bool,
    heads: HashMap<u64, u32, RandomState>,
    entries: Vec<Entry<T>>,
    /// Most misses are settled by length alone: a long path is not hashed for a table of short ones.
    longest: usize,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    key: Box<[u8]>,
    value: T,
    /// Another entry whose key has the same hash.
    next: u32,
}

impl<T> TextMap<T> {
    pub(crate) fn new(ignore_case: bool) -> Self {
        Self { ignore_case, heads: HashMap::default(), entries: Vec::new(), longest: 0 }
    }

    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> Option<&T> {
        if self.entries.is_empty() {
            return None;
        }
        self.position(text).map(|i| &self.entries[i].value)
    }

    /// The value of `text`, made by `default` when it is new.
    pub(crate) fn or_insert_with(&mut self, text: &[u8], default: impl FnOnce() -> T) -> &mut T {
        let position = self.position(text).unwrap_or_else(|| {
            let hash = self.hash(text);
            let new = u32::try_from(self.entries.len()).expect("a resource is smaller than four gigabytes");
            let next = self.heads.insert(hash, new).unwrap_or(END);
            self.entries.push(Entry { key: text.into(), value: default(), next });
            self.longest = self.longest.max(text.len());
            self.entries.len() - 1
        });
        &mut self.entries[position].value
    }

    fn position(&self, text: &[u8]) -> Option<usize> {
        if self.entries.is_empty() || text.len() > self.longest {
            return None;
        }
        if self.entries.len() <= LOOKED_THROUGH_MAX {
            return self.entries.iter().position(|entry| equal(&entry.key, text, self.ignore_case));
        }
        let mut at = *self.heads.get(&self.hash(text))?;
        while at != END {
            let entry = &self.entries[at as usize];
            if equal(&entry.key, text, self.ignore_case) {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = self.heads.hasher().build_hasher();
        if self.ignore_case {
            let mut window = [0; WINDOW_BYTES];
            for chunk in text.chunks(WINDOW_BYTES) {
                let part = &mut window[..chunk.len()];
                part.copy_from_slice(chunk);
                part.make_ascii_lowercase();
                hasher.write(part);
            }
        } else {
            hasher.write(text);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_ignored_only_when_asked_and_at_any_length() {
        let long = "x".repeat(200) + "Y";
        for (ignore_case, other_case_found) in [(true, true), (false, false)] {
            let mut map = TextMap::new(ignore_case);
            *map.or_insert_with(b"Reviews", || 0) = 1;
            *map.or_insert_with(long.as_bytes(), || 0) = 2;

            assert_eq!(map.find(b"Reviews"), Some(&1));
            assert_eq!(map.find(long.as_bytes()), Some(&2));
            assert_eq!(map.find(b"rEVIEWS").is_some(), other_case_found);
            assert_eq!(map.find(long.to_uppercase().as_bytes()).is_some(), other_case_found);
            assert_eq!(map.find(b"review"), None);
            assert_eq!(map.find(b""), None);
        }
    }

    #[test]
    fn a_second_insertion_finds_the_first() {
        let mut map = TextMap::new(true);
        map.or_insert_with(b"a", Vec::new).push(1);
        map.or_insert_with(b"A", Vec::new).push(2);

        assert_eq!(map.find(b"a"), Some(&vec![1, 2]));
    }

    #[test]
    fn many_entries_are_found_as_few_are() {
        let mut map = TextMap::new(true);
        for count in 1..=3 * LOOKED_THROUGH_MAX {
            map.or_insert_with(format!("Key{count}").as_bytes(), || count);

            for known in 1..=count {
                assert_eq!(map.find(format!("kEY{known}").as_bytes()), Some(&known), "of {count}");
            }
            assert_eq!(map.find(format!("key{}", count + 1).as_bytes()), None);
        }
    }
}
