//! Puts the built console into the binary.
//!
//! # Why a table and not a folder
//! A control plane is one file that is copied to a machine. Whoever builds it without Node gets one that works and says how to
//! build the console, so a missing `console/dist` is no error.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A page is a few hundred kilobytes. Beyond this somebody has put something else there.
const CONSOLE_BYTES_MAX: u64 = 16 << 20;
/// Files of a page. Beyond this it is not a page.
const CONSOLE_FILES_MAX: usize = 500;

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| missing("CARGO_MANIFEST_DIR"))?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| missing("OUT_DIR"))?);
    let console = manifest.join("../console");
    let built = console.join("dist");
    println!("cargo:rerun-if-changed=build.rs");
    // A path that is not there would make every build begin anew. The folder around it changes when it comes.
    if let Some(path) = [&built, &console].into_iter().find(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let mut files = Vec::new();
    if built.join("index.html").is_file() {
        collect(&built, "", &mut files)?;
    }
    files.sort();
    let total = files.iter().map(|(_, path)| Ok(fs::metadata(path)?.len())).sum::<io::Result<u64>>()?;
    if total > CONSOLE_BYTES_MAX || files.len() > CONSOLE_FILES_MAX {
        let problem = format!("{} has {} files of {total} bytes: not a console", built.display(), files.len());
        return Err(Error::new(ErrorKind::InvalidData, problem));
    }
    let mut table = String::from("&[\n");
    for (name, path) in &files {
        let path = path.canonicalize()?;
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", path.display().to_string()).map_err(Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join("console.rs"), table)
}

/// Files below `folder`, by their path within it. Names that begin with a dot are not part of a page.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || files.len() > CONSOLE_FILES_MAX {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() {
            files.push((format!("{prefix}{name}"), entry.path()));
        }
    }
    Ok(())
}

fn missing(variable: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("cargo sets {variable}"))
}
