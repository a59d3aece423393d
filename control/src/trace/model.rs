//! One form of a span, whatever it came as.
//!
//! # Why one more form
//! Intakes (OTLP, Zipkin, SkyWalking) and query APIs (Jaeger twice, Zipkin) meet in the middle: each intake is written once and
//! each API is written once. The form follows OpenTelemetry's, which can say what the others say.
//!
//! # Limits
//! What a span may hold is bounded here, once, for all intakes: [`TagsBuilder`] drops and shortens what is beyond, and a span says
//! how much it lost.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tidegate_report::trace;

/// Attributes of a span, an event or a process: OpenTelemetry's default limit.
pub const TAGS_MAX: usize = 128;
/// Events of a span: OpenTelemetry's default limit.
pub const EVENTS_MAX: usize = 128;
/// References to other spans: a batch consumer has some dozens.
pub const LINKS_MAX: usize = 32;
/// The longest text that is kept whole: a stack trace or a statement.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// What a span may hold in memory. One of all limits would be 2 MiB; a real one is 1 KiB, with a stack trace 20 KiB.
pub const SPAN_BYTES_MAX: usize = 64 * 1024;
/// What an allocation costs beyond what was asked for: the allocator's header and rounding.
const ALLOCATION_BYTES: usize = 16;

/// Names a trace. Zero is no trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

impl TraceId {
    /// 1 to 32 hexadecimal digits; a shorter id has its zeroes left out, as Jaeger and B3 do.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0)?;
        Some(Self(id))
    }

    /// The id for a trace id of SkyWalking, which is any text ([`trace::id_of_text`]): what proxies make of it, too.
    pub fn of_text(text: &str) -> Self {
        Self(trace::id_of_text(text))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Names a span within its trace. Zero is no span.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl SpanId {
    /// 1 to 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0)?;
        Some(Self(id))
    }

    /// The id for something that names itself otherwise and that nobody else numbers: the first 8 bytes of its SHA-256, big-endian.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1))
    }

    /// The id for a span of SkyWalking ([`trace::id_of_span`]).
    pub fn of_segment(segment: &str, number: i32) -> Self {
        Self(trace::id_of_span(segment, number))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A span's part in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nobody said.
    #[default]
    Unspecified,
    /// Within a process.
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Sends a message.
    Producer,
    /// Works on a message.
    Consumer,
}

impl Kind {
    /// All of them, by their number in OTLP.
    pub const ALL: [Self; 6] =
        [Self::Unspecified, Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer];

    /// As OTLP numbers it; an unknown number says nothing.
    pub fn of_number(number: u64) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number).copied()).unwrap_or_default()
    }

    /// OTLP's number.
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
            Self::Producer => 4,
            Self::Consumer => 5,
        }
    }

    /// As the tag `span.kind` says it; nothing where nobody said.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// The value of an attribute. Lists and maps are kept as their JSON text, bytes as base64: as such all query APIs show them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(Box<str>),
    /// A truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
}

impl Value {
    /// Whether its text is `text`: how tags are searched for.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => **own == *text,
            Self::Bool(own) => text == if *own { "true" } else { "false" },
            Self::Int(own) => text.parse() == Ok(*own),
            Self::Double(own) => text.parse() == Ok(*own),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Double(number) => write!(f, "{number}"),
        }
    }
}

/// Attributes in the order in which they came.
pub type Tags = Box<[(Box<str>, Value)]>;

/// Where spans come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its service.
    pub service: Box<str>,
    /// What else it says of itself.
    pub tags: Tags,
}

/// Something that happened within a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// What.
    pub name: Box<str>,
    /// More of it.
    pub tags: Tags,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Well, somebody says.
    Ok,
    /// Not well, and perhaps why.
    Error(Box<str>),
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its name within that.
    pub id: SpanId,
    /// Whose part it is.
    pub parent: Option<SpanId>,
    /// Other spans, also of other traces, that led to it.
    pub links: Box<[(TraceId, SpanId)]>,
    /// Its part in a call.
    pub kind: Kind,
    /// The operation.
    pub name: Box<str>,
    /// Who did it.
    pub process: Arc<Process>,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// What it says.
    pub tags: Tags,
    /// What happened meanwhile.
    pub events: Box<[Event]>,
    /// How it went.
    pub status: Status,
    /// Attributes, events and references that it lost to the limits, and texts that were shortened.
    pub lost: u32,
}

