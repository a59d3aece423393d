//! `GET /api/v1/stream`: what the console shows, as it changes (server-sent events).
//!
//! # Why one task looks and all streams are told
//! What a status costs grows with the mesh, and a console is left open on many screens. So the status is made once, when something
//! stirred and somebody listens, and each stream sends the newest there is: a reader that is slow for a moment misses what was
//! overtaken, and one that stays slow is let go. Nothing queues.
//!
//! # Why a stream ends although nothing is wrong
//! Every connection here has a longest life. A stream ends a little before that, whole, and the browser comes back after
//! `retry`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tracing::debug;

use super::model::{Splits, Status};
use super::{Answer, Body, CONNECTION_LIFE_MAX, text};
use crate::ads::Hub;

/// Open streams: as many screens, and half of the API's connections stay for everybody else.
pub(super) const STREAMS_MAX: usize = 64;
/// A reader that takes nothing for so long is gone or asleep.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A comment line that tells the reader, and everything between, that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream is given the topology.
const TOPOLOGY_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks, so that a burst of answers from proxies is one event.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks also this many times what the last one took: most of the time the mesh is not looked at, and whoever waits
/// for what a look holds is served.
const REST: u32 = 4;
/// Looked again without a reason, in case of one that nobody rings for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Ends before the connection would be cut; see above.
const STREAM_LIFE_MAX: Duration = CONNECTION_LIFE_MAX.saturating_sub(Duration::from_secs(10));
/// After how many milliseconds a browser comes back.
const BEGINNING: &[u8] = b"retry: 1000\n\n";
const HEARTBEAT_LINE: &[u8] = b": still here\n\n";
const TOPOLOGY_BEGINNING: &[u8] = b"event: topology\ndata: ";
const EVENT_END: &[u8] = b"\n\n";

/// Gives the topology as JSON in one line for the query of a stream; none as long as there is nothing to show.
pub type Topology = Arc<dyn Fn(String) -> Graph + Send + Sync>;
/// The topology in the making.
pub type Graph = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// What runs beside a connection for as long as it streams.
pub(super) type Feed = Pin<Box<dyn Future<Output = End> + Send>>;

/// Why a feed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream is whole; its connection may be used again.
    Whole,
    /// Its reader does not read.
    Slow,
}

/// What streams have in common.
pub(super) struct Live {
    places: Arc<Semaphore>,
    refused: AtomicU64,
    status: watch::Sender<Option<Bytes>>,
    splits: watch::Sender<Option<Bytes>>,
    /// Rings when a stream begins.
    opened: Notify,
    topology: Option<Topology>,
}

impl Live {
    pub(super) fn new(topology: Option<Topology>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            refused: AtomicU64::new(0),
            status: watch::channel(None).0,
            splits: watch::channel(None).0,
            opened: Notify::new(),
            topology,
        }
    }

    /// Streams that are open, and how many were refused.
    pub(super) fn counts(&self) -> (usize, u64) {
        (STREAMS_MAX - self.places.available_permits(), self.refused.load(Ordering::Relaxed))
    }

    /// Begins a stream: what is answered, and what must run for it.
    pub(super) fn open(self: &Arc<Self>, query: &str) -> (Answer, Option<Feed>) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let full = format!("{STREAMS_MAX} streams are open already; close one, or poll /api/v1/status\n");
            return (text(StatusCode::SERVICE_UNAVAILABLE, full), None);
        };
        let (sender, body) = Channel::new(1);
        let mut response = Response::new(Body::Right(body));
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let feed = feed(Reader { sender, query: query.to_owned(), _place: place }, self.clone());
        (response, Some(Box::pin(feed)))
    }

    /// Looks whenever something stirs, as long as somebody listens. Never returns.
    pub(super) async fn look(&self, hub: &Arc<Hub>) {
        let mut stirred = hub.fleet().stirred();
        let mut last = None;
        loop {
            if self.status.receiver_count() == 0 {
                self.status.send_replace(None);
                self.splits.send_replace(None);
                last = None;
                self.opened.notified().await;
            }
            stirred.borrow_and_update();
            let began = Instant::now();
            let seen = hub.clone();
            match tokio::task::spawn_blocking(move || Seen::of(&seen)).await {
                Ok(seen) => self.tell(seen, &mut last),
                Err(error) => debug!(%error, "a look for streams failed"),
            }
            sleep(PAUSE.max(began.elapsed() * REST)).await;
            tokio::select! {
                rung = stirred.changed() => if rung.is_err() { return },
                () = sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    fn tell(&self, seen: Seen, last: &mut Option<Vec<u8>>) {
        if last.as_ref() != Some(&seen.ageless) {
            self.status.send_replace(Some(seen.status));
            *last = Some(seen.ageless);
        }
        self.splits.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&seen.splits);
            if is_news {
                *known = Some(seen.splits);
            }
            is_news
        });
    }
}

