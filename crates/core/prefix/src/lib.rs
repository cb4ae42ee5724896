//! Which endpoint holds which prefix: block hashing and the approximate index.
//!
//! - [`BlockHasher`] cuts a prompt, fed as a stream of token bytes, into blocks and hashes each; [`BlockHasher::chain`] ties them
//!   together under a [`chain_seed`], so that equal hashes mean equal prefixes (llm-d's scheme: xxh64, seed 0).
//! - [`ApproxIndex`] remembers which holder was given which blocks, and answers how many leading blocks each one holds.
//!
//! Invariants: a match is the contiguous leading run and nothing behind a hole; memory stays under the index's limit; what is
//! forgotten first is the least recently used block of a holder, and of one prompt its tail.
//!
//! Cost: hashing is one xxh64 over the prompt plus one over 16 bytes a block, without copying whole blocks. A lookup is one table
//! probe a block up to the longest match, O(blocks + holders), no allocation after warm-up, under a read lock. Recording is
//! O(blocks); blocks that the holder has already take no write lock.
//!
//! Not here: tokenization, scoring weights, what engines say of their caches.
#![deny(missing_docs)]

mod hasher;
mod holders;
mod identity;
mod index;
mod lru;

pub use self::{
    hasher::{BlockHasher, chain_seed},
    index::{ApproxIndex, IndexStats, LookupScratch},
};
