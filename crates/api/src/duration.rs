//! Durations as Go writes them: `250ms`, `1m30s`, `1.5h`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// A duration, zero or longer, read and written in the format of Go's `time.ParseDuration`.
///
/// In a document it is a string; `0` may stand without quotes and unit. Where a field says that it also takes a number
/// of nanoseconds, it is decoded with [`GoDuration::or_nanos`]. At most 2⁶³−1 ns (292 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoDuration(Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not a number with a unit.
    #[error("{0:?} is not a duration\nhelp: write a number and a unit, such as 250ms, 1.5s, 1m30s or 2h")]
    Syntax(String),
    /// A number alone.
    #[error("the duration {0:?} has no unit\nhelp: write {0}ms or {0}s")]
    NoUnit(String),
    /// Something like `5d`.
    #[error("the duration {text:?} has the unknown unit {unit:?}\nhelp: the units are ns, us, ms, s, m and h")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit in it.
        unit: String,
    },
    /// Below zero.
    #[error("the duration {0:?} is negative")]
    Negative(String),
    /// Above 2⁶³−1 ns.
    #[error("the duration {0:?} is too long")]
    TooLong(String),
}

impl GoDuration {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Whole milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whether this is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// For `#[serde(deserialize_with = "GoDuration::or_nanos")]`: a number counts nanoseconds.
    ///
    /// # Errors
    /// When it is neither a duration nor such a number.
    pub fn or_nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text { nanos: true })
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

const LONGEST_NS: u128 = i64::MAX as u128;

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let owned = || crate::yaml::shorten(text);
        let syntax = || DurationError::Syntax(owned());
        let too_long = || DurationError::TooLong(owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(syntax());
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(syntax());
            }
            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let scale: u128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(DurationError::NoUnit(owned())),
                _ => return Err(DurationError::UnknownUnit { text: owned(), unit: crate::yaml::shorten(unit) }),
            };
            let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
            total = whole.checked_mul(scale).and_then(|n| n.checked_add(total)).ok_or_else(too_long)?;
            total += part(fraction, scale);
            if total > LONGEST_NS {
                return Err(too_long());
            }
            rest = after;
        }
        if negative && total > 0 {
            return Err(DurationError::Negative(owned()));
        }
        let (seconds, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
        // Both fit: the total is at most 2^63 - 1.
        Ok(Self(Duration::new(u64::try_from(seconds).unwrap_or(u64::MAX), u32::try_from(nanos).unwrap_or(0))))
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.fraction × scale`, rounded down. Digits beyond the eighteenth are below a nanosecond for every unit.
fn part(fraction: &str, scale: u128) -> u128 {
    let used = &fraction[..fraction.len().min(18)];
    let value: u128 = used.parse().unwrap_or(0);
    value * scale / 10u128.pow(u32::try_from(used.len()).unwrap_or(0))
}

/// As Go prints it: `0s`, `250ms`, `1.5s`, `1m30s`, `1h0m0s`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        match ns {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{ns}ns"),
            1_000..1_000_000 => return write!(f, "{}µs", decimal(ns, 1_000)),
            1_000_000..1_000_000_000 => return write!(f, "{}ms", decimal(ns, 1_000_000)),
            _ => {}
        }
        let minutes = ns / 60_000_000_000;
        let (hours, minutes, rest) = (minutes / 60, minutes % 60, ns % 60_000_000_000);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(rest, 1_000_000_000))
    }
}

/// `n / unit` without trailing zeros.
fn decimal(n: u128, unit: u128) -> String {
    let (whole, rest) = (n / unit, n % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

struct Text {
    nanos: bool,
}

impl Visitor<'_> for Text {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 250ms or 1m30s")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<GoDuration, E> {
        if self.nanos && u128::from(n) <= LONGEST_NS {
            return Ok(GoDuration(Duration::from_nanos(n)));
        }
        if n == 0 { Ok(GoDuration::ZERO) } else { Err(E::custom(DurationError::NoUnit(n.to_string()))) }
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<GoDuration, E> {
        match u64::try_from(n) {
            Ok(n) => self.visit_u64(n),
            Err(_) => Err(E::custom(DurationError::Negative(n.to_string()))),
        }
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<GoDuration, E> {
        Err(E::custom(DurationError::NoUnit(n.to_string())))
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text { nanos: false })
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "A duration in Go's format, such as 250ms, 1.5s or 1m30s; units ns, us, ms, s, m, h.",
            "pattern": r"^\+?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$",
            "examples": ["250ms", "1m30s"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> u128 {
        text.parse::<GoDuration>().unwrap().get().as_nanos()
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, want) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("250ms", 250_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            let want = if text.starts_with("0.33") { 1_199_999_999_999 } else { want };
            assert_eq!(ns(text), want, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "s", ".", ".s", "+", "1.s.", "abc", " 1s", "--1s"] {
            assert!(matches!(text.parse::<GoDuration>(), Err(DurationError::Syntax(_))), "{text}");
        }
        assert_eq!("3".parse::<GoDuration>(), Err(DurationError::NoUnit("3".into())));
        assert!(matches!("1d".parse::<GoDuration>(), Err(DurationError::UnknownUnit { unit, .. }) if unit == "d"));
        assert!(matches!("1s ".parse::<GoDuration>(), Err(DurationError::UnknownUnit { .. })));
        assert_eq!("-1s".parse::<GoDuration>(), Err(DurationError::Negative("-1s".into())));
        for text in ["9223372036854775808ns", "99999999999999999999999999999999999999999h", "3000000h"] {
            assert!(matches!(text.parse::<GoDuration>(), Err(DurationError::TooLong(_))), "{text}");
        }
    }

    #[test]
    fn prints_what_go_prints() {
        for text in ["0s", "1ns", "1.1µs", "2.2ms", "3.3s", "4m5s", "4m5.001s", "5h6m7.001s", "1h0m0s", "250ms", "1m30s"] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn numbers_are_nanoseconds_only_where_stated() {
        #[derive(Debug, Deserialize)]
        struct Both {
            strict: GoDuration,
            #[serde(deserialize_with = "GoDuration::or_nanos")]
            loose: GoDuration,
        }
        let read = |text: &str| crate::yaml::from_node::<Both>(&crate::yaml::parse(text).unwrap());
        let both = read("{strict: 0, loose: 1500}").unwrap();
        assert_eq!((both.strict, both.loose.get()), (GoDuration::ZERO, Duration::from_nanos(1_500)));
        let error = read("{strict: 5, loose: 1}").unwrap_err();
        assert_eq!(error.to_string(), "1:10: error: strict: the duration \"5\" has no unit (write 5ms or 5s)");
        assert!(read("{strict: 1s, loose: -1}").unwrap_err().message.contains("negative"));
    }
}
