//! `GET /api/v1/splits`: weights as written and as proxies have acknowledged them.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, json, text};
use crate::ads::Hub;

/// Looking through the routes of all proxies is work, and the mesh may be large.
pub(super) async fn list(hub: &Arc<Hub>) -> Answer {
    let hub = hub.clone();
    match tokio::task::spawn_blocking(move || hub.splits()).await {
        Ok(splits) => json(&splits),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
