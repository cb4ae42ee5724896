//! Header processors: what a request's headers say, before it is admitted.

mod agent_identity;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![agent_identity::plugin()]
}
