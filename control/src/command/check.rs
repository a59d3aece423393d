//! `tidegate check`: says what is wrong with policy files, by the same code that serves them.
//!
//! Exit codes: 0 nothing to mend, 1 errors (with `--strict` also warnings), 2 the command could not be carried out.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::progress::{Progress, Reader};
use super::{FINDINGS, FINE, Output, USAGE, exit, show};
use crate::clock::{Clock, Timestamp};
use crate::compile::{Compiled, compile_watched};
use crate::source::read::{ReadError, SourceFile, read, read_file};

/// Flags of `tidegate check`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Files and directories; all of them are checked together, as one configuration
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How findings are printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
    /// Warnings count as findings too
    #[arg(long)]
    pub strict: bool,
}

/// Checks and prints.
pub fn run(options: &Options) -> ExitCode {
    let reader = Reader::of(options.output == Output::Json);
    let files = match gather_shown(&options.paths, reader) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("tidegate check: {error}");
            return exit(USAGE);
        }
    };
    let compiled = compile_shown(&files, stdout().is_terminal(), Some(Clock::system().now()), reader);
    let warnings = compiled.findings.iter().filter(|f| f.severity == "warning").count();
    match options.output {
        Output::Text => {
            show(&compiled.rendered);
            show(&format!("{} files, {} errors, {warnings} warnings\n", files.len(), compiled.errors));
        }
        Output::Json => match serde_json::to_string_pretty(&compiled.findings) {
            Ok(json) => show(&format!("{json}\n")),
            Err(error) => {
                eprintln!("tidegate check: {error}");
                return exit(USAGE);
            }
        },
    }
    let found = compiled.errors > 0 || (options.strict && warnings > 0);
    exit(if found { FINDINGS } else { FINE })
}

fn gather_shown(paths: &[PathBuf], reader: Reader) -> Result<Vec<SourceFile>, ReadError> {
    let _shown = Progress::begin("reading files", None, reader);
    gather(paths)
}

/// Compiles, with a picture of how far it is.
pub(super) fn compile_shown(files: &[SourceFile], color: bool, now: Option<Timestamp>, reader: Reader) -> Compiled {
    let progress = Progress::begin("compiling files", Some(files.len()), reader);
    compile_watched(files, color, now, &mut |read| progress.reach(read))
}

/// Reads what the paths name. Findings call files by the path that was given.
pub(super) fn gather(paths: &[PathBuf]) -> Result<Vec<SourceFile>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(read(path)?.files.into_iter().map(|file| {
                let shown: Arc<str> = path.join(&*file.path).to_string_lossy().into();
                SourceFile { path: shown, ..file }
            }));
        } else {
            let (bytes, _) = read_file(path)?;
            files.push(SourceFile { path: path.to_string_lossy().into(), bytes });
        }
    }
    // The same file named twice would define everything in it twice.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

#[cfg(test)]
mod tests;
