//! `queue-scorer`: prefers short queues.

use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};

use super::{SCORER, fewer_is_better, plain};
use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "queue-scorer",
        SCORER,
        "Prefers engines with short queues: (max − queue) / (max − min) over the candidates.",
        |context| plain(context, Queue),
    )
}

struct Queue;

impl Scorer for Queue {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        fewer_is_better(view, out, |state| state.waiting, |state| state.inflight_requests);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    fn scores(queues: &[u32]) -> Vec<f64> {
        Fixture::scraped(queues.len(), |i, state| state.waiting = queues[i]).score("queue-scorer", "{}")
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(scores(&[10, 5, 0]), [0.0, 0.5, 1.0]);
        assert_eq!(scores(&[5, 5]), [1.0, 1.0]);
        assert_eq!(scores(&[0, 0]), [1.0, 1.0]);
        assert_eq!(scores(&[7]), [1.0]);
    }

    #[test]
    fn an_engine_that_was_never_scraped_counts_as_the_worst() {
        let mut fixture = Fixture::scraped(3, |i, state| state.waiting = [2, 0, 4][i]);
        fixture.states[1].age = None;
        assert_eq!(fixture.score("queue-scorer", "{}"), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn stale_numbers_count_as_they_are() {
        let mut fixture = Fixture::scraped(2, |i, state| state.waiting = [3, 1][i]);
        fixture.states[1].stale = true;
        assert_eq!(fixture.score("queue-scorer", "{}"), [0.0, 1.0]);
    }

    #[test]
    fn without_any_metrics_the_requests_in_flight_count() {
        let mut fixture = Fixture::new(3);
        for (state, requests) in fixture.states.iter_mut().zip([4, 0, 1]) {
            state.inflight_requests = requests;
        }
        assert_eq!(fixture.score("queue-scorer", "{}"), [0.0, 1.0, 0.75]);
    }
}
