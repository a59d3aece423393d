//! The configuration that a proxy keeps on disk: a file of any bytes is whole and ours, or nothing.

use tidegate_proxy::fuzzing::{read_kept, sealed, write_kept};

/// The bytes are read as a file, and as the content of one whose checksum is right: otherwise no fuzzer came past that.
pub(crate) fn kept(bytes: &[u8]) {
    survives(bytes);
    survives(&sealed(bytes));
}

fn survives(file: &[u8]) {
    let Some(resources) = read_kept(file) else { return };
    let written = write_kept(&resources);
    assert_eq!(read_kept(&written).as_ref(), Some(&resources));
    for cut in 1..=written.len().min(64) {
        let torn = &written[..written.len() - cut];
        assert_eq!(read_kept(torn), None, "a file without its last {cut} bytes is half of one");
        assert_eq!(read_kept(&written[..cut - 1]), None, "the first {} bytes are no file", cut - 1);
    }
}
