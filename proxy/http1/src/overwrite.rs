//! A received value that gives way to another one of the same length.
//!
//! # Why beside removal and addition
//! A proxy in a trace changes one field of every request, and what it writes is as long as what it received. Taken away and added
//! again it would break the run of lines that are copied as they came; written over in the copy it costs a few words.

use crate::fields::{Field, Fields, Known, Span};
use crate::octets::{is_value, trim_ows};

/// The longest value; a `traceparent` has 55 bytes (W3C Trace Context 3.2.2).
pub(crate) const OVERWRITE_BYTES_MAX: usize = 64;

/// The one value that is written over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overwrite {
    /// Of the received value.
    at: Span,
    value: [u8; OVERWRITE_BYTES_MAX],
}

impl Overwrite {
    /// Of the one field of this name, where there is one, and only one, and it is as long as the new value.
    pub(crate) fn of(fields: &Fields, lower_name: &str, value: &[u8]) -> Option<Self> {
        let name = lower_name.as_bytes();
        let mut named = fields.named(name);
        let (Some(field), None) = (named.next(), named.next()) else { return None };
        let at = field.value_span();
        let writable =
            at.of(&fields.buf).len() == value.len() && is_value(value) && trim_ows(value) == (0, value.len());
        let mut kept = [0; OVERWRITE_BYTES_MAX];
        kept.get_mut(..value.len())?.copy_from_slice(value);
        (writable && field.known == Known::Other && !field.is_stripped()).then_some(Self { at, value: kept })
    }

    fn value(&self) -> &[u8] {
        self.value.get(..(self.at.end - self.at.start) as usize).unwrap_or_default()
    }

    /// The new value of a received field, if it is this one.
    pub(crate) fn value_of(&self, field: &Field) -> Option<&[u8]> {
        (field.value_span() == self.at).then(|| self.value())
    }

    /// Writes over the value in a copy of the head that begins at `start`. One of another head, which has no such place, stays.
    pub(crate) fn write(&self, fields: &Fields, copy: &mut [u8], start: usize) {
        let Span { start: from, end } = self.at;
        let place = (from as usize).checked_sub(start).and_then(|from| copy.get_mut(from..end as usize - start));
        if let Some(place) = place.filter(|_| fields.list.as_slice().iter().any(|field| field.value_span() == self.at))
        {
            place.copy_from_slice(self.value());
        }
    }
}
