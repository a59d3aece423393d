//! A request's place in its trace: read from its head, written into the head that goes on, told to collectors.
//!
//! # What a hop is
//! A listener faces callers (inbound of a sidecar, or a gateway) or is asked by its own application (outbound of a sidecar). The
//! first kind has one span of kind SERVER for a request; the second one of kind CLIENT for each attempt, and what is sent with
//! an attempt names that attempt's span as its parent, as OpenTelemetry wants it.
//!
//! # What an application must do
//! Pass on one of the fields that came with the request, whichever its tracer knows. `traceparent` is always sent, and every
//! other format that the request itself spoke; all of them say the same trace and the same parent.
//!
//! # What it costs
//! Without collectors nothing but the check that `traceparent` is one. With them an unsampled request pays for ids and one line;
//! only a sampled one allocates. Nobody waits for a collector: see [`export`].

mod attributes;
mod b3;
pub(crate) mod export;
pub(crate) mod ids;
mod incoming;
mod span;
mod sw8;
pub(crate) mod w3c;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_http1::{HeadEdits, RequestHead};

use self::b3::Decision as Word;
pub(crate) use self::ids::eight;
use self::ids::{SpanId, TraceId, text};
use self::incoming::{Carried, Incoming};
use self::span::{End, Span};
use crate::clock::Stamp;
use crate::http::call::{Call, Ending};
use crate::http::exchange::Trouble;
use crate::http::head::Forwarding;
use crate::router::Decision;
use crate::worker::Worker;

/// What the process knows of tracing.
#[derive(Debug)]
pub(crate) struct Traces {
    /// A draw up to this is taken.
    taken_below: u128,
    /// Whom spans are of.
    pub(crate) service: Arc<str>,
    pub(crate) instance: Arc<str>,
    /// `sw8` is sent also where it was not received: the collector knows parents by it.
    speaks_sw8: bool,
    pub(crate) queues: Vec<export::Queue>,
}

impl Traces {
    fn takes(&self, draw: u64) -> bool {
        u128::from(draw) < self.taken_below
    }

    fn push(&self, span: Span) {
        let span = Arc::new(span);
        self.queues.iter().for_each(|queue| queue.push(&span));
    }
}

/// A request's place in its trace; of nothing, where no collector is configured.
#[derive(Debug, Default)]
pub(crate) struct Hop<'c>(Option<Place<'c>>);

#[derive(Debug)]
struct Place<'c> {
    traces: &'c Traces,
    trace: TraceId,
    parent: Option<SpanId>,
    /// Of the hop, or of the present attempt.
    span: Cell<SpanId>,
    word: Word,
    random: bool,
    carried: Carried,
    keeps_state: bool,
    sw8: Option<Box<sw8::Caller>>,
    /// When the present attempt began, where it is not the first.
    began: Cell<Option<Stamp>>,
    /// Copies went to mirrors.
    copied: Cell<bool>,
    grpc_status: Cell<Option<u32>>,
}

impl<'c> Hop<'c> {
    /// Of a request that has arrived.
    #[inline]
    pub(crate) fn begin(worker: &'c Worker, head: &RequestHead) -> Self {
        let Some(traces) = &worker.shared.traces else { return Self(None) };
        let Incoming { trace, decision, random, carried, keeps_state, sw8 } = Incoming::of(head);
        let word = decision.unwrap_or_else(|| match traces.takes(worker.random()) {
            true => Word::Sampled,
            false => Word::Not,
        });
        let (trace, parent) = match trace {
            Some((trace, parent)) => (trace, Some(parent)),
            None => (TraceId::drawn(worker.random(), worker.random()), None),
        };
        let span = Cell::new(SpanId::drawn(worker.random()));
        let (began, copied, grpc_status) = (Cell::new(None), Cell::new(false), Cell::new(None));
        Self(Some(Place {
            traces,
            trace,
            parent,
            span,
            word,
            random,
            carried,
            keeps_state,
            sw8,
            began,
            copied,
            grpc_status,
        }))
    }

    /// The trace, and the span here: of the hop, or of its last attempt.
    pub(crate) fn ids(&self) -> Option<(TraceId, SpanId)> {
        self.0.as_ref().map(|place| (place.trace, place.span.get()))
    }

    /// Of a copy for a mirror: a part of the trace that nobody records, as in Istio.
    pub(crate) fn of_copy(&self) -> Self {
        let Some(place) = &self.0 else { return Self(None) };
        place.copied.set(true);
        let (span, sw8) = (Cell::new(place.span.get()), place.sw8.clone());
        let (began, copied, grpc_status) = (Cell::new(None), Cell::new(false), Cell::new(None));
        Self(Some(Place { span, word: Word::Not, sw8, began, copied, grpc_status, ..*place }))
    }

    /// Writes where the request is in its trace into the head that goes on. `received`: the head may have a `traceparent`.
    #[inline]
    pub(crate) fn write(&self, forwarding: &Forwarding<'_>, received: bool, edits: &mut HeadEdits) {
        match &self.0 {
            Some(place) => place.write(forwarding, edits),
            None if received && !w3c::is_sound(forwarding.request.head) => {
                edits.remove(w3c::TRACEPARENT);
                edits.remove(w3c::TRACESTATE);
            }
            None => {}
        }
    }

