//! Cuts a head into lines.
//!
//! # Why not a ready-made tokeniser
//! Those at hand take a bare LF for a line end, and that is the one freedom that lets two recipients disagree where a head ends.
//! Ours gives positions at once, which is all the head keeps.
//!
//! The scan goes strictly from left to right and fails at the first wrong byte, so a head that arrives in pieces gets the verdict
//! it would have got whole.

use crate::fields::{Field, FieldList, Span, is_look_alike};
use crate::limits::{Limits, Underscores};
use crate::octets::{is_ows, name_len, plain_name_len, trim_ows, value_len};
use crate::refusal::{HEAD_TOO_LARGE, Refusal, TOO_MANY_FIELDS};

const BARE_LF: Refusal = Refusal::bad("line ends with a bare LF", "RFC 9112 2.2");
const BARE_CR: Refusal = Refusal::bad("CR without LF", "RFC 9112 2.2");
const OBS_FOLD: Refusal = Refusal::bad("folded header field", "RFC 9112 5.2");
const SPACE_BEFORE_COLON: Refusal = Refusal::bad("white space before the colon", "RFC 9112 5.1");
const BAD_NAME: Refusal = Refusal::bad("invalid header field name", "RFC 9110 5.1");
const BAD_VALUE: Refusal = Refusal::bad("control character in a header field value", "RFC 9110 5.5");
const UNDERSCORE: Refusal = Refusal::bad("underscore in a header field name", "RFC 9110 5.1");

/// One step through the field section.
pub(crate) enum Line {
    Partial,
    Field {
        name: Span,
        /// An underscore is in the name.
        underscore: bool,
        value: Span,
        /// The line reads exactly `name: value` or `name:value`.
        tight: bool,
        next: usize,
    },
    /// The empty line; the position after it.
    End(usize),
}

/// Where a line ends at `at`: the position after CRLF, or None when more bytes are needed.
#[inline]
pub(crate) fn line_end(buf: &[u8], at: usize, otherwise: Refusal) -> Result<Option<usize>, Refusal> {
    match (buf.get(at), buf.get(at + 1)) {
        (None, _) | (Some(b'\r'), None) => Ok(None),
        (Some(b'\r'), Some(b'\n')) => Ok(Some(at + 2)),
        (Some(b'\r'), Some(_)) => Err(BARE_CR),
        (Some(b'\n'), _) => Err(BARE_LF),
        (Some(_), _) => Err(otherwise),
    }
}

/// Reads the field line, or the empty line, that begins at `at`.
pub(crate) fn field_line(buf: &[u8], at: usize) -> Result<Line, Refusal> {
    let rest = buf.get(at..).unwrap_or_default();
    let (name_len, underscore) = name_len(rest);
    let Some(&after_name) = rest.get(name_len) else { return Ok(Line::Partial) };
    if after_name != b':' || name_len == 0 {
        return match after_name {
            b'\r' | b'\n' if name_len == 0 => Ok(line_end(buf, at, BAD_NAME)?.map_or(Line::Partial, Line::End)),
            b' ' | b'\t' if name_len == 0 => Err(OBS_FOLD),
            b' ' | b'\t' => Err(SPACE_BEFORE_COLON),
            _ => Err(BAD_NAME),
        };
    }
    let value_at = at + name_len + 1;
    let raw = buf.get(value_at..).unwrap_or_default();
    let raw_len = match raw.first() {
        None => return Ok(Line::Partial),
        Some(_) => value_len(raw),
    };
    let Some(next) = line_end(buf, value_at + raw_len, BAD_VALUE)? else { return Ok(Line::Partial) };
    let (start, end) = trimmed(raw.get(..raw_len).unwrap_or_default());
    let value = Span::new(value_at + start, value_at + end);
    let tight = end == raw_len && (start == 0 || start == 1 && raw.first() == Some(&b' '));
    Ok(Line::Field { name: Span::new(at, at + name_len), underscore, value, tight, next })
}

/// `trim_ows`, with the form nearly all senders use in front: one space before, none behind.
#[inline]
fn trimmed(raw: &[u8]) -> (usize, usize) {
    match raw {
        [b' ', first, .., last] if !is_ows(*first) && !is_ows(*last) => (1, raw.len()),
        _ => trim_ows(raw),
    }
}

/// A line of the form that nearly all senders use, `name: value`, with no other white space around the value and no underscore.
struct Usual<'b> {
    field: Field,
    name: &'b [u8],
    /// What follows the line.
    after: &'b [u8],
}

