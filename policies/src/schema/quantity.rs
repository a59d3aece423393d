//! Values of governance: shares, rates, times and gRPC statuses.
//!
//! # Why no floating point
//! `0.0001` percent has to be one request in a million and not nearly so; a share, a rate and a point in time are therefore
//! read digit by digit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{enumerate, integer, text};
use crate::diagnostic::{Code, Report};
use crate::ir::share::Share;
use crate::source::Spanned;
use crate::tree::{Content, Node, shortened};

/// gRPC's statuses, at the place of their number.
pub(crate) const GRPC_STATUSES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The text of a scalar that YAML takes for a number.
fn number<'n>(node: &'n Node, expected: &str, report: &mut Report) -> Option<&'n str> {
    match &node.content {
        Content::Scalar(scalar) if scalar.plain => return Some(&scalar.text),
        Content::Scalar(_) | Content::Null | Content::List(_) | Content::Map(_) => {}
    }
    let finding = report.add(Code::WrongType, node.span, format!("expected {expected}, found {}", node.describe()));
    finding.help("write a number without quotes");
    None
}

/// A percentage with at most four decimals, as a share.
pub(crate) fn share(node: &Node, report: &mut Report) -> Option<Spanned<Share>> {
    let written = number(node, "a percentage", report)?;
    let Some(value) = parse_share(written) else {
        report
            .add(Code::BadValue, node.span, format!("{} is not a percentage", shortened(written)))
            .help("write a number from 0 to 100, with at most four decimals, without `%`");
        return None;
    };
    Some(Spanned { value, span: node.span })
}

fn parse_share(text: &str) -> Option<Share> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // Ten-thousandths of a percent are millionths of all.
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 4 || text.ends_with('.') {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<4}").parse().ok()?;
    Share::from_millionths(whole.checked_mul(10_000)?.checked_add(fraction)?)
}

/// A whole percentage.
pub(crate) fn percent(node: &Node, report: &mut Report) -> Option<u32> {
    integer(node, 0, 100, report).and_then(|value| u32::try_from(value.value).ok())
}

/// An HTTP status from `min` to `max`.
pub(crate) fn status(node: &Node, min: u16, max: u16, report: &mut Report) -> Option<u16> {
    let Content::Scalar(scalar) = &node.content else {
        report.add(Code::WrongType, node.span, format!("expected an HTTP status, found {}", node.describe()));
        return None;
    };
    let value = scalar.text.parse::<u16>().ok().filter(|_| scalar.plain);
    match value {
        Some(value) if (min..=max).contains(&value) => Some(value),
        Some(value) => {
            report
                .add(Code::BadValue, node.span, format!("HTTP status {value} is not in range {min}-{max}"))
                .help(format!("use a status from {min} to {max}"));
            None
        }
        None => {
            report
                .add(Code::WrongType, node.span, format!("expected an HTTP status, found {}", node.describe()))
                .help("write its number without quotes, e.g. 503");
            None
        }
    }
}

