//! Reporters: numbers for a proxy's metadata at the end of a response.

mod request_attribute;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![request_attribute::plugin()]
}
