//! The values at the ends of a tree: text, numbers, ports, durations, addresses.
//!
//! Each reader says in words what it expects. "invalid type: u32" helps nobody at night.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Report};
use crate::ir::world::Labels;
use crate::source::Spanned;
use crate::tree::{Content, Node, ScalarKind, shortened};

/// Longest duration that is accepted. A century is a typing error.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

fn wrong(node: &Node, expected: &str, cure: &str, report: &mut Report) {
    let finding = report.add(Code::WrongType, node.span, format!("expected {expected}, found {}", node.describe()));
    if cure.is_empty() {
        finding.help(format!("write {expected} here"))
    } else {
        finding.help(cure)
    };
}

fn bad(node: &Node, message: String, cure: &str, report: &mut Report) {
    let finding = report.add(Code::BadValue, node.span, message);
    if !cure.is_empty() {
        finding.help(cure);
    }
}

/// Text; a plain number or truth value is refused, because YAML may have changed it (`1.10`).
pub(crate) fn text(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let Content::Scalar(scalar) = &node.content else {
        wrong(node, "text", "", report);
        return None;
    };
    match scalar.kind() {
        ScalarKind::Text => Some(Spanned { value: Arc::clone(&scalar.text), span: node.span }),
        ScalarKind::Number | ScalarKind::Truth => {
            wrong(node, "text", &format!("put it in quotes: \"{}\"", shortened(&scalar.text)), report);
            None
        }
    }
}

/// Text that is not empty.
pub(crate) fn word(node: &Node, report: &mut Report) -> Option<Spanned<Arc<str>>> {
    let text = text(node, report)?;
    if text.value.trim().is_empty() {
        bad(node, "the text is empty".to_owned(), "", report);
        return None;
    }
    Some(text)
}

/// `true` or `false`.
pub(crate) fn truth(node: &Node, report: &mut Report) -> Option<bool> {
    if let Content::Scalar(scalar) = &node.content
        && scalar.kind() == ScalarKind::Truth
    {
        return Some(scalar.text.eq_ignore_ascii_case("true"));
    }
    wrong(node, "true or false", "write it without quotes", report);
    None
}

/// A whole number within bounds.
pub(crate) fn integer(node: &Node, min: i64, max: i64, report: &mut Report) -> Option<Spanned<i64>> {
    let Content::Scalar(scalar) = &node.content else {
        wrong(node, "a whole number", "", report);
        return None;
    };
    let parsed = scalar.text.parse::<i64>();
    match (scalar.plain, parsed) {
        (true, Ok(value)) if (min..=max).contains(&value) => Some(Spanned { value, span: node.span }),
        (true, Ok(value)) => {
            bad(node, format!("{value} is not in range {min}-{max}"), "", report);
            None
        }
        (false, Ok(_)) => {
            wrong(node, "a whole number", "write it without quotes", report);
            None
        }
        (_, Err(_)) => {
            wrong(node, "a whole number", "", report);
            None
        }
    }
}

/// A number that fits 32 bits.
pub(crate) fn count(node: &Node, report: &mut Report) -> Option<u32> {
    integer(node, 0, i64::from(i32::MAX), report).and_then(|number| u32::try_from(number.value).ok())
}

/// A port number.
pub(crate) fn port(node: &Node, report: &mut Report) -> Option<Spanned<u16>> {
    let Content::Scalar(scalar) = &node.content else {
        wrong(node, "a port number", "", report);
        return None;
    };
    match scalar.text.parse::<i64>() {
        Ok(value) if !scalar.plain => {
            wrong(node, "a port number", &format!("write it without quotes: {value}"), report);
            None
        }
        Ok(value) => match u16::try_from(value) {
            Ok(value) if value > 0 => Some(Spanned { value, span: node.span }),
            Ok(_) | Err(_) => {
                bad(node, format!("{value} is not a port"), "ports are 1-65535", report);
                None
            }
        },
        Err(_) => {
            wrong(node, "a port number", "", report);
            None
        }
    }
}

/// One of some words.
pub(crate) fn choice(node: &Node, words: &[&'static str], report: &mut Report) -> Option<Spanned<&'static str>> {
    let text = text(node, report)?;
    if let Some(word) = words.iter().find(|word| ***word == *text.value) {
        return Some(Spanned { value: word, span: text.span });
    }
    let finding = report.add(
        Code::BadValue,
        text.span,
        format!("\"{}\" is not one of {}", shortened(&text.value), super::enumerate(words)),
    );
    if let Some(near) = crate::spelling::nearest(&text.value, words.iter().copied()) {
        finding.say(format!("did you mean `{near}`?")).help(format!("write `{near}`"));
    }
    None
}

/// An IP address.
pub(crate) fn address(node: &Node, report: &mut Report) -> Option<Spanned<IpAddr>> {
    let text = text(node, report)?;
    match text.value.parse() {
        Ok(value) => Some(Spanned { value, span: node.span }),
        Err(_) => {
            bad(
                node,
                format!("\"{}\" is not an IP address", shortened(&text.value)),
                "write it like 10.0.0.7 or 2001:db8::7",
                report,
            );
            None
        }
    }
}

/// An IP address with a port.
pub(crate) fn socket(node: &Node, report: &mut Report) -> Option<Spanned<SocketAddr>> {
    let text = text(node, report)?;
    match text.value.parse::<SocketAddr>() {
        Ok(value) if value.port() > 0 => Some(Spanned { value, span: node.span }),
        Ok(_) => {
            bad(node, "port 0 cannot be dialled".to_owned(), "ports are 1-65535", report);
            None
        }
        Err(_) => {
            bad(
                node,
                format!("\"{}\" is not an address with a port", shortened(&text.value)),
                "write it like 127.0.3.1:15001 or [::1]:15001",
                report,
            );
            None
        }
    }
}

/// A duration as Go writes it: `10s`, `1h2m3.5s`, `250ms`.
pub(crate) fn duration(node: &Node, report: &mut Report) -> Option<Spanned<Duration>> {
    const CURE: &str = "write a number with its unit: 250ms, 10s, 1m30s";
    let Content::Scalar(scalar) = &node.content else {
        wrong(node, "a duration", CURE, report);
        return None;
    };
    if scalar.kind() != ScalarKind::Text {
        wrong(node, "a duration", &format!("add the unit: {}s", shortened(&scalar.text)), report);
        return None;
    }
    match parse_duration(&scalar.text) {
        Some(value) if value <= DURATION_MAX => Some(Spanned { value, span: node.span }),
        Some(_) => {
            bad(node, format!("{} is longer than a year", scalar.text), CURE, report);
            None
        }
        None => {
            bad(node, format!("\"{}\" is not a duration", shortened(&scalar.text)), CURE, report);
            None
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    Some(total)
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// `number` (with at most one point) times `unit` nanoseconds, without floating point.
fn scaled(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut step = unit;
    for digit in fraction.chars() {
        step /= 10;
        nanos = nanos.checked_add(u64::from(digit.to_digit(10)?) * step)?;
    }
    Some(Duration::from_nanos(nanos))
}

/// Labels.
pub(crate) fn labels(node: &Node, report: &mut Report) -> Option<Labels> {
    Some(super::map(node, "labels", report, text).into_iter().map(|(key, value)| (key.value, value.value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("0.000000001s"), Some(Duration::from_nanos(1)));
        assert_eq!(parse_duration(".5s"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
    }

    #[test]
    fn durations_without_unit_sign_or_number_are_refused() {
        for text in ["", "10", "s", "-1s", "1.2.3s", "1 s", "1d", "1e3s", ".s", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
