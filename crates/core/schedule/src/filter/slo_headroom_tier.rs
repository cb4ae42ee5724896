//! `slo-headroom-tier-filter`: keeps the endpoints that are predicted to be in time, or now and then the others.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, Column, DataKey, DataSet, Draft, ExtensionPoint, Filter, LatencyPrediction, Need, Parts, PluginContext,
    PluginType, PoolView, RequestView,
};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "slo-headroom-tier-filter",
        &[ExtensionPoint::Filter],
        "Keeps endpoints that are predicted to be in time; now and then the others, so that predictions of them stay fresh.",
        draft,
    )
}

/// How often the others are tried.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Probability with which the endpoints that would be late are kept instead.
    epsilon_explore_neg: f64,
    /// Name of the producer of predictions. Default: `predicted-latency-producer`.
    latency_prediction_info_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self { epsilon_explore_neg: 0.01, latency_prediction_info_producer_name: None }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if !(0.0..=1.0).contains(&params.epsilon_explore_neg) {
        return Err(context.error_at("epsilonExploreNeg", format!("must be in 0..=1, is {}", params.epsilon_explore_neg)));
    }
    let name = params.latency_prediction_info_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::LatencyPredictionInfo, name.as_deref());
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` produces no predictions"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let latency = wiring.latency_column(&from).ok_or(missing)?;
        Ok(Parts { filter: Some(Arc::new(HeadroomTier { epsilon: params.epsilon_explore_neg, latency })), ..Parts::default() })
    }))
}

struct HeadroomTier {
    epsilon: f64,
    latency: Column,
}

impl Filter for HeadroomTier {
    fn reads(&self) -> DataSet {
        DataSet::LATENCY
    }

    /// Without a prediction an endpoint counts as late; if there are none at all, all stay.
    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        let in_time = |i: usize| view.attributes().latency(self.latency, view.index(i)).is_some_and(LatencyPrediction::in_time);
        let punctual = (0..view.len()).filter(|i| in_time(*i)).count();
        if punctual == 0 || punctual == view.len() {
            return view.retain_all(keep);
        }
        let explores = self.epsilon > 0.0 && random.f64() < self.epsilon;
        view.retain(keep, |i| in_time(i) != explores);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    const KIND: &str = "slo-headroom-tier-filter";

    #[test]
    fn endpoints_in_time_stay() {
        let mut fixture = Fixture::new(4);
        fixture.headroom(&[Some((5.0, 0.0)), Some((5.0, -1.0)), None, Some((-1.0, 3.0))]);
        assert_eq!(fixture.filter(KIND, "{epsilonExploreNeg: 0}"), [0]);
        assert_eq!(fixture.filter(KIND, "{epsilonExploreNeg: 1}"), [1, 2, 3]);
        fixture.headroom(&[Some((-5.0, 0.0)), None, None, None]);
        assert_eq!(fixture.filter(KIND, "{epsilonExploreNeg: 1}"), [0, 1, 2, 3]);
        fixture.headroom(&[None; 4]);
        assert_eq!(fixture.filter(KIND, "{}"), [0, 1, 2, 3]);
        fixture.headroom(&[Some((1.0, 1.0)); 4]);
        assert_eq!(fixture.filter(KIND, "{epsilonExploreNeg: 1}"), [0, 1, 2, 3]);
        assert!(refused(KIND, "{epsilonExploreNeg: 2}").contains("0..=1"));
    }
}