/// A gRPC status, by name or number.
pub(crate) fn grpc_status(node: &Node, report: &mut Report) -> Option<Spanned<u32>> {
    let Content::Scalar(scalar) = &node.content else {
        report.add(Code::WrongType, node.span, format!("expected a gRPC status, found {}", node.describe()));
        return None;
    };
    let named = GRPC_STATUSES.iter().position(|name| name.eq_ignore_ascii_case(&scalar.text));
    let numbered = scalar.text.parse::<usize>().ok().filter(|&number| scalar.plain && number < GRPC_STATUSES.len());
    if let Some(value) = named.or(numbered).and_then(|number| u32::try_from(number).ok()) {
        return Some(Spanned { value, span: node.span });
    }
    let finding =
        report.add(Code::BadValue, node.span, format!("\"{}\" is not a gRPC status", shortened(&scalar.text)));
    match crate::spelling::nearest(&scalar.text, GRPC_STATUSES.iter().copied()) {
        Some(near) => finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`")),
        None => finding.help(format!("it is a number from 0 to 16 or one of {}", enumerate(GRPC_STATUSES))),
    };
    None
}

/// Bytes per second: `64KiB/s`, `1MB/s`, `500B/s`.
pub(crate) fn byte_rate(node: &Node, report: &mut Report) -> Option<Spanned<u64>> {
    const CURE: &str = "write bytes per second with a unit: 500B/s, 64KiB/s, 1MB/s";
    let written = text(node, report)?;
    let parsed = parse_byte_rate(&written.value);
    match parsed {
        Some(0) => {
            report
                .add(Code::BadValue, node.span, "a rate of zero would never end")
                .help("to refuse requests, use `abort`");
            None
        }
        Some(value) => Some(Spanned { value, span: node.span }),
        None => {
            let what = format!("\"{}\" is not a rate of bytes", shortened(&written.value));
            report.add(Code::BadValue, node.span, what).help(CURE);
            None
        }
    }
}

fn parse_byte_rate(text: &str) -> Option<u64> {
    let amount = text.strip_suffix("/s")?;
    let digits = amount.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = amount.split_at_checked(digits)?;
    let unit: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A point in time, as RFC 3339 writes it: `2026-12-01T00:00:00Z`, `2026-12-01T01:30:00.5+01:30`.
pub(crate) fn timestamp(node: &Node, report: &mut Report) -> Option<Spanned<SystemTime>> {
    let written = text(node, report)?;
    match parse_timestamp(&written.value) {
        Some(value) => Some(Spanned { value, span: node.span }),
        None => {
            report
                .add(Code::BadValue, node.span, format!("\"{}\" is not a point in time", shortened(&written.value)))
                .help("write it as RFC 3339, with a time zone: 2026-12-01T00:00:00Z");
            None
        }
    }
}

/// RFC 3339 §5.6. A leap second is the first second of the next minute, as everywhere in POSIX time.
fn parse_timestamp(text: &str) -> Option<SystemTime> {
    let mut rest = text;
    let mut digits = |count: usize, separator: &str| -> Option<u64> {
        let (number, tail) = rest.split_at_checked(count)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (between, tail) = tail.split_at_checked(separator.len())?;
        if !between.eq_ignore_ascii_case(separator) {
            return None;
        }
        rest = tail;
        number.parse().ok()
    };
    let (year, month, day) = (digits(4, "-")?, digits(2, "-")?, digits(2, "T")?);
    let (hour, minute, second) = (digits(2, ":")?, digits(2, ":")?, digits(2, "")?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let offset = zone_seconds(zone)?;
    let seconds =
        i64::try_from(days_since_1970(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    let seconds = u64::try_from(seconds.checked_sub(offset)?).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// The digits after the point, and what follows them.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let count = rest.find(|c: char| !c.is_ascii_digit())?;
    let (digits, zone) = rest.split_at_checked(count)?;
    // Finer than a nanosecond is legal, and nobody's business.
    let digits: String = digits.chars().take(9).collect();
    let nanos = (!digits.is_empty()).then(|| format!("{digits:0<9}").parse().ok())??;
    Some((nanos, zone))
}

/// East of Greenwich is positive.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, zone.strip_prefix('-')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str, max: i64| -> Option<i64> {
        let good = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|&value| good && value <= max)
    };
    Some(sign * (two(hours, 23)? * 3_600 + two(minutes, 59)? * 60))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// At most some eight thousand steps, for the year 9999.
pub(crate) fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| days_of_month(year, month)).sum();
    Some(years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        parse_timestamp(text).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn points_in_time_are_read_with_their_zone_and_leap_days() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-12-01T00:00:00Z"), Some(1_796_083_200));
        assert_eq!(seconds("2026-12-01t01:30:00.25+01:30"), Some(1_796_083_200));
        assert_eq!(seconds("2000-02-29T23:59:59-00:01"), Some(951_868_859));
        assert_eq!(seconds("2016-12-31T23:59:60Z"), Some(1_483_228_800));
        let half = parse_timestamp("1970-01-01T00:00:00.5Z");
        assert_eq!(half, Some(UNIX_EPOCH + Duration::from_millis(500)));
    }

    #[test]
    fn points_in_time_that_do_not_exist_or_lack_a_zone_are_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T00:00:00",
            "2026-12-01 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-12-00T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:60:00Z",
            "2026-12-01T00:00:61Z",
            "2026-12-01T00:00:00.Z",
            "2026-12-01T00:00:00+1:00",
            "2026-12-01T00:00:00+24:00",
            "2026-12-01T00:00:00Zulu",
            "1969-12-31T23:59:59Z",
            "+026-12-01T00:00:00Z",
            "２０２６-12-01T00:00:00Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn shares_are_exact_to_a_millionth() {
        let millionths = |text| parse_share(text).map(Share::millionths);
        assert_eq!(millionths("0"), Some(0));
        assert_eq!(millionths("100"), Some(1_000_000));
        assert_eq!(millionths("0.0001"), Some(1));
        assert_eq!(millionths("12.5"), Some(125_000));
        for text in ["", "-1", "100.0001", "101", "1e1", ".5", "5.", "0.00001", "nan", "4294967296"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }

    #[test]
    fn rates_of_bytes_need_a_unit_and_a_second() {
        assert_eq!(parse_byte_rate("64KiB/s"), Some(65_536));
        assert_eq!(parse_byte_rate("1 MB/s"), Some(1_000_000));
        assert_eq!(parse_byte_rate("500B/s"), Some(500));
        for text in
            ["", "64", "64KiB", "KiB/s", "64 K/s", "-1B/s", "99999999999999999999B/s", "18446744073709551615GiB/s"]
        {
            assert_eq!(parse_byte_rate(text), None, "{text}");
        }
    }
}
