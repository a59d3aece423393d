//! Files into documents, documents into trees. The only module that names the YAML library.
//!
//! # Why documents are cut apart before they are parsed
//! A syntax error leaves a YAML parser without its place. A line that starts with `---` ends a document whatever came before
//! it, so each document is parsed by itself and a broken one hides no other.
//!
//! # Why nothing here can explode
//! An alias is a copy. Ten lines can ask for a billion of them, so copies count against the same budget as written values.

use std::collections::HashMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Range, StructureStyle, options};

use crate::diagnostic::{Code, Report};
use crate::source::Span;
use crate::tree::{Content, Entry, Node, Scalar};

/// Most values in one document, copies by alias included. An endpoint slice of a thousand endpoints has 15,000.
pub(crate) const NODES_PER_DOCUMENT_MAX: usize = 50_000;

/// Deepest nesting. The deepest kind we read has 14 levels; the walks over a tree are recursive.
const NESTING_MAX: usize = 48;

/// Most documents in one file: 4 MiB of the smallest objects.
const DOCUMENTS_PER_FILE_MAX: usize = 40_000;

/// The documents of a file, in order. Broken ones are reported and left out.
pub(crate) fn parse(text: &str, offset: u32, file: u32, report: &mut Report) -> Vec<Node> {
    let mut nodes = Vec::new();
    if text.trim().is_empty() {
        report
            .add(Code::EmptyFile, Span { file, start: offset, end: offset }, "the file is empty".to_owned())
            .help("if nothing is meant to be in it, delete it; if something was, restore it");
        return nodes;
    }
    let chunks = split(text);
    if chunks.len() > DOCUMENTS_PER_FILE_MAX {
        report
            .add(
                Code::TooComplex,
                Span { file, start: 0, end: 0 },
                format!("the file has {} documents, the limit is {DOCUMENTS_PER_FILE_MAX}", chunks.len()),
            )
            .help("split it into several files");
        return nodes;
    }
    for chunk in chunks {
        let Some(part) = text.get(chunk.clone()) else { continue };
        let base = offset + u32::try_from(chunk.start).unwrap_or(0);
        let mut builder = Builder::new(Place { file, base }, report);
        if let Some((node, block)) = builder.run(part) {
            if block && chunk.end == text.len() && !text.ends_with('\n') {
                let end = offset + u32::try_from(text.len()).unwrap_or(0);
                report
                    .add(Code::Truncated, Span { file, start: end.saturating_sub(1), end }, "the last line has no line break: the file may be cut off".to_owned())
                    .help("if it is complete, end it with a line break; `weight: 1` could be the beginning of `weight: 100`");
                continue;
            }
            nodes.push(node);
        }
    }
    nodes
}

/// Byte ranges of documents. `---` and `...` at the start of a line are markers even within a block scalar.
fn split(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_marker(line, "---") {
            chunks.push(start..at);
            start = at;
        } else if is_marker(line, "...") {
            chunks.push(start..at);
            start = at + line.len();
        }
        at += line.len();
    }
    chunks.push(start..text.len());
    chunks.retain(|chunk| text.get(chunk.clone()).is_some_and(has_content));
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a chunk is more than blanks, comments, directives and a marker.
fn has_content(chunk: &str) -> bool {
    chunk.lines().enumerate().any(|(index, line)| {
        let line = if index == 0 { line.strip_prefix("---").unwrap_or(line) } else { line };
        let line = line.trim();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
    })
}

/// Where a chunk lies.
#[derive(Clone, Copy)]
struct Place {
    file: u32,
    base: u32,
}

impl Place {
    fn span(self, range: &Range) -> Span {
        let start = range.start.byte_offset().unwrap_or(0);
        let end = range.end.byte_offset().unwrap_or(start).max(start);
        self.bytes(start, end)
    }

    fn bytes(self, start: usize, end: usize) -> Span {
        let at = |byte: usize| self.base + u32::try_from(byte).unwrap_or(0);
        Span { file: self.file, start: at(start), end: at(end) }
    }
}

/// A collection that is not closed yet.
enum Frame {
    List { span: Span, items: Vec<Node>, anchor: usize },
    Map { span: Span, entries: Vec<Entry>, seen: HashMap<Arc<str>, Span>, key: Option<(Arc<str>, Span)>, anchor: usize },
}

/// The document cannot be read further; it has been reported.
struct Broken;

struct Builder<'r> {
    place: Place,
    report: &'r mut Report,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes_left: usize,
    root: Option<Node>,
    duplicate: bool,
}

impl<'r> Builder<'r> {
    fn new(place: Place, report: &'r mut Report) -> Self {
        Self {
            place,
            report,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes_left: NODES_PER_DOCUMENT_MAX,
            root: None,
            duplicate: false,
        }
    }