impl Span {
    /// When it ended.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }

    /// Whether it failed: says so, or carries the tag `error` of OpenTracing, SkyWalking or Zipkin.
    pub fn failed(&self) -> bool {
        let says = |(key, value): &(Box<str>, Value)| **key == *"error" && !value.is("false");
        matches!(self.status, Status::Error(_)) || (self.status == Status::Unset && self.tags.iter().any(says))
    }

    /// What it occupies, without its process.
    pub fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| size_of::<Event>() + text(&event.name) + tags(&event.tags));
        let status = if let Status::Error(why) = &self.status { text(why) } else { 0 };
        let links = size_of_val(&*self.links);
        size_of::<Self>() + text(&self.name) + tags(&self.tags) + events.sum::<usize>() + status + links
    }
}

impl Process {
    /// What it occupies.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + text(&self.service) + tags(&self.tags)
    }
}

fn text(text: &str) -> usize {
    text.len() + ALLOCATION_BYTES
}

fn tags(tags: &Tags) -> usize {
    let one = |(key, value): &(Box<str>, Value)| {
        let value = if let Value::Text(value) = value { text(value) } else { 0 };
        size_of::<(Box<str>, Value)>() + text(key) + value
    };
    tags.iter().map(one).sum()
}

/// Gathers attributes within the limits.
#[derive(Debug, Default)]
pub struct TagsBuilder {
    tags: Vec<(Box<str>, Value)>,
    /// What was dropped or shortened.
    pub lost: u32,
}

impl TagsBuilder {
    /// One more.
    pub fn push(&mut self, key: &str, value: Value) {
        if key.is_empty() || self.tags.len() >= TAGS_MAX {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let key = bounded(key, &mut self.lost);
        self.tags.push((key, value));
    }

    /// One more, of text.
    pub fn text(&mut self, key: &str, value: &str) {
        let value = bounded(value, &mut self.lost);
        self.push(key, Value::Text(value));
    }

    /// The text of the attribute `key`, if there is one.
    pub fn find(&self, key: &str) -> Option<&Value> {
        self.tags.iter().find(|(own, _)| **own == *key).map(|(_, value)| value)
    }

    /// Takes an attribute out.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.tags.iter().position(|(own, _)| **own == *key)?;
        Some(self.tags.remove(at).1)
    }

    /// All of them.
    pub fn build(self) -> Tags {
        self.tags.into()
    }
}

/// The text, shortened to the limit at the border of a character.
pub fn bounded(text: &str, lost: &mut u32) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    *lost = lost.saturating_add(1);
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_trace_id_has_its_zeroes_left_out() {
        assert_eq!(TraceId::parse("2a"), Some(TraceId(42)));
        assert_eq!(TraceId::parse("0000000000000000000000000000002A"), Some(TraceId(42)));
        for wrong in ["", "0", "+1", "xyz", "000000000000000000000000000000001", "ü"] {
            assert_eq!(TraceId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_trace_id_of_32_digits_stands_for_itself_in_every_format() {
        let digits = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(TraceId::of_text(digits).to_string(), digits);
    }

    #[test]
    fn what_is_beyond_the_limits_is_counted() {
        let mut tags = TagsBuilder::default();
        tags.text("long", &"ä".repeat(TEXT_BYTES_MAX));
        for number in 0..TAGS_MAX {
            tags.push(&format!("k{number}"), Value::Int(1));
        }

        assert_eq!(tags.lost, 2);
        assert!(tags.find("long").is_some_and(|value| value.to_string().len() <= TEXT_BYTES_MAX));
        assert_eq!(tags.build().len(), TAGS_MAX);
    }

    #[test]
    fn a_tag_is_found_by_its_text() {
        assert!(Value::Int(503).is("503"));
        assert!(Value::Bool(true).is("true"));
        assert!(Value::Double(1.5).is("1.50"));
        assert!(!Value::Text("503".into()).is("50"));
    }
}
