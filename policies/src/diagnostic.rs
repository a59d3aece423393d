//! Findings: what was wrong, where, and how to mend it.
//!
//! # Two forms
//! While compiling, a finding points at byte spans and is cheap. A [`Diagnostic`] is what leaves the crate: files, lines and
//! columns, in a stable order, so that a list of them can be compared, printed or sent as JSON.

mod code;
mod render;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub use code::{Code, explain};
pub(crate) use render::render;

use crate::source::{SourceMap, Span};

/// Most findings kept for one file. Beyond it the file is not a policy with mistakes but something else.
const FINDINGS_PER_FILE_MAX: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is applied, but probably does not do what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code, explained by [`explain`].
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where; the primary one first.
    pub labels: Vec<Label>,
    /// How to mend it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error[P0107]: message`, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.labels.first() {
            write!(f, "{}:{}:{}: ", label.file, label.line, label.column)?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)
    }
}

/// A place that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The file, as given to the compiler.
    pub file: Arc<str>,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// 1-based.
    pub end_line: u32,
    /// 1-based, just after the last character.
    pub end_column: u32,
    /// Bytes from the start of the file.
    pub start_byte: u32,
    /// Just after the last byte.
    pub end_byte: u32,
    /// What is to be seen there; may be empty.
    pub text: String,
    /// The place to mend, as opposed to a place that helps to understand.
    pub primary: bool,
}

/// A finding that is still being written.
pub(crate) struct Finding {
    code: Code,
    span: Span,
    message: String,
    text: String,
    others: Vec<(Span, String)>,
    help: Option<String>,
}

impl Finding {
    /// What is to be seen at the primary place.
    pub(crate) fn say(&mut self, text: impl Into<String>) -> &mut Self {
        self.text = text.into();
        self
    }

    /// A further place.
    pub(crate) fn also(&mut self, span: Span, text: impl Into<String>) -> &mut Self {
        self.others.push((span, text.into()));
        self
    }

    /// How to mend it.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    fn finish(self, map: &SourceMap<'_>) -> Diagnostic {
        let mut labels = vec![map.label(self.span, self.text, true)];
        labels.extend(self.others.into_iter().map(|(span, text)| map.label(span, text, false)));
        let severity = self.code.severity();
        // An error without a way out helps nobody; the page of its code has one.
        let page = || format!("`tidegate explain {}` says what is meant and how to mend it", self.code.as_str());
        let help = self.help.or_else(|| (severity == Severity::Error).then(page));
        Diagnostic { code: self.code, severity, message: self.message, labels, help }
    }
}

/// What was found in one file.
#[derive(Default)]
struct OfFile {
    count: usize,
    /// Positions of those that are kept.
    kept: Vec<usize>,
}

/// All findings of a compilation.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    by_file: HashMap<u32, OfFile>,
    /// Takes what is above the limit, so that no caller has to know about it.
    overflow: Option<Finding>,
}

impl Report {
    /// Adds a finding at `span`.
    pub(crate) fn add(&mut self, code: Code, span: Span, message: impl Into<String>) -> &mut Finding {
        let finding =
            Finding { code, span, message: message.into(), text: String::new(), others: Vec::new(), help: None };
        let of_file = self.by_file.entry(span.file).or_default();
        of_file.count += 1;
        if of_file.count > FINDINGS_PER_FILE_MAX {
            return self.overflow.insert(finding);
        }
        let last = self.findings.len();
        of_file.kept.push(last);
        self.findings.push(finding);
        &mut self.findings[last]
    }

    /// Adds what another report has found, except what has been said of the same place here.
    pub(crate) fn absorb(&mut self, other: Self) {
        for Finding { code, span, message, text, others, help } in other.findings {
            let known = self.by_file.get(&span.file).map_or(&[][..], |of_file| &of_file.kept);
            let mut known = known.iter().filter_map(|at| self.findings.get(*at));
            if !known.any(|known| known.code == code && known.span == span && known.message == message) {
                let added = self.add(code, span, message);
                (added.text, added.others, added.help) = (text, others, help);
            }
        }
    }

    /// Those that will be shown.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter()
    }

    pub(crate) fn finish(self, map: &SourceMap<'_>) -> Vec<Diagnostic> {
        let mut findings = self.findings;
        for (&file, &OfFile { count, .. }) in &self.by_file {
            if count > FINDINGS_PER_FILE_MAX {
                findings.push(Finding {
                    code: Code::TooManyFindings,
                    span: Span { file, start: u32::MAX, end: u32::MAX },
                    message: format!(
                        "{} more findings in {} are not shown",
                        count - FINDINGS_PER_FILE_MAX,
                        map.path(file)
                    ),
                    text: String::new(),
                    others: Vec::new(),
                    help: Some("mend the first ones and run again".to_owned()),
                });
            }
        }
        findings.sort_by_key(|finding| finding.span);
        findings.into_iter().map(|finding| finding.finish(map)).collect()
    }
}
