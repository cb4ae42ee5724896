//! What plugins read and what they pass on.

use std::{
    fmt,
    ops::{BitOr, BitOrAssign},
};

/// A set of facts. A plugin declares what it reads; the plan starts only the sources that somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSet(u32);

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
    /// Predicted latencies.
    pub const LATENCY: Self = Self(1 << 10);
    /// Which endpoints encoded the request's images before.
    pub const ENCODER_CACHE: Self = Self(1 << 11);
    /// Numbers of endpoints by name: custom metrics and what other sources bring.
    pub const ATTRIBUTES: Self = Self(1 << 12);
    /// Attributes of the request that other plugins noted.
    pub const REQUEST_ATTRIBUTES: Self = Self(1 << 13);
    /// Everything that comes from the engine's metrics page.
    pub const ENGINE_METRICS: Self =
        Self(Self::QUEUE.0 | Self::RUNNING.0 | Self::KV_USAGE.0 | Self::LORA.0 | Self::CACHE_CONFIG.0 | Self::ATTRIBUTES.0);

    const NAMES: [(Self, &'static str); 14] = [
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
        (Self::LATENCY, "latency"),
        (Self::ENCODER_CACHE, "encoder-cache"),
        (Self::ATTRIBUTES, "attributes"),
        (Self::REQUEST_ATTRIBUTES, "request-attributes"),
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
    /// Time to the first token and between tokens, per endpoint.
    LatencyPredictionInfo,
    /// Images of the request that each endpoint encoded before.
    EncoderCacheMatchInfo,
    /// The session that the request belongs to.
    SessionId,
    /// Where endpoints run.
    Topology,
}

impl DataKey {
    /// The type of the plugin that produces it if nobody else was configured to.
    pub const fn default_producer(self) -> &'static str {
        match self {
            Self::TokenizedPrompt => "token-producer",
            Self::PrefixCacheMatchInfo => "approx-prefix-cache-producer",
            Self::InFlightLoad | Self::UncachedRequestTokens => "inflight-load-producer",
            Self::LatencyPredictionInfo => "predicted-latency-producer",
            Self::EncoderCacheMatchInfo => "mm-embeddings-cache-producer",
            Self::SessionId => "session-id-producer",
            Self::Topology => "topology-extractor",
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
            Self::LatencyPredictionInfo => "LatencyPredictionInfoDataKey",
            Self::EncoderCacheMatchInfo => "MultiModalEncoderCacheMatchInfoKey",
            Self::SessionId => "SessionIDDataKey",
            Self::Topology => "Topology",
        })
    }
}

/// Where a producer writes, and its consumers read, in a request's [`Attributes`](crate::Attributes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub(crate) usize);

impl Column {
    /// Its number among the columns of its kind.
    pub fn index(self) -> usize {
        self.0
    }

    /// The column of the producer of this name, among the names of those that write such columns.
    pub fn of(names: &[String], producer: &str) -> Option<Self> {
        names.iter().position(|one| one == producer).map(Self)
    }

    /// A column for tests of single plugins, outside any plan.
    pub const fn for_tests(index: usize) -> Self {
        Self(index)
    }
}
