//! Which objects a request is about.

use serde_json::Value;

/// Label and field selectors of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    /// Paths such as `metadata.name`, and the text that must be there.
    fields: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    pub(crate) fn parse(labels: &str, fields: &str) -> Self {
        let field =
            |part: &str| part.split_once('=').map(|(path, text)| (path.to_owned(), text.trim_start_matches('=').to_owned()));
        Self {
            labels: parts(labels).iter().map(|part| requirement(part)).collect(),
            fields: fields.split(',').filter_map(field).collect(),
        }
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labels = self.labels.iter().all(|one| match one {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => !label(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
        });
        let field = |path: &str| path.split('.').fold(object, |value, name| &value[name]).as_str().unwrap_or_default();
        labels && self.fields.iter().all(|(path, text)| field(path) == text)
    }
}

/// Splits at commas outside parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(part: &str) -> Requirement {
    let list = |text: &str| text.trim_matches(['(', ')']).split(',').map(|one| one.trim().to_owned()).collect();
    if let Some((key, value)) = part.split_once("!=") {
        return Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()]);
    }
    if let Some((key, value)) = part.split_once('=') {
        return Requirement::In(key.trim().to_owned(), vec![value.trim_start_matches('=').trim().to_owned()]);
    }
    if let Some((key, values)) = part.split_once(" notin ") {
        return Requirement::NotIn(key.trim().to_owned(), list(values.trim()));
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return Requirement::In(key.trim().to_owned(), list(values.trim()));
    }
    match part.strip_prefix('!') {
        Some(key) => Requirement::Missing(key.trim().to_owned()),
        None => Requirement::Exists(part.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_select() {
        let pod = json!({"metadata": {"name": "p", "labels": {"a": "1", "b": "2"}}});
        for yes in ["", "a=1", "a==1,b!=3", "a in (0,1)", "c notin (1)", "!c", "a"] {
            assert!(Selector::parse(yes, "").matches(&pod), "{yes}");
        }
        for no in ["a=2", "a!=1", "a in (2, 3)", "b notin (2)", "!a", "c"] {
            assert!(!Selector::parse(no, "").matches(&pod), "{no}");
        }
        assert!(Selector::parse("", "metadata.name=p").matches(&pod) && !Selector::parse("", "metadata.name=q").matches(&pod));
    }
}
