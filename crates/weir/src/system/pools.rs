//! Pools in force: what a reload keeps, and what it makes anew.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_api::{PoolSpec, Sources};
use weir_discovery::Discovery;
use weir_kubernetes::{PoolWatch, Target};
use weir_plan::{CompileOptions, Plan, Registry, compile};
use weir_pool::Pool;

use super::kubernetes::{self, Cluster, PoolSync};
use crate::failure::Failure;

/// One pool with everything that keeps it up to date.
pub(super) struct PoolInForce {
    pub(super) spec: PoolSpec,
    pub(super) pool: Arc<Pool>,
    pub(super) plan: Arc<Plan>,
    pub(super) source: Source,
    pub(super) following: Following,
}

/// Where a pool's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A list or a file.
    Listed(weir_discovery::Source),
    /// A cluster.
    Kubernetes(Target),
}

/// What keeps a pool's endpoints up to date.
pub(super) enum Following {
    Listed(Discovery),
    Kubernetes(PoolWatch),
}

impl Following {
    /// Stops, and waits until that has happened; the endpoints stay.
    pub(super) async fn stop(self) {
        match self {
            Self::Listed(discovery) => discovery.stop().await,
            Self::Kubernetes(watch) => watch.stop().await,
        }
    }
}

impl PoolInForce {
    /// What the cluster says of it, if it is in one.
    pub(super) fn sync(&self) -> Option<PoolSync> {
        let Following::Kubernetes(watch) = &self.following else { return None };
        Some(PoolSync { pool: self.spec.name.value.clone(), state: watch.state(), parsers: self.plan.parsers.clone() })
    }
}

/// A pool on its way into force: everything that can be wrong with it has been found.
pub(super) struct Prepared {
    spec: PoolSpec,
    pub(super) pool: Arc<Pool>,
    pub(super) plan: Arc<Plan>,
}

/// Compiles every pool's plan. A plan whose configuration did not change is kept, with all that its plugins have learned.
pub(super) fn prepare(
    specs: &[PoolSpec],
    old: &[PoolInForce],
    plugins: &Registry,
    options: CompileOptions,
    sources: &Sources,
) -> Result<Vec<Prepared>, Failure> {
    let mut wrong = String::new();
    let mut prepared = Vec::with_capacity(specs.len());
    for spec in specs {
        let before = old.iter().find(|one| one.spec.name.value == spec.name.value);
        let unchanged = before.filter(|one| one.spec.scheduling.config() == spec.scheduling.config());
        let plan = match unchanged {
            Some(one) => Arc::clone(&one.plan),
            None => match compile(spec.scheduling.config(), plugins, options) {
                Ok(plan) => Arc::new(plan),
                Err(notes) => {
                    wrong.push_str(&notes.render(sources));
                    continue;
                }
            },
        };
        let pool = before.map_or_else(|| Arc::new(Pool::new(spec.name.value.clone())), |one| Arc::clone(&one.pool));
        prepared.push(Prepared { spec: spec.clone(), pool, plan });
    }
    if wrong.is_empty() { Ok(prepared) } else { Err(Failure::new(wrong)) }
}

impl Prepared {
    pub(super) fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// Starts to follow the pool's source of endpoints.
    pub(super) async fn start(self, cluster: Option<&Cluster>, stop: &CancellationToken) -> Result<PoolInForce, Failure> {
        let source = self.source();
        let following = match (&source, cluster) {
            (Source::Kubernetes(target), Some(cluster)) => Following::Kubernetes(cluster.follow_pool(target.clone(), &self.pool)),
            (Source::Kubernetes(_), None) => {
                return Err(Failure::new(format!("pool `{}`: there is no Kubernetes cluster", self.spec.name)));
            }
            (Source::Listed(source), _) => {
                let discovery = Discovery::start(Arc::clone(&self.pool), source.clone(), stop.clone())
                    .await
                    .map_err(|error| Failure::new(format!("pool `{}`: {error}", self.spec.name)))?;
                Following::Listed(discovery)
            }
        };
        Ok(PoolInForce { spec: self.spec, pool: self.pool, plan: self.plan, source, following })
    }

    /// Where the endpoints come from: from where the pool says, else from where its plan says.
    pub(super) fn source(&self) -> Source {
        use weir_discovery::Source::{File, Static};
        if let Some(target) = kubernetes::target(&self.spec) {
            return Source::Kubernetes(target);
        }
        let listed = || self.spec.static_entries().unwrap_or_default().into_iter().map(weir_discovery::endpoint_spec).collect();
        Source::Listed(match (&self.spec.endpoints.file, &self.plan.discovery) {
            (Some(file), _) => File { path: file.path.value.clone(), watch: file.watch },
            (None, Some(file)) if self.spec.endpoints.fixed.is_none() => File { path: file.path.clone(), watch: file.watch },
            (None, _) => Static(listed()),
        })
    }

    /// Goes on following a source that did not change.
    pub(super) fn keep(self, following: Following) -> PoolInForce {
        let source = self.source();
        PoolInForce { spec: self.spec, pool: self.pool, plan: self.plan, source, following }
    }
}
