//! The files as they were last read, and as they are in force.
//!
//! # Why they are kept
//! A finding points at a line of a text. The file on disk may be another one by the time somebody looks, and a path from
//! outside should never reach the disk; so whoever shows a file shows what was read. Contents are shared with the rest of
//! the process, which costs nothing while the files are in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::read::SourceFile;

/// What was read last, and what proxies are given.
#[derive(Debug, Default)]
pub struct Loaded {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    newest: ByPath,
    in_force: ByPath,
}

type ByPath = BTreeMap<Arc<str>, Arc<[u8]>>;

/// One file, and whether it is in force as it stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedFile {
    /// As it was read last; as it is in force, when it is not there any more.
    pub file: SourceFile,
    /// Whether the two are the same.
    pub in_force: bool,
}

impl Loaded {
    /// These were read, and are in force.
    pub fn applied(&self, files: &[SourceFile]) {
        let mut inner = self.lock();
        inner.newest = by_path(files);
        inner.in_force = inner.newest.clone();
    }

    /// These were read and have errors.
    pub fn rejected(&self, files: &[SourceFile]) {
        self.lock().newest = by_path(files);
    }

    /// These are in force, whatever was read.
    pub fn kept(&self, files: &[SourceFile]) {
        self.lock().in_force = by_path(files);
    }

    /// Every path, in order.
    pub fn paths(&self) -> Vec<Arc<str>> {
        let inner = self.lock();
        let all: BTreeSet<&Arc<str>> = inner.newest.keys().chain(inner.in_force.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// The file of exactly this path.
    pub fn file(&self, path: &str) -> Option<LoadedFile> {
        let inner = self.lock();
        let (newest, in_force) = (inner.newest.get_key_value(path), inner.in_force.get_key_value(path));
        let same = newest.is_none() || newest == in_force;
        let (path, bytes) = newest.or(in_force)?;
        Some(LoadedFile { file: SourceFile { path: path.clone(), bytes: bytes.clone() }, in_force: same })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one assignment; a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_path(files: &[SourceFile]) -> ByPath {
    files.iter().map(|file| (file.path.clone(), file.bytes.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), bytes: text.as_bytes().into() }
    }

    #[test]
    fn a_file_is_in_force_as_long_as_it_says_the_same() {
        let loaded = Loaded::default();
        loaded.applied(&[file("a.yaml", "a: 1"), file("b.yaml", "b: 1"), file("c.yaml", "c: 1")]);
        loaded.rejected(&[file("a.yaml", "a: 1"), file("b.yaml", "b: 2")]);

        let known = |path| loaded.file(path).map(|l| (l.file, l.in_force));

        assert_eq!(loaded.paths().iter().map(|path| &**path).collect::<Vec<_>>(), ["a.yaml", "b.yaml", "c.yaml"]);
        assert_eq!(known("a.yaml"), Some((file("a.yaml", "a: 1"), true)));
        assert_eq!(known("b.yaml"), Some((file("b.yaml", "b: 2"), false)));
        assert_eq!(known("c.yaml"), Some((file("c.yaml", "c: 1"), true)));
        assert_eq!(known("../c.yaml"), None);
    }

    #[test]
    fn what_an_earlier_run_left_is_in_force_beside_files_with_errors() {
        let loaded = Loaded::default();
        loaded.kept(&[file("a.yaml", "a: 1")]);
        loaded.rejected(&[file("a.yaml", "a:")]);

        assert!(loaded.file("a.yaml").is_some_and(|l| !l.in_force && *l.file.bytes == *b"a:"));
    }
}
