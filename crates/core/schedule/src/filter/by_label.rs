//! `by-label`: keeps endpoints by the value of one label. Deprecated in llm-d.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Candidates, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "by-label",
        &[ExtensionPoint::Filter],
        "Keeps endpoints by the value of one label. Deprecated: use `label-selector-filter`.",
        draft,
    )
}

/// One label and the values that it may have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// The label. Required.
    label: String,
    /// Values that are kept.
    valid_values: Vec<String>,
    /// Whether endpoints without the label are kept.
    allows_no_label: bool,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.label.is_empty() {
        return Err(context.error("`label` is required"));
    }
    if params.valid_values.is_empty() && !params.allows_no_label {
        return Err(context.error("without `validValues` and without `allowsNoLabel` this keeps no endpoint at all"));
    }
    context.warn("plugin type `by-label` is deprecated since llm-d 0.9 and gone in 0.11; write `label-selector-filter`");
    Ok(Draft::ready(Parts { filter: Some(Arc::new(params)), ..Parts::default() }))
}

impl Filter for Params {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        let fits = |i: &usize| match view.endpoint(*i).label(&self.label) {
            Some(value) => self.valid_values.iter().any(|valid| valid == value),
            None => self.allows_no_label,
        };
        keep.extend((0..view.len()).filter(fits).map(|i| view.index(i) as u32));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    #[test]
    fn values_and_missing_labels() {
        let fixture = Fixture::labelled(&[&[("role", "a")], &[("role", "b")], &[]]);
        assert_eq!(fixture.filter("by-label", "{label: role, validValues: [b, c]}"), [1]);
        assert_eq!(fixture.filter("by-label", "{label: role, validValues: [b], allowsNoLabel: true}"), [1, 2]);
        assert_eq!(fixture.filter("by-label", "{label: role, allowsNoLabel: true}"), [2]);
    }

    #[test]
    fn what_keeps_nothing_is_refused() {
        assert!(refused("by-label", "{label: role}").contains("keeps no endpoint"));
        assert!(refused("by-label", "{validValues: [a]}").contains("`label` is required"));
    }
}
