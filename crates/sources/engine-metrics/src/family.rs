//! Which series of a metrics page to read: `family{label=value,…}`.

use std::{fmt, str::FromStr};

/// A metric family, and the labels a series must have to be read. Written `family` or `family{label=value,label2="value"}`, as in
/// llm-d's `core-metrics-extractor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySpec {
    /// Name of the series.
    pub family: String,
    /// Labels that must be equal; other labels do not matter.
    pub labels: Vec<(String, String)>,
}

/// Why a text is not a [`FamilySpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FamilySpecError {
    /// The family is empty or has a character that a metric name cannot have.
    #[error("`{0}` does not begin with a metric name")]
    Name(String),
    /// A `{` without its `}`, or something after the `}`.
    #[error("`{0}`: labels are written `{{label=value,…}}` at the end")]
    Braces(String),
    /// A label that is not `name=value`.
    #[error("`{0}`: a label is written `name=value` or `name=\"value\"`")]
    Label(String),
}

impl FamilySpec {
    pub(crate) fn plain(family: &str) -> Self {
        Self { family: family.to_owned(), labels: Vec::new() }
    }

    pub(crate) fn labelled(family: &str, label: &str, value: &str) -> Self {
        Self { family: family.to_owned(), labels: vec![(label.to_owned(), value.to_owned())] }
    }
}

impl fmt::Display for FamilySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.family)?;
        for (at, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if at == 0 { '{' } else { ',' })?;
        }
        if self.labels.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

impl FromStr for FamilySpec {
    type Err = FamilySpecError;

    fn from_str(text: &str) -> Result<Self, FamilySpecError> {
        let own = || text.to_owned();
        let trimmed = text.trim();
        let (family, rest) = trimmed.split_once('{').map_or((trimmed, None), |(family, rest)| (family.trim(), Some(rest)));
        if !is_name(family, true) {
            return Err(FamilySpecError::Name(own()));
        }
        let mut labels = Vec::new();
        if let Some(rest) = rest {
            let mut rest = rest.strip_suffix('}').ok_or_else(|| FamilySpecError::Braces(own()))?.trim();
            while !rest.is_empty() {
                let (name, after) = rest.split_once('=').ok_or_else(|| FamilySpecError::Label(own()))?;
                let (value, after) = value(after.trim_start()).ok_or_else(|| FamilySpecError::Label(own()))?;
                let name = name.trim();
                if !is_name(name, false) {
                    return Err(FamilySpecError::Label(own()));
                }
                labels.push((name.to_owned(), value));
                rest = after;
            }
        }
        Ok(Self { family: family.to_owned(), labels })
    }
}

fn is_name(text: &str, colon: bool) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':'))
}

/// One label's value, and what follows the comma after it.
fn value(text: &str) -> Option<(String, &str)> {
    let (value, rest) = if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        (value, quoted.get(end + 1..)?.trim_start())
    } else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let value = value.trim_end();
        if value.contains(['"', '{', '}']) {
            return None;
        }
        (value.to_owned(), rest)
    };
    match rest.strip_prefix(',') {
        Some(rest) => Some((value, rest.trim_start())),
        None if rest.is_empty() => Some((value, rest)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(family: &str, labels: &[(&str, &str)]) -> FamilySpec {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FamilySpec { family: family.to_owned(), labels }
    }

    #[test]
    fn every_form_of_the_grammar() {
        for (text, wanted) in [
            ("vllm:num_requests_waiting", spec("vllm:num_requests_waiting", &[])),
            (" up ", spec("up", &[])),
            ("up{}", spec("up", &[])),
            ("m{request_type=waiting}", spec("m", &[("request_type", "waiting")])),
            (r#"m{a=b, c = "d,\"e}"}"#, spec("m", &[("a", "b"), ("c", "d,\"e}")])),
            ("m{a=}", spec("m", &[("a", "")])),
            ("m{a=b,}", spec("m", &[("a", "b")])),
        ] {
            assert_eq!(text.parse::<FamilySpec>().as_ref(), Ok(&wanted), "{text}");
            assert_eq!(wanted.to_string().parse::<FamilySpec>().as_ref(), Ok(&wanted), "{text}");
        }
    }

    #[test]
    fn what_it_refuses() {
        for text in
            ["", "{a=b}", "1m", "m n", "m{a=b", "m{a=b}x", "m{a}", "m{=b}", "m{a:b=c}", r#"m{a="b}"#, r#"m{a="b"c}"#, "m{a=b\"}"]
        {
            assert!(text.parse::<FamilySpec>().is_err(), "{text}");
        }
    }
}
