//! Saturation detectors: how full a pool is.

mod concurrency_detector;
mod stages;
mod utilization_detector;

use weir_plan::{PluginType, PoolView};
use weir_pool::EndpointState;

pub use self::stages::StageSaturation;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![utilization_detector::plugin(), concurrency_detector::plugin()]
}

/// The fuller one of queue and KV cache, each as a share of where it counts as full.
pub(crate) fn fuller(state: &EndpointState, queue: f64, kv: f64) -> f64 {
    (f64::from(state.waiting) / queue).max(state.kv_usage / kv)
}

/// Mean over all candidates; without any the pool counts as full.
pub(crate) fn mean(view: &PoolView<'_>, one: impl Fn(&EndpointState) -> f64) -> f64 {
    if view.is_empty() { 1.0 } else { view.states().map(one).sum::<f64>() / view.len() as f64 }
}
