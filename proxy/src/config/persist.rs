//! The last good configuration on disk, so that a restart does not need the control plane.
//!
//! # The file
//! A magic line, the number of resources, then for each: type, name, version and message bytes, each with its length; last a
//! checksum of everything before it. It is written to a second file, synced and renamed, so a reader sees the old or the
//! new content, never a mixture. A file that is torn or foreign is ignored with a warning: starting empty and asking the
//! control plane is better than starting with half a mesh.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_xds::name::ResourceType;
use tracing::warn;

const FILE: &str = "last-good.tidegate";
const MAGIC: &[u8] = b"tidegate-last-good 1\n";

/// A larger file is not ours: a mesh of 10,000 services has some 50 MiB of resources.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A resource as it came from the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) resource_type: ResourceType,
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) value: Bytes,
}

/// FNV-1a. It guards against torn writes, not against an attacker, who could write a valid file as well.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes[..usize::try_from(length).unwrap_or(bytes.len()).min(bytes.len())]);
}

pub(crate) fn encode<'a>(resources: impl ExactSizeIterator<Item = &'a Stored>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&u32::try_from(resources.len()).unwrap_or(u32::MAX).to_le_bytes());
    for resource in resources {
        put(&mut out, resource.resource_type.type_url().as_bytes());
        put(&mut out, resource.name.as_bytes());
        put(&mut out, resource.version.as_bytes());
        put(&mut out, &resource.value);
    }
    sealed(out)
}

/// A content with the checksum behind it.
pub(crate) fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&content);
    content.extend_from_slice(&sum.to_le_bytes());
    content
}

/// `None` when the bytes are not a whole file of ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Stored>> {
    let (content, sum) = bytes.split_last_chunk::<8>()?;
    if checksum(content) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let count = take_u32(&mut rest)?;
    let mut resources = Vec::new();
    for _ in 0..count {
        let type_url = take_text(&mut rest)?;
        let name = take_text(&mut rest)?.into();
        let version = take_text(&mut rest)?.into();
        let value = Bytes::copy_from_slice(take(&mut rest)?);
        // A type that a later version knew and this one does not is skipped, not fatal.
        if let Some(resource_type) = ResourceType::from_type_url(type_url) {
            resources.push(Stored { resource_type, name, version, value });
        }
    }
    rest.is_empty().then_some(resources)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_le_bytes(*head))
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_u32(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take(rest)?).ok()
}

/// What was kept, or nothing.
pub(crate) fn load(directory: &Path) -> Vec<Stored> {
    let path = directory.join(FILE);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            warn!(path = %path.display(), bytes = metadata.len(), "kept configuration is too large, ignored");
            return Vec::new();
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(path = %path.display(), %error, "kept configuration cannot be read, ignored");
            return Vec::new();
        }
    }
    match fs::read(&path) {
        Ok(bytes) => decode(&bytes).unwrap_or_else(|| {
            warn!(path = %path.display(), "kept configuration is torn or foreign, ignored");
            Vec::new()
        }),
        Err(error) => {
            warn!(path = %path.display(), %error, "kept configuration cannot be read, ignored");
            Vec::new()
        }
    }
}

/// Replaces what is kept. Blocks on the disk: never called from a worker.
pub(crate) fn save(directory: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(FILE);
    let fresh: PathBuf = directory.join(format!("{FILE}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&fresh, &path)?;
    // The rename itself is durable only when the directory is.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str) -> Stored {
        Stored {
            resource_type: ResourceType::Cluster,
            name: name.into(),
            version: "v1".into(),
            value: Bytes::from_static(b"\x0a\x01c"),
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let resources = vec![stored("a"), stored("b")];

        save(directory.path(), &encode(resources.iter())).expect("saves");

        assert_eq!(load(directory.path()), resources);
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_as_a_whole() {
        let whole = encode([stored("a"), stored("b")].iter());

        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = encode([stored("a")].iter());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;

        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn no_file_means_no_resources() {
        let directory = tempfile::tempdir().expect("temporary directory");

        assert_eq!(load(directory.path()), Vec::new());
    }
}
