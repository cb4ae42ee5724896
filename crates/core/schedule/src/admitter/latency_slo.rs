//! `latency-slo-admitter`: sheds requests of negative priority that nobody could serve in time.

use std::sync::Arc;

use fastrand::Rng;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{
    Diagnostic,
    headers::{SLO_TPOT_MS, SLO_TPOT_MS_ALIAS, SLO_TTFT_MS, SLO_TTFT_MS_ALIAS},
};
use weir_plan::{
    Admitter, Column, DataKey, DataSet, Draft, ExtensionPoint, Need, Parts, PickError, PluginContext, PluginType, PoolView,
    RequestView,
};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "latency-slo-admitter",
        &[ExtensionPoint::Admission],
        "Refuses requests of negative priority with a latency objective in their headers that no endpoint is predicted to meet, unless \
         one is idle or cold.",
        draft,
    )
}

/// Where predictions come from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the producer of predictions. Default: `predicted-latency-producer`.
    latency_prediction_info_producer_name: Option<String>,
}

/// Below this share of its KV cache an endpoint counts as cold: it has hardly served anything yet.
const COLD: f64 = 0.02;

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let name = params.latency_prediction_info_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::LatencyPredictionInfo, name.as_deref());
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` produces no predictions"));
    let name = context.name.to_owned();
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let latency = wiring.latency_column(&from).ok_or(missing)?;
        Ok(Parts { admitter: Some(Arc::new(LatencySlo { latency, name })), ..Parts::default() })
    }))
}

struct LatencySlo {
    latency: Column,
    name: String,
}

impl Admitter for LatencySlo {
    fn reads(&self) -> DataSet {
        DataSet::LATENCY | DataSet::RUNNING | DataSet::KV_USAGE | DataSet::HEADERS
    }

    fn admit(&self, request: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng) -> Result<(), PickError> {
        if request.priority >= 0 || !has_objective(request.headers) {
            return Ok(());
        }
        let prediction = |i: usize| view.attributes().latency(self.latency, view.index(i));
        let mut predictions = (0..view.len()).filter_map(prediction).peekable();
        if predictions.peek().is_none() || predictions.any(|found| found.ttft_valid && found.tpot_valid) {
            return Ok(());
        }
        if view.states().any(|state| state.running == 0 || state.kv_usage < COLD) {
            return Ok(());
        }
        let why = "no endpoint is predicted to meet the request's latency objective".to_owned();
        Err(PickError::Denied { plugin: self.name.clone(), why })
    }
}

fn has_objective(headers: &HeaderMap) -> bool {
    [SLO_TTFT_MS, SLO_TTFT_MS_ALIAS, SLO_TPOT_MS, SLO_TPOT_MS_ALIAS].iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, compile, refused};

    fn fixture() -> Fixture {
        let mut fixture = Fixture::scraped(2, |_, state| (state.running, state.kv_usage) = (3, 0.5));
        fixture.priority = -1;
        fixture.headers.insert("x-llm-d-slo-ttft-ms", "100".parse().unwrap());
        fixture.headroom(&[Some((-1.0, 1.0)), Some((1.0, -1.0))]);
        fixture
    }

    fn admits(fixture: &Fixture) -> bool {
        let plan = compile("plugins: [{type: latency-slo-admitter}]").unwrap();
        fixture.admit(&plan, &mut Rng::with_seed(1)).is_ok()
    }

    #[test]
    fn what_nobody_could_serve_in_time_is_refused() {
        assert!(!admits(&fixture()));
        let mut other = fixture();
        other.priority = 0;
        assert!(admits(&other), "it may not be shed");
        let mut other = fixture();
        other.headers.clear();
        assert!(admits(&other), "it has no objective");
        other.headers.insert("x-slo-tpot-ms", "5".parse().unwrap());
        assert!(!admits(&other), "the old name counts");
        let mut other = fixture();
        other.headroom(&[None, None]);
        assert!(admits(&other), "nothing is predicted");
        other.headroom(&[Some((-1.0, 1.0)), Some((1.0, 1.0))]);
        assert!(admits(&other), "one endpoint is in time");
        let mut other = fixture();
        other.states[1].running = 0;
        assert!(admits(&other), "one endpoint is idle");
        let mut other = fixture();
        other.states[0].kv_usage = 0.01;
        assert!(admits(&other), "one endpoint is cold");
        assert!(
            refused("latency-slo-admitter", "{latencyPredictionInfoProducerName: x}").contains("LatencyPredictionInfoDataKey/x")
        );
    }
}
