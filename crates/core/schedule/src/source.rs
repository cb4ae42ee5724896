//! Sources of facts about endpoints, as configuration: who scrapes reads it.

mod core_metrics;
mod elsewhere;
mod file_discovery;
mod metrics;
mod models;
mod notifications;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![metrics::plugin(), core_metrics::plugin(), file_discovery::plugin()];
    all.extend(models::plugins());
    all.extend(notifications::plugins());
    all.extend(elsewhere::plugins());
    all
}
