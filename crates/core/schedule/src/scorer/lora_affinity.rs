//! `lora-affinity-scorer`: prefers engines that run the requested adapter, then those with room for it.

use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};
use weir_pool::LoraState;

use super::{SCORER, plain};
use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "lora-affinity-scorer",
        SCORER,
        "Scores 1 where the requested adapter is active, 0.8 where there is room for it, 0.6 where it is waited for, else 0.",
        |context| plain(context, LoraAffinity),
    )
}

struct LoraAffinity;

impl Scorer for LoraAffinity {
    fn reads(&self) -> DataSet {
        DataSet::LORA
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (i, score) in out.iter_mut().enumerate() {
            *score = view.endpoint(i).engine.with_lora(|adapters| affinity(adapters, request.model));
        }
    }
}

fn affinity(LoraState { active, waiting, max }: &LoraState, model: &str) -> f64 {
    let has = |adapters: &[String]| adapters.iter().any(|adapter| adapter == model);
    if has(active) {
        1.0
    } else if active.len() + waiting.len() < *max as usize {
        0.8
    } else if has(waiting) {
        0.6
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use weir_pool::{Scrape, Time};

    use super::*;
    use crate::testing::Fixture;

    fn scores(engines: &[(&[&str], &[&str], u32)]) -> Vec<f64> {
        let mut fixture = Fixture::new(engines.len());
        fixture.model = "a1".to_owned();
        for (endpoint, (active, waiting, max)) in fixture.endpoints.iter().zip(engines) {
            let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            let lora = Some(LoraState { active: owned(active), waiting: owned(waiting), max: *max });
            endpoint.engine.record(&Scrape { lora, ..Scrape::default() }, 0, Time::ZERO);
        }
        fixture.score("lora-affinity-scorer", "{}")
    }

    #[test]
    fn golden_vectors() {
        let first: [(&[&str], &[&str], u32); 4] =
            [(&["a1"], &[], 5), (&["a2"], &["a1"], 2), (&["a2"], &["a3"], 2), (&[], &[], 0)];
        assert_eq!(scores(&first), [1.0, 0.6, 0.0, 0.0]);
        let second: [(&[&str], &[&str], u32); 4] =
            [(&["a2"], &["a1"], 5), (&["a2"], &[], 2), (&["a3"], &["a1"], 2), (&["a4", "a5"], &[], 2)];
        assert_eq!(scores(&second), [0.8, 0.8, 0.6, 0.0]);
    }
}
