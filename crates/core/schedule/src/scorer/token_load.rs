//! `token-load-scorer`: prefers endpoints with few tokens in flight, those of this request included.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataKey, DataSet, Draft, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "token-load-scorer",
        SCORER,
        "Prefers endpoints with few tokens in flight, counting what this request would add there.",
        draft,
    )
}

const DEFAULT_THRESHOLD: i64 = 4_194_304;

/// Where the score reaches 0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Tokens at which the score is 0. Less than 1 counts as 4194304.
    queue_threshold_tokens: i64,
    /// Name of the `inflight-load-producer` that counts.
    in_flight_load_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self { queue_threshold_tokens: DEFAULT_THRESHOLD, in_flight_load_producer_name: None }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let tokens = params.queue_threshold_tokens;
    let scorer = TokenLoad { threshold: if tokens <= 0 { DEFAULT_THRESHOLD as u64 } else { tokens.unsigned_abs() } };
    let producer = params.in_flight_load_producer_name.as_deref();
    let needs = [DataKey::InFlightLoad, DataKey::UncachedRequestTokens].map(|key| Need::required(key, producer));
    Ok(Draft::wired(needs.into(), Vec::new(), move |_| Ok(Parts { scorer: Some(Arc::new(scorer)), ..Parts::default() })))
}

struct TokenLoad {
    threshold: u64,
}

impl Scorer for TokenLoad {
    fn reads(&self) -> DataSet {
        DataSet::IN_FLIGHT
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let uncached = &view.attributes().uncached_tokens;
        for (i, score) in out.iter_mut().enumerate() {
            let added = uncached.get(view.index(i)).copied().unwrap_or(0);
            let load = view.state(i).inflight_tokens.saturating_add(added);
            *score = 1.0 - load.min(self.threshold) as f64 / self.threshold as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    #[test]
    fn golden_vectors() {
        let mut fixture = Fixture::scraped(3, |i, state| state.inflight_tokens = [0, 500, 1_000][i]);
        assert_eq!(fixture.score("token-load-scorer", "{queueThresholdTokens: 1000}"), [1.0, 0.5, 0.0]);
        fixture.attributes.uncached_tokens = vec![250; 3];
        for (state, tokens) in fixture.states.iter_mut().zip([0, 250, 750]) {
            state.inflight_tokens = tokens;
        }
        assert_eq!(fixture.score("token-load-scorer", "{queueThresholdTokens: 1000}"), [0.75, 0.5, 0.0]);
        assert_eq!(fixture.score("token-load-scorer", "{queueThresholdTokens: -1}")[0], 1.0 - 250.0 / 4_194_304.0);
        assert!(refused("token-load-scorer", "{inFlightLoadProducerName: x}").contains("InFlightLoadDataKey/x"));
    }
}
