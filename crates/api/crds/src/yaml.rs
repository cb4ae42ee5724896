//! JSON values as YAML that people read.

use std::fmt::Write as _;

use serde_json::Value;

/// A value as a YAML document in block style, keys in their order. Ends with a line feed.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, &mut out),
        _ => {
            scalar(value, &mut out);
            out.push('\n');
        }
    }
    out
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn block(value: &Value, indent: usize, out: &mut String) {
    // The first entry of a list's item stands behind the item's dash.
    let pad = |out: &mut String| {
        if at_line_start(out) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pad(out);
                text(key, out);
                out.push(':');
                if is_empty(value) || !(value.is_object() || value.is_array()) {
                    out.push(' ');
                    scalar(value, out);
                    out.push('\n');
                } else {
                    out.push('\n');
                    let deeper = if value.is_array() { indent } else { indent + 2 };
                    block(value, deeper, out);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(out);
                out.push_str("- ");
                if is_empty(item) || !(item.is_object() || item.is_array()) {
                    scalar(item, out);
                    out.push('\n');
                } else {
                    block(item, indent + 2, out);
                }
            }
        }
        _ => scalar(value, out),
    }
}

fn at_line_start(out: &str) -> bool {
    out.is_empty() || out.ends_with('\n')
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => text(string, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Plain where no reader could take it for anything else, else as JSON writes it, which YAML reads alike.
fn text(string: &str, out: &mut String) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./ ()';,=!$".contains(&b);
    let begins = string.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let reserved =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].iter().any(|word| string.eq_ignore_ascii_case(word));
    if begins && !reserved && !string.ends_with(' ') && string.bytes().all(plain) {
        out.push_str(string);
    } else {
        let _ = write!(out, "{}", Value::from(string));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_read_as_they_are_meant() {
        let value = json!({
            "a": {"b": [1, {"c": "x", "d": []}, ["e", {}], null]},
            "on": "true", "n": "1.5", "q": "^$|a: \"b\" # c\n", "empty": "", "flag": false, "s": "a 'b' (c)",
        });
        let want = "a:\n  b:\n  - 1\n  - c: x\n    d: []\n  - - e\n    - {}\n  - null\nempty: \"\"\nflag: false\n\"n\": \"1.5\"\n\"on\": \"true\"\nq: \"^$|a: \\\"b\\\" # c\\n\"\ns: a 'b' (c)\n";
        assert_eq!(to_yaml(&value), want);
        assert_eq!(to_yaml(&json!([])), "[]\n");
    }
}
