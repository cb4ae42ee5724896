//! What engines say of their caches.

mod batch;
mod fields;
mod write;

pub use self::{
    batch::{Batch, BatchError, EventError},
    fields::{CacheKind, Hashes, Tokens},
    write::{BatchWriter, EventLayout, StoredBlocks},
};
use crate::{
    event::fields::ExtraLists,
    extras::{ExtraKey, Extras},
    tier::Tier,
};

/// One thing that happened to an engine's cache. Everything in it is borrowed from the payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// Blocks can be found now.
    Stored(Stored<'a>),
    /// Blocks are gone.
    Removed(Removed<'a>),
    /// Everything is gone.
    Cleared,
}

/// Blocks of one chain that can be found now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stored<'a> {
    /// The engine's names of the blocks, in the chain's order.
    pub hashes: Hashes<'a>,
    /// The engine's name of the block before them; `None`: they begin a prompt.
    pub parent: Option<u64>,
    /// The tokens of all blocks; none: blocks known before are now on this tier, too.
    pub tokens: Tokens<'a>,
    /// Tokens in each block; 0: not said.
    pub block_tokens: u32,
    /// Where they lie.
    pub tier: Tier,
    /// Number of the LoRA adapter that computed them.
    pub lora_id: Option<u64>,
    /// Name of the LoRA adapter that computed them.
    pub lora_name: Option<&'a str>,
    /// The group of layers that they belong to, where an engine keeps several.
    pub group: Option<u32>,
    /// What kind of layers these are.
    pub kind: Option<CacheKind>,
    /// Tokens that these layers look back at.
    pub window_tokens: Option<u32>,
    /// Whether they lie on another host.
    pub remote: bool,
    /// The request's cache salt, where the engine says it apart.
    pub cache_salt: Option<&'a str>,
    extra_keys: ExtraLists<'a>,
}

impl<'a> Stored<'a> {
    /// Writes the blocks' extra keys to `out`, by block of the engine.
    pub fn extras(&self, out: &mut Extras<'a>) {
        out.clear();
        self.extra_keys.for_each(|block, key| {
            let key = match key {
                ExtraKey::Media(name) if Some(name) == self.lora_name => ExtraKey::Adapter(name),
                ExtraKey::Media(name) if Some(name) == self.cache_salt => ExtraKey::Salt(name),
                key => key,
            };
            out.push(block, key);
        });
        if let Some(salt) = self.cache_salt
            && self.parent.is_none()
        {
            out.push_new(0, ExtraKey::Salt(salt));
        }
    }
}

/// Blocks that are gone from a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Removed<'a> {
    /// The engine's names of the blocks.
    pub hashes: Hashes<'a>,
    /// Where they were.
    pub tier: Tier,
    /// The group of layers that they belong to.
    pub group: Option<u32>,
}

#[cfg(test)]
mod tests;
