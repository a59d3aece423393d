//! Records and batches as protobuf: `opentelemetry.proto.logs.v1` and `opentelemetry.proto.collector.logs.v1`.
//!
//! Only what is needed of the format: varints, fixed words and fields with a length.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::super::entry::Entry;
use super::super::field::{Field, Name, VALUE_BYTES_MAX, Value};
use super::super::pattern::cut;
use super::super::redact::Redaction;
use super::super::schema::OTEL;
use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

const INFO: u64 = 9;
const ERROR: u64 = 17;

/// Fields of the record itself, which are no attributes.
const NO_ATTRIBUTES: [&str; 3] = ["timestamp", "trace_id", "span_id"];

/// A `LogRecord`.
pub(super) fn record(entry: &Entry<'_>, redaction: &Redaction) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    fixed64(&mut out, 1, nanos(entry.started_at));
    let (number, text) = if entry.is_failed() { (ERROR, "ERROR") } else { (INFO, "INFO") };
    tag(&mut out, 2, 0);
    varint(&mut out, number);
    bytes(&mut out, 3, text.as_bytes());
    message(&mut out, 5, |out| bytes(out, 1, body(entry, redaction).as_bytes()));
    for (name, field) in OTEL.table.iter().filter(|(name, _)| !NO_ATTRIBUTES.contains(name)) {
        let value = field.of(entry, redaction);
        if !value.is_absent() {
            message(&mut out, 6, |out| {
                bytes(out, 1, name.as_bytes());
                message(out, 2, |out| any(out, entry, &value));
            });
        }
    }
    if let Some((trace, parent)) = entry.trace() {
        bytes(&mut out, 9, &digits(trace));
        bytes(&mut out, 10, &digits(parent));
    }
    fixed64(&mut out, 11, nanos(entry.now));
    out
}

/// `GET /cart 200`: for people, who see it first.
fn body(entry: &Entry<'_>, redaction: &Redaction) -> String {
    if entry.request.is_none() {
        return format!("TCP {}", entry.listener);
    }
    let part = |name| {
        let field = Field::Request { first: name, second: None };
        let Value::Bytes(text) = field.of(entry, redaction) else { return String::new() };
        String::from_utf8_lossy(cut(&text, VALUE_BYTES_MAX)).into_owned()
    };
    format!("{} {} {}", part(Name::Method), part(Name::Path), entry.outcome.status.get())
}

/// An `AnyValue`.
fn any(out: &mut Vec<u8>, entry: &Entry<'_>, value: &Value<'_>) {
    match value {
        Value::Absent => {}
        Value::Bytes(text) => bytes(out, 1, String::from_utf8_lossy(cut(text, VALUE_BYTES_MAX)).as_bytes()),
        Value::Number(number) => {
            tag(out, 3, 0);
            varint(out, (*number).min(i64::MAX as u64));
        }
        Value::Ip(ip) => bytes(out, 1, ip.to_string().as_bytes()),
        Value::Address(address) => bytes(out, 1, address.to_string().as_bytes()),
        Value::Time(at) | Value::TimeAs(at, _) => {
            tag(out, 3, 0);
            varint(out, nanos(*at));
        }
        Value::Words(words) => list(out, words.iter().copied()),
        Value::Flags => list(out, entry.outcome.flags()),
        Value::Policies => list(out, entry.policies().map(|parts| parts.join(" ").trim_end().to_owned())),
    }
}

fn list(out: &mut Vec<u8>, words: impl Iterator<Item = impl AsRef<str>>) {
    message(out, 5, |out| {
        for word in words {
            message(out, 1, |out| bytes(out, 1, word.as_ref().as_bytes()));
        }
    });
}

/// Records with what is said once for all of them.
pub(super) struct Batch {
    /// A `Resource`.
    resource: Vec<u8>,
    /// Fields of a `ScopeLogs`.
    scope: Vec<u8>,
    records: Vec<u8>,
    count: usize,
}

impl Batch {
    pub(super) fn new([name, instance]: [&str; 2]) -> Self {
        let mut resource = Vec::new();
        for (key, value) in [("service.name", name), ("service.instance.id", instance)] {
            if !value.is_empty() {
                message(&mut resource, 1, |out| {
                    bytes(out, 1, key.as_bytes());
                    message(out, 2, |out| bytes(out, 1, value.as_bytes()));
                });
            }
        }
        let mut scope = Vec::new();
        message(&mut scope, 1, |out| {
            bytes(out, 1, b"tidegate.access");
            bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
        });
        Self { resource, scope, records: Vec::new(), count: 0 }
    }

    pub(super) fn add(&mut self, record: &[u8]) {
        bytes(&mut self.records, 2, record);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= BATCH_RECORDS_MAX || self.records.len() >= BATCH_BYTES_MAX
    }

    /// An `ExportLogsServiceRequest`.
    pub(super) fn message(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.records.len() + 256);
        message(&mut out, 1, |out| {
            bytes(out, 1, &self.resource);
            message(out, 2, |out| {
                out.extend_from_slice(&self.scope);
                out.extend_from_slice(&self.records);
            });
        });
        out.into()
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.count = 0;
    }
}

/// How many records an `ExportLogsServiceResponse` says were refused.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    // The only field is partial_success, and its first field is the number.
    let partial = match answer {
        [0x0a, rest @ ..] => read_varint(rest).map(|(_, rest)| rest),
        _ => None,
    };
    match partial {
        Some([0x08, rest @ ..]) => read_varint(rest).map_or(0, |(count, _)| count),
        Some(_) | None => 0,
    }
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Bytes of hexadecimal digits.
fn digits(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn tag(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A field whose length is known when it is written.
fn message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, field, &inner);
}
