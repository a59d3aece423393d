//! An ordered list of header fields over one buffer.
//!
//! # Why spans
//! A field is sixteen bytes of positions, not two allocations: case, order and duplicates are kept for free, and a head that is
//! forwarded unchanged is written by copying whole runs of lines.
//!
//! # Why names are recognised while parsing
//! The dozen names the codec itself must act on are found once, by length and first byte; later questions compare one byte.
//! Of all other names a list remembers a bit each, by length and ends: most questions are for fields that are not there, and
//! those are answered by that bit.

use std::fmt;

/// A range of the head's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: position(start), end: position(end) }
    }

    #[inline]
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub(crate) fn shifted(self, by: isize) -> Self {
        Self::new((self.start as usize).saturating_add_signed(by), (self.end as usize).saturating_add_signed(by))
    }
}

/// Heads are far below 4 GiB by their limits; a position that is not saturates, and `Span::of` then gives nothing.
#[inline]
pub(crate) fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The names the codec acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Known {
    #[default]
    Other,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    TransferEncoding,
    Upgrade,
}

impl Known {
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let (text, known) = Self::candidate(name);
        if known != Self::Other && name.eq_ignore_ascii_case(text) { known } else { Self::Other }
    }

    /// The same for a name that is known to be a token.
    pub(crate) fn of_token(name: &[u8]) -> Self {
        let (text, known) = Self::candidate(name);
        if known != Self::Other && is_same_token(name, text) { known } else { Self::Other }
    }

    /// The one name of this length and first byte.
    #[inline]
    fn candidate(name: &[u8]) -> (&'static [u8], Self) {
        const OTHER: (&[u8], Known) = (b"", Known::Other);
        let Some(&first) = name.first() else { return OTHER };
        match (name.len(), first | 0x20) {
            (2, b't') => (b"te", Self::Te),
            (4, b'h') => (b"host", Self::Host),
            (6, b'c') => (b"cookie", Self::Cookie),
            (6, b'e') => (b"expect", Self::Expect),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (10, b'c') => (b"connection", Self::Connection),
            (10, b'k') => (b"keep-alive", Self::KeepAlive),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (14, b'h') => (b"http2-settings", Self::Http2Settings),
            (16, b'p') => (b"proxy-connection", Self::ProxyConnection),
            (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
            (18, b'p') => (b"proxy-authenticate", Self::ProxyAuthenticate),
            (19, b'p') => (b"proxy-authorization", Self::ProxyAuthorization),
            _ => OTHER,
        }
    }

    /// A bit of its own.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Fields of one hop only (RFC 9110 7.6.1): never forwarded as received. TE is decided by its value.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        match self {
            Self::Connection
            | Self::Http2Settings
            | Self::KeepAlive
            | Self::ProxyAuthenticate
            | Self::ProxyAuthorization
            | Self::ProxyConnection
            | Self::Te
            | Self::TransferEncoding
            | Self::Upgrade => true,
            Self::Other | Self::ContentLength | Self::Cookie | Self::Expect | Self::Host => false,
        }
    }

    /// Fields this crate writes itself, from the framing and the connection's state; an edit cannot touch them.
    pub(crate) fn is_written_by_codec(self) -> bool {
        self.is_hop_by_hop() || matches!(self, Self::ContentLength | Self::Host)
    }
}

/// Whether a token reads `lower` in some case. Among the bytes of tokens only letters differ from each other in this one bit, of
/// those that names hold.
#[inline]
fn is_same_token(name: &[u8], lower: &[u8]) -> bool {
    const FOLD: u64 = u64::from_ne_bytes([0x20; 8]);
    let folded = |word: &[u8; 8]| u64::from_ne_bytes(*word) | FOLD;
    let is_same = |a: &[u8; 8], b: &[u8; 8]| folded(a) == u64::from_ne_bytes(*b);
    if name.len() != lower.len() {
        return false;
    }
    let (Some(last), Some(lower_last)) = (name.last_chunk(), lower.last_chunk()) else {
        return name.iter().zip(lower).all(|(a, b)| a | 0x20 == *b);
    };
    // The last word covers what whole words from the start leave over.
    let words = name.as_chunks().0.iter().zip(lower.as_chunks().0);
    is_same(last, lower_last) && words.into_iter().all(|(a, b)| is_same(a, b))
}

