//! What is counted on one edge: by one worker in its own row, read by anybody.
//!
//! # Why places are made when they are needed
//! An edge whose requests all end alike needs one outcome, and latencies fall into two or three of the sketch's octaves. Both are made
//! when first met, by the only worker that writes the row, and stay: so a busy edge is some kilobytes, and one that nobody uses
//! less than one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_report::{ResponseFlag, istio, sketch};

use crate::telemetry::Cell;

/// Ways in which requests of an edge end that are told apart. There are seldom more than three; what comes after these is
/// counted with the others of its class of status.
pub(crate) const OUTCOMES_MAX: usize = 12;
/// Classes of status, and no answer.
const CLASSES: usize = 6;
/// Buckets of a sketch that are made together: a power of two of time.
const PAGE: usize = 64;
const PAGES: usize = sketch::BUCKETS.div_ceil(PAGE);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ended {
    /// The status; 0: there was no answer.
    pub(crate) code: u16,
    pub(crate) grpc_status: Option<u8>,
    /// A bit for each flag, by its discriminant.
    pub(crate) flags: u64,
}

impl Ended {
    const FLAGS_AT: u32 = 16;
    const GRPC_AT: u32 = 10;
    /// Tells a tag from a place without one.
    const USED: u64 = 1 << 63;

    /// In one word, which is never zero.
    fn tag(self) -> u64 {
        const { assert!(ResponseFlag::ALL.len() < (63 - Self::FLAGS_AT) as usize) };
        // A gRPC status is at most 16; whatever else a peer says is told as 62.
        let grpc = self.grpc_status.map_or(0, |status| u64::from(status.min(62)) + 1);
        Self::USED | self.flags << Self::FLAGS_AT | grpc << Self::GRPC_AT | u64::from(self.code.min(999))
    }

    fn of_tag(tag: u64) -> Self {
        let bits = |at: u32, count: u32| tag >> at & ((1 << count) - 1);
        Self {
            code: u16::try_from(bits(0, Self::GRPC_AT)).unwrap_or(0),
            grpc_status: u8::try_from(bits(Self::GRPC_AT, 6)).ok().and_then(|status| status.checked_sub(1)),
            flags: bits(Self::FLAGS_AT, 63 - Self::FLAGS_AT),
        }
    }

    /// Response flags as access logs and labels write them; empty when there is none.
    pub(crate) fn flag_codes(self) -> String {
        let raised = ResponseFlag::ALL.into_iter().filter(|flag| self.flags & 1 << *flag as u8 != 0);
        raised.map(ResponseFlag::code).collect::<Vec<_>>().join(",")
    }
}

/// What one request was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) ended: Ended,
    pub(crate) took: Duration,
    /// Bytes of its body.
    pub(crate) received: u64,
    /// Bytes of its answer's.
    pub(crate) sent: u64,
}

/// A worker's counts.
#[derive(Debug, Default)]
pub(crate) struct Row {
    outcomes: [Place; OUTCOMES_MAX],
    /// For what found no place among these.
    by_class: [Place; CLASSES],
    sketch: [OnceLock<Box<[Cell; PAGE]>>; PAGES],
    /// Bytes towards the destination.
    pub(crate) sent: Cell,
    /// Bytes from it.
    pub(crate) received: Cell,
    pub(crate) opened: Cell,
    pub(crate) closed: Cell,
}

#[derive(Debug, Default)]
struct Place {
    /// [`Ended::tag`], or zero.
    tag: AtomicU64,
    cells: OnceLock<Box<OutcomeCells>>,
}

/// Requests that ended alike.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCells {
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
}

/// Values by Istio's buckets. Their number is the sum of the buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) buckets: [Cell; istio::BUCKETS],
    pub(crate) sum: Cell,
}

impl Row {
    /// Counts a request. Only the worker that owns the row may call it.
    #[inline]
    pub(crate) fn count(&self, request: &Request) {
        let Request { ended, took, received, sent } = *request;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let outcome = self.outcome(ended);
        outcome.request_bytes.count(istio::bucket_of(received), received);
        outcome.response_bytes.count(istio::bucket_of(sent), sent);
        self.sent.add(received);
        self.received.add(sent);
        let bucket = sketch::bucket_of_micros(micros);
        if let Some(page) = self.sketch.get(bucket / PAGE) {
            page.get_or_init(|| Box::new(std::array::from_fn(|_| Cell::default())))[bucket % PAGE].increment();
        }
        // Last, because a reader that sees it takes the rest for counted.
        outcome.duration.sum.add(micros);
        outcome.duration.bucket(istio::bucket_of_thousandths(micros)).publish();
    }

