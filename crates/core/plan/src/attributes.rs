//! What producers found for one request, by columns that the plan laid out.

use std::sync::Arc;

use weir_protocol::MediaKind;

use crate::Column;

/// How much of a request's prompt each endpoint holds.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatch {
    /// Leading blocks that the endpoint holds; indexed as the snapshot's endpoints are. Empty: unknown.
    pub matched_blocks: Vec<u32>,
    /// The same, not weighted by where the blocks lie; empty: as `matched_blocks`.
    pub cached_blocks: Vec<u32>,
    /// The part of it that lies in memory of the host, from which other endpoints can read; empty: unknown.
    pub host_blocks: Vec<u32>,
    /// Blocks of the prompt. 0: the prompt is unknown.
    pub total_blocks: u32,
    /// Tokens in a block.
    pub block_size_tokens: u32,
    /// Hash of each block, chained; for whoever learns from the decision.
    pub hashes: Vec<u64>,
    /// The hashes are of an engine's tokens, not of an estimate.
    pub exact_tokens: bool,
}

impl PrefixMatch {
    /// Leading blocks that the endpoint at this place in the snapshot holds.
    pub fn matched(&self, index: usize) -> u32 {
        self.matched_blocks.get(index).copied().unwrap_or(0)
    }

    /// The same, not weighted.
    pub fn cached(&self, index: usize) -> u32 {
        self.cached_blocks.get(index).copied().unwrap_or_else(|| self.matched(index))
    }

    fn clear(&mut self) {
        self.matched_blocks.clear();
        self.cached_blocks.clear();
        self.host_blocks.clear();
        self.hashes.clear();
        self.total_blocks = 0;
        self.block_size_tokens = 0;
        self.exact_tokens = false;
    }
}

/// What a latency model expects of one endpoint, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyPrediction {
    /// Time to the first token.
    pub ttft_ms: f64,
    /// Time per output token.
    pub tpot_ms: f64,
    /// What the request allows minus `ttft_ms`; negative: it would be too late.
    pub ttft_headroom_ms: f64,
    /// What the request allows minus `tpot_ms`.
    pub tpot_headroom_ms: f64,
    /// The first token would come in time.
    pub ttft_valid: bool,
    /// The other tokens would.
    pub tpot_valid: bool,
    /// Requests that this router has running there.
    pub dispatched_requests: u64,
}

impl LatencyPrediction {
    /// Neither token is late.
    pub fn in_time(&self) -> bool {
        self.ttft_headroom_ms >= 0.0 && self.tpot_headroom_ms >= 0.0
    }
}

/// An image, video or sound of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaItem {
    /// What it is.
    pub kind: MediaKind,
    /// Hash of its reference or content.
    pub hash: u64,
    /// Its tokens.
    pub tokens: u32,
}

/// Which of a request's images, videos and sounds each endpoint encoded before. Repeated items count once.
#[derive(Clone, Debug, Default)]
pub struct EncoderMatch {
    /// The request's items.
    pub items: Vec<MediaItem>,
    /// Tokens of the items that the endpoint encoded; indexed as the snapshot's endpoints are. Empty: unknown.
    pub matched_tokens: Vec<u64>,
    /// For each item, whether each endpoint encoded it: a row of endpoints for every item. Empty: unknown.
    pub held: Vec<bool>,
}

impl EncoderMatch {
    /// Whether the endpoint at this place in the snapshot, of so many, encoded the item of this place.
    pub fn holds(&self, item: usize, index: usize, endpoints: usize) -> bool {
        self.held.get(item * endpoints + index).copied().unwrap_or(false)
    }

    /// Tokens of all items.
    pub fn total_tokens(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.tokens)).sum()
    }

    fn clear(&mut self) {
        self.items.clear();
        self.matched_tokens.clear();
        self.held.clear();
    }
}

/// Attributes of the request itself, by their text form `dataType/producerName`. Reused from request to request.
#[derive(Clone, Debug, Default)]
pub struct RequestAttributes {
    texts: Vec<(Arc<str>, String)>,
}

impl RequestAttributes {
    /// Attribute under which `agent-identity` notes the agent's session.
    pub const AGENT_IDENTITY: &str = "agent-identity/";

    /// Notes a text; an empty one counts as none.
    pub fn set(&mut self, key: &Arc<str>, value: &str) {
        match self.texts.iter_mut().find(|(name, _)| name == key) {
            Some((_, text)) => {
                text.clear();
                text.push_str(value);
            }
            None => self.texts.push((Arc::clone(key), value.to_owned())),
        }
    }

    /// A text, if somebody noted one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.texts.iter().find(|(name, text)| **name == *key && !text.is_empty()).map(|(_, text)| text.as_str())
    }

    /// Forgets all texts and keeps the memory.
    pub fn clear(&mut self) {
        self.texts.iter_mut().for_each(|(_, text)| text.clear());
    }
}

/// What producers found for one request. Reused from request to request, so that it allocates nothing after warm-up.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    prefixes: Vec<PrefixMatch>,
    latencies: Vec<Vec<Option<LatencyPrediction>>>,
    encoders: Vec<EncoderMatch>,
    /// Attributes of the request itself.
    pub request: RequestAttributes,
    /// Tokens of the prompt, exact or estimated; `None` until a token producer ran.
    pub prompt_tokens: Option<u64>,
    /// Tokens that the endpoint would have to compute, indexed as the snapshot's endpoints are; empty if nobody asked.
    pub uncached_tokens: Vec<u64>,
}

/// Names of the producers that write into columns; their places are the columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Prefix matches.
    pub prefix: Vec<String>,
    /// Latency predictions.
    pub latency: Vec<String>,
    /// Encoder-cache matches.
    pub encoder: Vec<String>,
}

impl Attributes {
    /// Empties it and makes room for these columns. Texts of the request stay: they are noted before anything is produced.
    pub fn reset(&mut self, columns: &Columns) {
        self.prefixes.resize_with(columns.prefix.len(), PrefixMatch::default);
        self.prefixes.iter_mut().for_each(PrefixMatch::clear);
        self.latencies.resize_with(columns.latency.len(), Vec::new);
        self.latencies.iter_mut().for_each(Vec::clear);
        self.encoders.resize_with(columns.encoder.len(), EncoderMatch::default);
        self.encoders.iter_mut().for_each(EncoderMatch::clear);
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

    /// What is expected of the endpoint at this place in the snapshot.
    pub fn latency(&self, column: Column, index: usize) -> Option<&LatencyPrediction> {
        self.latencies.get(column.0)?.get(index)?.as_ref()
    }

    /// Predictions in a column, to be written: one per endpoint of the snapshot, or none at all.
    pub fn latencies_mut(&mut self, column: Column) -> Option<&mut Vec<Option<LatencyPrediction>>> {
        self.latencies.get_mut(column.0)
    }

    /// The encoder-cache match in a column.
    pub fn encoder(&self, column: Column) -> Option<&EncoderMatch> {
        self.encoders.get(column.0)
    }

    /// All encoder-cache matches.
    pub fn encoders(&self) -> &[EncoderMatch] {
        &self.encoders
    }

    /// The encoder-cache match in a column, to be written.
    pub fn encoder_mut(&mut self, column: Column) -> Option<&mut EncoderMatch> {
        self.encoders.get_mut(column.0)
    }
}