    /// The last attempt has failed and another one follows.
    pub(crate) fn again(&self, call: &Call<'_>, decision: &Decision<'_>, trouble: &Trouble) {
        let Some(place) = &self.0 else { return };
        // A gateway's hop is one span, whatever it takes.
        if span::kind(call) == span::Kind::Server {
            return;
        }
        if place.word.is_sampled() {
            place.traces.push(Span::of(call, decision, place, &End::Failed(trouble)));
        }
        place.span.set(SpanId::drawn(call.worker.random()));
    }

    /// An attempt begins.
    #[inline]
    pub(crate) fn attempt(&self, call: &Call<'_>, count: u32) {
        if let Some(place) = &self.0
            && count > 1
            && place.word.is_sampled()
        {
            place.began.set(Some(call.worker.wheel.stamp_now()));
        }
    }

    /// An answer says how a gRPC call ended.
    #[inline]
    pub(crate) fn grpc(&self, status: Option<u32>) {
        if let (Some(place), Some(_)) = (&self.0, status) {
            place.grpc_status.set(status);
        }
    }

    /// The request is over.
    #[inline]
    pub(crate) fn finish(&self, call: &Call<'_>, decision: &Decision<'_>, ending: Ending) {
        if let Some(place) = self.0.as_ref().filter(|place| place.word.is_sampled()) {
            place.traces.push(Span::of(call, decision, place, &End::Over(ending)));
        }
    }
}

/// What a head says: ids in digits, the decision, and whether `tracestate` is kept.
#[cfg(feature = "fuzzing")]
pub(crate) fn context_of(head: &RequestHead) -> (Option<(String, String)>, Option<bool>, bool) {
    let Incoming { trace, decision, keeps_state, .. } = Incoming::of(head);
    let ids = trace.map(|(trace, span)| (text(&trace.digits()).to_owned(), text(&span.digits()).to_owned()));
    (ids, decision.map(Word::is_sampled), keeps_state)
}

/// A field and its value.
#[cfg(feature = "fuzzing")]
pub type FieldLine = (String, Vec<u8>);

/// The fields that say what is believed of a head to whoever is next, in one format after another. `None`: it names no trace.
#[cfg(feature = "fuzzing")]
pub(crate) fn passed_on(head: &RequestHead) -> Option<[Vec<FieldLine>; 4]> {
    let Incoming { trace, decision, random, sw8, .. } = Incoming::of(head);
    let ((trace, span), decision) = (trace?, decision.unwrap_or(Word::Not));
    let sampled = decision.is_sampled();
    let sent = b3::Sent { trace, span, parent: None, decision };
    let (digits, segment) = (trace.digits(), sw8::segment(trace, span));
    let segment = sw8::Sent {
        sampled,
        trace: sw8.as_ref().map_or_else(|| text(&digits), |caller| &*caller.trace),
        segment: &segment,
        service: "web.shop",
        instance: "web.shop",
        endpoint: "GET /",
        peer: "127.0.0.1:80",
    };
    let mut edits = [(); 4].map(|()| HeadEdits::new());
    edits[0].append_own_line(w3c::TRACEPARENT, &w3c::line(&w3c::Traceparent { trace, parent: span, sampled, random }));
    edits[1].set(sw8::SW8, sw8::written(&segment).as_bytes());
    b3::write_single(&sent, &mut edits[2]);
    b3::write_multiple(&sent, &mut edits[3]);
    let nothing = RequestHead::builder().authority("a").build(&tidegate_http1::Limits::default()).ok()?;
    let field = |(name, value): (&[u8], &[u8])| (String::from_utf8_lossy(name).into_owned(), value.to_owned());
    Some(edits.map(|edits| nothing.edited(&edits).iter().map(field).collect()))
}

impl Place<'_> {
    fn write(&self, forwarding: &Forwarding<'_>, edits: &mut HeadEdits) {
        let Self { carried, trace, random, .. } = *self;
        let (parent, sampled) = (self.span.get(), self.word.is_sampled());
        let line = w3c::line(&w3c::Traceparent { trace, parent, sampled, random });
        // What came as traceparents usually do is written over where it stands.
        if !carried.traceparent || !edits.overwrite(forwarding.request.head, w3c::TRACEPARENT, w3c::value(&line)) {
            if carried.traceparent {
                edits.remove(w3c::TRACEPARENT);
            }
            edits.append_own_line(w3c::TRACEPARENT, &line);
        }
        if carried.tracestate && !self.keeps_state {
            edits.remove(w3c::TRACESTATE);
        }
        if carried.b3 || carried.b3_multiple {
            let sent = b3::Sent { trace, span: parent, parent: self.parent, decision: self.word };
            if carried.b3 {
                b3::write_single(&sent, edits);
            }
            if carried.b3_multiple {
                b3::write_multiple(&sent, edits);
            }
        }
        if carried.sw8 || self.traces.speaks_sw8 {
            self.write_sw8(forwarding, edits);
        }
    }

    fn write_sw8(&self, forwarding: &Forwarding<'_>, edits: &mut HeadEdits) {
        let digits = self.trace.digits();
        let endpoint = span::name(forwarding.request.head.method(), forwarding.route.path_pattern().as_deref());
        let peer = forwarding.context.upstream_host.map(|address: SocketAddr| address.to_string()).unwrap_or_default();
        let sent = sw8::Sent {
            sampled: self.word.is_sampled(),
            trace: self.sw8.as_ref().map_or_else(|| text(&digits), |caller| &*caller.trace),
            segment: &sw8::segment(self.trace, self.span.get()),
            service: &self.traces.service,
            instance: &self.traces.instance,
            endpoint: &endpoint,
            peer: &peer,
        };
        edits.set(sw8::SW8, sw8::written(&sent).as_bytes());
    }
}
