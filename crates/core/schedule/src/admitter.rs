//! Admitters: whether a request may be scheduled at all. Both of llm-d's look only at requests that may be shed (priority below 0).

mod latency_slo;
mod probabilistic;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![probabilistic::plugin(), latency_slo::plugin()]
}