    #[inline]
    fn outcome(&self, ended: Ended) -> &OutcomeCells {
        let tag = ended.tag();
        for place in &self.outcomes {
            match place.tag.load(Ordering::Relaxed) {
                known if known == tag => return place.cells.get_or_init(Box::default),
                0 => {
                    place.tag.store(tag, Ordering::Relaxed);
                    return place.cells.get_or_init(Box::default);
                }
                _ => {}
            }
        }
        self.folded(ended.code)
    }

    /// The place of a class of status.
    #[cold]
    fn folded(&self, code: u16) -> &OutcomeCells {
        let class = (code / 100).min(5);
        let place = &self.by_class[usize::from(class)];
        let ended = Ended { code: class * 100, grpc_status: None, flags: 0 };
        place.tag.store(ended.tag(), Ordering::Relaxed);
        place.cells.get_or_init(Box::default)
    }

    /// Everything that was counted, by how it ended.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (Ended, &OutcomeCells)> {
        let places = self.outcomes.iter().chain(&self.by_class);
        places.filter_map(|place| Some((Ended::of_tag(place.tag.load(Ordering::Relaxed)), &**place.cells.get()?)))
    }

    /// Counts of the sketch by bucket; what is zero is not there.
    pub(crate) fn sketch(&self) -> impl Iterator<Item = (usize, u64)> {
        let pages = self.sketch.iter().enumerate().filter_map(|(at, page)| Some((at * PAGE, page.get()?)));
        let cells = pages.flat_map(|(first, page)| page.iter().enumerate().map(move |(at, cell)| (first + at, cell)));
        cells.map(|(bucket, cell)| (bucket, cell.value())).filter(|(_, count)| *count > 0)
    }
}

impl Histogram {
    #[inline]
    fn count(&self, bucket: usize, value: u64) {
        self.bucket(bucket).increment();
        self.sum.add(value);
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> &Cell {
        &self.buckets[bucket.min(istio::BUCKETS - 1)]
    }

    /// How many values were counted.
    pub(crate) fn number(&self) -> u64 {
        self.buckets.iter().map(Cell::value).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: u16, flags: &[ResponseFlag]) -> Request {
        let flags = flags.iter().fold(0, |bits, flag| bits | 1 << *flag as u8);
        let ended = Ended { code, grpc_status: None, flags };
        Request { ended, took: Duration::from_millis(3), received: 0, sent: 700 }
    }

    #[test]
    fn how_a_request_ended_fits_into_a_word_and_comes_back() {
        for (code, grpc_status, flags) in
            [(0, None, 0), (200, Some(0), 0), (503, Some(14), 0x2_0001), (999, Some(62), 1)]
        {
            let ended = Ended { code, grpc_status, flags };
            assert_eq!(Ended::of_tag(ended.tag()), ended);
        }
        let all = ResponseFlag::ALL.iter().fold(0, |bits, flag| bits | 1_u64 << *flag as u8);
        let ended = Ended { code: 503, grpc_status: None, flags: all };
        assert_eq!(Ended::of_tag(ended.tag()), ended);
        assert_eq!(ended.flag_codes().split(',').count(), ResponseFlag::ALL.len());
    }

    #[test]
    fn requests_are_counted_by_how_they_ended_and_more_ways_than_places_lose_nothing() {
        let row = Row::default();
        let flags = [ResponseFlag::UpstreamConnectionFailure, ResponseFlag::RetryLimitExceeded];
        row.count(&request(200, &[]));
        row.count(&request(200, &[]));
        row.count(&request(503, &flags));
        (400..440).for_each(|code| row.count(&request(code, &[])));

        let counted: Vec<_> = row.outcomes().map(|(ended, cells)| (ended, cells.duration.number())).collect();
        assert_eq!(counted[0], (Ended { code: 200, grpc_status: None, flags: 0 }, 2));
        assert_eq!((counted[1].0.flag_codes(), counted[1].1), ("UF,URX".to_owned(), 1));
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 43);
        assert_eq!(counted.last().unwrap().0.code, 400);
        assert_eq!(row.sketch().collect::<Vec<_>>(), [(sketch::bucket_of_micros(3_000), 43)]);
        assert_eq!(row.received.value(), 43 * 700);
    }
}
