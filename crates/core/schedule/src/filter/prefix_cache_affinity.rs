//! `prefix-cache-affinity-filter`: keeps the endpoints that hold the prompt's beginning, unless they are too busy.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, Column, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Parts, PluginContext, PluginType, PoolView,
    RequestView,
};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "prefix-cache-affinity-filter",
        &[ExtensionPoint::Filter],
        "Keeps endpoints that hold at least a share of the prompt's blocks, unless waiting for them would take too much longer.",
        draft,
    )
}

/// What counts as holding the prompt, and when another endpoint is better all the same.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Share of the prompt's blocks that an endpoint must hold, at most 1; 0 and less switch the filter off.
    affinity_threshold: f64,
    /// Probability with which the filter keeps all endpoints, so that others learn prompts too.
    exploration_probability: f64,
    /// Milliseconds by which the best holder's first token may come later than the best other's; 0: holders always win.
    #[serde(rename = "maxTTFTPenaltyMs")]
    max_ttft_penalty_ms: f64,
    /// Where times to the first token come from.
    ttft_source: TtftSource,
    /// Tokens per second that an engine computes of prompts, for `prefillThroughput`.
    peak_prefill_throughput: f64,
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Name of the `inflight-load-producer` that counts, for `prefillThroughput`.
    in_flight_load_producer_name: Option<String>,
    /// Name of the producer of predictions, for `latencyPredictor`.
    latency_prediction_info_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            affinity_threshold: 0.8,
            exploration_probability: 0.0,
            max_ttft_penalty_ms: 18_000.0,
            ttft_source: TtftSource::PrefillThroughput,
            peak_prefill_throughput: 15_928.0,
            prefix_match_info_producer_name: None,
            in_flight_load_producer_name: None,
            latency_prediction_info_producer_name: None,
        }
    }
}

/// Where times to the first token come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum TtftSource {
    /// Tokens in flight, at the peak throughput.
    PrefillThroughput,
    /// A latency predictor.
    LatencyPredictor,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.affinity_threshold.is_nan() || params.affinity_threshold > 1.0 {
        return Err(context.error_at("affinityThreshold", format!("must be at most 1, is {}", params.affinity_threshold)));
    }
    if !(0.0..=1.0).contains(&params.exploration_probability) {
        return Err(
            context.error_at("explorationProbability", format!("must be in 0..=1, is {}", params.exploration_probability))
        );
    }
    if params.max_ttft_penalty_ms.is_nan() || params.max_ttft_penalty_ms < 0.0 {
        return Err(context.error_at("maxTTFTPenaltyMs", format!("must be 0 or more, is {}", params.max_ttft_penalty_ms)));
    }
    if !params.peak_prefill_throughput.is_finite() || params.peak_prefill_throughput <= 0.0 {
        return Err(context.error_at("peakPrefillThroughput", format!("must be above 0, is {}", params.peak_prefill_throughput)));
    }
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let prefix = Need::required(DataKey::PrefixCacheMatchInfo, given(&params.prefix_match_info_producer_name).as_deref());
    let ttft = match params.ttft_source {
        TtftSource::PrefillThroughput => {
            Need::required(DataKey::InFlightLoad, given(&params.in_flight_load_producer_name).as_deref())
        }
        TtftSource::LatencyPredictor => {
            Need::required(DataKey::LatencyPredictionInfo, given(&params.latency_prediction_info_producer_name).as_deref())
        }
    };
    let (prefix_from, ttft_from) = (prefix.producer.clone(), ttft.producer.clone());
    let missing = context.error(format!("`{prefix_from}` produces no prefix matches"));
    Ok(Draft::wired(vec![prefix, ttft], Vec::new(), move |wiring| {
        let prefix = wiring.prefix_column(&prefix_from).ok_or(missing)?;
        let latency = match params.ttft_source {
            TtftSource::PrefillThroughput => None,
            TtftSource::LatencyPredictor => wiring.latency_column(&ttft_from),
        };
        Ok(Parts { filter: Some(Arc::new(PrefixAffinity { params, prefix, latency })), ..Parts::default() })
    }))
}

struct PrefixAffinity {
    params: Params,
    prefix: Column,
    /// Where predictions stand, if they are used.
    latency: Option<Column>,
}

impl PrefixAffinity {
    fn holds(&self, view: &PoolView<'_>, i: usize) -> bool {
        let (matched, total) = view.prefix(self.prefix, i);
        total > 0 && f64::from(matched) / f64::from(total) >= self.params.affinity_threshold
    }

    /// Milliseconds until the first token; an endpoint of which nothing is predicted comes last.
    fn ttft_ms(&self, view: &PoolView<'_>, i: usize) -> f64 {
        match self.latency {
            Some(column) => view.attributes().latency(column, view.index(i)).map_or(f64::MAX, |found| found.ttft_ms),
            None => view.state(i).inflight_tokens as f64 / self.params.peak_prefill_throughput * 1_000.0,
        }
    }
}

