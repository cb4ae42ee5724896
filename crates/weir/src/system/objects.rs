//! Objectives and rewrites of the configuration's files and of the cluster, pool by pool.

use std::collections::HashMap;

use parking_lot::Mutex;
use weir_api::{Objective, PoolSpec, Rewrite, RouterConfig};
use weir_router::ObjectsInForce;

use super::kubernetes::Cluster;

type Listed = (Vec<Objective>, Vec<Rewrite>);

/// What every pool's objects were when they were looked at last.
#[derive(Default)]
pub(super) struct Objects {
    known: Mutex<HashMap<String, Listed>>,
}

impl Objects {
    /// The objects of one pool, compiled, and whether they changed. What is odd about new ones goes to the log.
    pub(super) fn of_pool(&self, config: &RouterConfig, spec: &PoolSpec, cluster: Option<&Cluster>) -> (ObjectsInForce, bool) {
        let pool = spec.name.as_str();
        let mut listed = listed(config, pool);
        if let Some(cluster) = cluster {
            let (objectives, rewrites) = cluster.objects_of(spec);
            listed.0.extend(objectives);
            listed.1.extend(rewrites);
        }
        let (compiled, found) = ObjectsInForce::compile(&listed.0, &listed.1);
        let mut known = self.known.lock();
        let changed = known.get(pool) != Some(&listed);
        if changed {
            for one in found {
                tracing::warn!(pool, "{one}");
            }
            known.insert(pool.to_owned(), listed);
        }
        (compiled, changed)
    }

    /// Forgets pools that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.known.lock().retain(|pool, _| is_there(pool));
    }
}

/// The objects of the configuration's files that refer to one pool.
pub(crate) fn listed(config: &RouterConfig, pool: &str) -> Listed {
    let files = || config.objects.iter().map(|file| &file.objects);
    let objectives = files().flat_map(|file| &file.objectives).filter(|one| one.pool.name == pool).cloned().collect();
    let rewrites = files().flat_map(|file| &file.rewrites).filter(|one| one.pool.name == pool).cloned().collect();
    (objectives, rewrites)
}
