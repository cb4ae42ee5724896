//! What plugins read and what they pass on.

use std::{
    fmt,
    ops::{BitOr, BitOrAssign},
};

/// A set of facts. A plugin declares what it reads; the plan starts only the sources that somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSet(u16);

impl DataSet {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The engine's queue length.
    pub const QUEUE: Self = Self(1);
    /// The engine's batch size.
    pub const RUNNING: Self = Self(1 << 1);
    /// The engine's KV-cache usage.
    pub const KV_USAGE: Self = Self(1 << 2);
    /// The engine's adapters.
    pub const LORA: Self = Self(1 << 3);
    /// The engine's block size and number of blocks.
    pub const CACHE_CONFIG: Self = Self(1 << 4);
    /// This process's requests and tokens in flight.
    pub const IN_FLIGHT: Self = Self(1 << 5);
    /// The prompt's text or tokens, which means that the body is scanned for them.
    pub const PROMPT: Self = Self(1 << 6);
    /// Which endpoints hold the prompt's prefix.
    pub const PREFIX: Self = Self(1 << 7);
    /// Endpoints' labels.
    pub const LABELS: Self = Self(1 << 8);
    /// The request's headers.
    pub const HEADERS: Self = Self(1 << 9);
    /// Everything that comes from the engine's metrics page.
    pub const ENGINE_METRICS: Self =
        Self(Self::QUEUE.0 | Self::RUNNING.0 | Self::KV_USAGE.0 | Self::LORA.0 | Self::CACHE_CONFIG.0);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::QUEUE, "queue"),
        (Self::RUNNING, "running"),
        (Self::KV_USAGE, "kv-usage"),
        (Self::LORA, "lora"),
        (Self::CACHE_CONFIG, "cache-config"),
        (Self::IN_FLIGHT, "in-flight"),
        (Self::PROMPT, "prompt"),
        (Self::PREFIX, "prefix"),
        (Self::LABELS, "labels"),
        (Self::HEADERS, "headers"),
    ];

    /// Whether something of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Names of what is in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(one, _)| self.intersects(*one)).map(|(_, name)| name)
    }
}

impl BitOr for DataSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for DataSet {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A kind of data that one plugin instance produces and others consume; its text form is llm-d's `dataType/producerName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataKey {
    /// The prompt as tokens.
    TokenizedPrompt,
    /// How much of the prompt each endpoint holds.
    PrefixCacheMatchInfo,
    /// Requests and tokens in flight per endpoint.
    InFlightLoad,
    /// Tokens of this request that each endpoint would have to compute.
    UncachedRequestTokens,
}

impl DataKey {
    /// The type of the plugin that produces it if nobody else was configured to.
    pub const fn default_producer(self) -> &'static str {
        match self {
            Self::TokenizedPrompt => "token-producer",
            Self::PrefixCacheMatchInfo => "approx-prefix-cache-producer",
            Self::InFlightLoad | Self::UncachedRequestTokens => "inflight-load-producer",
        }
    }
}

impl fmt::Display for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenizedPrompt => "TokenizedPrompt",
            Self::PrefixCacheMatchInfo => "PrefixCacheMatchInfoDataKey",
            Self::InFlightLoad => "InFlightLoadDataKey",
            Self::UncachedRequestTokens => "UncachedRequestTokensDataKey",
        })
    }
}

/// Where a producer writes, and its consumers read, in a request's [`Attributes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub(crate) usize);

impl Column {
    /// Its number among the columns of its kind.
    pub fn index(self) -> usize {
        self.0
    }

    /// A column for tests of single plugins, outside any plan.
    pub const fn for_tests(index: usize) -> Self {
        Self(index)
    }
}

/// How much of a request's prompt each endpoint holds.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatch {
    /// Leading blocks that the endpoint holds; indexed as the snapshot's endpoints are. Empty: unknown.
    pub matched_blocks: Vec<u32>,
    /// Blocks of the prompt. 0: the prompt is unknown.
    pub total_blocks: u32,
    /// Tokens in a block.
    pub block_size_tokens: u32,
    /// Hash of each block, chained; for whoever learns from the decision.
    pub hashes: Vec<u64>,
}

impl PrefixMatch {
    /// Leading blocks that the endpoint at this place in the snapshot holds.
    pub fn matched(&self, index: usize) -> u32 {
        self.matched_blocks.get(index).copied().unwrap_or(0)
    }

    fn clear(&mut self) {
        self.matched_blocks.clear();
        self.hashes.clear();
        self.total_blocks = 0;
        self.block_size_tokens = 0;
    }
}

/// What producers found for one request. Reused from request to request, so that it allocates nothing after warm-up.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    prefixes: Vec<PrefixMatch>,
    /// Tokens of the prompt, exact or estimated; `None` until a token producer ran.
    pub prompt_tokens: Option<u64>,
    /// Tokens that the endpoint would have to compute, indexed as the snapshot's endpoints are; empty if nobody asked.
    pub uncached_tokens: Vec<u64>,
}

impl Attributes {
    /// Empties it and makes room for `prefix_columns` prefix matches.
    pub fn reset(&mut self, prefix_columns: usize) {
        self.prefixes.resize_with(prefix_columns, PrefixMatch::default);
        self.prefixes.iter_mut().for_each(PrefixMatch::clear);
        self.prompt_tokens = None;
        self.uncached_tokens.clear();
    }

    /// The prefix match in a column.
    pub fn prefix(&self, column: Column) -> Option<&PrefixMatch> {
        self.prefixes.get(column.0)
    }

    /// The prefix match in a column, to be written.
    pub fn prefix_mut(&mut self, column: Column) -> Option<&mut PrefixMatch> {
        self.prefixes.get_mut(column.0)
    }

    /// All prefix matches.
    pub fn prefixes(&self) -> &[PrefixMatch] {
        &self.prefixes
    }
}
