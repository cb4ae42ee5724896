//! `cel-scorer`: scores endpoints by an expression.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataKey, DataSet, Draft, ExtensionPoint, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::{
    Expression, number,
    values::{Values, needs, sample},
};
use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "cel-scorer",
        &[ExtensionPoint::Scorer],
        "Scores endpoints by a CEL expression over endpoint, request and metrics, clamped to 0 to 1. weir's own.",
        draft,
    )
}

/// The expression.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// A CEL expression that is a number, or true (1) or false (0). Endpoints for which it has no value get 0. Required.
    expression: String,
    /// Name of the producer of the match that `metrics.prefix` shows. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let expression = Expression::compile(context, "expression", &params.expression, &sample())?;
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let needs = needs(&expression, name.as_deref());
    let prefix_from = needs.iter().find(|need| need.key == DataKey::PrefixCacheMatchInfo).map(|need| need.producer.clone());
    Ok(Draft::wired(needs, Vec::new(), move |wiring| {
        let values = Values::of(&expression, prefix_from.and_then(|from| wiring.prefix_column(&from)));
        Ok(Parts { scorer: Some(Arc::new(CelScorer { expression, values })), ..Parts::default() })
    }))
}

struct CelScorer {
    expression: Expression,
    values: Values,
}

impl Scorer for CelScorer {
    fn reads(&self) -> DataSet {
        self.values.reads()
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let shared = self.values.request(request, view);
        for (i, score) in out.iter_mut().enumerate() {
            let value = self.expression.evaluate(shared.clone().into_iter().chain(self.values.candidate(view, i)));
            *score = value.ok().as_ref().and_then(number).unwrap_or(0.0);
        }
    }
}