/// The bit by which a list remembers a name: the same for all names of one length and the same ends.
#[inline]
const fn mark(name: &[u8]) -> u64 {
    match name {
        [first, .., last] => 1 << ((name.len() ^ ((*first & 0x1f) as usize * 5) ^ ((*last & 0x1f) as usize * 11)) & 63),
        _ => 1,
    }
}

/// Some names at once, to learn by one comparison that a head has none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    pub const fn of(lower_names: &[&str]) -> Self {
        let (mut marks, mut index) = (0, 0);
        while index < lower_names.len() {
            marks |= mark(lower_names[index].as_bytes());
            index += 1;
        }
        Self(marks)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Field {
    name_start: u32,
    value_start: u32,
    value_len: u32,
    name_len: u16,
    pub(crate) known: Known,
    traits: u8,
}

/// Not to be forwarded: nominated by Connection, or dropped by a rule.
const STRIPPED: u8 = 1;
/// Its line lies in the buffer as it was received and has the form of [`Field::usual`].
const USUAL: u8 = 2;
/// Its whole value has been found to be an authority.
const AUTHORITY: u8 = 4;

impl Field {
    /// None when the name is too long to be recorded: such a field is refused as too large.
    #[inline]
    pub(crate) fn new(buf: &[u8], name: Span, value: Span) -> Option<Self> {
        let name_len = u16::try_from(name.end.saturating_sub(name.start)).ok()?;
        Some(Self {
            name_start: name.start,
            value_start: value.start,
            value_len: value.end.saturating_sub(value.start),
            name_len,
            known: Known::of_token(name.of(buf)),
            traits: 0,
        })
    }

    /// Of a line that reads exactly `name: value CRLF` or `name:value CRLF`, with no underscore in the name. Positions are known
    /// to fit.
    #[inline]
    pub(crate) fn usual(name: &[u8], name_start: u32, value_start: u32, value_len: u32) -> Option<Self> {
        let name_len = u16::try_from(name.len()).ok()?;
        Some(Self { name_start, value_start, value_len, name_len, known: Known::of_token(name), traits: USUAL })
    }

    /// The whole line in the buffer, if it has the usual form.
    #[inline]
    pub(crate) fn usual_line<'b>(&self, buf: &'b [u8]) -> Option<&'b [u8]> {
        let end = self.value_start as usize + self.value_len as usize + 2;
        buf.get(self.name_start as usize..end).filter(|_| self.traits & USUAL != 0)
    }

    /// The same line, received again.
    #[inline]
    pub(crate) fn again_at(self, name_start: u32) -> Self {
        let gone = self.value_start.wrapping_sub(self.name_start);
        Self { name_start, value_start: name_start.wrapping_add(gone), traits: self.traits & !STRIPPED, ..self }
    }

    #[inline]
    pub(crate) fn name_of<'b>(&self, line: &'b [u8]) -> &'b [u8] {
        line.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn is_stripped(&self) -> bool {
        self.traits & STRIPPED != 0
    }

    /// The value reads as an authority throughout; the same line need not be looked at again.
    #[inline]
    pub(crate) fn is_authority(&self) -> bool {
        self.traits & AUTHORITY != 0
    }

    pub(crate) fn has_authority(&mut self) {
        self.traits |= AUTHORITY;
    }

    pub(crate) fn strip(&mut self, stripped: bool) {
        self.traits = if stripped { self.traits | STRIPPED } else { self.traits & !STRIPPED };
    }

    #[inline]
    pub(crate) fn name_span(&self) -> Span {
        Span { start: self.name_start, end: self.name_start.saturating_add(u32::from(self.name_len)) }
    }

    #[inline]
    pub(crate) fn value_span(&self) -> Span {
        Span { start: self.value_start, end: self.value_start.saturating_add(self.value_len) }
    }

    fn point_value_at(&mut self, value: Span) {
        self.traits &= !(USUAL | AUTHORITY);
        self.value_start = value.start;
        self.value_len = value.end.saturating_sub(value.start);
    }

    pub(crate) fn shift(&mut self, by: isize) {
        self.name_start = self.name_span().shifted(by).start;
        self.value_start = self.value_span().shifted(by).start;
    }

    /// The whole line in the buffer, when it reads exactly `name: value CRLF` or `name:value CRLF` there and so may be
    /// copied as it is.
    #[inline]
    pub(crate) fn copyable_line(&self, buf: &[u8]) -> Option<(usize, usize)> {
        let start = self.name_start as usize;
        let name_end = start + usize::from(self.name_len);
        let value_start = self.value_start as usize;
        let value_end = value_start + self.value_len as usize;
        let between = buf.get(name_end..value_start);
        let tight = (between == Some(b": ") || between == Some(b":")) && buf.get(value_end) == Some(&b'\r');
        tight.then_some((start, value_end + 2))
    }
}

