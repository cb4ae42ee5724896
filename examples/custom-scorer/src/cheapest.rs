//! `cheapest-scorer`: prefers endpoints by what an hour of them costs, which a label says.

use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use weir::{
    api::Diagnostic,
    plan::{DataSet, Draft, ExtensionPoint, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer, Stability},
};

/// What the registry is told of the plugin.
pub(crate) fn plugin() -> PluginType {
    PluginType {
        name: "cheapest-scorer",
        deprecated: &[],
        stability: Stability::Beta,
        points: &[ExtensionPoint::Scorer],
        summary: "Prefers endpoints whose label gives a low price.",
        active: true,
        draft,
        parameters: || schema_for!(Params),
    }
}

/// Where the price stands.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Label of endpoints that gives the price of an hour.
    label: String,
    /// Price from which an endpoint scores 0. Above 0.
    most: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { label: "example.com/price".to_owned(), most: 10.0 }
    }
}

/// Reads the parameters of one instance. An error names the field, and stands at its place in the file.
fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if !params.most.is_finite() || params.most <= 0.0 {
        return Err(context.error_at("most", format!("must be above 0, is {}", params.most)));
    }
    Ok(Draft::ready(Parts { scorer: Some(Arc::new(params)), ..Parts::default() }))
}

impl Scorer for Params {
    /// Only what is named here is fetched: this scorer needs no metrics.
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    /// One pass over all candidates, without allocating. Endpoints without a price keep their 0.
    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (i, score) in out.iter_mut().enumerate() {
            let price: Option<f64> = view.endpoint(i).label(&self.label).and_then(|price| price.parse().ok());
            if let Some(price) = price {
                *score = 1.0 - price / self.most;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weir::{
        plan::{CompileOptions, Registry, compile},
        router::Case,
    };

    /// What `weir explain --state` would print: the decision on paper of a configuration that names the plugin.
    fn verdict(parameters: &str) -> weir::router::Verdict {
        let mut plugins = Registry::default();
        weir::register_plugins(&mut plugins);
        plugins.register(super::plugin());
        let case = Case::parse(&format!(
            "config: {{plugins: [{{type: cheapest-scorer, parameters: {parameters}}}]}}\n\
             endpoints:\n- {{name: dear, labels: {{example.com/price: '8', price: '2'}}}}\n\
             - {{name: cheap, labels: {{example.com/price: '2', price: '4'}}}}\n- {{name: unknown}}\n"
        ))
        .unwrap();
        let plan = compile(case.config.as_ref().unwrap(), &plugins, CompileOptions::default()).unwrap();
        case.run(&plan).unwrap()
    }

    #[test]
    fn the_cheapest_endpoint_is_picked() {
        assert_eq!(verdict("{}").picked.as_deref(), Some("default/cheap"));
        assert_eq!(verdict("{label: price}").picked.as_deref(), Some("default/dear"));
        let scores: Vec<f64> = verdict("{most: 4}").profiles[0].candidates.iter().map(|one| one.scores[0]).collect();
        assert_eq!(scores, [0.5, 0.0, 0.0]);
    }
}
