//! What the keeper asks of files: when they were written, what the compiler says of them, whether to look again.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::compile::{Compiled, compile_at};
use crate::source::file::{FileSource, SETTLE, Update};
use crate::source::read::Files;

/// A written file older than this did not cause the event; the event itself is then taken for the moment of the change.
const WRITTEN_AGE_MAX: Duration = Duration::from_secs(10);
/// Findings that the log shows of one configuration: some dozens, each with its lines. All are shown by `tidegate check`.
pub(super) const REPORT_BYTES_MAX: usize = 16 * 1024;
/// Findings that the status carries. A person mends the first ones and looks again.
const FINDINGS_MAX: usize = 200;
/// Configurations with errors that are looked at again because the directory stirs. Then the errors are reported: somebody
/// writes without pause.
const DOUBTS_MAX: usize = 20;

/// What replaces a configuration with errors before it is reported. `None`: nothing does, and the errors stand, also when
/// the directory stirred and says the same; the source would never say it again.
pub(super) async fn newer_within_doubt(source: &mut FileSource, doubts: &mut usize) -> Option<Update> {
    while *doubts < DOUBTS_MAX && source.stirs_within(SETTLE).await {
        *doubts += 1;
        let newer = source.look_once().await;
        if newer.is_some() {
            return newer;
        }
    }
    None
}

/// When the change was made: the newest of the changed files, unless that is too old to have caused the event (a mount that
/// was swapped, a file that was moved here).
pub(super) fn written_at(files: &Files, changed: &[Arc<str>], noticed: Timestamp) -> Timestamp {
    let stamps = changed.iter().filter_map(|path| files.stamps.get(path)?.modified());
    let newest = stamps.max().map(Timestamp);
    newest.filter(|at| *at <= noticed && noticed.since(*at) <= WRITTEN_AGE_MAX).unwrap_or(noticed)
}

pub(super) async fn compile_off_thread(files: &Files, now: Timestamp) -> Compiled {
    let sources = files.files.clone();
    let failed = |_| Compiled {
        policies: Arc::default(),
        findings: Vec::new(),
        rendered: "the compiler failed on these files; this is a defect of tidegate".to_owned(),
        errors: 1,
    };
    let mut compiled =
        tokio::task::spawn_blocking(move || compile_at(&sources, false, now)).await.unwrap_or_else(failed);
    bound(&mut compiled);
    compiled
}

/// Leaves as much as is shown.
pub(super) fn bound(compiled: &mut Compiled) {
    compiled.findings.truncate(FINDINGS_MAX);
    shorten(&mut compiled.rendered);
}

/// Cuts a report between two lines.
pub(super) fn shorten(report: &mut String) {
    let Some(head) = report.as_bytes().get(..REPORT_BYTES_MAX) else { return };
    let end = head.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    report.truncate(end);
    report.push_str("\n... more findings are shown by `tidegate check`\n");
}

pub(super) fn plural(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}
