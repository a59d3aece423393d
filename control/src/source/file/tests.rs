//! Real files in a real directory. Nothing here sleeps: each test waits for the source to speak, under a deadline that only a
//! failure reaches.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::{FileSource, Notice, POLL_INTERVAL, Pending, SETTLE, Update, WRITER_PATIENCE, WRITER_PATIENCE_MAX};
use crate::source::read::{Files, ReadError};

/// Far above everything that is measured here, and below the patience of whoever runs the tests.
const DEADLINE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("the source says something before the deadline")
}

async fn files(source: &mut FileSource) -> Files {
    match within(source.next()).await {
        Update::Files(files) => files,
        Update::Problem(problem) => panic!("files were expected, not: {problem}"),
    }
}

async fn problem(source: &mut FileSource) -> ReadError {
    match within(source.next()).await {
        Update::Problem(problem) => problem,
        Update::Files(files) => panic!("a problem was expected, not files: {:?}", names(&files)),
    }
}

fn names(files: &Files) -> Vec<&str> {
    files.files.iter().map(|file| &*file.path).collect()
}

fn text<'f>(files: &'f Files, name: &str) -> &'f str {
    let file = files.files.iter().find(|file| *file.path == *name).expect("the file is there");
    std::str::from_utf8(&file.bytes).expect("the test writes text")
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::create_dir_all(directory.path().join(name).parent().unwrap()).unwrap();
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// A source that has said what is there, so that the next thing it says is a change.
async fn settled(directory: &Path) -> FileSource {
    let mut source = FileSource::new(directory);
    files(&mut source).await;
    source
}

#[tokio::test]
async fn only_policy_files_of_the_directory_and_one_level_below_are_read() {
    let directory = directory(&[
        ("a.yaml", "a"),
        ("b.yml", "b"),
        ("team/c.yaml", "c"),
        ("team/deep/d.yaml", "d"),
        (".hidden.yaml", "h"),
        (".git/e.yaml", "e"),
        ("notes.txt", "n"),
        ("a.yaml~", "old"),
    ]);
    let mut source = FileSource::new(directory.path());

    let found = files(&mut source).await;

    assert_eq!(names(&found), ["a.yaml", "b.yml", "team/c.yaml"]);
}

#[tokio::test]
async fn a_file_written_in_place_is_read_when_its_writer_closes_it() {
    let directory = directory(&[("a.yaml", "one")]);
    let mut source = settled(directory.path()).await;

    fs::write(directory.path().join("a.yaml"), "two").unwrap();

    assert_eq!(text(&files(&mut source).await, "a.yaml"), "two");
}

#[tokio::test]
async fn a_half_written_file_is_not_seen() {
    let directory = directory(&[("a.yaml", "one"), ("b.yaml", "one")]);
    let mut source = settled(directory.path()).await;
    let mut writer = OpenOptions::new().write(true).truncate(true).open(directory.path().join("a.yaml")).unwrap();
    writer.write_all(b"tw").unwrap();
    fs::write(directory.path().join("b.yaml"), "two").unwrap();

    let too_early = timeout(SETTLE * 4, source.next()).await;
    assert!(too_early.is_err(), "nothing is said while a.yaml is being written, not even about b.yaml");
    writer.write_all(b"o").unwrap();
    drop(writer);

    let both = files(&mut source).await;
    assert_eq!((text(&both, "a.yaml"), text(&both, "b.yaml")), ("two", "two"));
}

#[tokio::test]
async fn a_writer_that_never_closes_is_waited_for_only_so_long() {
    let directory = directory(&[("a.yaml", "one")]);
    let mut source = settled(directory.path()).await;
    let began = Instant::now();
    let mut writer = OpenOptions::new().append(true).open(directory.path().join("a.yaml")).unwrap();
    writer.write_all(b" two").unwrap();

    let found = files(&mut source).await;

    assert_eq!(text(&found, "a.yaml"), "one two");
    assert!(began.elapsed() >= WRITER_PATIENCE && began.elapsed() < WRITER_PATIENCE + POLL_INTERVAL);
    drop(writer);
}

