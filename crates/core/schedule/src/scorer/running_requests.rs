//! `running-requests-size-scorer`: prefers small batches.

use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};

use super::{SCORER, fewer_is_better, plain};
use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "running-requests-size-scorer",
        SCORER,
        "Prefers engines with small batches: (max − running) / (max − min) over the candidates.",
        |context| plain(context, RunningRequests),
    )
}

struct RunningRequests;

impl Scorer for RunningRequests {
    fn reads(&self) -> DataSet {
        DataSet::RUNNING
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        fewer_is_better(view, out, |state| state.running, |state| state.inflight_requests);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[test]
    fn like_the_queue_scorer_on_running_requests() {
        let fixture = Fixture::scraped(3, |i, state| (state.running, state.waiting) = ([10, 5, 0][i], 9));
        assert_eq!(fixture.score("running-requests-size-scorer", "{}"), [0.0, 0.5, 1.0]);
        let fixture = Fixture::scraped(2, |i, state| (state.running, state.waiting) = (4, i as u32));
        assert_eq!(fixture.score("running-requests-size-scorer", "{}"), [1.0, 1.0]);
    }
}
