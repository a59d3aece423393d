//! Findings as text with the lines they are about, in the manner of rustc.
//!
//! Only the lines around a label are handed to the renderer: a finding in a file of 4 MiB costs what one in a small file does.

use std::borrow::Cow;

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

/// Hides what may be a private key. No finding points into one, but a broken file is shown with the lines around the break.
#[derive(Default)]
struct Veil {
    inside: bool,
}

/// Letters of base64 that no word has without a break, and a line of PEM or an encoded key does.
const BASE64_RUN: usize = 60;

impl Veil {
    /// The line as it may be shown, as long as it was. The lines of a file are given in their order.
    fn cover<'l>(&mut self, line: &'l [u8]) -> Cow<'l, [u8]> {
        let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
        if has(b"PRIVATE KEY-----") {
            self.inside = has(b"-----BEGIN") && !has(b"-----END");
            return Cow::Borrowed(line);
        }
        let symbol = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let long = || line.split(|b| !symbol(b)).any(|run| run.len() >= BASE64_RUN);
        if !self.inside && !long() {
            return Cow::Borrowed(line);
        }
        let least = if self.inside { 1 } else { BASE64_RUN };
        let mut covered = line.to_vec();
        for run in covered.split_mut(|b| !symbol(b)).filter(|run| run.len() >= least) {
            run.fill(b'*');
        }
        Cow::Owned(covered)
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
        let mut veil = Veil::default();
        let lines = bytes.split(|&b| b == b'\n').map(|line| veil.cover(line));
        for line in lines.take(last).skip(first) {
            starts.push(text.len());
            let line = line.get(..LINE_BYTES_MAX).unwrap_or(&line);
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
