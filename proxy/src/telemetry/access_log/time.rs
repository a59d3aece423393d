//! Moments as text, in UTC: `%Y-%m-%dT%H:%M:%S.%3fZ`.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_traffic::format::civil_date;

/// How a moment is written, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout(Box<[Part]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    /// Seconds since 1970.
    Epoch,
    /// So many digits of the second's fraction.
    Fraction(u8),
}

/// What may stand behind a percent sign.
pub(super) const KNOWN: &str = "%Y %m %b %d %H %M %S %s %f %1f to %9f %F %T %z %Z %%";

impl Layout {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let unknown = |what: &str| format!("`%{what}` is not known in a time; known are {KNOWN}");
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                parts.push(Part::Literal(c));
                continue;
            }
            let known = rest.next().ok_or_else(|| unknown(""))?;
            match known {
                '%' => parts.push(Part::Literal('%')),
                'Y' => parts.push(Part::Year),
                'm' => parts.push(Part::Month),
                'b' => parts.push(Part::MonthName),
                'd' => parts.push(Part::Day),
                'H' => parts.push(Part::Hour),
                'M' => parts.push(Part::Minute),
                'S' => parts.push(Part::Second),
                's' => parts.push(Part::Epoch),
                'f' => parts.push(Part::Fraction(9)),
                'F' => parts.extend([Part::Year, Part::Literal('-'), Part::Month, Part::Literal('-'), Part::Day]),
                'T' => {
                    let colon = Part::Literal(':');
                    parts.extend([Part::Hour, colon, Part::Minute, colon, Part::Second]);
                }
                'z' => parts.extend("+0000".chars().map(Part::Literal)),
                'Z' => parts.extend("UTC".chars().map(Part::Literal)),
                '1'..='9' if rest.next() == Some('f') => {
                    let digits = known.to_digit(10).and_then(|digits| u8::try_from(digits).ok());
                    parts.push(Part::Fraction(digits.unwrap_or(9)));
                }
                other => return Err(unknown(&other.to_string())),
            }
        }
        Ok(Self(parts.into()))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, at: SystemTime) {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil_date(days);
        for part in &self.0 {
            let written = match part {
                Part::Literal(c) => write!(out, "{c}"),
                Part::Year => write!(out, "{year:04}"),
                Part::Month => write!(out, "{month:02}"),
                Part::MonthName => {
                    let name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
                    write!(out, "{}", name.copied().unwrap_or_default())
                }
                Part::Day => write!(out, "{day:02}"),
                Part::Hour => write!(out, "{:02}", second / 3600),
                Part::Minute => write!(out, "{:02}", second / 60 % 60),
                Part::Second => write!(out, "{:02}", second % 60),
                Part::Epoch => write!(out, "{}", since.as_secs()),
                Part::Fraction(digits) => {
                    let fraction = since.subsec_nanos() / 10_u32.pow(9 - u32::from(*digits));
                    write!(out, "{fraction:0width$}", width = usize::from(*digits))
                }
            };
            written.expect("writing to memory does not fail");
        }
    }
}

/// `2026-01-31T12:00:00.000Z`, in one go: every line has one.
pub(super) fn iso(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
        .expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_written_as_asked_for() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_709_210_096_007_080_900);
        let written = |layout: &str| {
            let mut out = Vec::new();
            Layout::compile(layout).unwrap().write(&mut out, at);
            String::from_utf8(out).unwrap()
        };

        assert_eq!(written("%Y-%m-%dT%H:%M:%S.%3fZ"), "2024-02-29T12:34:56.007Z");
        assert_eq!(written("%s.%3f"), "1709210096.007");
        assert_eq!(written("%d/%b/%Y:%T %z"), "29/Feb/2024:12:34:56 +0000");
        assert_eq!(written("%F %f %6f %1f%% %Z"), "2024-02-29 007080900 007080 0% UTC");
        let mut out = Vec::new();
        iso(&mut out, at);
        assert_eq!(out, b"2024-02-29T12:34:56.007Z");
        for wrong in ["%", "%q", "%3", "%3s"] {
            assert!(Layout::compile(wrong).unwrap_err().contains("known are %Y"), "{wrong}");
        }
    }
}
