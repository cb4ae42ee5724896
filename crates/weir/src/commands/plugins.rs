//! The plugin types of this program, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use weir_plan::{PluginType, Registry, Stability};

/// One line a type, grouped by where it takes part first.
pub(crate) fn as_text(registry: &Registry) -> String {
    let width = registry.types().map(|one| one.name.len()).max().unwrap_or(0);
    let mut types: Vec<&PluginType> = registry.types().collect();
    types.sort_by_key(|one| (first_point(one), one.name));
    let mut out = String::new();
    let mut point = None;
    for one in types {
        if point.replace(first_point(one)) != Some(first_point(one)) {
            let _ = writeln!(out, "{}{}", if out.is_empty() { "" } else { "\n" }, first_point(one));
        }
        let note = match (one.active, one.stability) {
            (false, _) => " (not yet active)",
            (true, Stability::Alpha) => " (experimental)",
            (true, Stability::Beta) => "",
        };
        let _ = writeln!(out, "  {:width$}  {}{note}", one.name, one.summary);
    }
    out
}

/// Every type with the JSON Schema of its parameters.
pub(crate) fn as_json(registry: &Registry) -> serde_json::Result<String> {
    let types: Map<String, Value> = registry.types().map(|one| (one.name.to_owned(), describe(one))).collect();
    serde_json::to_string_pretty(&types)
}

fn describe(one: &PluginType) -> Value {
    json!({
        "summary": one.summary,
        "points": one.points,
        "experimental": one.stability == Stability::Alpha,
        "active": one.active,
        "deprecatedNames": one.deprecated.iter().map(|old| old.alias).collect::<Vec<_>>(),
        "parameters": (one.parameters)(),
    })
}

fn first_point(one: &PluginType) -> String {
    let point = one.points.first().and_then(|point| serde_json::to_value(point).ok());
    point.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_listed_once() {
        let mut registry = Registry::default();
        weir_schedule::register(&mut registry);
        let text = as_text(&registry);
        for one in registry.types() {
            assert_eq!(text.lines().filter(|line| line.split_whitespace().next() == Some(one.name)).count(), 1, "{}", one.name);
        }
        let json: Value = serde_json::from_str(&as_json(&registry).unwrap()).unwrap();
        assert_eq!(json["queue-scorer"]["points"], json!(["scorer"]));
        assert_eq!(json["prefix-cache-scorer"]["parameters"]["type"], "object");
    }
}
