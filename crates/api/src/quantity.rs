//! Amounts as Kubernetes writes them: `10Gi`, `1k`, `500`, `100M`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// A whole amount, zero or more, read in the format of Kubernetes' `resource.Quantity`.
///
/// Suffixes `n u m k M G T P E` count in thousands, `Ki Mi Gi Ti Pi Ei` in 1024s, `e3` is an exponent; fractions are
/// rounded up. At most 2⁶³−1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(u64);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a number, or not followed by a known suffix.
    #[error("{0:?} is not a quantity\nhelp: write a number with a suffix such as k, M, G, Ki, Mi or Gi, as in 10Gi")]
    Syntax(String),
    /// Below zero.
    #[error("the quantity {0:?} is negative")]
    Negative(String),
    /// Above 2⁶³−1.
    #[error("the quantity {0:?} is too large")]
    TooLarge(String),
}

impl Quantity {
    /// This many.
    #[must_use]
    pub const fn new(amount: u64) -> Self {
        Self(amount)
    }

    /// This many KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// This many MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The amount.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The amount as a size in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const LARGEST: u128 = i64::MAX as u128;

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let owned = || crate::yaml::shorten(text);
        let syntax = || QuantityError::Syntax(owned());
        let too_large = || QuantityError::TooLarge(owned());
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(syntax());
        }
        let (binary, ten) = scale(suffix).ok_or_else(syntax)?;
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{}{fraction}", whole.trim_start_matches('0'));
        let mut value = match digits.trim_start_matches('0') {
            "" => return Ok(Self(0)),
            digits => digits.parse::<u128>().map_err(|_| too_large())?,
        };
        if negative {
            return Err(QuantityError::Negative(owned()));
        }
        value = value.checked_mul(1 << binary).ok_or_else(too_large)?;
        let ten = ten - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let power = |n: i64| u32::try_from(n).ok().and_then(|n| 10u128.checked_pow(n));
        value = if ten >= 0 {
            power(ten).and_then(|p| value.checked_mul(p)).ok_or_else(too_large)?
        } else {
            // A divisor beyond 128 bits leaves less than one, which rounds up to one.
            power(-ten).map_or(1, |p| value.div_ceil(p))
        };
        if value > LARGEST {
            return Err(too_large());
        }
        u64::try_from(value).map(Self).map_err(|_| too_large())
    }
}

/// A suffix as a power of two and a power of ten.
fn scale(suffix: &str) -> Option<(u32, i64)> {
    Some(match suffix {
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i64 = exponent.parse().ok()?;
            return (exponent.abs() <= 1_000).then_some((0, exponent));
        }
    })
}

/// With the largest binary suffix that divides it, else as a plain number: `10Gi`, `1000`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let step = if self.0 == 0 { 0 } else { (self.0.trailing_zeros() / 10) as usize };
        write!(f, "{}{}", self.0 >> (10 * step), suffixes[step.min(6)])
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as 500, 1k or 10Gi")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Quantity, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Quantity, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Quantity, E> {
        self.visit_str(&n.to_string())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "description": "An amount in Kubernetes' format, such as 500, 1k, 100M or 10Gi.",
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$",
            "minimum": 0,
            "examples": ["500", "1k", "10Gi"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, want) in [
            ("0", 0),
            ("500", 500),
            ("1k", 1_000),
            ("1G", 1_000_000_000),
            ("100M", 100_000_000),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("0.5", 1),
            ("100m", 1),
            ("1500m", 2),
            ("1n", 1),
            ("1e3", 1_000),
            ("12E6", 12_000_000),
            ("1E", 1_000_000_000_000_000_000),
            (".5k", 500),
            ("5.k", 5_000),
            ("+7", 7),
            ("-0", 0),
            ("0.00000000000000000000000000000000000000000000001", 1),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(text.parse::<Quantity>().map(Quantity::get), Ok(want), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "k", ".", "abc", "1.2.3", "1 k", "1K", "1Kib", "10gi", "1e", "1e99999999", "0x10"] {
            assert!(matches!(text.parse::<Quantity>(), Err(QuantityError::Syntax(_))), "{text}");
        }
        for text in ["-1", "-1Gi", "-0.1"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Negative(text.into())));
        }
        for text in ["9223372036854775808", "8Ei", "1e19", "1e1000", &"9".repeat(50)] {
            assert!(matches!(text.parse::<Quantity>(), Err(QuantityError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn prints_briefly_and_reads_itself_back() {
        for (amount, text) in
            [(0, "0"), (1_000, "1000"), (10 << 30, "10Gi"), (3 << 29, "1536Mi"), (1 << 62, "4Ei"), (1_025, "1025")]
        {
            assert_eq!(Quantity::new(amount).to_string(), text);
            assert_eq!(text.parse(), Ok(Quantity::new(amount)));
        }
    }
}
