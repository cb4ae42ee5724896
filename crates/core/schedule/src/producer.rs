//! Data producers.

mod approx_prefix;
mod burst_prefix;
mod inflight_load;
mod mm_embeddings;
mod p2p_source;
mod precise_prefix;
mod session_id;
mod token;

use weir_plan::{PluginType, PromptSink};
use weir_prefix::BlockHasher;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![
        token::plugin(),
        approx_prefix::plugin(),
        approx_prefix::multicluster(),
        inflight_load::plugin(),
        session_id::plugin(),
        mm_embeddings::plugin(),
        burst_prefix::plugin(),
        p2p_source::plugin(),
    ];
    all.extend(precise_prefix::plugins());
    all
}

/// Hashes a prompt as it streams.
struct Hashing<'a>(&'a mut BlockHasher);

impl PromptSink for Hashing<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.bytes(bytes);
    }

    fn wants_bytes(&self) -> bool {
        !self.0.is_full()
    }

    fn skip(&mut self, bytes: u64) {
        self.0.skip(bytes);
    }

    fn align(&mut self) {
        self.0.align();
    }

    fn repeat(&mut self, token: u32, count: u32) {
        self.0.repeat(token, count);
    }

    fn next_prompt(&mut self) {
        self.0.next_prompt();
    }
}

/// Counts a prompt's tokens.
#[derive(Default)]
pub(crate) struct Counting {
    /// Bytes of the current prompt.
    bytes: u64,
    /// Tokens of the prompts before.
    tokens: u64,
}

impl Counting {
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens + self.bytes.div_ceil(4)
    }
}

impl PromptSink for Counting {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
    }

    fn wants_bytes(&self) -> bool {
        false
    }

    fn skip(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn align(&mut self) {
        self.bytes = self.bytes.next_multiple_of(4);
    }

    fn repeat(&mut self, _: u32, count: u32) {
        self.align();
        self.bytes += u64::from(count) * 4;
    }

    fn next_prompt(&mut self) {
        self.tokens = self.tokens();
        self.bytes = 0;
    }
}
