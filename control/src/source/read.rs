//! Reads the policy files of a directory, all of them at once.
//!
//! # Which files
//! `*.yaml` and `*.yml` in the directory and in its sub-directories, one level deep: enough to keep a team's files
//! together, and not so much that a stray checkout below the directory becomes part of the mesh. Names that begin with
//! a dot are skipped: editors keep their own files under such names, and a ConfigMap mount keeps all of its data there
//! and shows it through symbolic links, which are followed.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Nothing beyond this is read of a file. It is one byte more than the compiler takes, so that the compiler sees, and says
/// with its other findings, that a file is too large.
pub const FILE_BYTES_MAX: u64 = (4 << 20) + 1;
/// All files together: two hundred bytes for each of the objects of a very large mesh.
pub const TOTAL_BYTES_MAX: u64 = 64 << 20;
/// More files than this and somebody pointed at the wrong directory.
pub const FILES_MAX: usize = 10_000;

/// Why a directory gave no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It cannot be listed.
    #[error("cannot read the directory {path}: {reason}")]
    Directory { path: String, reason: String },
    /// It holds no policy files. An empty directory is a mount that is not there yet, or a mistake; it never means
    /// "remove everything".
    #[error("no *.yaml or *.yml files in {path}")]
    Empty { path: String },
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File { path: String, reason: String },
    /// All files together are too large.
    #[error("the files in {path} are larger than {} MiB together", TOTAL_BYTES_MAX >> 20)]
    TotalTooLarge { path: String },
    /// There are too many files.
    #[error("more than {FILES_MAX} files in {path}")]
    TooManyFiles { path: String },
}

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the directory.
    pub path: Arc<str>,
    /// Its content, at most [`FILE_BYTES_MAX`] of it. The compiler judges whether it is text.
    pub bytes: Arc<[u8]>,
}

/// What the file system says of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    length: u64,
    identity: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            identity: (metadata.dev(), metadata.ino()),
        }
    }

    /// When the content was written.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

/// All policy files of a directory at one instant.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// In order of their paths.
    pub files: Vec<SourceFile>,
    /// A hash of paths and contents.
    pub digest: [u8; 32],
    /// Each file's stamp, by its relative path.
    pub stamps: BTreeMap<Arc<str>, Stamp>,
}

impl Files {
    /// Files that came from somewhere else than a directory.
    pub fn new(files: Vec<SourceFile>) -> Self {
        let digest = digest(&files);
        Self { files, digest, stamps: BTreeMap::new() }
    }

    /// The paths that differ from `old`, in content or in being there.
    pub fn changed_since(&self, old: &Self) -> Vec<Arc<str>> {
        let (new, was) = (self.by_path(), old.by_path());
        let mut paths: Vec<Arc<str>> = new
            .iter()
            .filter(|(path, bytes)| was.get(*path) != Some(*bytes))
            .map(|(path, _)| (*path).clone())
            .collect();
        paths.extend(was.keys().filter(|path| !new.contains_key(*path)).map(|path| (*path).clone()));
        paths.sort();
        paths
    }

    fn by_path(&self) -> BTreeMap<&Arc<str>, &Arc<[u8]>> {
        self.files.iter().map(|file| (&file.path, &file.bytes)).collect()
    }
}

/// Lists the policy files: relative path, full path.
fn list(directory: &Path) -> Result<Vec<(Arc<str>, PathBuf)>, ReadError> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), directory.to_path_buf())];
    pending.extend(sub_directories(directory).into_iter().map(|(name, path)| (format!("{name}/"), path)));
    for (prefix, path) in pending {
        let entries = fs::read_dir(&path)
            .map_err(|error| ReadError::Directory { path: path.display().to_string(), reason: error.to_string() })?;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            // A directory may be called `x.yaml`; whatever is not a file in the end is passed over.
            if is_policy_file(&name) && fs::metadata(entry.path()).is_ok_and(|m| m.is_file()) {
                found.push((format!("{prefix}{name}").into(), entry.path()));
            }
            if found.len() > FILES_MAX {
                return Err(ReadError::TooManyFiles { path: directory.display().to_string() });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The sub-directories that are read: name and path.
pub fn sub_directories(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut found: Vec<_> = named.filter(|(name, path)| !name.starts_with('.') && path.is_dir()).collect();
    found.sort();
    found
}

/// Whether a file of this name holds policies.
pub fn is_policy_file(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

/// What the file system says of all policy files, without opening one.
pub fn stamps(directory: &Path) -> Result<BTreeMap<Arc<str>, Stamp>, ReadError> {
    let stamped = list(directory)?.into_iter().filter_map(|(name, path)| {
        let metadata = fs::metadata(path).ok()?;
        Some((name, Stamp::of(&metadata)))
    });
    Ok(stamped.collect())
}

/// Reads all policy files of a directory.
pub fn read(directory: &Path) -> Result<Files, ReadError> {
    let listed = list(directory)?;
    if listed.is_empty() {
        return Err(ReadError::Empty { path: directory.display().to_string() });
    }
    let mut files = Vec::with_capacity(listed.len());
    let mut stamps = BTreeMap::new();
    let mut total = 0;
    for (name, path) in listed {
        let (bytes, stamp) = read_file(&path)?;
        total += bytes.len() as u64;
        if total > TOTAL_BYTES_MAX {
            return Err(ReadError::TotalTooLarge { path: directory.display().to_string() });
        }
        stamps.insert(name.clone(), stamp);
        files.push(SourceFile { path: name, bytes });
    }
    let digest = digest(&files);
    Ok(Files { files, digest, stamps })
}

/// Reads one file.
pub fn read_file(path: &Path) -> Result<(Arc<[u8]>, Stamp), ReadError> {
    let failed = |error: io::Error| ReadError::File { path: path.display().to_string(), reason: error.to_string() };
    let file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes.into(), stamp))
}

fn digest(files: &[SourceFile]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        // Lengths first, so that no two different sets of files run together into the same bytes.
        for part in [file.path.as_bytes(), &*file.bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}
