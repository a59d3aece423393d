//! Answers made here: refusals, redirects, fixed responses.

use std::time::SystemTime;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use tidegate_http1::{HeadEdits, ResponseHead};
use tidegate_report::ResponseFlag;
use tidegate_traffic::CompiledRoute;

use super::call::{Call, Ending};
use super::exchange::{Caller, Reply, Start};
use super::head::response_edits;
use super::rejection::Rejection;
use crate::clock::{self, Slot};
use crate::wire::body::{Broken, Form, More, Patience, Pump, Source};

use std::task::{Context, Poll};

/// A body that is there already.
struct Fixed(Bytes);

impl Source for Fixed {
    const RAW: bool = false;

    fn poll_more(&mut self, _cx: &mut Context<'_>, _form: Form) -> Poll<Result<More, Broken>> {
        Poll::Ready(Ok(if self.0.is_empty() { More::End } else { More::Data }))
    }

    fn data(&self) -> &[u8] {
        &self.0
    }

    fn take(&mut self, max: usize) -> Bytes {
        self.0.split_to(max.min(self.0.len()))
    }

    fn consume(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn settle(&mut self) {}

    fn write_raw_end(&self, _out: &mut Vec<u8>) {}

    fn trailers(&mut self) -> Option<HeaderMap> {
        None
    }

    fn open_tunnel(&mut self) {}
}

/// Answers for the upstream.
pub(crate) async fn reject<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    rejection: Rejection,
) -> Ending {
    call.worker.cells().reject(rejection.flag);
    call.count(rejection.status);
    let grpc = call.is_grpc();
    let Some((head, body)) = rejected(&rejection, call.request.method(), grpc) else { return Ending::Abort };
    send(call, caller, reply, &head, &HeadEdits::new(), body, rejection.close).await
}

/// Nobody is there to be answered.
pub(crate) fn gone(call: &Call<'_>) -> Ending {
    call.worker.cells().reject(ResponseFlag::DownstreamTermination);
    Ending::Abort
}

/// Answers as the route says.
pub(crate) async fn local<C: Caller, R: Reply>(
    call: &Call<'_>,
    caller: &mut C,
    reply: &mut R,
    route: &CompiledRoute,
    status: u16,
    location: Option<String>,
    body: Bytes,
) -> Ending {
    let mut builder = ResponseHead::builder(status).request_method(call.request.method());
    if let Some(location) = &location {
        builder = builder.field("location", location.as_bytes());
    }
    if !body.is_empty() {
        builder = builder.field("content-type", b"text/plain");
    }
    let builder = framed(builder, status, body.len());
    let Ok(head) = builder.field("date", date(clock::wall()).as_bytes()).build() else {
        return reject(call, caller, reply, Rejection::UNWRITABLE).await;
    };
    call.count(status);
    let context = call.context("");
    let edits = response_edits(call.request, &head, &call.chain.manager, Some(route), None, &context);
    send(call, caller, reply, &head, &edits, body, false).await
}

fn framed(builder: tidegate_http1::ResponseBuilder, status: u16, length: usize) -> tidegate_http1::ResponseBuilder {
    // RFC 9110 §8.6: no length in a 204; a 304 would describe a body that it does not have.
    if matches!(status, 204 | 304) { builder } else { builder.field("content-length", length.to_string().as_bytes()) }
}

/// Head and body of a refusal, in the caller's protocol.
pub(crate) fn rejected(rejection: &Rejection, method: &str, grpc: bool) -> Option<(ResponseHead, Bytes)> {
    let error = format!("{} {}", rejection.flag, rejection.details);
    let builder = |status: u16| {
        ResponseHead::builder(status)
            .request_method(method)
            .field("date", date(clock::wall()).as_bytes())
            .field("x-tidegate-error", error.as_bytes())
    };
    if grpc {
        let head = builder(200)
            .field("content-type", b"application/grpc")
            .field("grpc-status", rejection.grpc_status().to_string().as_bytes())
            .field("grpc-message", rejection.text.as_bytes())
            .field("content-length", b"0")
            .build();
        return head.ok().map(|head| (head, Bytes::new()));
    }
    let body = Bytes::from(format!("{} ({})\n", rejection.text, rejection.flag));
    let head = builder(rejection.status)
        .field("content-type", b"text/plain")
        .field("content-length", body.len().to_string().as_bytes())
        .build();
    head.ok().map(|head| (head, body))
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
    for slot in [Slot::Total, Slot::Upload, Slot::Download] {
        call.alarm.clear(slot);
    }
    let limit = Some(call.worker.shared.limits.write_progress);
    let mut pump = Pump::new(Slot::Download, Patience { source: limit, sink: limit });
    let mut body = Fixed(if call.is_head() { Bytes::new() } else { body });
    let sent = std::future::poll_fn(|cx| pump.poll(cx, &mut body, reply.body(), call.alarm));
    match call.alarm.guard(sent).await {
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