impl Filter for PrefixAffinity {
    fn reads(&self) -> DataSet {
        let ttft = match self.params.ttft_source {
            TtftSource::PrefillThroughput => DataSet::IN_FLIGHT,
            TtftSource::LatencyPredictor => DataSet::LATENCY,
        };
        DataSet::PREFIX | ttft
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        let Params { affinity_threshold, exploration_probability, max_ttft_penalty_ms, .. } = self.params;
        let explores = exploration_probability > 0.0 && random.f64() < exploration_probability;
        if view.len() <= 1 || affinity_threshold <= 0.0 || explores {
            return view.retain_all(keep);
        }
        let (mut holders, mut best_holder, mut best_other) = (0, f64::INFINITY, f64::INFINITY);
        for i in 0..view.len() {
            let ttft = self.ttft_ms(view, i);
            if self.holds(view, i) {
                holders += 1;
                best_holder = best_holder.min(ttft);
            } else {
                best_other = best_other.min(ttft);
            }
        }
        let too_late = max_ttft_penalty_ms > 0.0 && holders < view.len() && best_holder - best_other > max_ttft_penalty_ms;
        if holders == 0 || too_late {
            return view.retain_all(keep);
        }
        view.retain(keep, |i| self.holds(view, i));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    const KIND: &str = "prefix-cache-affinity-filter";

    fn fixture(matched: &[u32], inflight_tokens: &[u64]) -> Fixture {
        let mut fixture = Fixture::scraped(matched.len(), |i, state| state.inflight_tokens = inflight_tokens[i]);
        fixture.prefix(matched, 10, 64);
        fixture
    }

    #[test]
    fn holders_stay_and_without_any_all_do() {
        let fixture = fixture(&[9, 2, 8], &[0; 3]);
        assert_eq!(fixture.filter(KIND, "{}"), [0, 2]);
        assert_eq!(fixture.filter(KIND, "{affinityThreshold: 0.95}"), [0, 1, 2]);
        assert_eq!(fixture.filter(KIND, "{affinityThreshold: 0.1}"), [0, 1, 2]);
        assert_eq!(fixture.filter(KIND, "{affinityThreshold: 0}"), [0, 1, 2]);
        assert_eq!(fixture.filter(KIND, "{explorationProbability: 1}"), [0, 1, 2]);
    }

    #[test]
    fn busy_holders_lose() {
        // 15,928 tokens take a second: the golden vector of the estimate.
        let fixture = fixture(&[9, 0], &[15_928 * 2, 15_928]);
        assert_eq!(fixture.filter(KIND, "{maxTTFTPenaltyMs: 1001}"), [0]);
        assert_eq!(fixture.filter(KIND, "{maxTTFTPenaltyMs: 999}"), [0, 1]);
        assert_eq!(fixture.filter(KIND, "{maxTTFTPenaltyMs: 999, peakPrefillThroughput: 31856}"), [0]);
        assert_eq!(fixture.filter(KIND, "{maxTTFTPenaltyMs: 0}"), [0]);
    }

    #[test]
    fn predictions_stand_in_for_the_estimate() {
        let mut fixture = fixture(&[9, 0], &[0, 0]);
        fixture.latency(&[Some((900.0, 1.0)), Some((100.0, 1.0))]);
        let with = |penalty: u32| format!("{{ttftSource: latencyPredictor, maxTTFTPenaltyMs: {penalty}}}");
        assert_eq!(fixture.filter(KIND, &with(801)), [0]);
        assert_eq!(fixture.filter(KIND, &with(799)), [0, 1]);
        fixture.latency(&[None, Some((100.0, 1.0))]);
        assert_eq!(fixture.filter(KIND, &with(60_000)), [0, 1], "nothing is predicted of the holder");
    }

    #[test]
    fn one_endpoint_is_no_choice() {
        assert_eq!(fixture(&[0], &[0]).filter(KIND, "{}"), [0]);
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{affinityThreshold: 1.1}", "at most 1"),
            ("{explorationProbability: -0.1}", "0..=1"),
            ("{maxTTFTPenaltyMs: -1}", "0 or more"),
            ("{peakPrefillThroughput: 0}", "above 0"),
            ("{ttftSource: guess}", "guess"),
            ("{prefixMatchInfoProducerName: x}", "PrefixCacheMatchInfoDataKey/x"),
            ("{inFlightLoadProducerName: x}", "InFlightLoadDataKey/x"),
            ("{ttftSource: latencyPredictor, latencyPredictionInfoProducerName: x}", "LatencyPredictionInfoDataKey/x"),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}");
        }
    }
}
