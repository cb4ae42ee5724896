//! Models that keep their own names in metrics, however many others come.

use std::collections::{BTreeMap, HashSet};

use parking_lot::RwLock;

/// Models that somebody configured, by pool. Their number is bounded by what is written in objects.
#[derive(Debug, Default)]
pub(crate) struct PinnedNames(RwLock<BTreeMap<String, HashSet<Box<str>>>>);

impl PinnedNames {
    /// The models of one pool, instead of those that it had before.
    pub(crate) fn set<'a>(&self, pool: &str, models: impl Iterator<Item = &'a str>) {
        let models: HashSet<Box<str>> = models.map(Into::into).collect();
        let mut all = self.0.write();
        if models.is_empty() {
            all.remove(pool);
        } else {
            all.insert(pool.to_owned(), models);
        }
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, model: &str) -> bool {
        self.0.read().values().any(|models| models.contains(model))
    }
}
