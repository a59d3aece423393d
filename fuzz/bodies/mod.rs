//! What must hold for any bytes: the bodies of the fuzz targets, as plain functions.
//!
//! # Why plain functions
//! A fuzzer needs a nightly compiler and hours; a test run has neither. `cargo test` runs the same bodies over the
//! stored seeds and over every truncation of them, so a body cannot rot and a seed that once failed stays covered.
#![allow(clippy::panic, clippy::expect_used, reason = "a body that does not hold panics: that is its verdict")]

/// A head either is refused, or is incomplete, or means the same when it is written and read again.
#[allow(dead_code, reason = "each fuzz target uses one body")]
pub(crate) fn http1_request(bytes: &[u8]) {
    use tidegate_http1::{BodyReader, HeadEdits, Limits, Parsed, parse_request, write_request};

    let limits = Limits::default();
    let Ok(Parsed::Complete { head, consumed }) = parse_request(bytes, &limits) else { return };
    assert!(consumed <= bytes.len());

    let mut written = Vec::new();
    write_request(&mut written, &head, &HeadEdits::default(), head.framing(), None)
        .expect("what was read can be written");
    let Ok(Parsed::Complete { head: again, consumed }) = parse_request(&written, &limits) else {
        panic!("what was written is refused: {:?}", String::from_utf8_lossy(&written));
    };
    assert_eq!(consumed, written.len());
    assert_eq!(again.method(), head.method());
    assert_eq!(again.path_and_query(), head.path_and_query());
    assert_eq!(again.authority(), head.authority());
    assert_eq!(again.framing(), head.framing());

    let mut body = BodyReader::new(head.framing());
    let mut rest = &bytes[bytes.len().min(consumed)..];
    while let Ok(progress) = body.advance(rest, |payload| assert!(payload.end <= rest.len())) {
        assert!(progress.consumed <= rest.len(), "a body is no longer than its bytes");
        if progress.done || progress.consumed == 0 {
            break;
        }
        rest = &rest[progress.consumed..];
    }
}

/// Any text gives a verdict, and a verdict can be shown.
#[allow(dead_code, reason = "each fuzz target uses one body")]
pub(crate) fn policy_yaml(bytes: &[u8]) {
    use tidegate_policies::{Source, compile};

    let sources = [Source { path: "fuzz.yaml".into(), text: bytes.to_vec() }];
    let compilation = compile(&sources);
    let shown = compilation.render(&sources, false);
    assert_eq!(compilation.diagnostics.is_empty(), shown.trim().is_empty(), "every finding is shown: {shown}");
}

/// Any bytes are a resource or a refusal with a path; a resource survives its own encoding.
#[allow(dead_code, reason = "each fuzz target uses one body")]
pub(crate) fn xds_decode(bytes: &[u8]) {
    use tidegate_xds::name::ResourceType;
    use tidegate_xds::resource::Decoded;

    let Some((first, value)) = bytes.split_first() else { return };
    let resource_type = ResourceType::ALL[usize::from(*first) % ResourceType::ALL.len()];
    let Ok(decoded) = Decoded::from_any(resource_type.type_url(), value) else { return };
    let again = Decoded::from_any(resource_type.type_url(), &decoded.resource.encode_value());
    let again = again.unwrap_or_else(|error| panic!("what was encoded is refused: {error}"));
    assert_eq!(again.resource, decoded.resource);
    assert_eq!(again.resource.version(), decoded.resource.version());
}
