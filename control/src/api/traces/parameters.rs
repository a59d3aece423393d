//! Parameters of queries: percent-encoding, times and durations in the forms in which Jaeger and Zipkin write them.

use std::collections::BTreeMap;

use crate::trace::search::Wanted;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// The parameters of a query, in their order.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// `None`: it is not percent-encoded UTF-8.
    pub(super) fn read(query: &str) -> Option<Self> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let read = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        });
        read.collect::<Option<_>>().map(Self)
    }

    /// The first value of a parameter that is not empty. Some have several names.
    pub(super) fn find(&self, names: &[&str]) -> Option<&str> {
        let named = |(key, value): &&(String, String)| names.contains(&key.as_str()) && !value.is_empty();
        self.0.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that `read` understands; absent is fine, and what is not understood is named.
    pub(super) fn parse<T>(
        &self,
        names: &[&str],
        form: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.find(names) else { return Ok(None) };
        let name = names.first().copied().unwrap_or_default();
        read(text).map(Some).ok_or_else(|| format!("unable to parse param '{name}': it must be {form}"))
    }

    /// A number.
    pub(super) fn number(&self, names: &[&str]) -> Result<Option<u64>, String> {
        self.parse(names, "a number", |text| text.parse().ok())
    }

    /// A duration such as `1.5ms`.
    pub(super) fn duration(&self, names: &[&str]) -> Result<Option<u64>, String> {
        self.parse(names, "a duration such as 100ms or 1.2s", duration_ns)
    }

    /// Tags as a JSON map, as `tags={"error":"true"}`; Jaeger also takes `tag=error:true`.
    pub(super) fn tags(&self, names: &[&str]) -> Result<Vec<Wanted>, String> {
        let map = |text: &str| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text).ok();
        let tags = self.parse(names, "a JSON map of tags", map)?.unwrap_or_default();
        let value = |value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let mut wanted: Vec<Wanted> =
            tags.into_iter().map(|(key, tag)| Wanted { key, value: Some(value(tag)) }).collect();
        for tag in self.all("tag") {
            let (key, value) = tag.split_once(':').ok_or("unable to parse param 'tag': it must be key:value")?;
            wanted.push(Wanted { key: key.to_owned(), value: Some(value.to_owned()) });
        }
        Ok(wanted)
    }
}

/// Percent-encoding; a plus sign is a space.
pub(super) fn decode(text: &str) -> Option<String> {
    crate::api::explain::decode(text)
}

/// A duration as Go writes it, `1h30m`, `1.5ms`, `10us`; in nanoseconds.
pub(super) fn duration_ns(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let end_of_number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end_of_number);
        let end_of_unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end_of_unit);
        let unit_ns = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        // A float that is too large becomes the largest number, which is what it means here.
        sum = sum.saturating_add((number.parse::<f64>().ok()? * unit_ns) as u64);
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// A moment in RFC 3339, as `2026-01-02T03:04:05.123456Z`; in nanoseconds since 1970.
pub(super) fn moment_ns(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (clock.next()?.parse::<u64>().ok()?, clock.next()?.parse::<u64>().ok()?);
    let (second, fraction) = clock.next().map(|second| second.split_once('.').unwrap_or((second, "")))?;
    let second: u64 = second.parse().ok()?;
    let is_date = (1970..=2262).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction_ns: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let offset = zone.strip_prefix(['+', '-']).map(|offset| {
        let (hours, minutes) = offset.split_once(':')?;
        // RFC 3339, 5.6: two digits each, and no more than a day.
        let (hours, minutes) = (hours.parse::<u64>().ok()?, minutes.parse::<u64>().ok()?);
        (hours <= 23 && minutes <= 59).then(|| hours * 3_600 + minutes * 60)
    });
    let seconds = match (offset, zone.starts_with('+')) {
        (None, _) => seconds,
        (Some(offset), true) => seconds.saturating_sub(offset?),
        (Some(offset), false) => seconds.saturating_add(offset?),
    };
    seconds.checked_mul(SECOND)?.checked_add(fraction_ns)
}

/// Days from 1970-01-01: counted from a first of March the leap day is the last of its year.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    // From 0000-03-01 to 1970-01-01 there are 719 468.
    before + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ns) in [
            ("10ms", Some(10_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("3µs", Some(3_000)),
            ("7ns", Some(7)),
            ("", None),
            ("10", None),
            ("ms", None),
            ("1x", None),
            ("1.2.3s", None),
        ] {
            assert_eq!(duration_ns(text), ns, "{text}");
        }
    }

    #[test]
    fn moments_are_read_in_rfc_3339() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00.123Z", Some(951_782_400_123_000_000)),
            ("2024-02-29T23:59:59.999999999Z", Some(1_709_251_199_999_999_999)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31T23:00:00Z", None),
            ("1970-01-01T00:00:00", None),
            ("yesterday", None),
            ("1970-13-01T00:00:00Z", None),
            ("1970-01-01T00:00:00.xZ", None),
            ("1970-01-01T00:00:00+24:00", None),
            ("1970-01-01T00:00:00-18446744073709551615:00", None),
        ] {
            assert_eq!(moment_ns(text), ns, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let parameters = Parameters::read("limit=many&tags=%7B%22error%22%3Atrue%7D&tag=a:b:c").unwrap();

        assert!(parameters.number(&["limit"]).is_err_and(|why| why.contains("'limit'")));
        let tags = parameters.tags(&["tags"]).unwrap();
        assert_eq!(tags[0], Wanted { key: "error".to_owned(), value: Some("true".to_owned()) });
        assert_eq!(tags[1], Wanted { key: "a".to_owned(), value: Some("b:c".to_owned()) });
        assert!(Parameters::read("a=%4").is_none());
    }
}
