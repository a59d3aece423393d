//! How an edge or a node fared from slot to slot.

use tidegate_xds::report_service::Protocol;

use super::graph::{Graph, Seen};
use super::model::{Point, Series, rate, share};
use super::query::Query;
use super::sum::Sum;
use super::view::{Picture, Span, edge_id};
use crate::clock::Timestamp;

/// Whose series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// By an edge's id.
    Edge(String),
    /// By a node's: what is asked of it.
    Node(String),
}

/// `None`: there is no such edge or node.
pub(super) fn series(picture: Picture, query: &Query, of: &Of) -> Option<Series> {
    let span = Span::of(query.window, &picture);
    let (scale, slots) = query.window.slots()?;
    let graph = Graph::of(picture.edges, query, |edge| span.is_active(edge));
    let is_of = |seen: &&Seen| match of {
        Of::Edge(id) => edge_id(&graph.nodes, seen) == *id,
        Of::Node(id) => graph.nodes.get(seen.destination).is_some_and(|node| *node.id == **id),
    };
    let chosen: Vec<_> = graph.seen.iter().filter(is_of).collect();
    let is_known = |id: &str| graph.nodes.iter().any(|node| *node.id == *id);
    if chosen.is_empty() && !matches!(of, Of::Node(id) if is_known(id)) {
        return None;
    }
    let protocol = chosen.first().map_or(Protocol::Unspecified, |seen| seen.key.protocol);
    let newest = span.now_ms / scale.step_ms;
    let first = (newest + 1).saturating_sub(slots).max(span.from_ms / scale.step_ms);
    let mut sum = Sum::new();
    let mut points = Vec::new();
    for slot in first..=newest {
        sum.clear(protocol);
        for seen in chosen.iter().filter(|seen| seen.shown) {
            let record = seen.edge.lock();
            record
                .rings
                .since(scale, slot)
                .take_while(|(of, _)| *of == slot)
                .for_each(|(_, counts)| sum.add_slot(counts));
        }
        points.push(point(&sum, slot * scale.step_ms, scale.step_ms, span));
    }
    Some(Series { step_seconds: scale.step_ms / 1_000, points })
}

/// The newest step is not over, and the first may have begun before there was anybody to count.
fn point(sum: &Sum, at_ms: u64, step_ms: u64, span: Span) -> Point {
    let counted_ms = (at_ms + step_ms).min(span.now_ms).saturating_sub(at_ms.max(span.from_ms));
    #[expect(clippy::cast_precision_loss, reason = "a step has some thousand milliseconds")]
    let seconds = (counted_ms as f64 / 1_000.0).max(1.0);
    let requests = sum.requests();
    Point {
        at: Timestamp::from_unix_ms(at_ms).to_string(),
        requests,
        rps: rate(requests, seconds),
        error_share: share(sum.errors(), sum.happened()),
        latency_ms: sum.latency(),
    }
}
