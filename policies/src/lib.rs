//! The policy language: parse, check and merge mesh YAML into one [`ir::PolicySet`].
//!
//! # The way of a policy
//! `source` (bytes, limits) → `document` (YAML into trees) → `head` (which kind) → `dialect` (each kind's fields) → `merge`
//! (references, conflicts, order) → [`ir`]. Every stage is a function of its input; there is no I/O, no clock and no state.
//!
//! # All findings at once
//! No stage stops at the first mistake. A document that cannot be parsed, a field that is wrong and a subset that does not
//! exist are reported by one run, each with its place and a cure. With an error among them the [`Compilation::set`] is not to
//! be used: a configuration is applied whole or not at all.

mod certificate;
mod diagnostic;
mod dialect;
mod document;
mod head;
pub mod ir;
mod merge;
mod pattern;
mod schema;
mod source;
mod spelling;
mod tree;

use std::collections::HashMap;
use std::time::SystemTime;

pub use diagnostic::{Code, Diagnostic, Label, Severity, explain};
pub use source::{FILE_BYTES_MAX, OBJECTS_MAX, Source};

use diagnostic::Report;
use dialect::{Context, Objects, Written};
use head::{Head, Kind, Reading};
use ir::{ObjectName, PolicySet};
use pattern::Patterns;
use source::{SourceMap, Span};
use tree::Node;

/// What became of the sources.
#[derive(Clone, Debug, Default)]
pub struct Compilation {
    /// Meaningful only when there are no errors, but for its statuses, which say what became of each object in any case.
    pub set: PolicySet,
    /// In the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl Compilation {
    /// Whether the configuration has to be refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The findings with the lines they are about. `sources` are those that were compiled.
    pub fn render(&self, sources: &[Source], color: bool) -> String {
        diagnostic::render(&self.diagnostics, sources, color)
    }
}

/// Compiles files into one set. The order of the files decides nothing.
pub fn compile(sources: &[Source]) -> Compilation {
    compile_watched(sources, None, &mut |_| {})
}

/// As [`compile`], for a time: what has expired by then is reported. The set is the same at any time.
pub fn compile_at(sources: &[Source], now: SystemTime) -> Compilation {
    compile_watched(sources, Some(now), &mut |_| {})
}

/// As [`compile`] or [`compile_at`], telling after each file how many have been read: a large mesh takes seconds.
pub fn compile_watched(sources: &[Source], now: Option<SystemTime>, read: &mut dyn FnMut(usize)) -> Compilation {
    let map = SourceMap::new(sources);
    let mut cx = Context {
        map: &map,
        report: Report::default(),
        patterns: Patterns::default(),
        now,
        written: Vec::new(),
        entries_left: Some(dialect::ROUTE_ENTRIES_MAX),
    };
    let mut objects = Objects::default();
    let mut seen = Seen::default();
    for (index, source) in sources.iter().enumerate() {
        let file = u32::try_from(index).unwrap_or(u32::MAX);
        let Some((text, offset)) = source::text(source, file, &mut cx.report) else { continue };
        for document in document::parse(text, offset, file, &mut cx.report) {
            object(&document, &mut seen, &mut objects, &mut cx);
        }
        read(index + 1);
    }
    let mut set = merge::merge(objects, &mut cx);
    set.statuses = merge::statuses(sources, &cx);
    let diagnostics = cx.report.finish(&map);
    Compilation { set, diagnostics }
}

/// Objects seen so far, by identity.
#[derive(Default)]
struct Seen {
    first: HashMap<(Kind, ObjectName), Span>,
    refused: bool,
}

fn object(document: &Node, seen: &mut Seen, objects: &mut Objects, cx: &mut Context<'_>) {
    match head::read(document, &mut cx.report) {
        Reading::Object(head, node) => {
            let extent = node.extent();
            cx.written.push(Written { kind: head.kind, name: head.name.clone(), span: head.span, extent });
            if seen.admits(&head, &mut cx.report) {
                dialect::read(head, node, objects, cx);
            }
        }
        // A list within a list is as deep as the document, which is limited.
        Reading::Items(items) => {
            for item in items {
                object(item, seen, objects, cx);
            }
        }
        Reading::Done => {}
    }
}

impl Seen {
    fn admits(&mut self, head: &Head, report: &mut Report) -> bool {
        if self.first.len() >= OBJECTS_MAX {
            if !self.refused {
                self.refused = true;
                report
                    .add(Code::TooManyObjects, head.span, format!("there are more than {OBJECTS_MAX} objects"))
                    .help("split the mesh, or remove what repeats");
            }
            return false;
        }
        match self.first.entry((head.kind, head.name.clone())) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(head.span);
                true
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                report
                    .add(
                        Code::DuplicateObject,
                        head.span,
                        format!("{} {} is written twice", head.kind.as_str(), head.name),
                    )
                    .say("again here")
                    .also(*entry.get(), "first here")
                    .help("remove one of the two, or give it another name");
                false
            }
        }
    }
}
