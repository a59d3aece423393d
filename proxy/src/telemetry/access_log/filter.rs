//! Which requests have a line.
//!
//! Asked before anything is formatted: a request that nobody wants to read of costs a few comparisons.

use std::str::FromStr;
use std::time::Duration;

use super::entry::Entry;

/// How many conditions there may be: whoever needs more wants all of them.
const CONDITIONS_MAX: usize = 16;

/// Conditions, of which any is enough. Without one every request has a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Errors,
    StatusFrom(u16),
    SlowFrom(Duration),
    /// Of 2^32.
    Sample(u32),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions = text.split(',').map(str::trim).map(condition).collect::<Result<Vec<_>, _>>()?;
        if conditions.len() > CONDITIONS_MAX {
            return Err(format!("more than {CONDITIONS_MAX} conditions"));
        }
        Ok(Self(conditions))
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let unknown = || format!("`{text}` is none of `errors`, `status>=N`, `slow>=MILLISECONDS`, `sample=PERCENT%`");
    if text == "errors" {
        return Ok(Condition::Errors);
    }
    if let Some(status) = text.strip_prefix("status>=") {
        let status = status.parse().ok().filter(|status| (100..=599).contains(status));
        return status.map(Condition::StatusFrom).ok_or_else(|| format!("`{text}`: a status is from 100 to 599"));
    }
    if let Some(limit) = text.strip_prefix("slow>=") {
        let limit = limit.strip_suffix("ms").unwrap_or(limit);
        let limit = limit.parse().map(Duration::from_millis);
        return limit
            .map(Condition::SlowFrom)
            .map_err(|_| format!("`{text}`: a whole number of milliseconds is needed"));
    }
    if let Some(share) = text.strip_prefix("sample=") {
        let share: Option<f64> = share.strip_suffix('%').unwrap_or(share).parse().ok();
        let share = share.filter(|share| (0.0..=100.0).contains(share));
        let share = share.ok_or_else(|| format!("`{text}`: a share is from 0% to 100%"))?;
        return Ok(Condition::Sample((share / 100.0 * f64::from(u32::MAX)).round() as u32));
    }
    Err(unknown())
}

impl Filter {
    /// Whether it has a line. `draw` is asked for a random number only where one is needed.
    pub(super) fn wants(&self, entry: &Entry<'_>, mut draw: impl FnMut() -> u64) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|condition| match condition {
                Condition::Errors => entry.is_failed(),
                Condition::StatusFrom(least) => entry.outcome.status.get() >= *least,
                Condition::SlowFrom(least) => entry.duration >= *least,
                Condition::Sample(u32::MAX) => true,
                Condition::Sample(share) => (draw() >> 32) < u64::from(*share),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_anything_else_is_refused_with_what_there_is() {
        let filter = "errors, status>=400,slow>=250ms,sample=12.5%".parse::<Filter>().unwrap();

        assert_eq!(
            filter.0,
            [
                Condition::Errors,
                Condition::StatusFrom(400),
                Condition::SlowFrom(Duration::from_millis(250)),
                Condition::Sample(u32::MAX / 8 + 1),
            ]
        );
        for wrong in ["", "error", "status>400", "status>=1000", "slow>=x", "sample=101%", "sample=NaN", "errors,"] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
        assert!("x".parse::<Filter>().unwrap_err().contains("sample=PERCENT%"));
    }
}
