//! `active-request-scorer`: prefers endpoints with few requests in flight.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataKey, DataSet, Draft, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "active-request-scorer",
        SCORER,
        "Prefers endpoints with few requests in flight: (max − n) / max, idle ones 1.",
        draft,
    )
}

/// What counts as idle, and how well a busy endpoint may score.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Up to so many requests in flight an endpoint counts as idle and scores 1.
    idle_threshold: i64,
    /// The best score of an endpoint that is not idle, 0 to 1. Other values are ignored.
    max_busy_score: f64,
    /// Ignored. Requests leave the count when they end.
    request_timeout: Option<serde_json::Value>,
    /// Name of the `inflight-load-producer` that counts.
    in_flight_load_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self { idle_threshold: 0, max_busy_score: 1.0, request_timeout: None, in_flight_load_producer_name: None }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.request_timeout.is_some() {
        context.warn("`requestTimeout` is deprecated and does nothing: requests leave the count when they end");
    }
    let mut max_busy_score = params.max_busy_score;
    if !(0.0..=1.0).contains(&max_busy_score) {
        context.warn(format!("`maxBusyScore` must be in 0..=1; {max_busy_score} is ignored"));
        max_busy_score = 1.0;
    }
    let scorer = ActiveRequest { idle: u64::try_from(params.idle_threshold).unwrap_or(0), max_busy_score };
    let need = Need::required(DataKey::InFlightLoad, params.in_flight_load_producer_name.as_deref());
    Ok(Draft::wired(vec![need], Vec::new(), move |_| Ok(Parts { scorer: Some(Arc::new(scorer)), ..Parts::default() })))
}

struct ActiveRequest {
    idle: u64,
    max_busy_score: f64,
}

impl Scorer for ActiveRequest {
    fn reads(&self) -> DataSet {
        DataSet::IN_FLIGHT
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let most = view.states().map(|state| state.inflight_requests).max().unwrap_or(0);
        for (score, state) in out.iter_mut().zip(view.states()) {
            let requests = state.inflight_requests;
            *score = if requests <= self.idle { 1.0 } else { (most - requests) as f64 / most as f64 * self.max_busy_score };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    fn scores(requests: &[u64], parameters: &str) -> Vec<f64> {
        let fixture = Fixture::scraped(requests.len(), |i, state| state.inflight_requests = requests[i]);
        fixture.score("active-request-scorer", parameters)
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(scores(&[3, 0, 6], "{}"), [0.5, 1.0, 0.0]);
        assert_eq!(scores(&[4, 0, 1], "{}"), [0.0, 1.0, 0.75]);
        assert_eq!(scores(&[0, 0, 0], "{}"), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn parameters() {
        assert_eq!(scores(&[3, 1, 6], "{idleThreshold: 3, maxBusyScore: 0.5}"), [1.0, 1.0, 0.0]);
        assert_eq!(scores(&[3, 1, 6], "{maxBusyScore: 0.5}"), [0.25, 5.0 / 6.0 * 0.5, 0.0]);
        assert_eq!(scores(&[3, 0, 6], "{maxBusyScore: 7, idleThreshold: -2}"), [0.5, 1.0, 0.0]);
        assert!(refused("active-request-scorer", "{inFlightLoadProducerName: x}").contains("InFlightLoadDataKey/x"));
    }

    #[test]
    fn it_brings_its_producer_and_warns_of_what_it_ignores() {
        let plan = compile("plugins: [{type: active-request-scorer, parameters: {requestTimeout: 2m}}]").unwrap();
        assert!(plan.in_flight.is_some());
        assert!(plan.warnings.iter().any(|one| one.message.contains("requestTimeout")));
        assert!(!plan.warnings.iter().any(|one| one.message.contains("would use")), "{:?}", plan.warnings);
    }
}
