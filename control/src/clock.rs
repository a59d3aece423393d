//! The only place of the control plane that reads wall-clock time.
//!
//! A clock is a value that is handed to whoever stamps something, so that a test can hand over one that stands still.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY_SECONDS: u64 = 86_400;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
        Self(Arc::new(|| Timestamp(SystemTime::now())))
    }

    /// A clock that tells what `read` says.
    pub fn of(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A moment of wall-clock time; shown in RFC 3339 with milliseconds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// So many milliseconds after 1970 began.
    pub fn from_unix_ms(ms: u64) -> Self {
        Self(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// Milliseconds since 1970 began.
    pub fn unix_ms(self) -> u64 {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Time since `earlier`; zero if the clock was set back in between.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.unix_ms();
        let (seconds, ms) = (ms / 1_000, ms % 1_000);
        let (year, month, day) = civil_date(seconds / DAY_SECONDS);
        let of_day = seconds % DAY_SECONDS;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// The date that is `days` after 1970-01-01: 400 years of the Gregorian calendar are always 146 097 days, and counted
/// from a first of March the leap day is the last of its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Times that are stored, as milliseconds.
pub mod unix_ms {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    /// Writes milliseconds since 1970.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        at.unix_ms().serialize(serializer)
    }

    /// Reads milliseconds since 1970.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn a_moment_is_shown_in_rfc_3339() {
        assert_eq!(Timestamp::from_unix_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_unix_ms(951_782_400_123).to_string(), "2000-02-29T00:00:00.123Z");
        assert_eq!(Timestamp::from_unix_ms(1_709_251_199_999).to_string(), "2024-02-29T23:59:59.999Z");
        assert_eq!(Timestamp::from_unix_ms(4_107_542_399_000).to_string(), "2100-02-28T23:59:59.000Z");
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let (early, late) = (Timestamp::from_unix_ms(5), Timestamp::from_unix_ms(9));

        assert_eq!(late.since(early).as_millis(), 4);
        assert_eq!(early.since(late).as_millis(), 0);
    }
}
