//! `GET /api/v1/topology`: the graph of the mesh. `GET /api/v1/topology/series`: how one edge or node fared.
//!
//! Both are made away from the threads that streams live on; what a large graph costs is bounded by the topology itself.

use std::sync::Arc;

use http::StatusCode;

use super::explain::decode;
use super::{Answer, json, text, with_type};
use crate::fleet::Fleet;
use crate::topology::Of;
use crate::topology::query::{Query, Window};

/// `window`, `type`, `namespace`.
pub(super) async fn graph(query: &str, fleet: &Fleet) -> Answer {
    match parse(query, &mut |_, _| false, "window, type, namespace") {
        Ok(query) => match fleet.topology().json(&query).await {
            Ok(bytes) => with_type(StatusCode::OK, "application/json", bytes),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

/// The same for streams: as JSON, or nothing for a query that means nothing.
pub(super) fn live(fleet: Arc<Fleet>) -> super::stream::Topology {
    Arc::new(move |query| {
        let fleet = fleet.clone();
        Box::pin(async move {
            let query = parse(&query, &mut |_, _| false, "").ok()?;
            fleet.topology().json(&query).await.ok()
        })
    })
}

/// `edge` or `node`, and what [`graph`] takes.
pub(super) async fn series(query: &str, fleet: &Fleet) -> Answer {
    let mut of = None;
    let mut take = |name: &str, value: &str| {
        match name {
            "edge" => of = Some(Of::Edge(value.to_owned())),
            "node" => of = Some(Of::Node(value.to_owned())),
            _ => return false,
        }
        true
    };
    let parsed = parse(query, &mut take, "edge, node, window, type, namespace");
    let wanted = parsed.and_then(|query| match (query.window, of) {
        (Window::Total, _) => Err("window=total has no steps; try 1m, 5m, 10m, 1h or 24h".to_owned()),
        (_, None) => Err("edge=ID or node=ID is needed, with an id of /api/v1/topology".to_owned()),
        (_, Some(of)) => Ok((query, of)),
    });
    let (query, of) = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let topology = Arc::clone(fleet.topology());
    match tokio::task::spawn_blocking(move || topology.series(&query, &of)).await {
        Ok(Some(series)) => json(&series),
        Ok(None) => text(StatusCode::NOT_FOUND, "there is no such edge or node in this type of graph\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Reads a query; `other` takes what a graph has no use for.
fn parse(text: &str, other: &mut dyn FnMut(&str, &str) -> bool, known: &str) -> Result<Query, String> {
    let mut query = Query::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("{name} is not percent-encoded UTF-8"))?;
        if !query.set(name, &value)? && !other(name, &value) {
            return Err(format!("{name} is not one of {known}"));
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::query::Grouping;

    fn graph(text: &str) -> Result<Query, String> {
        parse(text, &mut |_, _| false, "window, type, namespace")
    }

    #[test]
    fn a_question_about_the_graph_is_read_and_a_wrong_one_is_told_what_is_right() {
        let namespaces = vec!["a".to_owned(), "b".to_owned()];
        let query = Query { window: Window::Hour, grouping: Grouping::Workload, namespaces };
        assert_eq!(graph("window=1h&type=workload&namespace=b%2Ca"), Ok(query.clone()));
        assert_eq!(graph(&query.to_text()), Ok(query));
        assert_eq!(graph(""), Ok(Query::default()));

        for (text, why) in [
            ("window=2m", "window=2m is not one of 1m, 5m, 10m, 1h, 24h, total"),
            ("type=pod", "type=pod is not one of versionedApp, app, workload, service"),
            ("colour=red", "colour is not one of window, type, namespace"),
            ("namespace=%ff", "namespace is not percent-encoded UTF-8"),
        ] {
            assert_eq!(graph(text), Err(why.to_owned()));
        }
    }
}
