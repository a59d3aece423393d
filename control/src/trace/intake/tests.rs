//! Bounds of what is read.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;

use super::*;
use crate::trace::fixture::{export_request, span_message};
use crate::trace::model::TraceId;

fn packed(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

async fn send(
    intake: &Arc<Intake>,
    format: Format,
    bytes: impl Into<Bytes>,
    is_packed: bool,
) -> Result<Taken, IntakeError> {
    let received = intake.read(Full::new(bytes.into()), is_packed).await?;
    intake.take(format, received).await
}

#[tokio::test]
async fn spans_come_into_the_store_packed_or_not() {
    let intake = Arc::new(Intake::default());
    let request = |trace| export_request("s", &[span_message(trace, 1, "x")]);

    let plain = send(&intake, Format::Otlp, request(1), false).await.unwrap();
    let unpacked = send(&intake, Format::Otlp, packed(&request(2)), true).await.unwrap();

    assert_eq!((plain.accepted, unpacked.accepted), (1, 1));
    assert!(intake.store().trace(TraceId(2)).is_some());
    assert_eq!(intake.bytes.available_permits(), BYTES_IN_FLIGHT_MAX, "all room is given back");
}

#[tokio::test]
async fn what_is_before_an_error_is_kept_and_a_bad_span_is_named() {
    let intake = Arc::new(Intake::default());
    let mut broken = export_request("s", &[span_message(1, 1, "x")]);
    broken.push(0xff);

    let refused = send(&intake, Format::Otlp, broken, false).await;
    let partly = send(&intake, Format::Zipkin, r#"[{"traceId":"2","id":"1"},{}]"#, false).await.unwrap();

    assert!(matches!(refused, Err(IntakeError::Malformed(_))), "{refused:?}");
    assert!(intake.store().trace(TraceId(1)).is_some());
    assert_eq!((partly.accepted, partly.rejected), (1, 1));
    assert!(partly.why.is_some_and(|why| why.contains("traceId")));
    assert_eq!(intake.store().counts().malformed.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_too_large_is_refused_also_when_it_is_packed() {
    let intake = Arc::new(Intake::default());
    let large = vec![0; BODY_BYTES_MAX + 1];

    let plain = send(&intake, Format::Otlp, large.clone(), false).await;
    let bomb = send(&intake, Format::Otlp, packed(&large), true).await;
    let no_gzip = send(&intake, Format::Otlp, "nonsense", true).await;

    assert!(matches!(plain, Err(IntakeError::TooLarge)), "{plain:?}");
    assert!(matches!(bomb, Err(IntakeError::TooLarge)), "{bomb:?}");
    assert!(matches!(no_gzip, Err(IntakeError::Malformed(_))), "{no_gzip:?}");
    assert_eq!(intake.store().counts().too_large.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn who_comes_when_too_much_is_being_read_is_sent_away() {
    let intake = Arc::new(Intake::default());
    let held: Vec<_> = (0..8).map(|_| intake.room(BODY_BYTES_MAX).unwrap()).collect();

    let refused = send(&intake, Format::Zipkin, "[]", false).await;
    drop(held);
    let taken = send(&intake, Format::Zipkin, "[]", false).await;

    assert!(matches!(refused, Err(IntakeError::Busy)), "{refused:?}");
    assert!(taken.is_ok());
    assert_eq!(intake.store().counts().busy.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends_at_its_deadline() {
    let intake = Arc::new(Intake::default());
    let (_sender, body) = http_body_util::channel::Channel::<Bytes, std::convert::Infallible>::new(1);

    let read = intake.read(body, false).await;

    assert!(matches!(read, Err(IntakeError::Slow)), "{read:?}");
}

/// Panics, also of arithmetic, which is checked in tests.
#[test]
fn no_changed_byte_of_a_request_panics() {
    let json = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"1"}}]},"scopeSpans":[{"spans":[
        {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","startTimeUnixNano":"9","kind":2,
        "attributes":[{"key":"l","value":{"arrayValue":{"values":[{"doubleValue":1.5}]}}}]}]}]}]}"#;
    let zipkin = r#"[{"traceId":"1","id":"2","timestamp":18446744073709551615,"duration":9,"tags":{"a":"b"},
        "annotations":[{"timestamp":1,"value":"x"}],"localEndpoint":{"port":80}}]"#;
    let segment = [0x0a, 1, b't', 0x12, 1, b's', 0x1a, 8, 0x08, 1, 0x18, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let samples = [
        (Format::Otlp, export_request("s", &[span_message(1, 1, "x")])),
        (Format::OtlpJson, json.as_bytes().to_vec()),
        (Format::Zipkin, zipkin.as_bytes().to_vec()),
        (Format::SkyWalking, segment.to_vec()),
        (Format::SkyWalkingCollection, [&[0x0a, 16], segment.as_slice()].concat()),
    ];
    for (format, sample) in samples {
        for at in 0..sample.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'{', b'9', b'-'] {
                let mut changed = sample.clone();
                changed[at] = byte;
                let mut collected = crate::trace::fixture::Collected::default();
                // Whether it can be read is not the question; what was read must be fit for the store.
                decode(format, &changed, &mut collected).ok();
                let store = Store::default();
                assert!(store.insert(collected.spans).is_empty(), "{format:?} with {byte} at {at}");
            }
        }
    }
}
