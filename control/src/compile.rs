//! From files to a policy set with its findings: the seam between sources and the policy compiler.

use std::sync::Arc;

use tidegate_policies::ir::PolicySet;
use tidegate_policies::{Diagnostic, Label, Severity, Source};

use crate::api::model::{Finding, Spot};
use crate::clock::Timestamp;
use crate::source::read::SourceFile;

/// What the compiler made of some files.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policies; complete only if there are no errors.
    pub policies: Arc<PolicySet>,
    /// What it has to say, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// The same for a terminal, with the lines it is about.
    pub rendered: String,
    /// Number of findings that are errors.
    pub errors: usize,
}

/// Compiles files. `color` is for findings that go to a terminal.
pub fn compile(files: &[SourceFile], color: bool) -> Compiled {
    compile_watched(files, color, None, &mut |_| {})
}

/// As [`compile`], for a time: certificates and faults that have ended, or will soon, are findings.
pub fn compile_at(files: &[SourceFile], color: bool, now: Timestamp) -> Compiled {
    compile_watched(files, color, Some(now), &mut |_| {})
}

/// As one of these two, telling after each file how many have been read.
pub fn compile_watched(
    files: &[SourceFile],
    color: bool,
    now: Option<Timestamp>,
    read: &mut dyn FnMut(usize),
) -> Compiled {
    let sources: Vec<Source> =
        files.iter().map(|file| Source { path: file.path.clone(), text: file.bytes.to_vec() }).collect();
    let compiled = tidegate_policies::compile_watched(&sources, now.map(|Timestamp(now)| now), read);
    let rendered = compiled.render(&sources, color);
    let errors = compiled.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let findings = compiled.diagnostics.iter().map(|diagnostic| finding(diagnostic, files)).collect();
    Compiled { policies: Arc::new(compiled.set), findings, rendered, errors }
}

fn finding(diagnostic: &Diagnostic, files: &[SourceFile]) -> Finding {
    let place = diagnostic.labels.first();
    Finding {
        code: diagnostic.code.to_string(),
        severity: diagnostic.severity.to_string(),
        message: diagnostic.message.clone(),
        file: place.map(|label| label.file.to_string()).unwrap_or_default(),
        line: place.map_or(0, |label| label.line),
        column: place.map_or(0, |label| label.column),
        help: diagnostic.help.clone(),
        places: diagnostic.labels.iter().map(|label| place_of(label, files)).collect(),
    }
}

fn place_of(label: &Label, files: &[SourceFile]) -> Spot {
    Spot {
        file: label.file.to_string(),
        line: label.line,
        column: label.column,
        length: length(label, files),
        label: label.text.clone(),
        primary: label.primary,
    }
}

/// In characters. Of one line the columns tell, of several the text.
fn length(label: &Label, files: &[SourceFile]) -> u32 {
    if label.end_line == label.line {
        return label.end_column.saturating_sub(label.column);
    }
    let span = usize::try_from(label.start_byte).ok().zip(usize::try_from(label.end_byte).ok());
    let text = span.and_then(|(start, end)| {
        let file = files.iter().find(|file| file.path == label.file)?;
        std::str::from_utf8(file.bytes.get(start..end)?).ok()
    });
    text.map_or(0, |text| u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_place_counts_characters_and_line_breaks() {
        let text = "ä: [1,\n  2]\n";
        let files = [SourceFile { path: "a.yaml".into(), bytes: text.as_bytes().into() }];
        let label = |(line, column, start_byte), (end_line, end_column, end_byte)| Label {
            file: "a.yaml".into(),
            line,
            column,
            end_line,
            end_column,
            start_byte,
            end_byte,
            text: String::new(),
            primary: true,
        };

        assert_eq!(length(&label((1, 1, 0), (1, 2, 2)), &files), 1);
        assert_eq!(length(&label((1, 1, 0), (2, 5, 12)), &files), 11);
        // A place behind the end of a file that was cut.
        assert_eq!(length(&label((1, 1, 0), (9, 1, 90)), &files), 0);
    }
}