/// The first line of `rest`, which begins at `at`, if it has the usual form. None says nothing: [`field_line`] decides.
#[inline]
fn usual_line(rest: &[u8], at: u32) -> Option<Usual<'_>> {
    let (name, gap) = rest.split_at_checked(plain_name_len(rest))?;
    let ([b':', b' ', raw @ ..] | [b':', raw @ ..]) = gap else { return None };
    let (value, end) = raw.split_at_checked(value_len(raw))?;
    let is_bare = match value {
        [] => true,
        [first, ..] => !is_ows(*first) && value.last().is_some_and(|last| !is_ows(*last)),
    };
    let [b'\r', b'\n', after @ ..] = end else { return None };
    if name.is_empty() || !is_bare {
        return None;
    }
    let field = Field::placed(name, at, at + (rest.len() - raw.len()) as u32, value.len() as u32)?;
    Some(Usual { field, name, after })
}

/// Where a section ends.
pub(crate) struct Section {
    /// The position after the empty line.
    pub(crate) end: usize,
    /// Every line is a field of the list and may be written as it is.
    pub(crate) tight: bool,
}

/// Reads all fields from `at` in a window of a head's size; None when the empty line has not arrived.
pub(crate) fn field_section(
    buf: &[u8],
    mut at: usize,
    limits: &Limits,
    list: &mut FieldList,
) -> Result<Option<Section>, Refusal> {
    let mut count = 0;
    let mut tight = true;
    list.begin();
    loop {
        let mut rest = buf.get(at..).unwrap_or_default();
        while let Some(Usual { field, name, after }) = usual_line(rest, (buf.len() - rest.len()) as u32) {
            count += 1;
            if count > limits.fields_max {
                return Err(TOO_MANY_FIELDS);
            }
            list.push(field, name);
            rest = after;
        }
        at = buf.len() - rest.len();
        if rest.starts_with(b"\r\n") {
            return Ok(Some(Section { end: at + 2, tight }));
        }
        match field_line(buf, at)? {
            Line::Partial => return Ok(None),
            Line::End(end) => return Ok(Some(Section { end, tight })),
            Line::Field { name, underscore, value, tight: this, next } => {
                count += 1;
                if count > limits.fields_max {
                    return Err(TOO_MANY_FIELDS);
                }
                at = next;
                let name_text = name.of(buf);
                if underscore && is_dropped(name_text, limits)? {
                    tight = false;
                    continue;
                }
                let field = Field::new(buf, name, value).ok_or(HEAD_TOO_LARGE)?;
                tight &= this;
                list.push(field, name_text);
            }
        }
    }
}

/// Whether a field is left out because of an underscore in its name.
pub(crate) fn is_dropped(name: &[u8], limits: &Limits) -> Result<bool, Refusal> {
    if !name.contains(&b'_') {
        return Ok(false);
    }
    match limits.underscores {
        Underscores::RefuseAll => Err(UNDERSCORE),
        Underscores::DropLookAlikes => Ok(is_look_alike(name)),
    }
}

/// Heads below this size are scanned whenever bytes arrive.
const EAGER_BYTES_MAX: usize = 512;

/// Whether scanning the fields is surely too early: a long head whose end has not arrived. Without this a head sent byte by byte would be
/// tokenised again for each byte; with it only the short ones are, and the long ones pay a vectorised search.
pub(crate) fn surely_partial(buf: &[u8], limits: &Limits) -> bool {
    buf.len() > EAGER_BYTES_MAX && buf.len() < head_bytes_max(limits) && memchr::memmem::find(buf, b"\n\r\n").is_none()
}

/// The bytes a head may occupy.
pub(crate) fn window<'a>(buf: &'a [u8], limits: &Limits) -> &'a [u8] {
    buf.get(..head_bytes_max(limits)).unwrap_or(buf)
}

/// Whatever the limit, positions are held in half a word.
pub(crate) fn head_bytes_max(limits: &Limits) -> usize {
    limits.head_bytes_max.min(u32::MAX as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form_is_cut_as_the_general_way_cuts_it() {
        let mut usual = 0;
        for name in ["", "a", "a_b", "Host", "a b", "x-Y"] {
            for gap in [":", ": ", ":  ", ":\t", " :", ""] {
                for value in ["", "v", " v", "v ", "v\tw", "v\r", "v\x7f", "\u{e9}", "long enough for two words"] {
                    for end in ["\r\n", "\n", "\r", "", "\r\nX"] {
                        let line = format!("{name}{gap}{value}{end}");
                        let Some(Usual { field, after, .. }) = usual_line(line.as_bytes(), 0) else { continue };
                        let next = line.len() - after.len();
                        usual += 1;

                        let general = field_line(line.as_bytes(), 0).expect("accepted");

                        let Line::Field { name, underscore: false, value, tight: true, next: cut } = general else {
                            panic!("{line:?} is not of the usual form");
                        };
                        assert_eq!((field.name_span(), field.value_span(), next), (name, value, cut), "{line:?}");
                    }
                }
            }
        }
        assert!(usual > 50, "{usual}");
    }
}
