//! Pools in force: what a reload keeps, and what it makes anew.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_api::{PoolSpec, Sources};
use weir_discovery::{Discovery, Source};
use weir_plan::{CompileOptions, Plan, Registry, compile};
use weir_pool::Pool;

use crate::failure::Failure;

/// One pool with everything that keeps it up to date.
pub(super) struct PoolInForce {
    pub(super) spec: PoolSpec,
    pub(super) pool: Arc<Pool>,
    pub(super) plan: Arc<Plan>,
    pub(super) source: Source,
    pub(super) discovery: Discovery,
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
    pub(super) async fn start(self, cancel: &CancellationToken) -> Result<PoolInForce, Failure> {
        let source = self.source();
        let discovery = Discovery::start(Arc::clone(&self.pool), source.clone(), cancel.clone())
            .await
            .map_err(|error| Failure::new(format!("pool `{}`: {error}", self.spec.name)))?;
        Ok(PoolInForce { spec: self.spec, pool: self.pool, plan: self.plan, source, discovery })
    }

    /// Where the endpoints come from: from where the pool says, else from where its plan says.
    pub(super) fn source(&self) -> Source {
        let listed = || self.spec.static_entries().unwrap_or_default().into_iter().map(weir_discovery::endpoint_spec).collect();
        match (&self.spec.endpoints.file, &self.plan.discovery) {
            (Some(file), _) => Source::File { path: file.path.value.clone(), watch: file.watch },
            (None, Some(file)) if self.spec.endpoints.fixed.is_none() => {
                Source::File { path: file.path.clone(), watch: file.watch }
            }
            (None, _) => Source::Static(listed()),
        }
    }

    /// Goes on following a source that did not change.
    pub(super) fn keep(self, discovery: Discovery) -> PoolInForce {
        let source = self.source();
        PoolInForce { spec: self.spec, pool: self.pool, plan: self.plan, source, discovery }
    }
}