#[test]
fn a_file_that_is_written_without_end_is_waited_for_only_so_long() {
    let (log, other) = (PathBuf::from("/mesh/log.yaml"), PathBuf::from("/mesh/other.yaml"));
    let began = Instant::now();
    let mut pending = Pending::default();
    pending.note(Notice::Complete(other), began);
    let mut written_at = began;
    while written_at < began + WRITER_PATIENCE_MAX {
        pending.note(Notice::Writing(log.clone()), written_at);
        pending.expire(written_at);
        assert!(!pending.is_due(), "a writer that is at work is waited for");
        written_at += WRITER_PATIENCE / 2;
    }

    pending.expire(began + WRITER_PATIENCE_MAX);
    assert!(pending.is_due());

    pending.note(Notice::Writing(log.clone()), written_at);
    assert!(pending.is_due(), "it holds nothing back any more");
    pending.note(Notice::Complete(log.clone()), written_at);
    pending.note(Notice::Writing(log), written_at);
    assert!(!pending.is_due(), "after a close the file is one like any other");
}

#[tokio::test]
async fn a_file_that_is_written_without_end_holds_back_no_other() {
    let directory = directory(&[("log.yaml", "one"), ("b.yaml", "one")]);
    let mut source = settled(directory.path()).await;
    let log = directory.path().join("log.yaml");
    source.pending.restless.insert(log.clone());
    let mut writer = OpenOptions::new().append(true).open(&log).unwrap();
    writer.write_all(b" two").unwrap();
    let began = Instant::now();

    fs::write(directory.path().join("b.yaml"), "two").unwrap();

    let both = files(&mut source).await;
    assert_eq!((text(&both, "log.yaml"), text(&both, "b.yaml")), ("one two", "two"));
    assert!(began.elapsed() < WRITER_PATIENCE);
    drop(writer);
}

#[tokio::test]
async fn a_file_renamed_into_place_is_read_at_once() {
    let directory = directory(&[("a.yaml", "one")]);
    let mut source = settled(directory.path()).await;
    let temporary = directory.path().join(".a.yaml.swp");
    fs::write(&temporary, "two").unwrap();

    fs::rename(&temporary, directory.path().join("a.yaml")).unwrap();

    assert_eq!(text(&files(&mut source).await, "a.yaml"), "two");
}

#[tokio::test]
async fn an_editor_that_moves_the_old_file_away_first_causes_no_gap() {
    let directory = directory(&[("a.yaml", "one"), ("b.yaml", "b")]);
    let mut source = settled(directory.path()).await;
    let path = directory.path().join("a.yaml");
    fs::rename(&path, directory.path().join("a.yaml~")).unwrap();
    let early = timeout(SETTLE / 5, source.next()).await;
    assert!(early.is_err(), "a file that has just vanished may come back");

    fs::write(&path, "two").unwrap();

    let found = files(&mut source).await;
    assert_eq!(names(&found), ["a.yaml", "b.yaml"]);
    assert_eq!(text(&found, "a.yaml"), "two");
}

#[tokio::test]
async fn removed_and_renamed_files_are_noticed() {
    let directory = directory(&[("a.yaml", "a"), ("b.yaml", "b"), ("c.yaml", "c")]);
    let mut source = settled(directory.path()).await;

    fs::remove_file(directory.path().join("a.yaml")).unwrap();
    assert_eq!(names(&files(&mut source).await), ["b.yaml", "c.yaml"]);

    fs::rename(directory.path().join("b.yaml"), directory.path().join("z.yaml")).unwrap();
    assert_eq!(names(&files(&mut source).await), ["c.yaml", "z.yaml"]);
}

#[tokio::test]
async fn a_swapped_config_map_mount_is_one_change() {
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    for (version, text) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), text).unwrap();
        fs::write(root.join(version).join("b.yaml"), text).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", root.join("b.yaml")).unwrap();
    let mut source = settled(root).await;

    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();

    let found = files(&mut source).await;
    assert_eq!((text(&found, "a.yaml"), text(&found, "b.yaml")), ("two", "two"));
}

#[tokio::test]
async fn a_sub_directory_that_appears_is_watched_too() {
    let directory = directory(&[("a.yaml", "a")]);
    let mut source = settled(directory.path()).await;

    fs::create_dir(directory.path().join("team")).unwrap();
    fs::write(directory.path().join("team/b.yaml"), "one").unwrap();
    let mut found = files(&mut source).await;
    while !names(&found).contains(&"team/b.yaml") {
        found = files(&mut source).await;
    }
    fs::write(directory.path().join("team/b.yaml"), "two").unwrap();

    assert_eq!(text(&files(&mut source).await, "team/b.yaml"), "two");
}

