//! Protobuf's wire format, read in place.
//!
//! # Why not generated messages
//! A message of two bytes (`empty span`) becomes a structure of some hundred: four megabytes from the network would be half a
//! gigabyte in memory before anybody could count. This reader hands out one field after another and allocates nothing, so that
//! spans are counted, and refused, one at a time. Fields that nobody asks for are skipped, as the format wants it.

use thiserror::Error;

/// How deep values may lie in each other (lists in attributes). Deeper ones are refused.
pub const DEPTH_MAX: usize = 16;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// It ends too early.
    #[error("the message is cut off")]
    CutOff,
    /// A number has more than ten bytes.
    #[error("a number is too long")]
    LongNumber,
    /// Groups were removed from the language long ago.
    #[error("wire type {0} is not known")]
    UnknownType(u8),
    /// Field zero does not exist.
    #[error("a field has no number")]
    NoNumber,
    /// A field has another type than it should.
    #[error("field {0} has the wrong type")]
    WrongType(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotText(u32),
    /// Values lie too deep in each other.
    #[error("values are nested more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    value: Raw<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// A message, or bytes.
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Raw::Bytes(bytes) => Ok(bytes),
            Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32(_) => Err(WireError::WrongType(self.number)),
        }
    }

    /// Text.
    pub fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotText(self.number))
    }

    /// A number; a negative one is its two's complement.
    pub fn number(self) -> Result<u64, WireError> {
        match self.value {
            Raw::Varint(number) | Raw::Fixed64(number) => Ok(number),
            Raw::Fixed32(number) => Ok(u64::from(number)),
            Raw::Bytes(_) => Err(WireError::WrongType(self.number)),
        }
    }

    /// A signed number.
    pub fn signed(self) -> Result<i64, WireError> {
        Ok(self.number()?.cast_signed())
    }
}

/// The fields of a message, in their order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Reads a message.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or(WireError::NoNumber)?;
        let value = match (tag & 7) as u8 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::CutOff)?;
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Fixed32(u32::from_le_bytes(self.array()?)),
            unknown => return Err(WireError::UnknownType(unknown)),
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for shift in 0..10 {
            let (&byte, rest) = self.rest.split_first().ok_or(WireError::CutOff)?;
            self.rest = rest;
            // The tenth byte has one bit of use; others fall off, as they do elsewhere.
            number |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::LongNumber)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::CutOff)
    }
}

/// Writes a number. What is zero is left out, as the format has it.
pub fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, number);
    }
}

/// Writes a message, bytes or text.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put_bytes(&mut message, 2, b"reviews");
        put_number(&mut message, 3, u64::MAX);
        put_number(&mut message, 4, 0);

        let read: Vec<Field<'_>> = fields(&message).collect::<Result<_, _>>().unwrap();

        assert_eq!(read.len(), 3);
        assert_eq!(read[0].number(), Ok(300));
        assert_eq!(read[1].text(), Ok("reviews"));
        assert_eq!(read[2].signed(), Ok(-1));
        assert_eq!(read[1].number(), Err(WireError::WrongType(2)));
    }

    #[test]
    fn every_cut_of_a_message_is_an_error_or_a_shorter_message() {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"0123456789");
        put_number(&mut message, 2, 1 << 40);

        for end in 0..message.len() {
            let read: Result<Vec<_>, _> = fields(&message[..end]).collect();
            let whole_fields = end == 0 || end == 12;
            assert_eq!(read.is_ok(), whole_fields, "cut at {end}");
        }
    }

    #[test]
    fn what_the_format_does_not_have_is_refused() {
        let error = |bytes: &[u8]| fields(bytes).find_map(Result::err);
        assert_eq!(error(&[0x0b]), Some(WireError::UnknownType(3)));
        assert_eq!(error(&[0x00, 0x00]), Some(WireError::NoNumber));
        assert_eq!(error(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), Some(WireError::LongNumber));
        assert_eq!(error(&[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), Some(WireError::CutOff));
    }
}