/// The events of one look.
struct Seen {
    status: Bytes,
    /// The same without what changes by itself.
    ageless: Vec<u8>,
    splits: Bytes,
}

impl Seen {
    fn of(hub: &Hub) -> Self {
        let splits: Splits = hub.splits();
        let mut status: Status = hub.status();
        let event_of_status = event("status", &status);
        let nacks = status.proxies.iter_mut().flat_map(|proxy| proxy.types.values_mut());
        nacks.filter_map(|answers| answers.nack.as_mut()).for_each(|nack| nack.age_ms = 0);
        let ageless = serde_json::to_vec(&status).unwrap_or_default();
        Self { status: event_of_status, ageless, splits: event("splits", &splits) }
    }
}

/// JSON has no line breaks as it is written here, so it is one `data` line.
fn event(name: &str, value: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut event = BytesMut::with_capacity(name.len() + json.len() + 32);
    event.put_slice(b"event: ");
    event.put_slice(name.as_bytes());
    event.put_slice(b"\ndata: ");
    event.put_slice(&json);
    event.put_slice(EVENT_END);
    event.freeze()
}

/// The far end of a stream.
struct Reader {
    sender: Sender<Bytes>,
    query: String,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Waits for room; `Err` says how the stream ends.
    async fn send(&mut self, bytes: Bytes) -> Result<(), End> {
        match timeout(SEND_TIMEOUT, self.sender.send_data(bytes)).await {
            Ok(Ok(())) => Ok(()),
            // The connection is gone, and its slot with it.
            Ok(Err(_)) => Err(End::Whole),
            Err(_) => Err(End::Slow),
        }
    }
}

async fn feed(mut reader: Reader, live: Arc<Live>) -> End {
    match follow(&mut reader, &live).await {
        Ok(()) => End::Whole,
        Err(end) => end,
    }
}

async fn follow(reader: &mut Reader, live: &Live) -> Result<(), End> {
    let (mut status, mut splits) = (live.status.subscribe(), live.splits.subscribe());
    // What is known is news to this reader.
    status.mark_changed();
    splits.mark_changed();
    live.opened.notify_one();
    reader.send(Bytes::from_static(BEGINNING)).await?;
    let life = sleep(STREAM_LIFE_MAX);
    tokio::pin!(life);
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut redraw = interval(TOPOLOGY_INTERVAL);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            () = &mut life => return Ok(()),
            Ok(()) = status.changed() => status.borrow_and_update().clone(),
            Ok(()) = splits.changed() => splits.borrow_and_update().clone(),
            _ = redraw.tick(), if live.topology.is_some() => match &live.topology {
                Some(topology) => match topology(reader.query.clone()).await {
                    Some(json) => {
                        // The graph of a large mesh has megabytes, and there is one copy of it for all.
                        reader.send(Bytes::from_static(TOPOLOGY_BEGINNING)).await?;
                        reader.send(json).await?;
                        Some(Bytes::from_static(EVENT_END))
                    }
                    None => None,
                },
                None => None,
            },
            _ = heartbeat.tick() => Some(Bytes::from_static(HEARTBEAT_LINE)),
        };
        if let Some(bytes) = next {
            reader.send(bytes).await?;
        }
    }
}

#[cfg(test)]
mod tests;
