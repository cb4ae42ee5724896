//! Which pool serves which model.

use std::collections::{BTreeMap, HashMap};

use crate::PoolRuntime;

/// Built when endpoints or their models change, read by every request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelIndex {
    by_name: HashMap<String, usize>,
    /// A pool that was told no models and whose endpoints list none takes what nobody else claims.
    open: Option<usize>,
    /// A pool with a rule for every model takes what nobody claims.
    generic: Option<usize>,
    pools: usize,
}

/// Where a model is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    Pool(usize),
    Unknown,
    /// The request names no model, and there is more than one pool.
    Ambiguous,
}

impl ModelIndex {
    /// If two pools list the same model, the first keeps it. Models that rules of a pool name come after those that are served.
    pub(crate) fn build(pools: &[PoolRuntime]) -> Self {
        let mut by_name = HashMap::new();
        let mut open = None;
        for (index, runtime) in pools.iter().enumerate() {
            let mut add = |name: &str| {
                by_name.entry(name.to_owned()).or_insert(index);
            };
            runtime.models.iter().for_each(|name| add(name));
            let mut learned = 0;
            for endpoint in &runtime.pool.load().endpoints {
                let models = endpoint.models();
                learned += models.len();
                if runtime.models.is_empty() {
                    models.iter().for_each(|name| add(name));
                }
            }
            if runtime.models.is_empty() && learned == 0 && open.is_none() {
                open = Some(index);
            }
        }
        let mut generic = None;
        for (index, runtime) in pools.iter().enumerate() {
            runtime.objects.with(|objects| {
                for model in objects.exact_models() {
                    by_name.entry(model.to_owned()).or_insert(index);
                }
                if objects.has_generic() {
                    generic.get_or_insert(index);
                }
            });
        }
        Self { by_name, open, generic, pools: pools.len() }
    }

    pub(crate) fn resolve(&self, model: Option<&str>) -> Resolved {
        match model {
            Some(model) => {
                self.by_name.get(model).copied().or(self.generic).or(self.open).map_or(Resolved::Unknown, Resolved::Pool)
            }
            None if self.pools == 1 => Resolved::Pool(0),
            None => self.generic.or(self.open).map_or(Resolved::Ambiguous, Resolved::Pool),
        }
    }

    /// Names in order, each with its pool.
    pub(crate) fn names(&self) -> BTreeMap<&str, usize> {
        self.by_name.iter().map(|(name, pool)| (name.as_str(), *pool)).collect()
    }
}
