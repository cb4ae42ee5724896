//! `multicluster-queue-scorer`, `multicluster-kv-cache-utilization-scorer`: the same formulas over whole clusters, whose numbers are the
//! averages that their pickers report.

use weir_plan::{DataSet, PluginType, PoolView, RequestView, Scorer};

use super::{SCORER, plain};
use crate::declare::{NoParameters, alpha};

/// Average length of a cluster's queues.
pub(crate) const QUEUE: &str = "llm-d.ai/multicluster-queue-size";
/// Average used share of a cluster's KV caches.
pub(crate) const KV_USAGE: &str = "llm-d.ai/multicluster-kv-cache-utilization";

pub(crate) fn plugins() -> [PluginType; 2] {
    [
        alpha::<NoParameters>(
            "multicluster-queue-scorer",
            SCORER,
            "Prefers clusters with short queues: (max − q) / (max − min). Clusters of which nothing is known get 0.",
            |context| plain(context, ClusterQueue),
        ),
        alpha::<NoParameters>(
            "multicluster-kv-cache-utilization-scorer",
            SCORER,
            "Prefers clusters with free KV cache: 1 − usage. Clusters of which nothing is known get 0.",
            |context| plain(context, ClusterKv),
        ),
    ]
}

struct ClusterQueue;

impl Scorer for ClusterQueue {
    fn reads(&self) -> DataSet {
        DataSet::ATTRIBUTES
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let number = |i: usize| view.endpoint(i).numbers.get(QUEUE);
        let known = || (0..view.len()).filter_map(number);
        let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
        for (i, score) in out.iter_mut().enumerate() {
            *score = match number(i) {
                None => 0.0,
                Some(queue) if most > least => (most - queue) / (most - least),
                Some(_) => 1.0,
            };
        }
    }
}

struct ClusterKv;

impl Scorer for ClusterKv {
    fn reads(&self) -> DataSet {
        DataSet::ATTRIBUTES
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (i, score) in out.iter_mut().enumerate() {
            *score = view.endpoint(i).numbers.get(KV_USAGE).map_or(0.0, |usage| 1.0 - usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    fn scores(kind: &str, name: &str, numbers: &[Option<f64>]) -> Vec<f64> {
        let fixture = Fixture::new(numbers.len());
        for (endpoint, number) in fixture.endpoints.iter().zip(numbers) {
            endpoint.numbers.set(name, *number);
        }
        fixture.score(kind, "{}")
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(scores("multicluster-queue-scorer", QUEUE, &[Some(0.0), None, Some(10.0)]), [1.0, 0.0, 0.0]);
        assert_eq!(scores("multicluster-queue-scorer", QUEUE, &[Some(0.0), Some(5.0), Some(10.0)]), [1.0, 0.5, 0.0]);
        assert_eq!(scores("multicluster-queue-scorer", QUEUE, &[Some(4.0), Some(4.0), None]), [1.0, 1.0, 0.0]);
        assert_eq!(scores("multicluster-kv-cache-utilization-scorer", KV_USAGE, &[Some(0.25), None]), [0.75, 0.0]);
    }
}
