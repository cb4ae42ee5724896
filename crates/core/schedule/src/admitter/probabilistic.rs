//! `probabilistic-admitter`: sheds requests of negative priority the more often, the fuller the pool is.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Admitter, DataSet, Draft, ExtensionPoint, Parts, PickError, PluginContext, PluginType, PoolView, RequestView};

use crate::{declare::beta, saturation};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "probabilistic-admitter",
        &[ExtensionPoint::Admission],
        "Refuses requests of negative priority with a probability of saturation^power · k, at most 1.",
        draft,
    )
}

/// Where a pool counts as full, and how steeply refusals rise.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Waiting requests at which an endpoint counts as full. Above 0.
    queue_depth_threshold: f64,
    /// Used share of the KV cache at which an endpoint counts as full. Above 0, at most 1.
    kv_cache_util_threshold: f64,
    /// Exponent of the saturation. Above 0.
    power: f64,
    /// Factor of the probability. Above 0.
    k: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { queue_depth_threshold: 5.0, kv_cache_util_threshold: 0.8, power: 5.0, k: 300.0 }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let above_zero = [
        ("queueDepthThreshold", params.queue_depth_threshold),
        ("kvCacheUtilThreshold", params.kv_cache_util_threshold),
        ("power", params.power),
        ("k", params.k),
    ];
    for (field, value) in above_zero {
        if !value.is_finite() || value <= 0.0 {
            return Err(context.error_at(field, format!("must be above 0, is {value}")));
        }
    }
    if params.kv_cache_util_threshold > 1.0 {
        return Err(context.error_at("kvCacheUtilThreshold", "must be at most 1"));
    }
    let admitter = Arc::new(Probabilistic { params, name: context.name.to_owned() });
    Ok(Draft::ready(Parts { admitter: Some(admitter), ..Parts::default() }))
}

struct Probabilistic {
    params: Params,
    name: String,
}

impl Probabilistic {
    fn refusal_probability(&self, saturation: f64) -> f64 {
        (saturation.powf(self.params.power) * self.params.k).min(1.0)
    }
}

impl Admitter for Probabilistic {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE | DataSet::KV_USAGE
    }

    fn admit(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng) -> Result<(), PickError> {
        if request.priority >= 0 {
            return Ok(());
        }
        let Params { queue_depth_threshold: queue, kv_cache_util_threshold: kv, .. } = self.params;
        let saturation =
            saturation::mean(view, |state| if state.age.is_none() { 1.0 } else { saturation::fuller(state, queue, kv) });
        if random.f64() < self.refusal_probability(saturation) {
            let why = format!(
                "the pool is {:.0} % full, and some requests of priority {} are shed",
                saturation * 100.0,
                request.priority
            );
            return Err(PickError::Denied { plugin: self.name.clone(), why });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, compile, refused};

    /// Share of 4,000 requests that are refused while every queue has this length, out of 100.
    fn refusals(priority: i32, waiting: u32, parameters: &str) -> f64 {
        let plan = compile(&format!("plugins: [{{type: probabilistic-admitter, parameters: {parameters}}}]")).unwrap();
        let mut fixture = Fixture::scraped(2, |_, state| state.waiting = waiting);
        fixture.priority = priority;
        let mut random = Rng::with_seed(3);
        (0..4_000).filter(|_| fixture.admit(&plan, &mut random).is_err()).count() as f64 / 4_000.0
    }

    #[test]
    fn golden_vectors() {
        let admitter = Probabilistic { params: Params::default(), name: String::new() };
        for (saturation, probability) in [(0.15, 0.0228), (0.2, 0.096), (0.3, 0.729), (0.32, 1.0)] {
            assert!((admitter.refusal_probability(saturation) - probability).abs() < 1e-3, "{saturation}");
        }
    }

    #[test]
    fn only_requests_that_may_be_shed_are_refused() {
        assert_eq!(refusals(0, 50, "{}"), 0.0);
        assert_eq!(refusals(-1, 50, "{}"), 1.0);
        assert_eq!(refusals(-1, 0, "{}"), 0.0);
        let some = refusals(-1, 1, "{}");
        assert!((some - 0.096).abs() < 0.02, "{some}");
    }

    #[test]
    fn parameters() {
        assert_eq!(refusals(-1, 1, "{queueDepthThreshold: 1}"), 1.0);
        assert!(refusals(-1, 1, "{k: 30}") < 0.03);
        assert_eq!(refusals(-1, 1, "{power: 1}"), 1.0);
        assert!(refused("probabilistic-admitter", "{kvCacheUtilThreshold: 1.5}").contains("at most 1"));
        assert!(refused("probabilistic-admitter", "{k: 0}").contains("above 0"));
    }

    #[test]
    fn endpoints_of_which_nothing_is_known_count_as_full() {
        let plan = compile("plugins: [{type: probabilistic-admitter}]").unwrap();
        let mut fixture = Fixture::new(2);
        fixture.priority = -1;
        let error = fixture.admit(&plan, &mut Rng::with_seed(1)).unwrap_err();
        assert_eq!(error.outcome().status, 429, "{error}");
    }
}