    /// The tree, and whether its root is written in block style.
    fn run(&mut self, text: &str) -> Option<(Node, bool)> {
        let mut options = options! {
            flow_nesting_limit: NESTING_MAX,
            block_nesting_limit: NESTING_MAX,
        };
        options.set_emit_comments(false);
        let mut block = true;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, range) = match event {
                Ok(next) => next,
                Err(error) => {
                    self.syntax(&error, text);
                    return None;
                }
            };
            if self.stack.is_empty()
                && let Event::MappingStart(style, ..) | Event::SequenceStart(style, ..) = &event
            {
                block = matches!(style, StructureStyle::Block);
            }
            self.event(event, &range).ok()?;
        }
        if self.duplicate {
            return None;
        }
        self.root.take().map(|root| (root, block))
    }

    fn syntax(&mut self, error: &ScanError, text: &str) {
        let byte = error.marker().byte_offset().unwrap_or(0).min(text.len());
        let at_end = text.get(byte..).is_none_or(|rest| rest.trim().is_empty());
        let span = self.place.bytes(byte, (byte + 1).min(text.len()));
        let finding =
            self.report.add(Code::BadYaml, span, format!("this is not YAML: {}", error.info().replace('"', "`")));
        if at_end {
            finding.say("the text ends here").help("the file may be cut off: compare its end with where it came from");
        } else {
            finding.help("look at the line above too: a bracket or quote left open, a tab, or wrong indentation shows only later");
        }
    }

    fn event(&mut self, event: Event<'_>, range: &Range) -> Result<(), Broken> {
        let span = self.place.span(range);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return self.unsupported(span, "a tag (`!...`)", "leave the tag out");
                }
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let content =
                    if null { Content::Null } else { Content::Scalar(Scalar { text: Arc::from(&*text), plain }) };
                self.complete(Node { span, content }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some() {
                    return self.unsupported(span, "a tag (`!...`)", "leave the tag out");
                }
                self.stack.push(Frame::List { span, items: Vec::new(), anchor });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some() {
                    return self.unsupported(span, "a tag (`!...`)", "leave the tag out");
                }
                self.stack.push(Frame::Map { span, entries: Vec::new(), seen: HashMap::new(), key: None, anchor });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return self.unsupported(span, "an alias to a value that contains it", "write the value out");
                };
                let size = size(node);
                let mut copy = node.clone();
                copy.span = span;
                self.spend(size, span)?;
                self.complete(copy, 0)
            }
            // The stream's own marks; comments are switched off.
            _ => Ok(()),
        }
    }

    fn close(&mut self, end: Span) -> Result<(), Broken> {
        match self.stack.pop() {
            Some(Frame::List { span, items, anchor }) => {
                let span = whole(span, items.first().map(|item| item.span), end);
                self.complete(Node { span, content: Content::List(items) }, anchor)
            }
            Some(Frame::Map { span, entries, anchor, .. }) => {
                let span = whole(span, entries.first().map(|entry| entry.key_span), end);
                self.complete(Node { span, content: Content::Map(entries) }, anchor)
            }
            None => Ok(()),
        }
    }

    /// Puts a finished value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Broken> {
        self.spend(1, node.span)?;
        if anchor != 0 {
            self.spend(size(&node), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, seen, key, .. }) => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let Content::Scalar(scalar) = node.content else {
                        return self.unsupported(node.span, "a key that is not text", "keys are plain names");
                    };
                    if scalar.plain && &*scalar.text == "<<" {
                        return self.unsupported(node.span, "a merge key (`<<`)", "write the fields out");
                    }
                    if let Some(first) = seen.insert(Arc::clone(&scalar.text), node.span) {
                        self.duplicate = true;
                        self.report
                            .add(
                                Code::DuplicateKey,
                                node.span,
                                format!("`{}` is given twice", crate::tree::shortened(&scalar.text)),
                            )
                            .say("again here")
                            .also(first, "first here")
                            .help("keep one of the two; YAML does not say which would count");
                    }
                    *key = Some((scalar.text, node.span));
                }
            },
        }
        Ok(())
    }

    fn spend(&mut self, nodes: usize, span: Span) -> Result<(), Broken> {
        match self.nodes_left.checked_sub(nodes) {
            Some(left) => {
                self.nodes_left = left;
                Ok(())
            }
            None => {
                self.report
                    .add(Code::TooComplex, span, format!("the document has more than {NODES_PER_DOCUMENT_MAX} values"))
                    .say("the limit is met here")
                    .help("split the object, or write out the aliases that multiply it");
                Err(Broken)
            }
        }
    }

    fn unsupported(&mut self, span: Span, what: &str, cure: &str) -> Result<(), Broken> {
        self.report.add(Code::UnsupportedYaml, span, format!("{what} is not read in policies")).help(cure);
        Err(Broken)
    }
}

/// What to point at for a collection: all of a flow collection, the first line of a block collection.
fn whole(start: Span, first: Option<Span>, end: Span) -> Span {
    if start.end > start.start {
        return Span { end: end.end.max(start.end), ..start };
    }
    first.unwrap_or(start)
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Null | Content::Scalar(_) => 1,
        Content::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}
