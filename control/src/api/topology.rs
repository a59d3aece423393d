//! `GET /api/v1/topology`: the graph of the mesh.
//!
//! # Limits
//! The graph of a large mesh takes a core some dozen milliseconds. It is made away from the threads that streams live on, and an
//! answer is given again while making it anew would take a tenth of a core: a small mesh is always looked at anew, however many ask,
//! a large one now and then ([`Answers`]).

use std::sync::Arc;

use http::StatusCode;

use super::explain::decode;
use super::{Answer, text, with_type};
use crate::fleet::Fleet;
use crate::topology::query::Query;

/// `window`, `type`, `namespace`.
pub(super) async fn graph(query: &str, fleet: &Fleet) -> Answer {
    let query = match parse(query) {
        Ok(query) => query,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let topology = Arc::clone(fleet.topology());
    let made = tokio::task::spawn_blocking(move || serde_json::to_vec(&topology.snapshot(&query))).await;
    match made {
        Ok(Ok(bytes)) => with_type(StatusCode::OK, "application/json", bytes),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The same for streams: as JSON, or nothing for a query that means nothing.
pub(super) fn live(fleet: Arc<Fleet>) -> super::stream::Topology {
    Arc::new(move |query| {
        let query = parse(query).ok()?;
        serde_json::to_vec(&fleet.topology().snapshot(&query)).ok().map(Into::into)
    })
}

fn parse(text: &str) -> Result<Query, String> {
    let mut query = Query::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("{name} is not percent-encoded UTF-8"))?;
        if !query.set(name, &value)? {
            return Err(format!("{name} is not one of window, type, namespace"));
        }
    }
    Ok(query)
}
