//! The texts given to the compiler, and places in them.
//!
//! # Why byte spans and not line numbers
//! Everything after the parser carries a [`Span`]: twelve bytes, copied freely. Lines and columns are only worked out for the
//! few places that end up in a message, from an index of line starts that is made once a file.
//!
//! # Limits
//! A directory is edited by people and by programs that fail half-way. Each limit below has a name, so that the message can
//! say which one was met and what to do.

use std::sync::Arc;

use crate::diagnostic::{Code, Label, Report};

/// Largest file that is read. A mesh of 10,000 services written one file a kind stays under it; a log file dropped into the
/// directory by mistake does not.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Most objects in one compilation. Ten times the largest mesh we measure against.
pub const OBJECTS_MAX: usize = 200_000;

/// One file as found.
#[derive(Clone, Debug)]
pub struct Source {
    /// How messages call it.
    pub path: Arc<str>,
    /// Its bytes, which may be anything.
    pub text: Vec<u8>,
}

/// A place: bytes `start..end` of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A value and where it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), span: self.span }
    }
}

/// The files of one compilation.
pub(crate) struct SourceMap<'a> {
    files: Vec<File<'a>>,
}

struct File<'a> {
    path: Arc<str>,
    bytes: &'a [u8],
    line_starts: Vec<u32>,
}

impl<'a> SourceMap<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Self {
        let files = sources
            .iter()
            .map(|source| {
                // Of a file that is too large only the first bytes are ever pointed at.
                let bytes = source.text.get(..FILE_BYTES_MAX).unwrap_or(&source.text);
                File { path: Arc::clone(&source.path), bytes, line_starts: line_starts(bytes) }
            })
            .collect();
        Self { files }
    }

    pub(crate) fn path(&self, file: u32) -> Arc<str> {
        self.files.get(file as usize).map_or_else(|| Arc::from(""), |file| Arc::clone(&file.path))
    }

    /// 1-based line and column (in characters) of a byte.
    pub(crate) fn position(&self, file: u32, byte: u32) -> (u32, u32) {
        let Some(file) = self.files.get(file as usize) else { return (1, 1) };
        let line = file.line_starts.partition_point(|&start| start <= byte).max(1);
        let start = file.line_starts.get(line - 1).copied().unwrap_or(0) as usize;
        let before = file.bytes.get(start..byte as usize).unwrap_or_default();
        // Bytes that continue a character do not move the column.
        let column = before.iter().filter(|&&b| b & 0xC0 != 0x80).count();
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column + 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn line(&self, span: Span) -> u32 {
        self.position(span.file, span.start).0
    }

    /// What is written in a line, for a place that is known by its line alone.
    pub(crate) fn line_span(&self, path: &str, line: u32) -> Option<Span> {
        let (index, file) = self.files.iter().enumerate().find(|(_, file)| &*file.path == path)?;
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = *file.line_starts.get(at)? as usize;
        let end = file.line_starts.get(at + 1).map_or(file.bytes.len(), |next| *next as usize);
        let text = file.bytes.get(start..end)?;
        let indent = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let length = text.trim_ascii().len();
        let start = u32::try_from(start + indent).ok()?;
        Some(Span { file: u32::try_from(index).ok()?, start, end: start + u32::try_from(length).ok()? })
    }

    pub(crate) fn label(&self, span: Span, text: String, primary: bool) -> Label {
        let (line, column) = self.position(span.file, span.start);
        let (end_line, end_column) = self.position(span.file, span.end.max(span.start));
        Label {
            file: self.path(span.file),
            line,
            column,
            end_line,
            end_column,
            start_byte: span.start,
            end_byte: span.end,
            text,
            primary,
        }
    }
}

fn line_starts(bytes: &[u8]) -> Vec<u32> {
    let mut starts = vec![0];
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' {
            starts.push(u32::try_from(at + 1).unwrap_or(u32::MAX));
        }
    }
    starts
}

/// The text of a source, or a finding that says why there is none. The second value is the number of bytes before the text
/// (a byte order mark).
pub(crate) fn text<'a>(source: &'a Source, file: u32, report: &mut Report) -> Option<(&'a str, u32)> {
    if source.text.len() > FILE_BYTES_MAX {
        let size_mib = source.text.len() >> 20;
        report
            .add(
                Code::FileTooLarge,
                Span { file, start: 0, end: 0 },
                format!("the file has {size_mib} MiB, the limit is {} MiB", FILE_BYTES_MAX >> 20),
            )
            .help("split it into several files; if it is no policy at all, move it out of the directory");
        return None;
    }
    match std::str::from_utf8(&source.text) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => Some((rest, 3)),
            None => Some((text, 0)),
        },
        Err(error) => {
            let at = u32::try_from(error.valid_up_to()).unwrap_or(0);
            let byte = source.text.get(error.valid_up_to()).copied().unwrap_or_default();
            report
                .add(
                    Code::NotUtf8,
                    Span { file, start: at, end: at },
                    format!("the file is not UTF-8: byte {byte:#04x} at offset {at}"),
                )
                .help("save it as UTF-8; a binary or compressed file does not belong into the directory");
            None
        }
    }
}