#[tokio::test]
async fn writing_the_same_content_again_is_no_change() {
    let directory = directory(&[("a.yaml", "one")]);
    let mut source = settled(directory.path()).await;

    fs::write(directory.path().join("a.yaml"), "one").unwrap();
    let news = timeout(SETTLE * 4, source.next()).await;

    assert!(news.is_err());
}

#[tokio::test]
async fn a_directory_that_vanishes_is_a_problem_and_is_found_again_when_it_returns() {
    let parent = directory(&[("mesh/a.yaml", "one")]);
    let mesh = parent.path().join("mesh");
    let mut source = settled(&mesh).await;

    fs::remove_dir_all(&mesh).unwrap();
    let gone = loop {
        // The file goes first, and the source may look in between.
        match problem(&mut source).await {
            ReadError::Empty { .. } => {}
            other => break other,
        }
    };
    assert!(matches!(gone, ReadError::Directory { .. }));

    fs::create_dir(&mesh).unwrap();
    fs::write(mesh.join("a.yaml"), "two").unwrap();
    let back = loop {
        match within(source.next()).await {
            Update::Files(files) => break files,
            Update::Problem(problem) => assert!(matches!(problem, ReadError::Empty { .. })),
        }
    };
    assert_eq!(text(&back, "a.yaml"), "two");
    fs::write(mesh.join("a.yaml"), "three").unwrap();
    assert_eq!(text(&files(&mut source).await, "a.yaml"), "three");
}

#[tokio::test]
async fn an_empty_directory_is_a_problem_and_not_an_empty_mesh() {
    let directory = directory(&[("a.yaml", "a")]);
    let mut source = settled(directory.path()).await;

    fs::remove_file(directory.path().join("a.yaml")).unwrap();

    assert!(matches!(problem(&mut source).await, ReadError::Empty { .. }));
}

#[tokio::test]
async fn a_file_that_is_too_large_is_read_only_as_far_as_its_limit() {
    let directory = directory(&[("a.yaml", "a")]);
    let large = File::create(directory.path().join("b.yaml")).unwrap();
    large.set_len(1 << 32).unwrap();
    let mut source = FileSource::new(directory.path());

    let found = files(&mut source).await;

    assert_eq!(found.files[1].bytes.len() as u64, crate::source::read::FILE_BYTES_MAX);
}

#[tokio::test]
async fn what_no_event_tells_is_found_by_looking() {
    let outside = directory(&[("a.yaml", "one")]);
    let directory = TempDir::new().unwrap();
    symlink(outside.path().join("a.yaml"), directory.path().join("a.yaml")).unwrap();
    let mut source = settled(directory.path()).await;
    let began = Instant::now();

    // The link is watched, the place that it leads to is not.
    fs::write(outside.path().join("a.yaml"), "two").unwrap();

    assert_eq!(text(&files(&mut source).await, "a.yaml"), "two");
    assert!(began.elapsed() <= POLL_INTERVAL + Duration::from_secs(5));
}

#[tokio::test]
async fn a_reload_looks_at_once() {
    let outside = directory(&[("a.yaml", "one")]);
    let directory = TempDir::new().unwrap();
    symlink(outside.path().join("a.yaml"), directory.path().join("a.yaml")).unwrap();
    let mut source = settled(directory.path()).await;
    let began = Instant::now();
    fs::write(outside.path().join("a.yaml"), "two").unwrap();

    source.reload().request();

    assert_eq!(text(&files(&mut source).await, "a.yaml"), "two");
    assert!(began.elapsed() < POLL_INTERVAL);
}

#[tokio::test]
async fn a_directory_stirs_when_something_is_written_and_not_otherwise() {
    let directory = directory(&[("a.yaml", "one")]);
    let mut source = settled(directory.path()).await;

    assert!(!source.stirs_within(SETTLE).await);
    fs::write(directory.path().join("a.yaml"), "two").unwrap();

    assert!(within(source.stirs_within(DEADLINE)).await);
    assert_eq!(text(&files(&mut source).await, "a.yaml"), "two");
}
