//! What goes into an engine and what comes out.

use std::sync::Arc;

/// Microseconds since the engine's own epoch.
pub type Micros = u64;

/// A LoRA adapter; the caller keeps the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AdapterId(pub u32);

impl AdapterId {
    /// The base model: always loaded, takes no adapter slot.
    pub const BASE: Self = Self(0);
}

/// One sequence to generate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Length of the prompt in tokens, at least 1.
    pub prompt_tokens: u32,
    /// Tokens to generate, at least 1. The engine does not decide where an answer ends.
    pub output_tokens: u32,
    /// Chain hashes of the full blocks of the prompt, continued over the answer if that is known and may be reused. May stop
    /// early: blocks without a hash are private. See [`crate::BlockHasher`].
    pub blocks: Vec<u64>,
    /// Tokens of the prompt, continued as far as `blocks`: what is said of stored blocks ([`crate::KvChange`]). Empty if nobody
    /// listens.
    pub tokens: Arc<[u32]>,
    /// The adapter it runs with.
    pub adapter: AdapterId,
    /// The prompt's cache arrives from another worker: the delay model takes its transfer time instead of a prefill, and the
    /// step model computes only the last prompt token.
    pub remote_prefill: bool,
}

/// Names an accepted request until it is finished or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl RequestId {
    /// A small integer, reused after the request has ended: good as an index into the caller's table.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Prompt or output of zero tokens.
    #[error("prompt and output need at least one token")]
    Empty,
    /// Prompt and output exceed the context window.
    #[error("{requested} tokens exceed the context window of {limit}")]
    ContextLength {
        /// Prompt plus output.
        requested: u64,
        /// The window, tokens.
        limit: u32,
    },
    /// More blocks than the whole cache has.
    #[error("{needed} blocks exceed the KV cache of {capacity}")]
    CacheTooSmall {
        /// Blocks for prompt and output.
        needed: u32,
        /// Blocks of the cache.
        capacity: u32,
    },
    /// The waiting queue is full.
    #[error("waiting requests queue is full")]
    QueueFull,
}

/// The life of a finished request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// When it was submitted.
    pub submitted: Micros,
    /// When it was first scheduled.
    pub scheduled: Micros,
    /// When its first token came out.
    pub first_token: Micros,
    /// When its last token came out.
    pub finished: Micros,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Generated tokens.
    pub output_tokens: u32,
    /// Prompt tokens found in the cache when it was first scheduled.
    pub cached_tokens: u32,
    /// How often it lost its blocks and was computed again.
    pub preemptions: u32,
}

/// Something that happened at `at`, always in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Left the waiting queue for the first time.
    Started {
        /// Which.
        id: RequestId,
        /// When.
        at: Micros,
        /// Prompt tokens found in the cache.
        cached_tokens: u32,
        /// Time since submission.
        waited: Micros,
    },
    /// Produced a token.
    Token {
        /// Which.
        id: RequestId,
        /// When.
        at: Micros,
        /// 0 for the first token.
        index: u32,
        /// Time since the token before, or since submission for the first.
        gap: Micros,
    },
    /// Lost its blocks and waits at the head of the queue.
    Preempted {
        /// Which.
        id: RequestId,
        /// When.
        at: Micros,
    },
    /// Produced its last token; the id is free again.
    Finished {
        /// Which.
        id: RequestId,
        /// When.
        at: Micros,
        /// Its whole life.
        timings: Timings,
    },
}
