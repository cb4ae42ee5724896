//! How a plugin type is declared.

use http::HeaderName;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Draft, ExtensionPoint, PluginContext, PluginType, Stability};

/// Parameters of a plugin that has none.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParameters {}

/// A type in llm-d's state Beta whose parameters are a `P`.
pub(crate) fn beta<P: JsonSchema>(
    name: &'static str,
    points: &'static [ExtensionPoint],
    summary: &'static str,
    draft: fn(&mut PluginContext<'_>) -> Result<Draft, Diagnostic>,
) -> PluginType {
    PluginType {
        name,
        deprecated: &[],
        stability: Stability::Beta,
        points,
        summary,
        active: true,
        draft,
        parameters: schema_of::<P>,
    }
}

fn schema_of<P: JsonSchema>() -> Schema {
    schema_for!(P)
}

/// A type in llm-d's state Alpha whose parameters are a `P`.
pub(crate) fn alpha<P: JsonSchema>(
    name: &'static str,
    points: &'static [ExtensionPoint],
    summary: &'static str,
    draft: fn(&mut PluginContext<'_>) -> Result<Draft, Diagnostic>,
) -> PluginType {
    PluginType { stability: Stability::Alpha, ..beta::<P>(name, points, summary, draft) }
}

/// A header's name as a parameter gives it, in any case.
pub(crate) fn header_name(context: &PluginContext<'_>, field: &str, name: &str) -> Result<HeaderName, Diagnostic> {
    name.to_ascii_lowercase().parse().map_err(|_| context.error_at(field, format!("`{name}` is not a header name")))
}
