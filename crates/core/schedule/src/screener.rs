//! Screeners: which endpoints a request may go to at all.

mod rollout;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![rollout::plugin()]
}
