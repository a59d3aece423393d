//! Findings as text with the lines they are about, in the manner of rustc.
//!
//! Only the lines around a label are handed to the renderer: a finding in a file of 4 MiB costs what one in a small file does.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Diagnostic, Label, Severity};
use crate::source::Source;

/// Lines shown before and after a label.
const CONTEXT_LINES: usize = 1;

/// A longer line is cut: it is no YAML that a person wrote.
const LINE_BYTES_MAX: usize = 400;

pub(crate) fn render(diagnostics: &[Diagnostic], sources: &[Source], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&one(diagnostic, sources, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn one(diagnostic: &Diagnostic, sources: &[Source], renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let message = clean(&diagnostic.message);
    let mut group = level
        .primary_title(message)
        .id(diagnostic.code.as_str())
        .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
    let mut shown: Vec<Excerpt<'_>> = Vec::new();
    for label in &diagnostic.labels {
        match shown.iter_mut().find(|excerpt| excerpt.takes(label)) {
            Some(excerpt) => excerpt.labels.push(label),
            None => shown.push(Excerpt { file: &label.file, labels: vec![label] }),
        }
    }
    for excerpt in &shown {
        group = group.element(excerpt.snippet(sources));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    renderer.render(&[group])
}

/// Labels of one file that are shown together.
struct Excerpt<'a> {
    file: &'a str,
    labels: Vec<&'a Label>,
}

impl Excerpt<'_> {
    /// Labels far apart get an excerpt each, or the lines between them would be handed over for nothing.
    fn takes(&self, label: &Label) -> bool {
        self.file == &*label.file && self.labels.iter().all(|other| other.line.abs_diff(label.line) < 200)
    }

    fn snippet(&self, sources: &[Source]) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
        let first =
            self.labels.iter().map(|label| label.line).min().unwrap_or(1).saturating_sub(1 + CONTEXT_LINES as u32)
                as usize;
        let last = self.labels.iter().map(|label| label.end_line).max().unwrap_or(1) as usize + CONTEXT_LINES;
        let bytes =
            sources.iter().find(|source| *source.path == *self.file).map_or(&[][..], |source| source.text.as_slice());
        let window = Window::new(bytes, first, last);
        let mut snippet = Snippet::source(window.text.clone()).line_start(first + 1).path(self.file.to_owned());
        for label in &self.labels {
            let kind = if label.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let start = window.offset(label.line, label.column);
            let end = window.offset(label.end_line, label.end_column).max(start);
            let annotation = kind.span(start..end);
            snippet = snippet.annotation(if label.text.is_empty() {
                annotation
            } else {
                annotation.label(clean(&label.text))
            });
        }
        snippet
    }
}

/// Some lines of a file, each with where it starts in the text.
struct Window {
    text: String,
    first: usize,
    starts: Vec<usize>,
}

impl Window {
    fn new(bytes: &[u8], first: usize, last: usize) -> Self {
        let mut text = String::new();
        let mut starts = Vec::new();
        for line in bytes.split(|&b| b == b'\n').skip(first).take(last.saturating_sub(first)) {
            starts.push(text.len());
            let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
            let line = String::from_utf8_lossy(line);
            // One character for one character, so that columns hold.
            text.extend(line.trim_end_matches('\r').chars().map(|c| if c.is_control() { ' ' } else { c }));
            text.push('\n');
        }
        if text.is_empty() {
            starts.push(0);
            text.push('\n');
        }
        Self { text, first, starts }
    }

    /// Byte offset of a 1-based line and column.
    fn offset(&self, line: u32, column: u32) -> usize {
        let row = (line as usize).saturating_sub(1 + self.first).min(self.starts.len().saturating_sub(1));
        let start = self.starts.get(row).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or_default();
        let rest = rest.split('\n').next().unwrap_or_default();
        let within = rest.char_indices().nth((column as usize).saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        start + within
    }
}

/// Without control characters: a file must not be able to write to the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
