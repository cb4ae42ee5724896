//! Filters.

mod by_label;
mod header_testing;
mod label_selector;
mod role;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![label_selector::plugin(), by_label::plugin(), header_testing::plugin()];
    all.extend(role::plugins());
    all
}
