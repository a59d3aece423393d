//! How a resource is shown to people: durations as `1.5s`, bodies as text.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Indented JSON. Nothing in a resource is a map with keys other than strings or can fail to be written, so the error
/// has no occasion; it would be shown instead of the resource.
pub(super) fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string()))
}

/// Seconds with as many decimals as needed, as protobuf's own JSON has them.
pub(super) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let text = format!("{}.{:09}", value.as_secs(), value.subsec_nanos());
    serializer.collect_str(&format_args!("{}s", text.trim_end_matches('0').trim_end_matches('.')))
}

/// `null` is "no limit" or "not said"; the field's documentation knows which.
pub(super) fn optional_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => duration(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Bytes that are text nearly always.
pub(super) fn text<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(value))
}
