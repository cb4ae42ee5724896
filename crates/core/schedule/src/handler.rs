//! Profile handlers.

mod single;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![single::plugin()]
}
