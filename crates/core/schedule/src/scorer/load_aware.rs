//! `load-aware-scorer`: half a point for an empty queue, less for a longer one.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};

use super::{SCORER, scorer_only};
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "load-aware-scorer",
        SCORER,
        "Scores 0.5 for an empty queue, falling to 0 at `threshold` waiting requests.",
        |context| {
            let params: Params = context.params()?;
            let threshold = if params.threshold <= 0 { DEFAULT_THRESHOLD } else { params.threshold };
            Ok(scorer_only(LoadAware { threshold: threshold as f64 }))
        },
    )
}

const DEFAULT_THRESHOLD: i64 = 128;

/// Where the score reaches 0.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Waiting requests at which the score is 0. Less than 1 counts as 128.
    threshold: i64,
}

impl Default for Params {
    fn default() -> Self {
        Self { threshold: DEFAULT_THRESHOLD }
    }
}

struct LoadAware {
    threshold: f64,
}

impl Scorer for LoadAware {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (score, state) in out.iter_mut().zip(view.states()) {
            *score = 0.5 * (1.0 - f64::from(state.waiting).min(self.threshold) / self.threshold);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[test]
    fn golden_vectors() {
        let fixture = Fixture::scraped(3, |i, state| state.waiting = [2, 0, 15][i]);
        assert_eq!(fixture.score("load-aware-scorer", "{threshold: 10}"), [0.4, 0.5, 0.0]);
        for default in ["{}", "{threshold: 0}", "{threshold: -1}"] {
            assert_eq!(fixture.score("load-aware-scorer", default), [0.5 * (1.0 - 2.0 / 128.0), 0.5, 0.5 * (1.0 - 15.0 / 128.0)]);
        }
    }
}
