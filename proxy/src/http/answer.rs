//! Answers made here: refusals, redirects, fixed responses.

use std::time::SystemTime;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use tidegate_http1::{HeadEdits, ResponseHead};
use tidegate_report::ResponseFlag;
use tidegate_traffic::cors::Preflight;

use super::call::{Call, Ending};
use super::exchange::{Caller, Reply, Start};
use super::head::{ResponseEditor, response_edits};
use super::rejection::{Behind, Rejection};
use crate::clock::{self, Slot};
use crate::filter::Passed;
use crate::router::Made;
use crate::wire::body::{Broken, Form, More, Patience, Pump, Source};

use std::pin::Pin;
use std::task::{Context, Poll};

/// A body that is there already.
struct Fixed {
    rest: Bytes,
    passed: u64,
}

impl Source for Fixed {
    const RAW: bool = false;

    fn poll_more(&mut self, _cx: &mut Context<'_>, _form: Form) -> Poll<Result<More, Broken>> {
        Poll::Ready(Ok(if self.rest.is_empty() { More::End } else { More::Data }))
    }

    fn data(&self) -> &[u8] {
        &self.rest
    }

    fn take(&mut self, max: usize) -> Bytes {
        let bytes = self.rest.split_to(max.min(self.rest.len()));
        self.passed += bytes.len() as u64;
        bytes
    }

    fn consume(&mut self, count: usize) {
        self.rest.advance(count);
        self.passed += count as u64;
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    fn passed(&self) -> u64 {
        self.passed
    }

    fn settle(&mut self) {}

    fn write_raw_end(&self, _out: &mut Vec<u8>) {}

    fn trailers(&mut self) -> Option<HeaderMap> {
        None
    }

    fn open_tunnel(&mut self) {}
}

/// An answer on its way. Boxed: those that are made here are few, and a request that is forwarded need not carry the size of
/// one.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Ending> + 'a>>;

/// Answers for the upstream.
pub(crate) fn reject<'a, C: Caller, R: Reply>(
    call: &'a Call<'_>,
    caller: &'a mut C,
    reply: &'a mut R,
    rejection: Rejection,
    behind: Behind<'a>,
    passed: &'a Passed<'_>,
) -> Answering<'a> {
    Box::pin(rejecting(call, caller, reply, rejection, behind, passed))
}

async fn rejecting<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    rejection: Rejection,
    behind: Behind<'_>,
    passed: &Passed<'_>,
) -> Ending {
    call.flag(rejection.flag);
    call.outcome.explained(rejection.details);
    if let Some(also) = rejection.also {
        call.flag(also);
    }
    let grpc = call.is_grpc();
    call.count(rejection.status);
    if grpc {
        call.outcome.grpc_status.set(rejection.grpc_status().try_into().ok());
    }
    let error = call.listener.config.error_header.then(|| rejection.error(behind));
    let rejected = rejected(&rejection, call.request.method(), grpc, error.as_deref());
    let Some((head, body)) = rejected else { return Ending::Abort };
    let context = call.context("");
    let mut edits = HeadEdits::new();
    if let Some((route, chosen)) = behind.changed_by {
        response_edits(call.seen, &head, &call.chain.manager, Some(route), chosen, &context, &mut edits);
    }
    passed.dress(&head, &context, &mut edits);
    send(call, caller, reply, &head, &edits, body, rejection.close).await
}

/// Nobody is there to be answered.
pub(crate) fn gone(call: &Call<'_>) -> Ending {
    call.flag(ResponseFlag::DownstreamTermination);
    Ending::Abort
}

/// The answer to a browser's question whether it may ask.
pub(crate) async fn preflight<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    preflight: Preflight<'_>,
) -> Ending {
    let builder = ResponseHead::builder(200).request_method(call.request.method());
    let date = date(clock::wall());
    let head = builder.field("content-length", b"0").field("date", date.as_bytes()).build();
    let Ok(head) = head else { return Ending::Abort };
    call.count(200);
    call.outcome.explained("cors_preflight");
    let mut edits = HeadEdits::new();
    preflight.write(&mut ResponseEditor { head: &head, edits: &mut edits });
    send(call, caller, reply, &head, &edits, Bytes::new(), false).await
}

/// The caller's connection or stream is reset, on purpose.
pub(crate) fn reset<R: Reply>(call: &Call<'_>, reply: &mut R) -> Ending {
    call.flag(ResponseFlag::FaultInjected);
    reply.reset();
    Ending::Abort
}

