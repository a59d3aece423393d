//! Cuts a head into lines.
//!
//! # Why not a ready-made tokeniser
//! Those at hand take a bare LF for a line end, and that is the one freedom that lets two recipients disagree where a head ends.
//! Ours gives positions at once, which is all the head keeps.
//!
//! The scan goes strictly from left to right and fails at the first wrong byte, so a head that arrives in pieces gets the verdict
//! it would have got whole.
//!
//! # Why lines are compared with those of the head before
//! Callers and servers repeat themselves: host, agent, types, cookies and keys are the same from head to head, byte by byte, and
//! in the same place; often all fields are. Memory that has held a head still has its lines; one that comes again has been checked
//! and cut already, and to compare it costs a third of that, for all at once a tenth. How long a comparison takes says how much is
//! alike, so memory that passes from one caller to another must forget first ([`crate::HeadMemory::forget`]).

use crate::fields::{Field, Fields, Span, is_look_alike, position};
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
    let field = Field::usual(name, at, at + (rest.len() - raw.len()) as u32, value.len() as u32)?;
    Some(Usual { field, name, after })
}

/// The first line of `rest`, if it is that of a field in the head before.
#[inline]
fn repeated_line<'b>(rest: &'b [u8], at: u32, before: Option<&Field>, buf_before: &[u8]) -> Option<Usual<'b>> {
    let before = before?;
    let after = rest.strip_prefix(before.usual_line(buf_before)?)?;
    Some(Usual { field: before.again_at(at), name: before.name_of(rest), after })
}

/// Where a section ends.
pub(crate) struct Section {
    /// The position after the empty line.
    pub(crate) end: usize,
    /// Every line is a field of the list and may be written as it is.
    pub(crate) tight: bool,
    /// It is that of the head before, byte by byte.
    pub(crate) repeated: bool,
}

/// The section at the start of `rest`, if it is that of the head before.
#[inline]
fn repeated_section(rest: &[u8], at: usize, limits: &Limits, fields: &mut Fields) -> Option<Section> {
    let Fields { buf: buf_before, list, .. } = fields;
    let section = buf_before.get(list.whole_from()?..)?;
    if !rest.starts_with(section) || list.as_slice().len() > limits.fields_max {
        return None;
    }
    list.move_to(position(at));
    Some(Section { end: at + section.len(), tight: true, repeated: true })
}

/// Reads all fields from `at` in a window of a head's size; None when the empty line has not arrived. `fields` are those of the
/// head before: the buffer stays what it was, the list is the new one where there is a section.
#[inline]
pub(crate) fn field_section(
    buf: &[u8],
    mut at: usize,
    limits: &Limits,
    fields: &mut Fields,
) -> Result<Option<Section>, Refusal> {
    if let Some(section) = repeated_section(buf.get(at..).unwrap_or_default(), at, limits, fields) {
        return Ok(Some(section));
    }
    let Fields { buf: buf_before, list, .. } = fields;
    // Lines, and those of them that are kept.
    let (mut count, mut kept) = (0, 0);
    let (mut tight, mut usual) = (true, true);
    list.begin();
    loop {
        let mut rest = buf.get(at..).unwrap_or_default();
        loop {
            let at = (buf.len() - rest.len()) as u32;
            let repeated = repeated_line(rest, at, list.as_slice().get(kept), buf_before);
            let Some(Usual { field, name, after }) = repeated.or_else(|| usual_line(rest, at)) else { break };
            count += 1;
            if count > limits.fields_max {
                return Err(TOO_MANY_FIELDS);
            }
            list.put(kept, field, name);
            kept += 1;
            rest = after;
        }
        at = buf.len() - rest.len();
        if rest.starts_with(b"\r\n") {
            list.end(kept, usual);
            return Ok(Some(Section { end: at + 2, tight, repeated: false }));
        }
        match field_line(buf, at)? {
            Line::Partial => return Ok(None),
            Line::End(end) => {
                list.end(kept, usual);
                return Ok(Some(Section { end, tight, repeated: false }));
            }
            Line::Field { name, underscore, value, tight: this, next } => {
                count += 1;
                if count > limits.fields_max {
                    return Err(TOO_MANY_FIELDS);
                }
                at = next;
                usual = false;
                let name_text = name.of(buf);
                if underscore && is_dropped(name_text, limits)? {
                    tight = false;
                    continue;
                }
                let field = Field::new(buf, name, value).ok_or(HEAD_TOO_LARGE)?;
                tight &= this;
                list.put(kept, field, name_text);
                kept += 1;
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
#[inline]
pub(crate) fn surely_partial(buf: &[u8], limits: &Limits) -> bool {
    buf.len() > EAGER_BYTES_MAX && buf.len() < head_bytes_max(limits) && lacks_an_end(buf)
}

/// Whether there is no empty line. A function of its own, so that short heads do not carry the search.
#[inline(never)]
fn lacks_an_end(buf: &[u8]) -> bool {
    memchr::memmem::find(buf, b"\n\r\n").is_none()
}

/// The bytes a head may occupy.
#[inline]
pub(crate) fn window<'a>(buf: &'a [u8], limits: &Limits) -> &'a [u8] {
    buf.get(..head_bytes_max(limits)).unwrap_or(buf)
}

/// Whatever the limit, positions are held in half a word.
#[inline]
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

    /// The fields of a section behind a start line, in the memory of another one, with what is known of them.
    fn cut(start: &str, section: &str, memory: &mut Fields) -> Result<Option<String>, Refusal> {
        let text = format!("{start}{section}");
        let cut = field_section(text.as_bytes(), start.len(), &Limits::default(), memory)?;
        let Some(Section { end, tight, .. }) = cut else { return Ok(None) };
        memory.buf = text.as_bytes()[..end].to_vec();
        Ok(Some(format!("{end} {tight} {:?}", memory.list)))
    }

    #[test]
    fn a_section_behind_another_is_cut_as_it_is_cut_alone() {
        const LINES: [&str; 9] =
            ["Host: a\r\n", "Host:a\r\n", "Host: ab\r\n", "a_b: c\r\n", "a: b \r\n", "a: b\r\n", "a: \r\n", "", "\r\n"];
        let sections = || {
            let pairs = LINES.iter().flat_map(|first| LINES.map(|second| format!("{first}{second}")));
            pairs.flat_map(|pair| ["\r\n", "Te: x\r\n\r\n", "\n"].map(|end| format!("{pair}{end}")))
        };
        let mut repeated = 0;
        for before in sections() {
            for section in sections() {
                for start in ["/", "/longer"] {
                    let mut memory = Fields::default();
                    if !matches!(cut("/", &before, &mut memory), Ok(Some(_))) {
                        continue;
                    }
                    let first = memory.list.as_slice().first();
                    repeated += usize::from(repeated_line(section.as_bytes(), 0, first, &memory.buf).is_some());

                    let behind = cut(start, &section, &mut memory);

                    assert_eq!(behind, cut(start, &section, &mut Fields::default()), "{section:?} behind {before:?}");
                }
            }
        }
        assert!(repeated > 100, "{repeated}");
    }
}