/// Sixteen fields cover nearly every request seen in a mesh.
pub(crate) const FIELDS_USUALLY: usize = 16;

/// The fields of a head and what is known of all of them together.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldList {
    fields: Vec<Field>,
    marks: u64,
    /// A bit for each known name that occurs.
    known: u32,
    /// Every line of the section has the usual form and is a field of the list, the section is the end of the buffer, and nothing
    /// but authority and length is said in it about the message.
    whole: bool,
}

impl FieldList {
    /// Begins a new list over the fields of the one before, which stay until the new ones take their places ([`Self::put`]) or it
    /// ends, and makes room for what a head usually holds.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.marks = 0;
        self.known = 0;
        if self.fields.capacity() == 0 {
            self.fields.reserve_exact(FIELDS_USUALLY);
        }
    }

    /// The list has so many fields; what is left of the one before goes. `usual`: each stands in a line of the usual form, and
    /// there is no other line.
    #[inline]
    pub(crate) fn end(&mut self, count: usize, usual: bool) {
        self.fields.truncate(count);
        self.whole = usual && self.says_little();
    }

    /// Where the section begins that may come again as a whole.
    #[inline]
    pub(crate) fn whole_from(&self) -> Option<usize> {
        self.fields.first().filter(|_| self.whole).map(|first| first.name_start as usize)
    }

    /// The same section was received again, at this place.
    #[inline]
    pub(crate) fn move_to(&mut self, start: u32) {
        let by = start.wrapping_sub(self.fields.first().map_or(start, |first| first.name_start));
        if by != 0 {
            for field in &mut self.fields {
                field.name_start = field.name_start.wrapping_add(by);
                field.value_start = field.value_start.wrapping_add(by);
            }
        }
    }

    /// Lets a field have a value that stands elsewhere.
    pub(crate) fn point_value_at(&mut self, index: usize, value: Span) {
        if let Some(field) = self.fields.get_mut(index).filter(|field| field.value_span() != value) {
            field.point_value_at(value);
            self.whole = false;
        }
    }

    /// Whether nothing but the authority and the length is said of the message, as in nearly every head.
    #[inline]
    pub(crate) fn says_little(&self) -> bool {
        const LITTLE: u32 = Known::Other.bit() | Known::Cookie.bit() | Known::Host.bit() | Known::ContentLength.bit();
        self.known & !LITTLE == 0
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.fields.capacity() * size_of::<Field>()
    }

    /// Gives a place to a field; `name` is that of the field.
    #[inline]
    pub(crate) fn put(&mut self, place: usize, field: Field, name: &[u8]) {
        match self.fields.get_mut(place) {
            Some(before) => {
                self.marks |= mark(name);
                self.known |= field.known.bit();
                *before = field;
            }
            None => self.push(field, name),
        }
    }

    /// `name` is that of the field.
    #[inline]
    pub(crate) fn push(&mut self, field: Field, name: &[u8]) {
        self.whole = false;
        self.marks |= mark(name);
        self.known |= field.known.bit();
        self.fields.push(field);
    }

    /// Whether a field of this name may be there. `false` is certain.
    #[inline]
    pub(crate) fn may_hold(&self, name: &[u8]) -> bool {
        self.marks & mark(name) != 0
    }

    /// Whether certainly no field has one of these names.
    #[inline]
    pub(crate) fn lacks(&self, names: Names) -> bool {
        self.marks & names.0 == 0
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[Field] {
        &self.fields
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [Field] {
        &mut self.fields
    }
}

/// The fields of one head, in the order and case they were received.
#[derive(Clone, Default)]
pub struct Fields {
    pub(crate) buf: Vec<u8>,
    pub(crate) list: FieldList,
    /// The buffer is nothing but the start line and these fields, each in its line as it may be written, and the empty line; and
    /// none of them is the codec's own but Host and a Content-Length.
    pub(crate) plain: bool,
}

/// Names alone: values may be secrets, and debug output finds its way into logs.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

impl Fields {
    /// All fields as received, hop-by-hop ones included; what is forwarded is [`crate::EditedFields`].
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.as_slice().iter().map(|f| (f.name_span().of(&self.buf), f.value_span().of(&self.buf)))
    }

    /// The first value of a field.
    #[inline]
    pub fn get(&self, lower_name: &str) -> Option<&[u8]> {
        self.get_all(lower_name).next()
    }

    /// All values of a field, in order.
    #[inline]
    pub fn get_all<'a, 'n>(&'a self, lower_name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.named(lower_name.as_bytes()).map(|f| f.value_span().of(&self.buf))
    }

    #[inline]
    pub(crate) fn named<'a, 'n>(&'a self, lower_name: &'n [u8]) -> impl Iterator<Item = &'a Field> + use<'a, 'n> {
        let fields = if self.list.may_hold(lower_name) { self.list.as_slice() } else { &[] };
        fields.iter().filter(move |f| self.is_named(f, lower_name))
    }

    fn is_named(&self, field: &Field, name: &[u8]) -> bool {
        usize::from(field.name_len) == name.len() && field.name_span().of(&self.buf).eq_ignore_ascii_case(name)
    }

    pub fn len(&self) -> usize {
        self.list.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.as_slice().is_empty()
    }
}

/// Whether a name with an underscore would be taken by a lenient server for a field that frames, routes or identifies.
pub(crate) fn is_look_alike(name: &[u8]) -> bool {
    // The longest alias that matters is far shorter; longer names alias nothing.
    const NAME_BYTES_MAX: usize = 64;
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let mut folded = [0u8; NAME_BYTES_MAX];
    for (slot, byte) in folded.iter_mut().zip(name) {
        *slot = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    let folded = folded.get(..name.len()).unwrap_or_default();
    let mut folded = folded;
    while let Some(rest) = folded.strip_prefix(b"-") {
        folded = rest;
    }
    while let Some(rest) = folded.strip_suffix(b"-") {
        folded = rest;
    }
    const PREFIXES: [&[u8]; 4] = [b"x-forwarded-", b"x-envoy-", b"x-tidegate-", b"x-b3-"];
    const NAMES: [&[u8]; 9] = [
        b"authorization",
        b"forwarded",
        b"traceparent",
        b"x-client-ip",
        b"x-original-url",
        b"x-real-ip",
        b"x-request-id",
        b"x-rewrite-url",
        b"trailer",
    ];
    Known::of(folded) != Known::Other
        || NAMES.contains(&folded)
        || PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
}