/// Answers as the route says.
pub(crate) async fn local<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    passed: &Passed<'_>,
    made: &Made<'_>,
) -> Ending {
    let Made { route, status, location, body } = made;
    let (status, body) = (*status, body.clone());
    let mut builder = ResponseHead::builder(status).request_method(call.request.method());
    if let Some(location) = location {
        builder = builder.field("location", location.as_bytes());
    }
    if !body.is_empty() {
        builder = builder.field("content-type", b"text/plain");
    }
    let (length, date) = (length(status, body.len()), date(clock::wall()));
    if let Some(length) = &length {
        builder = builder.field("content-length", length.as_bytes());
    }
    let Ok(head) = builder.field("date", date.as_bytes()).build() else {
        return reject(call, caller, reply, Rejection::UNWRITABLE, Behind::default(), passed).await;
    };
    call.count(status);
    call.outcome.explained(if location.is_some() { "redirect" } else { "direct_response" });
    let context = call.context("");
    let mut edits = HeadEdits::new();
    response_edits(call.seen, &head, &call.chain.manager, Some(route), None, &context, &mut edits);
    passed.dress(&head, &context, &mut edits);
    send(call, caller, reply, &head, &edits, body, false).await
}

/// RFC 9110 §8.6: no length in a 204; a 304 would describe a body that it does not have.
fn length(status: u16, bytes: usize) -> Option<String> {
    (!matches!(status, 204 | 304)).then(|| bytes.to_string())
}

/// Head and body of a refusal, in the caller's protocol. `error`: why, unless the listener keeps that to itself.
pub(crate) fn rejected(
    rejection: &Rejection,
    method: &str,
    grpc: bool,
    error: Option<&str>,
) -> Option<(ResponseHead, Bytes)> {
    let (date, grpc_status) = (date(clock::wall()), rejection.grpc_status().to_string());
    let length = length(rejection.status, rejection.text.len());
    let builder = |status: u16| {
        let mut builder = ResponseHead::builder(status).request_method(method).field("date", date.as_bytes());
        if let Some(error) = error {
            builder = builder.field("x-mesh-error", error.as_bytes());
        }
        if rejection.flag == ResponseFlag::UpstreamOverflow {
            builder = builder.field("x-envoy-overloaded", b"true");
        }
        builder
    };
    if grpc || (rejection.grpc.is_some() && rejection.status == 200) {
        let head = builder(200)
            .field("content-type", b"application/grpc")
            .field("grpc-status", grpc_status.as_bytes())
            .field("content-length", b"0");
        let head = match rejection.text {
            "" => head,
            text => head.field("grpc-message", text.as_bytes()),
        };
        return head.build().ok().map(|head| (head, Bytes::new()));
    }
    let mut builder = builder(rejection.status);
    if !rejection.text.is_empty() {
        builder = builder.field("content-type", b"text/plain");
    }
    if let Some(length) = &length {
        builder = builder.field("content-length", length.as_bytes());
    }
    builder.build().ok().map(|head| (head, Bytes::from_static(rejection.text.as_bytes())))
}

async fn send<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    head: &ResponseHead,
    edits: &HeadEdits,
    body: Bytes,
    close: bool,
) -> Ending {
    // RFC 9112 §9.3: what is left of the request's body would be read as the next request.
    let close = close || !caller.is_received();
    if reply.begin(head, edits, Start { raw: false, close, upgrade: false }).is_err() {
        return Ending::Abort;
    }
    // Those of the attempts too: one that went on would end this answer, or the connection's rest after it.
    call.alarm.clear_all();
    let limit = Some(call.worker.shared.limits.write_progress);
    let mut pump = Pump::new(Slot::Download, Patience { source: limit, sink: limit });
    // RFC 9110 §6.4.1: these have no body whatever is configured, and its bytes would be read as the next answer.
    let bodiless = call.is_head() || matches!(head.status(), 204 | 304);
    let mut body = Fixed { rest: if bodiless { Bytes::new() } else { body }, passed: 0 };
    let sent = std::future::poll_fn(|cx| pump.poll(cx, &mut body, reply.body(), call.alarm));
    let sent = call.alarm.guard(sent).await;
    call.outcome.sent.set(body.passed());
    match sent {
        Ok(Ok(())) if close || reply.must_close() => Ending::Close,
        Ok(Ok(())) => Ending::Reusable,
        Ok(Err(_)) | Err(_) => {
            reply.abort();
            Ending::Abort
        }
    }
}

/// IMF-fixdate (RFC 9110 §5.6.7).
pub(crate) fn date(now: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years counted from March end with the leap day, so months follow one formula.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(march_month >= 10);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_written_as_http_wants_them() {
        let at = |seconds| date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));

        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }
}
