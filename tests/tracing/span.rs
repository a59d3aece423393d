//! A span in one form, whichever collector tells of it, and spans as a tree that a person can read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::application::WORK;

/// Processes read their clocks at slightly different moments, a scheduler may stop one between an answer and the look at the
/// clock, and SkyWalking knows whole milliseconds only.
const SKEW: Duration = Duration::from_millis(15);

/// What is asked of every collector alike.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) service: String,
    /// `CLIENT` or `SERVER`.
    pub(super) kind: String,
    pub(super) name: String,
    /// Since 1970.
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) tags: BTreeMap<String, String>,
}

impl Span {
    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("-", String::as_str)
    }
}

/// A value of a tag, as text.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One line for each span below the one root, children by their beginning: `SERVICE KIND STATUS`, and for whoever calls whom it
/// called by the names of `addresses`.
pub(super) fn tree(spans: &[Span], addresses: &BTreeMap<String, String>) -> String {
    let is_root = |span: &&Span| span.parent.is_none();
    let roots: Vec<&Span> = spans.iter().filter(is_root).collect();
    let mut lines = String::new();
    for root in roots {
        branch(root, spans, addresses, 0, &mut lines);
    }
    for lost in spans.iter().filter(|span| !is_root(span) && !spans.iter().any(|other| is_parent(other, span))) {
        lines.push_str("without its parent: ");
        branch(lost, spans, addresses, 0, &mut lines);
    }
    lines
}

fn is_parent(parent: &Span, span: &Span) -> bool {
    span.parent.as_deref() == Some(parent.id.as_str())
}

fn branch(span: &Span, spans: &[Span], addresses: &BTreeMap<String, String>, depth: usize, lines: &mut String) {
    let service = span.service.strip_suffix(".shop").unwrap_or(&span.service);
    lines.push_str(&format!("{}{service} {} {}", "  ".repeat(depth), span.kind, span.tag("http.response.status_code")));
    if span.kind == "CLIENT" {
        let peer = format!("{}:{}", span.tag("network.peer.address"), span.tag("network.peer.port"));
        lines.push_str(&format!(" -> {}", addresses.get(&peer).unwrap_or(&peer)));
    }
    lines.push('\n');
    let mut children: Vec<&Span> = spans.iter().filter(|child| is_parent(span, child)).collect();
    children.sort_by_key(|child| child.start);
    children.into_iter().for_each(|child| branch(child, spans, addresses, depth + 1, lines));
}

/// Every span is within its parent and as long as the work in it.
pub(super) fn assert_times(spans: &[Span]) {
    for span in spans {
        assert!(span.end - span.start + Duration::from_millis(2) >= WORK, "it took longer: {span:?}");
        let Some(parent) = spans.iter().find(|parent| is_parent(parent, span)) else { continue };
        assert!(span.start + SKEW >= parent.start, "{span:?} begins before {parent:?}");
        assert!(span.end <= parent.end + SKEW, "{span:?} ends after {parent:?}");
    }
}

/// What HTTP spans say whoever collects them.
pub(super) fn assert_tags(spans: &[Span]) {
    for span in spans {
        assert_eq!(span.tag("http.request.method"), "GET", "{span:?}");
        assert_eq!(span.tag("network.protocol.version"), "1.1", "{span:?}");
        assert!(span.tag("network.peer.address").starts_with("127."), "{span:?}");
        assert_eq!(span.tag("server.port"), "9080", "{span:?}");
        assert_eq!(span.tag("component"), "proxy", "{span:?}");
        let node = span.tag("node_id");
        assert!(node.starts_with("sidecar~127.") && node.contains(&format!("~{}~", span.service)), "{span:?}");
        let path = if span.kind == "SERVER" { "url.path" } else { "url.full" };
        assert!(span.tag(path).contains('/'), "{span:?}");
        assert!(span.name.to_uppercase().starts_with("GET"), "{span:?}");
        assert!(!span.name.contains("flaky"), "a path is in no name: {span:?}");
    }
}
