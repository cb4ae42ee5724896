//! Pickers. All take one parameter: how many endpoints to name.

mod max_score;
mod random;
mod weighted_random;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{PluginContext, PluginType};

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![max_score::plugin(), random::plugin(), weighted_random::plugin()]
}

/// How many endpoints to name.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Endpoints in order of preference; the first one gets the request, the others are named as fallbacks. Less than 1 counts
    /// as 1.
    max_num_of_endpoints: i64,
}

impl Default for Params {
    fn default() -> Self {
        Self { max_num_of_endpoints: 1 }
    }
}

fn count(context: &mut PluginContext<'_>) -> Result<usize, Diagnostic> {
    let params: Params = context.params()?;
    Ok(usize::try_from(params.max_num_of_endpoints).unwrap_or(1).max(1))
}

/// A total as it is compared: what is not a number comes last.
fn sortable(total: f64) -> f64 {
    if total.is_nan() { f64::NEG_INFINITY } else { total }
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    /// How often each of three endpoints comes first in 30,000 picks.
    pub(super) fn firsts(kind: &str, totals: &[f64]) -> Vec<f64> {
        let plan = compile(&format!("plugins: [{{type: {kind}}}]")).unwrap();
        let (mut random, mut out) = (fastrand::Rng::with_seed(9), Vec::new());
        let mut counts = vec![0.0; totals.len()];
        for _ in 0..30_000 {
            out.clear();
            plan.profiles[0].picker.plugin.pick(weir_plan::Scores { totals }, &mut random, &mut out);
            assert_eq!(out.len(), 1);
            counts[out[0] as usize] += 1.0 / 30_000.0;
        }
        counts
    }

    /// One pick of up to `n`.
    pub(super) fn pick(kind: &str, n: i64, totals: &[f64], seed: u64) -> Vec<u32> {
        let plan = compile(&format!("plugins: [{{type: {kind}, parameters: {{maxNumOfEndpoints: {n}}}}}]")).unwrap();
        let (mut random, mut out) = (fastrand::Rng::with_seed(seed), Vec::new());
        plan.profiles[0].picker.plugin.pick(weir_plan::Scores { totals }, &mut random, &mut out);
        out
    }

    #[test]
    fn counts_of_endpoints() {
        for kind in ["max-score-picker", "random-picker", "weighted-random-picker"] {
            let totals = [0.1, 0.5, f64::NAN, -1.0, 0.5];
            for (n, want) in [(-3, 1), (0, 1), (1, 1), (3, 3), (5, 5), (9, 5)] {
                let mut picked = pick(kind, n, &totals, 4);
                assert_eq!(picked.len(), want, "{kind} {n}");
                picked.sort_unstable();
                picked.dedup();
                assert_eq!(picked.len(), want, "{kind} {n}");
            }
            assert!(pick(kind, 1, &[], 4).is_empty() && pick(kind, 2, &[], 4).is_empty());
            assert_eq!(pick(kind, 3, &totals, 5), pick(kind, 3, &totals, 5));
            assert!(refused(kind, "{maxNumOfEndpoint: 1}").contains("maxNumOfEndpoint"));
        }
    }
}
