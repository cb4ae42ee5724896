//! Profile handlers.

mod data_parallel;
mod header_profile;
mod single;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![single::plugin(), header_profile::plugin(), data_parallel::plugin()]
}
