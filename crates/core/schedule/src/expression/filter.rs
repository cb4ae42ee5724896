//! `cel-filter`: keeps endpoints for which an expression is true.

use std::sync::Arc;

use cel::Value;
use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView,
};

use super::{
    Expression,
    values::{Values, needs, sample},
};
use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "cel-filter",
        &[ExtensionPoint::Filter],
        "Keeps endpoints for which a CEL expression over endpoint, request and metrics is true. weir's own.",
        draft,
    )
}

/// The expression.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// A CEL expression that is true or false. Required.
    expression: String,
    /// What becomes of endpoints for which it has no value, as where a label is missing.
    on_error: OnError,
    /// Whether all endpoints stay if it is true for none.
    fallback_on_empty: bool,
    /// Name of the producer of the match that `metrics.prefix` shows. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
}

/// What becomes of endpoints for which an expression has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
enum OnError {
    /// They go.
    #[default]
    Fail,
    /// They stay.
    Pass,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let expression = Expression::compile(context, "expression", &params.expression, &sample())?;
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let needs = needs(&expression, name.as_deref());
    let prefix_from = needs.iter().find(|need| need.key == DataKey::PrefixCacheMatchInfo).map(|need| need.producer.clone());
    Ok(Draft::wired(needs, Vec::new(), move |wiring| {
        let values = Values::of(&expression, prefix_from.and_then(|from| wiring.prefix_column(&from)));
        let errors_pass = params.on_error == OnError::Pass;
        let filter = CelFilter { expression, values, errors_pass, fallback: params.fallback_on_empty };
        Ok(Parts { filter: Some(Arc::new(filter)), ..Parts::default() })
    }))
}

struct CelFilter {
    expression: Expression,
    values: Values,
    errors_pass: bool,
    fallback: bool,
}

impl Filter for CelFilter {
    fn reads(&self) -> DataSet {
        self.values.reads()
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        let shared = self.values.request(request, view);
        view.retain(keep, |i| match self.expression.evaluate(shared.clone().into_iter().chain(self.values.candidate(view, i))) {
            Ok(Value::Bool(truth)) => truth,
            _ => self.errors_pass,
        });
        if keep.is_empty() && self.fallback {
            view.retain_all(keep);
        }
    }
}
