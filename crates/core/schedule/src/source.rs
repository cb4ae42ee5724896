//! Sources of facts about endpoints, as configuration: who scrapes reads it.

mod core_metrics;
mod metrics;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![metrics::plugin(), core_metrics::plugin()]
}
