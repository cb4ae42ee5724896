//! How full the stages of a pool are.

use std::sync::Arc;

use weir_plan::{Attributes, Candidates, PoolView, SaturationDetector};
use weir_pool::{Endpoint, EndpointState};

use crate::filter::role;

/// Saturation of a pool by the stages of disaggregated serving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageSaturation {
    /// Of the workers that prefill; `None`: there are none.
    pub prefill: Option<f64>,
    /// Of the workers that decode, which are also those without a role; `None`: there are none.
    pub decode: Option<f64>,
    /// What counts: the fuller stage; of a pool without stages all of it.
    pub effective: f64,
}

impl StageSaturation {
    /// What `detector` says of these candidates. Workers of both stages count in both; those that only encode, and those of unknown
    /// roles, in neither.
    pub fn of(
        detector: &dyn SaturationDetector,
        endpoints: &[Arc<Endpoint>],
        states: &[EndpointState],
        candidates: &[u32],
    ) -> Self {
        let attributes = Attributes::default();
        let saturation = |candidates: &[u32]| detector.saturation(&PoolView::new(endpoints, states, candidates, &attributes));
        let stage = |serves: fn(&Endpoint) -> bool| {
            let serving = |index: &u32| endpoints.get(*index as usize).is_some_and(|endpoint| serves(endpoint));
            let workers: Candidates = candidates.iter().copied().filter(serving).collect();
            (!workers.is_empty()).then(|| saturation(&workers))
        };
        let (prefill, decode) = (stage(role::prefills), stage(role::decodes));
        let fuller = prefill.into_iter().chain(decode).reduce(f64::max);
        Self { prefill, decode, effective: fuller.unwrap_or_else(|| saturation(candidates)) }
    }
}

#[cfg(test)]
mod tests {
    use weir_pool::{EndpointSpec, EndpointUrl};

    use super::*;

    /// As full as the busiest candidate's queue says.
    struct Queue;

    impl SaturationDetector for Queue {
        fn reads(&self) -> weir_plan::DataSet {
            weir_plan::DataSet::QUEUE
        }

        fn saturation(&self, view: &PoolView<'_>) -> f64 {
            view.states().map(|state| f64::from(state.waiting)).reduce(f64::max).unwrap_or(1.0)
        }
    }

    fn of(workers: &[(Option<&str>, u32)]) -> (Option<f64>, Option<f64>, f64) {
        let endpoint = |(role, _): &(Option<&str>, u32)| {
            let mut spec = EndpointSpec::new("e", EndpointUrl::http("10.0.0.1", 8_000));
            spec.labels.extend(role.map(|role| ("llm-d.ai/role".to_owned(), role.to_owned())));
            Arc::new(Endpoint::new(spec))
        };
        let endpoints: Vec<_> = workers.iter().map(endpoint).collect();
        let states: Vec<_> =
            workers.iter().map(|(_, waiting)| EndpointState { waiting: *waiting, ..EndpointState::default() }).collect();
        let candidates: Vec<u32> = (0..workers.len() as u32).collect();
        let StageSaturation { prefill, decode, effective } = StageSaturation::of(&Queue, &endpoints, &states, &candidates);
        (prefill, decode, effective)
    }

    #[test]
    fn the_fuller_stage_counts() {
        assert_eq!(of(&[(Some("prefill"), 3), (Some("decode"), 5), (None, 4), (Some(""), 6)]), (Some(3.0), Some(6.0), 6.0));
        assert_eq!(of(&[(Some("encode-prefill"), 7), (Some("decode"), 5)]), (Some(7.0), Some(5.0), 7.0));
        for both in ["both", "prefill-decode", "encode-prefill-decode"] {
            assert_eq!(of(&[(Some(both), 2)]), (Some(2.0), Some(2.0), 2.0));
        }
        assert_eq!(of(&[(Some("encode"), 9), (Some("odd"), 8), (Some("decode"), 1)]), (None, Some(1.0), 1.0));
        assert_eq!(of(&[(Some("encode"), 9), (Some("odd"), 8)]), (None, None, 9.0));
        assert_eq!(of(&[]), (None, None, 1.0));
    }
}
