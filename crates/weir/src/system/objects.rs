//! Objectives and rewrites of the configuration's files, pool by pool.

use weir_api::{Objective, Rewrite, RouterConfig};
use weir_router::ObjectsInForce;

/// The objects of one pool, compiled; what is odd about them goes to the log.
pub(super) fn of_pool(config: &RouterConfig, pool: &str) -> ObjectsInForce {
    let (objectives, rewrites) = listed(config, pool);
    let (compiled, found) = ObjectsInForce::compile(&objectives, &rewrites);
    for one in found {
        tracing::warn!(pool, "{one}");
    }
    compiled
}

/// The objects that refer to one pool.
pub(crate) fn listed(config: &RouterConfig, pool: &str) -> (Vec<Objective>, Vec<Rewrite>) {
    let files = || config.objects.iter().map(|file| &file.objects);
    let objectives = files().flat_map(|file| &file.objectives).filter(|one| one.pool.name == pool).cloned().collect();
    let rewrites = files().flat_map(|file| &file.rewrites).filter(|one| one.pool.name == pool).cloned().collect();
    (objectives, rewrites)
}
