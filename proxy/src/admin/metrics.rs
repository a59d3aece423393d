//! The page for Prometheus, sent as it is written.
//!
//! # Why in pieces
//! A gateway in front of a large mesh has thousands of series with two dozen labels each, tens of megabytes of text. Made as one
//! text it would be the largest thing that the process ever holds, and memory that was once taken stays taken. So a thread of its own
//! writes a piece while the one before is sent, and waits for a scraper that is slow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tidegate_report::exposition::{Format, Page};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Admin, text};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::prometheus;

/// Pages that are being written, each by a thread; two scrapers and people beside them.
const PAGES_MAX: usize = 8;

/// What a scraper may take to read one piece.
const PIECE: Duration = Duration::from_secs(10);

/// The page was not sent to its end: scrapers must not take it for a whole one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the page broke off")]
pub(super) struct Broken;

pub(super) type Body = Either<Full<Bytes>, Channel<Bytes, Broken>>;

/// Places for pages.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Arc<Semaphore>);

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PAGES_MAX)))
    }
}

pub(super) fn answer(admin: &Admin, request: &Request<Incoming>) -> Response<Body> {
    let families = match prometheus::Families::asked(request.uri().query().unwrap_or_default()) {
        Ok(families) => families,
        Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")).map(Either::Left),
    };
    let Ok(place) = Arc::clone(&admin.pages.0).try_acquire_owned() else {
        let why = format!("{PAGES_MAX} pages are being read already, slowly: ask again, or find who does not read\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, why).map(Either::Left);
    };
    let format = Format::accepted(request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    let (written, pieces) = mpsc::channel(1);
    let shared = Arc::clone(&admin.shared);
    let writing = tokio::task::spawn_blocking(move || {
        let page = Page::in_pieces(format, move |piece| written.blocking_send(Bytes::from(piece)).is_ok());
        let unlogged = shared.access_log.as_ref().map_or(0, AccessLog::dropped);
        prometheus::write(page, &shared.registry, unlogged, shared.traces.as_ref(), families);
    });
    let (body, sent) = Channel::new(1);
    tokio::spawn(send(pieces, body, writing, place));
    let mut response = Response::new(Either::Right(sent));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, header::HeaderValue::from_static("accept"));
    response
}

/// Sends the pieces until there are no more, nobody reads, or they are read too slowly.
async fn send(
    mut pieces: mpsc::Receiver<Bytes>,
    mut body: Sender<Bytes, Broken>,
    writing: JoinHandle<()>,
    _place: OwnedSemaphorePermit,
) {
    while let Some(piece) = pieces.recv().await {
        if !matches!(timeout(PIECE, body.send_data(piece)).await, Ok(Ok(()))) {
            return body.abort(Broken);
        }
    }
    if writing.await.is_err() {
        body.abort(Broken);
    }
}
