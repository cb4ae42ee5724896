//! What serde expected and found, in words.

use serde::de::Unexpected;

use crate::{nearest, yaml::shorten};

type Text = (String, Option<String>);

/// A value of the wrong type or out of range.
pub(super) fn mismatch(found: &Unexpected<'_>, expected: &str) -> Text {
    let message = format!("expected {}, found {}", wanted(expected), describe(found));
    let text_wanted = matches!(expected, "a string" | "a borrowed string" | "a character");
    let help = match found {
        Unexpected::Unsigned(n) if text_wanted => Some(format!("put it in quotes: \"{n}\"")),
        Unexpected::Signed(n) if text_wanted => Some(format!("put it in quotes: \"{n}\"")),
        Unexpected::Bool(b) if text_wanted => Some(format!("put it in quotes: \"{b}\"")),
        Unexpected::Float(_) if text_wanted => Some("put it in quotes".to_owned()),
        Unexpected::Str(_) if expected == "a boolean" => Some("write true or false, without quotes".to_owned()),
        Unexpected::Str(s) if number_range(expected).is_some() && s.trim().parse::<f64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        _ => None,
    };
    (message, help)
}

/// A word that is not one of a closed list.
pub(super) fn unknown_value(found: &str, known: &[&str]) -> Text {
    let help = match nearest(found, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("expected one of {}", list(known)),
    };
    (format!("unknown value `{}`", shorten(found)), Some(help))
}

/// A field that does not exist.
pub(super) fn unknown_field(found: &str, known: &[&str]) -> Text {
    let help = match nearest(found, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "no field is known here".to_owned(),
        None => format!("known here: {}", list(known)),
    };
    (format!("unknown field `{}`", shorten(found)), Some(help))
}

/// `a`, `b`, `c`
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    quoted.join(", ")
}

fn describe(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(b) => format!("the boolean {b}"),
        Unexpected::Unsigned(n) => format!("the number {n}"),
        Unexpected::Signed(n) => format!("the number {n}"),
        Unexpected::Float(n) => format!("the number {n}"),
        Unexpected::Str(s) => format!("the string {:?}", shorten(s)),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// A field's type in the words of somebody who writes YAML.
fn wanted(expected: &str) -> String {
    if let Some(range) = number_range(expected) {
        return range;
    }
    match expected {
        "a boolean" => "true or false".to_owned(),
        "a borrowed string" => "a string".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ if expected.starts_with("struct ") => "a mapping".to_owned(),
        _ => expected.to_owned(),
    }
}

fn number_range(expected: &str) -> Option<String> {
    let range = match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" | "u128" => "a whole number, 0 or more".to_owned(),
        "i8" => "a whole number from -128 to 127".to_owned(),
        "i16" => format!("a whole number from {} to {}", i16::MIN, i16::MAX),
        "i32" => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        "i64" | "isize" | "i128" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        _ => return None,
    };
    Some(range)
}
