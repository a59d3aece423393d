//! A trace for a terminal: who called whom, how long each took, and when within the whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::clock::Timestamp;

/// Characters of a bar.
const BAR: usize = 32;
/// Levels that are indented; deeper ones stand below each other.
const INDENT_MAX: usize = 24;
/// The longest label that others are aligned with.
const LABEL_MAX: usize = 64;

/// Jaeger's answer.
#[derive(Deserialize)]
pub(super) struct Answer {
    data: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceID")]
    id: String,
    spans: Vec<Span>,
    processes: BTreeMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "spanID")]
    span: String,
}

#[derive(Deserialize)]
struct Process {
    #[serde(rename = "serviceName")]
    service: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: serde_json::Value,
}

/// A line of the tree.
struct Line<'a> {
    label: String,
    span: &'a Span,
}

/// All traces of an answer.
pub(super) fn tree(answer: &Answer) -> String {
    answer.data.iter().map(Trace::tree).collect()
}

impl Trace {
    fn tree(&self) -> String {
        let start = self.spans.iter().map(|span| span.start_time).min().unwrap_or(0);
        let end = self.spans.iter().map(|span| span.start_time.saturating_add(span.duration)).max().unwrap_or(start);
        let services: BTreeSet<&str> = self.spans.iter().map(|span| self.service(span)).collect();
        let failed = self.spans.iter().filter(|span| span.failed()).count();
        let whole = end - start;
        let mut text = format!(
            "trace {}, began {}, {}, {} spans of {} services, {failed} failed\n\n",
            self.id,
            Timestamp::from_unix_ms(start / 1_000),
            duration(whole),
            self.spans.len(),
            services.len(),
        );
        let lines = self.lines();
        let width = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0).min(LABEL_MAX);
        for Line { label, span } in lines {
            let mark = if span.failed() { " error" } else { "" };
            let bar = bar(span.start_time - start, span.duration, whole);
            // Writing to a string cannot fail.
            writeln!(text, "{label:<width$}  {:>9}  |{bar}|{mark}", duration(span.duration)).unwrap_or_default();
        }
        text
    }

    fn service(&self, span: &Span) -> &str {
        self.processes.get(&span.process).map_or("?", |process| process.service.as_str())
    }

    /// Parents before their children, siblings by time. A span in a circle of parents stands at the end.
    fn lines(&self) -> Vec<Line<'_>> {
        let ids: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let mut children: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
        for span in &self.spans {
            children.entry(span.parent().filter(|parent| ids.contains(parent))).or_default().push(span);
        }
        // The last of a list is shown first.
        children.values_mut().for_each(|list| list.sort_by_key(|span| std::cmp::Reverse(span.start_time)));
        let mut waiting: Vec<(usize, &Span)> =
            children.remove(&None).unwrap_or_default().into_iter().map(|span| (0, span)).collect();
        let mut lines = Vec::new();
        loop {
            while let Some((depth, span)) = waiting.pop() {
                let name = format!("{}: {}", self.service(span), span.operation_name);
                lines.push(Line { label: format!("{}{name}", "  ".repeat(depth.min(INDENT_MAX))), span });
                let below = children.remove(&Some(span.id.as_str())).unwrap_or_default();
                waiting.extend(below.into_iter().map(|span| (depth + 1, span)));
            }
            let Some(circle) = children.keys().copied().next() else { return lines };
            waiting.extend(children.remove(&circle).unwrap_or_default().into_iter().map(|span| (0, span)));
        }
    }
}

impl Span {
    fn parent(&self) -> Option<&str> {
        self.references.iter().find(|reference| reference.kind == "CHILD_OF").map(|reference| reference.span.as_str())
    }

    fn failed(&self) -> bool {
        self.tags.iter().any(|tag| tag.key == "error" && tag.value != false && tag.value != "false")
    }
}

/// Where a span lies within the whole; as short as it may be, it is seen.
fn bar(start: u64, duration: u64, whole: u64) -> String {
    let place = |time: u64| (u128::from(time) * BAR as u128).checked_div(u128::from(whole)).unwrap_or(0) as usize;
    let from = place(start).min(BAR - 1);
    let to = place(start.saturating_add(duration)).clamp(from + 1, BAR);
    format!("{}{}{}", " ".repeat(from), "█".repeat(to - from), " ".repeat(BAR - to))
}

/// Microseconds for people.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, start: u64, duration: u64, error: bool) -> String {
        let references = if parent.is_empty() {
            "[]".to_owned()
        } else {
            format!(r#"[{{"refType":"CHILD_OF","traceID":"t","spanID":"{parent}"}}]"#)
        };
        let tags = if error { r#"[{"key":"error","type":"bool","value":true}]"# } else { "[]" };
        format!(
            r#"{{"spanID":"{id}","operationName":"GET","references":{references},"startTime":{start},
            "duration":{duration},"tags":{tags},"processID":"p1"}}"#
        )
    }

    fn shown(spans: &[String]) -> String {
        let json = format!(
            r#"{{"data":[{{"traceID":"t","spans":[{}],"processes":{{"p1":{{"serviceName":"s","tags":[]}}}}}}]}}"#,
            spans.join(",")
        );
        tree(&serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn children_stand_below_their_parents_in_the_order_of_time() {
        let spans = [
            span("c", "a", 500_000, 500_000, true),
            span("b", "a", 250_000, 10, false),
            span("a", "", 0, 1_000_000, false),
        ];

        let expected = concat!(
            "trace t, began 1970-01-01T00:00:00.000Z, 1.00 s, 3 spans of 1 services, 1 failed\n\n",
            "s: GET       1.00 s  |████████████████████████████████|\n",
            "  s: GET      10 µs  |        █                       |\n",
            "  s: GET   500.0 ms  |                ████████████████| error\n",
        );
        assert_eq!(shown(&spans), expected);
    }

    #[test]
    fn every_span_is_shown_once_also_in_a_circle() {
        let spans = [span("a", "b", 0, 0, false), span("b", "a", 0, 0, false), span("c", "gone", 0, 0, false)];

        assert_eq!(shown(&spans).lines().filter(|line| line.contains("s: GET")).count(), 3);
    }
}
