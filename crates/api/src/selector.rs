//! The syntax of Kubernetes label selectors.

/// What is wrong with a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` {wrong}")]
pub struct SelectorError {
    part: String,
    wrong: &'static str,
}

/// Whether a text is a label selector, as `kubectl --selector` takes it: requirements with commas between, each one of `key`, `!key`,
/// `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`.
///
/// # Errors
/// It is not, or it selects everything.
pub fn check_selector(text: &str) -> Result<(), SelectorError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("", "selects every pod of the namespace"));
    }
    loop {
        // A comma inside parentheses separates values.
        let end = match (rest.find(','), rest.find('(')) {
            (Some(comma), Some(open)) if open < comma => {
                let close = rest.find(')').ok_or_else(|| wrong(rest, "has no closing parenthesis"))?;
                close + 1 + rest[close + 1..].find(',').unwrap_or(rest.len() - close - 1)
            }
            (Some(comma), _) => comma,
            (None, _) => rest.len(),
        };
        requirement(rest[..end].trim())?;
        match rest.get(end + 1..) {
            Some(more) => rest = more,
            None => return Ok(()),
        }
    }
}

fn requirement(part: &str) -> Result<(), SelectorError> {
    if let Some(key) = part.strip_prefix('!').filter(|_| !part.starts_with("!=")) {
        return is_key(key.trim(), part);
    }
    if let Some((key, value)) = part.split_once("!=").or_else(|| part.split_once("==")).or_else(|| part.split_once('=')) {
        is_key(key.trim(), part)?;
        return is_value(value.trim(), part);
    }
    let Some((head, values)) = part.split_once('(') else { return is_key(part, part) };
    let mut words = head.split_whitespace();
    let (Some(key), Some("in" | "notin"), None) = (words.next(), words.next(), words.next()) else {
        return Err(wrong(part, "is no requirement: write key in (a,b) or key notin (a,b)"));
    };
    is_key(key, part)?;
    let values = values.strip_suffix(')').ok_or_else(|| wrong(part, "goes on after its closing parenthesis"))?;
    values.split(',').try_for_each(|value| is_value(value.trim(), part))
}

/// An optional DNS name and a slash, then a name.
fn is_key(key: &str, part: &str) -> Result<(), SelectorError> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text.split('.').all(|one| {
                !one.is_empty()
                    && one.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !one.starts_with('-')
                    && !one.ends_with('-')
            })
    };
    if name.is_empty() || !is_name(name) || !prefix.is_none_or(dns) {
        return Err(wrong(part, "names no label: a key has letters, digits, -, _ and ., after an optional DNS name and a slash"));
    }
    Ok(())
}

fn is_value(value: &str, part: &str) -> Result<(), SelectorError> {
    if is_name(value) { Ok(()) } else { Err(wrong(part, "has a value that no label can have")) }
}

fn is_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inside(*b)) && edge(bytes.first()) && edge(bytes.last())
}

fn wrong(part: &str, wrong: &'static str) -> SelectorError {
    SelectorError { part: part.to_owned(), wrong }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_takes() {
        for good in [
            "app=vllm",
            "app==vllm,llm-d.ai/role!=prefill",
            " app = vllm , !gone ",
            "a in (b, c),d notin (e),f",
            "example.com/a_B.c",
            "app=",
            "a,b in (c,d)",
        ] {
            assert_eq!(check_selector(good), Ok(()), "{good}");
        }
        for bad in
            ["", " ", "=x", "a=b,", "a=b c", "a in b", "a in (b", "a on (b)", "a in (b) c", "-a", "A.B/c", "/a", "a/", "!", "a=é"]
        {
            assert!(check_selector(bad).is_err(), "{bad}");
        }
        assert!(check_selector(&"a".repeat(64)).is_err());
    }
}
