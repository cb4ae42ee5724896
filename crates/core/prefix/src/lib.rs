//! Which endpoint holds which prefix: block hashing, what engines say of their caches, and the approximate index.
//!
//! - [`BlockHasher`] cuts a prompt, fed as a stream of token bytes, into blocks and hashes each; [`BlockHasher::chain`] ties them
//!   together under a [`chain_seed`], so that equal hashes mean equal prefixes (llm-d's scheme: xxh64, seed 0).
//! - [`KeyHasher`] names full blocks of token ids as llm-d's indexer does; [`EngineHasher`] as engines do.
//! - [`Batch`] reads the events that engines publish, in all of their layouts, where they lie.
//! - [`Sequence`] says which batches of a stream are to be applied, over gaps and restarts.
//! - [`KvIndex`] mirrors engines' caches by these events.
//! - [`ApproxIndex`] remembers which holder was given which blocks, and answers how many leading blocks each one holds.
//!
//! Invariants: a match is the contiguous leading run and nothing behind a hole; memory stays under the index's limit; what is
//! forgotten first is the least recently used block of a holder, and of one prompt its tail.
//!
//! Cost: hashing is one xxh64 over the prompt plus one over 16 bytes a block, without copying whole blocks. A lookup is one table
//! probe a block up to the longest match, O(blocks + holders), no allocation after warm-up, under a read lock. Recording is
//! O(blocks); blocks that the holder has already take no write lock.
//!
//! Not here: tokenization, scoring weights, sockets.
#![deny(missing_docs)]

mod canonical;
mod cbor;
mod engine_hash;
mod event;
mod exact;
mod extras;
mod hasher;
mod holders;
mod identity;
mod index;
mod lru;
mod msgpack;
mod sequence;
mod sync;
mod tier;

pub use self::{
    canonical::{HashAlgorithm, KeyHasher, UnsupportedAlgorithm},
    engine_hash::{EngineAlgorithm, EngineHash, EngineHasher},
    event::{
        Batch, BatchError, BatchWriter, CacheKind, Event, EventError, EventLayout, Hashes, Removed, Stored, StoredBlocks, Tokens,
    },
    exact::{Applied, KvIndex, KvIndexConfig, KvIndexStats, KvScratch, Skipped},
    extras::{ExtraKey, Extras},
    hasher::{BlockHasher, chain_seed},
    index::{ApproxIndex, IndexStats, LookupScratch},
    lru::BlockLru,
    msgpack::Malformed,
    sequence::{Sequence, Step},
    tier::{Tier, Tiers},
};
