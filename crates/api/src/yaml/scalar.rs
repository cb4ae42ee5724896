//! Plain scalars by the YAML 1.2 core schema.

use super::Value;

/// What an unquoted scalar means.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    int(text).or_else(|| float(text)).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A whole number: decimal, `0o17` or `0x1f`. Beyond 64 bits it becomes a float, as in the core schema's JSON cousin.
pub(super) fn int(text: &str) -> Option<Value> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'o', ..] => (8, &text[2..]),
        [b'0', b'x', ..] => (16, &text[2..]),
        _ => (10, text.strip_prefix(['-', '+']).unwrap_or(text)),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let negative = radix == 10 && text.starts_with('-');
    let value = i128::from_str_radix(digits, radix).ok().map(|n| if negative { -n } else { n });
    match value {
        Some(n) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n) => Some(Value::Int(n)),
        _ if radix == 10 => text.parse().ok().map(Value::Float),
        _ => None,
    }
}

/// A number with a fraction or an exponent, or one of `.inf`, `-.inf`, `.nan`.
pub(super) fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
            return Some(Value::Float(sign * f64::INFINITY));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    // Rust also reads "inf", "nan" and "infinity", which are text in YAML.
    let starts_right = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let has_digit = unsigned.bytes().any(|b| b.is_ascii_digit());
    let only_number = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if starts_right && has_digit && only_number { text.parse().ok().map(Value::Float) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(plain(text), Value::Null, "{text}");
        }
        for (text, n) in [
            ("0", 0),
            ("-19", -19),
            ("+3", 3),
            ("0o14", 12),
            ("0x3A", 58),
            ("007", 7),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(plain(text), Value::Int(n), "{text}");
        }
        for (text, n) in [("0.", 0.0), (".5", 0.5), ("-0.0", 0.0), ("12e03", 12_000.0), ("-2E+05", -200_000.0), ("1e3", 1e3)] {
            assert_eq!(plain(text), Value::Float(n), "{text}");
        }
        assert_eq!(plain(".inf"), Value::Float(f64::INFINITY));
        assert_eq!(plain("-.inf"), Value::Float(f64::NEG_INFINITY));
        assert!(matches!(plain(".nan"), Value::Float(n) if n.is_nan()));
        assert!(matches!(plain("18446744073709551616"), Value::Float(_)));
        for text in [
            "yes", "no", "on", "off", "inf", "nan", "infinity", "1_000", "0b1", "0o8", "0x", "1.2.3", "-", ".", "1s", "10Gi",
            "e3", "1e", "12:30", "- 1",
        ] {
            assert_eq!(plain(text), Value::String(text.to_owned()), "{text}");
        }
    }
}
