//! `kv-cache-utilization-scorer`: prefers empty KV caches.

use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};

use super::{SCORER, plain};
use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "kv-cache-utilization-scorer",
        SCORER,
        "Prefers engines whose KV cache is empty: 1 − usage.",
        |context| plain(context, KvCacheUtilization),
    )
}

/// An engine that was never scraped while another one was counts as the fullest; llm-d takes it for empty.
struct KvCacheUtilization;

impl Scorer for KvCacheUtilization {
    fn reads(&self) -> DataSet {
        DataSet::KV_USAGE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let fullest = view.states().filter(|state| state.age.is_some()).map(|state| state.kv_usage).fold(0.0, f64::max);
        for (score, state) in out.iter_mut().zip(view.states()) {
            *score = 1.0 - if state.age.is_some() { state.kv_usage } else { fullest };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[test]
    fn one_minus_usage() {
        let fixture = Fixture::scraped(3, |i, state| state.kv_usage = [0.0, 0.25, 1.0][i]);
        assert_eq!(fixture.score("kv-cache-utilization-scorer", "{}"), [1.0, 0.75, 0.0]);
    }

    #[test]
    fn nonsense_stays_in_range() {
        let fixture = Fixture::scraped(3, |i, state| state.kv_usage = [f64::NAN, -3.0, 80.0][i]);
        assert_eq!(fixture.score("kv-cache-utilization-scorer", "{}"), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn an_engine_that_was_never_scraped_counts_as_the_fullest() {
        let mut fixture = Fixture::scraped(3, |i, state| state.kv_usage = [0.25, 0.75, 0.0][i]);
        fixture.states[2].age = None;
        assert_eq!(fixture.score("kv-cache-utilization-scorer", "{}"), [0.75, 0.25, 0.25]);
        assert_eq!(Fixture::new(2).score("kv-cache-utilization-scorer", "{}"), [1.0, 1.0]);
    }
}
