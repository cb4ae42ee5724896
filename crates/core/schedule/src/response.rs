//! Plugins that only add headers to responses.

mod served_verifier;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![served_verifier::plugin()]
}
