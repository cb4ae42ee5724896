//! `concurrency-detector`: how full a pool is by what is in flight. Also a filter.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Parts, PluginContext, PluginType, PoolView, RequestView,
    SaturationDetector,
};
use weir_pool::EndpointState;

use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "concurrency-detector",
        &[ExtensionPoint::FlowControl, ExtensionPoint::Filter],
        "Tells from requests and tokens in flight whether a pool is saturated. As a filter it keeps endpoints below their capacity.",
        draft,
    )
}

/// What an endpoint takes at once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// What is counted.
    concurrency_mode: Mode,
    /// Requests that an endpoint takes at once. Above 0.
    max_concurrency: i64,
    /// Tokens that an endpoint takes at once. Above 0.
    max_token_concurrency: i64,
    /// For the filter: how far above its capacity an endpoint may be, as a share.
    headroom: f64,
    /// Name of the `inflight-load-producer` that counts.
    in_flight_load_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            concurrency_mode: Mode::Requests,
            max_concurrency: 100,
            max_token_concurrency: 1_000_000,
            headroom: 0.0,
            in_flight_load_producer_name: None,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Mode {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Both: the fuller one of the two counts.
    Hybrid,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    for (field, value) in [("maxConcurrency", params.max_concurrency), ("maxTokenConcurrency", params.max_token_concurrency)] {
        if value <= 0 {
            return Err(context.error_at(field, format!("must be above 0, is {value}")));
        }
    }
    if !params.headroom.is_finite() || params.headroom < 0.0 {
        return Err(context.error_at("headroom", format!("must be 0 or more, is {}", params.headroom)));
    }
    let name = params.in_flight_load_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::InFlightLoad, name.as_deref());
    let detector = Arc::new(ConcurrencyDetector {
        mode: params.concurrency_mode,
        requests: params.max_concurrency as f64,
        tokens: params.max_token_concurrency as f64,
        limit: 1.0 + params.headroom,
    });
    Ok(Draft::wired(vec![need], Vec::new(), move |_| {
        Ok(Parts { filter: Some(detector.clone()), detector: Some(detector), ..Parts::default() })
    }))
}

struct ConcurrencyDetector {
    mode: Mode,
    requests: f64,
    tokens: f64,
    /// For the filter: share from which an endpoint goes.
    limit: f64,
}

impl ConcurrencyDetector {
    fn of(&self, state: &EndpointState) -> f64 {
        let requests = state.inflight_requests as f64 / self.requests;
        let tokens = state.inflight_tokens as f64 / self.tokens;
        match self.mode {
            Mode::Requests => requests,
            Mode::Tokens => tokens,
            Mode::Hybrid => requests.max(tokens),
        }
    }
}

impl SaturationDetector for ConcurrencyDetector {
    fn reads(&self) -> DataSet {
        DataSet::IN_FLIGHT
    }

    /// All endpoints have one capacity, so the mean of their shares is the sum of loads over the sum of capacities.
    fn saturation(&self, view: &PoolView<'_>) -> f64 {
        if view.is_empty() { 1.0 } else { view.states().map(|state| self.of(state)).sum::<f64>() / view.len() as f64 }
    }
}

impl Filter for ConcurrencyDetector {
    fn reads(&self) -> DataSet {
        DataSet::IN_FLIGHT
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain(keep, |i| self.of(view.state(i)) < self.limit);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "concurrency-detector";

    fn fixture() -> Fixture {
        Fixture::scraped(3, |i, state| (state.inflight_requests, state.inflight_tokens) = ([5, 10, 0][i], [90, 20, 0][i]))
    }

    #[test]
    fn golden_vectors() {
        let mut fixture = fixture();
        let ten = "{maxConcurrency: 10}";
        fixture.candidates = vec![0];
        assert_eq!(fixture.saturation(KIND, ten), 0.5);
        fixture.candidates = vec![2];
        assert_eq!(fixture.saturation(KIND, ten), 0.0);
        fixture.candidates = vec![];
        assert_eq!(fixture.saturation(KIND, ten), 1.0);
    }

    #[test]
    fn parameters() {
        let fixture = fixture();
        for (parameters, saturation, kept) in [
            ("{maxConcurrency: 10}", 0.5, vec![0, 2]),
            ("{maxConcurrency: 10, headroom: 0.1}", 0.5, vec![0, 1, 2]),
            ("{concurrencyMode: tokens, maxTokenConcurrency: 90}", 110.0 / 270.0, vec![1, 2]),
            ("{concurrencyMode: hybrid, maxConcurrency: 10, maxTokenConcurrency: 100}", (0.9 + 1.0) / 3.0, vec![0, 2]),
            ("{concurrencyMode: requests, maxConcurrency: 5}", 1.0, vec![2]),
        ] {
            let found = fixture.saturation(KIND, parameters);
            assert!((found - saturation).abs() < 1e-9, "{parameters}: {found}");
            assert_eq!(fixture.filter(KIND, parameters), kept, "{parameters}");
        }
        assert!(compile(&format!("plugins: [{{type: {KIND}}}, {{type: queue-scorer}}]")).unwrap().in_flight.is_some());
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{maxConcurrency: 0}", "above 0"),
            ("{maxTokenConcurrency: -1}", "above 0"),
            ("{headroom: -0.1}", "0 or more"),
            ("{concurrencyMode: bytes}", "bytes"),
            ("{inFlightLoadProducerName: x}", "InFlightLoadDataKey/x"),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}");
        }
    }
}
