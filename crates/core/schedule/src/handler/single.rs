//! `single-profile-handler`: runs the only profile.

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_plan::{
    Draft, ExtensionPoint, Parts, PickError, PluginContext, PluginType, PoolView, ProfileHandler, ProfileResult, RequestView,
};

use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "single-profile-handler",
        &[ExtensionPoint::ProfileHandler],
        "Runs the only profile; its target gets the request.",
        draft,
    )
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(Draft::ready(Parts { handler: Some(Arc::new(Single)), ..Parts::default() }))
}

pub(super) struct Single;

impl ProfileHandler for Single {
    fn next(&self, _: &RequestView<'_>, _: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        results.first().filter(|only| !only.ran).map(|_| 0)
    }

    fn primary(&self, _: &RequestView<'_>, results: &[ProfileResult]) -> Result<usize, PickError> {
        results.first().and_then(|only| only.error.clone()).map_or(Ok(0), Err)
    }
}
