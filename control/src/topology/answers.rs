//! Answers as they are sent, so that they need not be made for each who asks.
//!
//! # When an answer is given again
//! A graph of ten thousand edges takes a core half a tenth of a second. One that took less than [`CHEAP`] is always made anew: it is true to
//! the moment. One that took longer is given again for ten times as long, so that however many ask, a tenth of a core is
//! spent. After that whoever asks is still given the old one, up to [`STALE_MAX`], and a new one is made meanwhile: nobody waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Topology;
use super::query::Query;

/// Below this, an answer is not worth keeping.
const CHEAP: Duration = Duration::from_millis(10);
/// An answer is given again for so many times as long as it took to make.
const KEPT_FACTOR: u32 = 10;
/// Nobody is given an answer that is older.
const STALE_MAX: Duration = Duration::from_secs(2);
/// Different questions that are kept: a console asks two or three.
const QUESTIONS_MAX: usize = 16;
/// All answers that are kept; the graph of fifty thousand edges has some 45 MB.
const KEPT_BYTES_MAX: usize = 96 << 20;

/// Answers that took long.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: Mutex<HashMap<Query, Kept>>,
    /// One is made at a time: those who wait for the same find it there.
    making: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Kept {
    bytes: Bytes,
    /// When making it began.
    at: Instant,
    took: Duration,
}

impl Kept {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.at) < (self.took * KEPT_FACTOR).min(STALE_MAX)
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Query, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, query: &Query) -> Option<Kept> {
        self.lock().get(query).cloned()
    }

    fn keep(&self, query: Query, answer: Kept) {
        let mut kept = self.lock();
        kept.retain(|_, kept| answer.at.duration_since(kept.at) < STALE_MAX);
        kept.remove(&query);
        let bytes: usize = kept.values().map(|kept| kept.bytes.len()).sum();
        if answer.took >= CHEAP && kept.len() < QUESTIONS_MAX && bytes + answer.bytes.len() <= KEPT_BYTES_MAX {
            kept.insert(query, answer);
        }
    }
}

impl Topology {
    /// The graph as JSON, true to the moment unless it is large. `Err`: it could not be made.
    pub async fn json(self: &Arc<Self>, query: &Query) -> Result<Bytes, String> {
        match self.answers.look(query) {
            Some(kept) if kept.is_fresh(Instant::now()) => Ok(kept.bytes),
            Some(kept) if kept.at.elapsed() < STALE_MAX => {
                let (topology, query) = (Arc::clone(self), query.clone());
                // Ends by itself in less than a second, and whoever asks next sees whether it did.
                tokio::spawn(async move {
                    // Somebody makes one already.
                    let Ok(_making) = topology.answers.making.try_lock() else { return };
                    topology.make(query).await.ok();
                });
                Ok(kept.bytes)
            }
            Some(_) | None => {
                let _making = self.answers.making.lock().await;
                match self.answers.look(query) {
                    Some(kept) if kept.is_fresh(Instant::now()) => Ok(kept.bytes),
                    Some(_) | None => self.make(query.clone()).await,
                }
            }
        }
    }

    fn make_at_once(&self, query: &Query) -> Result<Bytes, String> {
        let at = Instant::now();
        let json = serde_json::to_vec(&self.snapshot(query)).map_err(|error| error.to_string())?;
        let bytes = Bytes::from(json);
        self.answers.keep(query.clone(), Kept { bytes: bytes.clone(), at, took: at.elapsed() });
        Ok(bytes)
    }

    async fn make(self: &Arc<Self>, query: Query) -> Result<Bytes, String> {
        let topology = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || topology.make_at_once(&query)).await;
        made.map_err(|error| error.to_string())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(at: Instant, took_ms: u64) -> Kept {
        Kept { bytes: Bytes::from_static(b"{}"), at, took: Duration::from_millis(took_ms) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_ten_times_as_long_as_it_took_and_a_cheap_one_is_not() {
        let answers = Answers::default();
        let query = Query::default();
        let at = Instant::now();

        answers.keep(query.clone(), kept(at, 9));
        assert!(answers.look(&query).is_none());
        answers.keep(query.clone(), kept(at, 50));
        tokio::time::advance(Duration::from_millis(499)).await;
        assert!(answers.look(&query).unwrap().is_fresh(Instant::now()));
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(!answers.look(&query).unwrap().is_fresh(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn different_questions_are_bounded_and_old_ones_make_room() {
        let answers = Answers::default();
        let asked = |n: usize| Query { namespaces: vec![n.to_string()], ..Query::default() };
        (0..2 * QUESTIONS_MAX).for_each(|n| answers.keep(asked(n), kept(Instant::now(), 50)));
        assert_eq!(answers.lock().len(), QUESTIONS_MAX);

        tokio::time::advance(STALE_MAX).await;
        answers.keep(asked(99), kept(Instant::now(), 50));
        assert_eq!(answers.lock().len(), 1);
    }
}
