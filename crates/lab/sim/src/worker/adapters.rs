//! Names of LoRA adapters.

use weir_engine::AdapterId;

use crate::config::LoraModule;

/// Adapters that may be loaded at once.
const LIMIT: usize = 4096;

/// A loaded adapter.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    pub(crate) path: String,
    id: AdapterId,
}

#[derive(Debug)]
pub(crate) struct Adapters {
    loaded: Vec<Adapter>,
    /// Unloaded, but perhaps still running.
    retired: Vec<Adapter>,
    next: u32,
}

impl Adapters {
    pub(super) fn new(modules: &[LoraModule]) -> Self {
        let mut this = Self { loaded: Vec::new(), retired: Vec::new(), next: 1 };
        for module in modules {
            this.load(&module.name, &module.path);
        }
        this
    }

    /// False if it is loaded already, or too many are. A name loaded again is a new adapter: old caches do not fit it.
    pub(crate) fn load(&mut self, name: &str, path: &str) -> bool {
        if self.find(name).is_some() || self.loaded.len() >= LIMIT {
            return false;
        }
        self.loaded.push(Adapter { name: name.to_owned(), path: path.to_owned(), id: AdapterId(self.next) });
        self.next += 1;
        true
    }

    pub(super) fn unload(&mut self, name: &str) -> Option<AdapterId> {
        let at = self.loaded.iter().position(|adapter| adapter.name == name)?;
        let adapter = self.loaded.remove(at);
        let id = adapter.id;
        if self.retired.len() >= LIMIT {
            self.retired.remove(0);
        }
        self.retired.push(adapter);
        Some(id)
    }

    pub(crate) fn find(&self, name: &str) -> Option<AdapterId> {
        self.loaded.iter().find(|adapter| adapter.name == name).map(|adapter| adapter.id)
    }

    pub(crate) fn loaded(&self) -> &[Adapter] {
        &self.loaded
    }

    pub(super) fn any(&self) -> bool {
        self.next > 1
    }

    pub(crate) fn name(&self, id: AdapterId) -> Option<String> {
        self.loaded.iter().chain(&self.retired).find(|adapter| adapter.id == id).map(|adapter| adapter.name.clone())
    }
}
