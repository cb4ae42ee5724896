//! `label-selector-filter`: keeps endpoints whose labels a Kubernetes label selector selects.

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataSet, Deprecation, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView,
};
use weir_pool::Endpoint;

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    PluginType {
        deprecated: &[Deprecation { alias: "by-label-selector", since: "0.9", removed_in: "0.11" }],
        ..beta::<SelectorParams>(
            "label-selector-filter",
            &[ExtensionPoint::Filter],
            "Keeps endpoints whose labels a Kubernetes label selector selects; an empty selector keeps all.",
            draft,
        )
    }
}

/// A Kubernetes label selector: all of its requirements must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SelectorParams {
    /// Labels and the values that they must have.
    match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    match_expressions: Vec<Expression>,
}

/// A requirement on one label.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expression {
    /// The label.
    key: String,
    /// How its value relates to `values`.
    operator: Operator,
    /// At least one for `In` and `NotIn`, none for the others.
    #[serde(default)]
    values: Vec<String>,
}

/// How a label relates to values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
enum Operator {
    /// The label is there and has one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: SelectorParams = context.params()?;
    let selector = Selector::new(context, "", params)?;
    Ok(Draft::ready(Parts { filter: Some(Arc::new(selector)), ..Parts::default() }))
}

/// A label selector, checked.
pub(crate) struct Selector {
    requirements: Vec<Expression>,
}

impl Selector {
    /// Checks a selector that stands in `field`; empty: the parameters are the selector.
    pub(crate) fn new(context: &PluginContext<'_>, field: &str, params: SelectorParams) -> Result<Self, Diagnostic> {
        let SelectorParams { match_labels, match_expressions } = params;
        let at = if field.is_empty() { "matchExpressions".to_owned() } else { format!("{field}.matchExpressions") };
        for expression in &match_expressions {
            let wants_values = matches!(expression.operator, Operator::In | Operator::NotIn);
            if expression.key.is_empty() {
                return Err(context.error_at(&at, "a requirement needs a `key`"));
            }
            if wants_values == expression.values.is_empty() {
                let rule = if wants_values { "needs at least one of" } else { "takes no" };
                let message = format!("operator {:?} of `{}` {rule} `values`", expression.operator, expression.key);
                return Err(context.error_at(&at, message));
            }
        }
        let equal = match_labels.into_iter().map(|(key, value)| Expression { key, operator: Operator::In, values: vec![value] });
        Ok(Self { requirements: equal.chain(match_expressions).collect() })
    }

    pub(crate) fn selects(&self, endpoint: &Endpoint) -> bool {
        self.requirements.iter().all(|one| {
            let label = endpoint.label(&one.key);
            let listed = label.is_some_and(|label| one.values.iter().any(|value| value == label));
            match one.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            }
        })
    }
}

impl Filter for Selector {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        keep.extend((0..view.len()).filter(|i| self.selects(view.endpoint(*i))).map(|i| view.index(i) as u32));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    fn kept(parameters: &str) -> Vec<u32> {
        let labels: [&[(&str, &str)]; 3] = [&[("gpu", "h100"), ("zone", "a")], &[("gpu", "l4")], &[]];
        Fixture::labelled(&labels).filter("label-selector-filter", parameters)
    }

    #[test]
    fn each_operator() {
        assert_eq!(kept("{}"), [0, 1, 2]);
        assert_eq!(kept("{matchLabels: {gpu: h100, zone: a}}"), [0]);
        assert_eq!(kept("{matchExpressions: [{key: gpu, operator: In, values: [l4, h100]}]}"), [0, 1]);
        assert_eq!(kept("{matchExpressions: [{key: gpu, operator: NotIn, values: [h100]}]}"), [1, 2]);
        assert_eq!(kept("{matchExpressions: [{key: zone, operator: Exists}]}"), [0]);
        assert_eq!(kept("{matchExpressions: [{key: zone, operator: DoesNotExist}]}"), [1, 2]);
        assert_eq!(kept("{matchLabels: {gpu: l4}, matchExpressions: [{key: zone, operator: Exists}]}"), [0; 0]);
    }

    #[test]
    fn requirements_that_make_no_sense_are_refused() {
        assert!(refused("label-selector-filter", "{matchExpressions: [{key: a, operator: In}]}").contains("at least one"));
        assert!(
            refused("label-selector-filter", "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}")
                .contains("no `values`")
        );
        assert!(refused("label-selector-filter", "{matchExpressions: [{key: '', operator: Exists}]}").contains("`key`"));
        assert!(refused("label-selector-filter", "{matchExpressions: [{key: a, operator: Has}]}").contains("Has"));
        assert!(refused("label-selector-filter", "{matchLables: {}}").contains("matchLables"));
    }

    #[test]
    fn the_old_name_works_and_warns() {
        let fixture = Fixture::labelled(&[&[("a", "b")], &[]]);
        let plan = crate::testing::compile("plugins: [{type: by-label-selector, parameters: {matchLabels: {a: b}}}]").unwrap();
        assert_eq!(fixture.filter_with(&plan), [0]);
        assert!(plan.warnings.iter().any(|one| one.message.contains("label-selector-filter")));
    }
}
