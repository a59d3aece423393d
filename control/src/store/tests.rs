//! What outlives a process, and what happens when the disk lies.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{FILE_NAME, Store, default_directory};
use crate::changes::{CHANGES_MAX, Change, ChangeLog, Entry, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::source::read::SourceFile;

fn clock() -> Clock {
    Clock::of(|| Timestamp::from_unix_ms(1_000))
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), bytes: text.as_bytes().into() }
}

fn change(generation: u64) -> Change {
    let entry = Entry {
        generation,
        at: Timestamp::from_unix_ms(5),
        what: vec!["v1 90 % / v2 10 %".to_owned()],
        files: vec!["a.yaml".into()],
        result: Outcome::Applied,
    };
    ChangeLog::default().enter(entry, [7].into())
}

fn moved_aside(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("damaged")).collect()
}

#[test]
fn the_last_good_files_and_the_log_outlive_the_process() {
    let directory = TempDir::new().unwrap();
    let (store, empty) = Store::open(directory.path(), &clock());
    assert!(empty.last_good.is_none() && empty.changes.is_empty());
    store.keep_good(3, vec![file("gone.yaml", "old")]);
    store.keep_good(4, vec![file("a.yaml", "a"), file("b.yaml", "\u{fe}")]);
    store.keep_change(change(4));
    store.keep_change(change(9));
    drop(store);

    let (_store, remembered) = Store::open(directory.path(), &clock());

    assert_eq!(remembered.last_good, Some((4, vec![file("a.yaml", "a"), file("b.yaml", "\u{fe}")])));
    assert_eq!(remembered.last_generation, 9);
    assert_eq!(remembered.changes.iter().map(|c| c.generation).collect::<Vec<_>>(), [4, 9]);
    assert_eq!(remembered.changes[0].what, ["v1 90 % / v2 10 %"]);
}

#[test]
fn the_log_on_disk_is_bounded() {
    let directory = TempDir::new().unwrap();
    let (store, _) = Store::open(directory.path(), &clock());
    let last = CHANGES_MAX as u64 + 5;

    // In rounds, since the queue to the disk is bounded too.
    drop(store);
    for generation in [1, 2, last] {
        let (store, _) = Store::open(directory.path(), &clock());
        store.keep_change(change(generation));
    }

    let (_store, remembered) = Store::open(directory.path(), &clock());
    assert_eq!(remembered.changes.iter().map(|c| c.generation).collect::<Vec<_>>(), [last]);
}

#[test]
fn a_damaged_store_is_moved_aside_and_begun_afresh() {
    let whole = TempDir::new().unwrap();
    let (store, _) = Store::open(whole.path(), &clock());
    store.keep_good(4, vec![file("a.yaml", "a")]);
    drop(store);
    let good = fs::read(whole.path().join(FILE_NAME)).unwrap();

    let torn = good[..good.len() / 2].to_vec();
    let mut zeroed = good.clone();
    zeroed.iter_mut().skip(64).for_each(|byte| *byte = 0);
    let mut scribbled = good.clone();
    scribbled.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x5a);
    for (kind, bytes) in
        [("torn", torn), ("zeroed", zeroed), ("scribbled", scribbled), ("text", b"kind: Oops".to_vec())]
    {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join(FILE_NAME), &bytes).unwrap();

        let (store, remembered) = Store::open(directory.path(), &clock());

        assert!(remembered.last_good.is_none(), "{kind}");
        let aside = moved_aside(directory.path());
        assert_eq!(aside.len(), 1, "{kind}");
        // What is left of it is kept for whoever wants to look. (Opening may have marked it as being in use.)
        assert_eq!(fs::metadata(&aside[0]).unwrap().len(), bytes.len() as u64, "{kind}");
        store.keep_good(1, vec![file("b.yaml", "b")]);
        drop(store);
        let (_store, remembered) = Store::open(directory.path(), &clock());
        assert_eq!(remembered.last_good, Some((1, vec![file("b.yaml", "b")])), "{kind}");
    }
}

#[test]
fn a_store_that_another_process_holds_is_done_without() {
    let directory = TempDir::new().unwrap();
    let (holder, _) = Store::open(directory.path(), &clock());

    let (second, remembered) = Store::open(directory.path(), &clock());
    second.keep_good(1, vec![file("a.yaml", "a")]);

    assert!(remembered.last_good.is_none());
    assert!(moved_aside(directory.path()).is_empty());
    drop((holder, second));
    let (_store, remembered) = Store::open(directory.path(), &clock());
    assert!(remembered.last_good.is_none());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_done_without() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();

    let (store, remembered) = Store::open(&directory.path().join("file/state"), &clock());
    store.keep_good(1, Vec::new());

    assert_eq!(remembered.last_generation, 0);
}

#[test]
fn each_configuration_directory_has_a_state_directory_of_its_own() {
    let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/u"));
    let xdg = |name: &str| (name == "XDG_STATE_HOME").then(|| PathBuf::from("/state"));
    let nowhere = |_: &str| None;

    let of_home = default_directory(Path::new("/no/such/mesh"), home);
    let of_xdg = default_directory(Path::new("/no/such/other"), xdg);

    // The digits are `printf /no/such/mesh | sha256sum | head -c 8`.
    assert_eq!(of_home, Some("/home/u/.local/state/tidegate/no-such-mesh-8ac7f144".into()));
    assert_eq!(of_xdg, Some("/state/tidegate/no-such-other-e4868d4a".into()));
    assert_eq!(default_directory(Path::new("/no/such/mesh"), nowhere), None);
}

#[test]
fn paths_that_read_the_same_without_slashes_do_not_share_a_state_directory() {
    let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/u"));

    let [deep, wide] = ["/no/such-mesh", "/no-such/mesh"].map(|path| default_directory(Path::new(path), home).unwrap());

    assert_ne!(deep, wide);
    assert!([&deep, &wide].iter().all(|path| path.to_string_lossy().contains("/no-such-mesh-")), "{deep:?} {wide:?}");
}
