//! `GET /api/v1/topology`: the graph of the mesh. `GET /api/v1/topology/series`: how one edge or node fared.
//!
//! Both are made away from the threads that streams live on; what a large graph costs is bounded by the topology itself.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::explain::decode;
use super::{Answer, json, text, with_type};
use crate::fleet::Fleet;
use crate::topology::query::{Query, Window};
use crate::topology::{Form, Json, Of};

/// What a graph is asked for by.
const GRAPH: &str = "window, type, namespace, limit";

/// `window`, `type`, `namespace`, `limit`.
pub(super) async fn graph(query: &str, headers: &HeaderMap, fleet: &Fleet) -> Answer {
    let query = match parse(query, &mut |_, _| false, GRAPH) {
        Ok(query) => query,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let Json { bytes, form } = match fleet.topology().json(&query, form(headers)).await {
        Ok(json) => json,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let mut answer = with_type(StatusCode::OK, "application/json", bytes);
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if form == Form::Gzip {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Whoever does not name gzip, or names it with a weight of zero, is sent none (RFC 9110, 12.5.3).
fn form(headers: &HeaderMap) -> Form {
    let named = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let is_wanted = |coding: &str| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    };
    if named.flat_map(|value| value.split(',')).any(is_wanted) { Form::Gzip } else { Form::Plain }
}

/// The same for streams: as JSON, or nothing for a query that means nothing.
pub(super) fn live(fleet: Arc<Fleet>) -> super::stream::Topology {
    Arc::new(move |query| {
        let fleet = fleet.clone();
        Box::pin(async move {
            let query = parse(&query, &mut |_, _| false, "").ok()?;
            fleet.topology().json(&query, Form::Plain).await.ok().map(|json| json.bytes)
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
        _ if query.limit.is_some() => Err("limit is not one of edge, node, window, type, namespace".to_owned()),
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
    use std::num::NonZeroUsize;

    use super::*;
    use crate::topology::query::Grouping;

    fn graph(text: &str) -> Result<Query, String> {
        parse(text, &mut |_, _| false, GRAPH)
    }

    #[test]
    fn a_question_about_the_graph_is_read_and_a_wrong_one_is_told_what_is_right() {
        let namespaces = vec!["a".to_owned(), "b".to_owned()];
        let limit = NonZeroUsize::new(20);
        let query = Query { window: Window::Hour, grouping: Grouping::Workload, namespaces, limit };
        assert_eq!(graph("window=1h&type=workload&namespace=b%2Ca&limit=20"), Ok(query.clone()));
        assert_eq!(graph(&query.to_text()), Ok(query));
        assert_eq!(graph(""), Ok(Query::default()));

        for (text, why) in [
            ("window=2m", "window=2m is not one of 1m, 5m, 10m, 1h, 24h, total"),
            ("type=pod", "type=pod is not one of versionedApp, app, workload, service"),
            ("colour=red", "colour is not one of window, type, namespace, limit"),
            ("limit=0", "limit is a number of edges, 1 or more"),
            ("namespace=%ff", "namespace is not percent-encoded UTF-8"),
        ] {
            assert_eq!(graph(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn only_whoever_says_so_is_sent_gzip() {
        let of = |text| form(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]));

        for text in ["gzip", "br, GZIP;q=0.5", "deflate,gzip ; q=1.0"] {
            assert_eq!(of(text), Form::Gzip, "{text}");
        }
        for text in ["", "identity", "gzip;q=0", "gzip;level=9", "*"] {
            assert_eq!(of(text), Form::Plain, "{text}");
        }
        assert_eq!(form(&HeaderMap::new()), Form::Plain);
    }
}
