//! Filters.

mod by_label;
mod endpoint_attribute;
mod header_testing;
pub(crate) mod label_selector;
mod prefix_cache_affinity;
pub(crate) mod role;
mod slo_headroom_tier;
mod utilization;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![
        label_selector::plugin(),
        by_label::plugin(),
        header_testing::plugin(),
        endpoint_attribute::plugin(),
        prefix_cache_affinity::plugin(),
        slo_headroom_tier::plugin(),
        utilization::plugin(),
    ];
    all.extend(role::plugins());
    all
}
