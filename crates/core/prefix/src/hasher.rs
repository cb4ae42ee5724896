//! From a stream of token bytes to one hash per block.

use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Bytes of one token: a little-endian `u32`.
const TOKEN_BYTES: usize = 4;

/// Where the chain of a prompt starts: the model's name, then the cache salt, hashed as one string.
pub fn chain_seed(model: &str, cache_salt: &str) -> u64 {
    let mut state = Xxh64::new(0);
    state.update(model.as_bytes());
    state.update(cache_salt.as_bytes());
    state.digest()
}

/// Cuts prompts into blocks of tokens and hashes each block's content, as the bytes come.
///
/// The content alone is hashed first; [`BlockHasher::chain`] closes the chain when model and salt are known, which may be after
/// the whole prompt. The last block of a prompt may be partial. Reuse it: once warm it allocates nothing.
///
/// ```
/// # use weir_prefix::{BlockHasher, chain_seed};
/// let mut hasher = BlockHasher::default();
/// hasher.start(4, usize::MAX);
/// for token in 1..=10_u32 {
///     hasher.bytes(&token.to_le_bytes());
/// }
/// hasher.finish();
/// let mut hashes = Vec::new();
/// hasher.chain(chain_seed("m", ""), &mut hashes);
/// assert_eq!(hashes, [0xff375b446cd15b25, 0xd0e13dbe79e3cd40, 0x6c0f38e4493e1b53]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct BlockHasher {
    block_bytes: usize,
    max_blocks: usize,
    /// The block that is not full yet.
    carry: Vec<u8>,
    /// Content hash of each full block, all prompts one after the other.
    ids: Vec<u64>,
    /// Where each closed prompt ends in `ids`.
    ends: Vec<usize>,
    /// Bytes of the open prompt.
    length: u64,
    /// Tokens of the closed prompts.
    tokens: u64,
}

impl BlockHasher {
    /// Forgets everything and begins a prompt in blocks of `block_size_tokens` (0 counts as 1). Blocks of a prompt beyond
    /// `max_blocks` are counted as tokens, not hashed.
    pub fn start(&mut self, block_size_tokens: u32, max_blocks: usize) {
        self.block_bytes = (block_size_tokens.max(1) as usize).saturating_mul(TOKEN_BYTES);
        self.max_blocks = max_blocks;
        self.carry.clear();
        self.ids.clear();
        self.ends.clear();
        self.length = 0;
        self.tokens = 0;
    }

    /// More bytes of the prompt, any number of them. Whole blocks are hashed where they lie.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let mut room = self.room();
        if room == 0 {
            return;
        }
        if !self.carry.is_empty() {
            let missing = self.block_bytes - self.carry.len();
            let Some((head, rest)) = bytes.split_at_checked(missing) else {
                self.carry.extend_from_slice(bytes);
                return;
            };
            self.carry.extend_from_slice(head);
            self.close_block();
            bytes = rest;
            room -= 1;
        }
        let blocks = bytes.chunks_exact(self.block_bytes.max(1));
        let rest = blocks.remainder();
        let hashed = blocks.len().min(room);
        self.ids.extend(blocks.take(room).map(|block| xxh64(block, 0)));
        if hashed < room {
            self.carry.extend_from_slice(rest);
        }
    }

    /// No more blocks of the open prompt are hashed: its bytes need not be given, only counted by [`skip`](Self::skip).
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// So many bytes of the prompt follow that are not given, because it [is full](Self::is_full); otherwise what is hashed is wrong.
    pub fn skip(&mut self, bytes: u64) {
        debug_assert!(self.is_full());
        self.length += bytes;
    }

    /// Zero bytes up to the next border between tokens.
    pub fn align(&mut self) {
        let over = (self.length % TOKEN_BYTES as u64) as usize;
        if over > 0 {
            self.bytes(&[0; TOKEN_BYTES][over..]);
        }
    }

    /// The same token `count` times, after an [`align`](Self::align).
    pub fn repeat(&mut self, token: u32, count: u32) {
        const RUN: usize = 64;
        self.align();
        let mut run = [0; RUN * TOKEN_BYTES];
        run.chunks_exact_mut(TOKEN_BYTES).for_each(|place| place.copy_from_slice(&token.to_le_bytes()));
        let mut left = count as usize;
        while left > 0 {
            if self.room() == 0 {
                self.length += (left * TOKEN_BYTES) as u64;
                return;
            }
            let now = left.min(RUN);
            self.bytes(&run[..now * TOKEN_BYTES]);
            left -= now;
        }
    }

    /// The prompt ends; another one, with a chain of its own, begins.
    pub fn next_prompt(&mut self) {
        self.align();
        if !self.carry.is_empty() {
            self.close_block();
        }
        self.tokens += self.length / TOKEN_BYTES as u64;
        self.length = 0;
        self.ends.push(self.ids.len());
    }

    /// The last prompt ends.
    pub fn finish(&mut self) {
        self.next_prompt();
    }

    /// Tokens of all prompts that ended, those beyond the cap included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Blocks hashed so far, all prompts together.
    pub fn blocks(&self) -> usize {
        self.ids.len()
    }

    /// For each prompt that ended, where its blocks lie in what [`chain`](Self::chain) writes.
    pub fn prompts(&self) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> {
        (0..self.ends.len()).map(|i| self.prompt_start(i)..self.ends[i])
    }

    /// Appends to `out` the chained hash of each block; every prompt's chain starts from `seed`.
    pub fn chain(&self, seed: u64, out: &mut Vec<u64>) {
        out.reserve(self.ids.len());
        for prompt in self.prompts() {
            let mut last = seed;
            out.extend(self.ids[prompt].iter().map(|id| {
                let mut link = [0; 16];
                link[..8].copy_from_slice(&id.to_le_bytes());
                link[8..].copy_from_slice(&last.to_le_bytes());
                last = xxh64(&link, 0);
                last
            }));
        }
    }

    fn prompt_start(&self, prompt: usize) -> usize {
        prompt.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Blocks that the open prompt may still have.
    fn room(&self) -> usize {
        self.max_blocks.saturating_sub(self.ids.len() - self.prompt_start(self.ends.len()))
    }

    fn close_block(&mut self) {
        self.ids.push(xxh64(&self.carry, 0));
        self.carry.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_bytes(tokens: impl IntoIterator<Item = u32>) -> Vec<u8> {
        tokens.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    fn hashes(model: &str, salt: &str, block: u32, bytes: &[u8]) -> Vec<u64> {
        let (mut hasher, mut out) = (BlockHasher::default(), Vec::new());
        hasher.start(block, usize::MAX);
        hasher.bytes(bytes);
        hasher.finish();
        hasher.chain(chain_seed(model, salt), &mut out);
        out
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc", 0), 0x44bc_2cf5_ad77_0999);
        assert_eq!(xxh64(&token_bytes(1..=4), 0), 0x27f0_147e_6ec5_14a6);
        assert_eq!(chain_seed("m", ""), 0xba2e_5670_83a2_b2e8);
        assert_eq!(chain_seed("m", "salt-a"), 0x6099_dbb2_4b32_f67e);
        assert_eq!(chain_seed("meta-llama/Llama-3.1-8B", ""), 0x69a8_7fec_428b_c47b);

        let ten = token_bytes(1..=10);
        let want = [0xff37_5b44_6cd1_5b25, 0xd0e1_3dbe_79e3_cd40, 0x6c0f_38e4_493e_1b53];
        assert_eq!(hashes("m", "", 4, &ten), want);
        assert_eq!(hashes("m", "salt-a", 4, &token_bytes(1..=4)), [0xc473_df95_c549_506d]);
        assert_eq!(hashes("meta-llama/Llama-3.1-8B", "", 64, &token_bytes(1..=64)), [0xb736_33ad_bebc_1f5c]);

        let want = [13_524_302_719_937_084_452, 12_451_092_360_073_785_932, 3_217_404_165_175_467_771];
        assert_eq!(hashes("test-model", "", 4, &ten), want);
        let want = [14_935_478_079_254_324_015, 3_201_582_742_938_090_732, 4_128_958_279_679_023_678];
        assert_eq!(hashes("test-model", "my-salt", 4, &ten), want);
        assert_eq!(hashes("test-model", "", 64, &token_bytes(1..=64)), [3_520_800_852_488_867_500]);
    }

    #[test]
    fn no_tokens_no_blocks() {
        assert!(hashes("m", "", 4, &[]).is_empty());
        assert_eq!(hashes("m", "", 4, &token_bytes(1..=8)).len(), 2);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..500 {
            let text: Vec<u8> = (0..random.usize(..3_000)).map(|_| random.u8(..)).collect();
            let block = random.u32(1..80);
            let mut hasher = BlockHasher::default();
            hasher.start(block, usize::MAX);
            let mut rest = text.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(0..=rest.len().min(700)));
                hasher.bytes(now);
                rest = later;
            }
            hasher.finish();
            let mut cut = Vec::new();
            hasher.chain(chain_seed("m", ""), &mut cut);
            assert_eq!(cut, hashes("m", "", block, &text));
            assert_eq!(hasher.tokens(), text.len().div_ceil(4) as u64);
        }
    }

    #[test]
    fn the_last_token_is_padded_and_a_repeated_one_aligned() {
        let mut hasher = BlockHasher::default();
        hasher.start(4, usize::MAX);
        hasher.bytes(b"hello");
        hasher.repeat(7, 70);
        hasher.finish();
        let mut out = Vec::new();
        hasher.chain(chain_seed("m", ""), &mut out);
        let want = token_bytes([0x6c6c_6568, 0x6f].into_iter().chain([7; 70]));
        assert_eq!(out, hashes("m", "", 4, &want));
        assert_eq!(hasher.tokens(), 72);
    }

    #[test]
    fn each_prompt_has_its_own_chain_and_its_own_cap() {
        let mut hasher = BlockHasher::default();
        hasher.start(2, 3);
        hasher.bytes(&token_bytes(1..=100));
        hasher.next_prompt();
        hasher.bytes(&token_bytes(1..=3));
        hasher.next_prompt();
        hasher.repeat(9, 1_000_000);
        hasher.finish();
        assert_eq!(hasher.prompts().collect::<Vec<_>>(), [0..3, 3..5, 5..8]);
        assert_eq!(hasher.tokens(), 100 + 3 + 1_000_000);
        let mut out = Vec::new();
        hasher.chain(chain_seed("m", ""), &mut out);
        assert_eq!(out[..3], hashes("m", "", 2, &token_bytes(1..=6))[..]);
        assert_eq!(out[3..5], hashes("m", "", 2, &token_bytes(1..=3))[..]);
        assert_eq!(out[0], out[3]);
    }

    #[test]
    fn a_cap_that_ends_inside_the_carried_block() {
        for cut in 0..40 {
            let bytes = token_bytes(1..=10);
            let mut hasher = BlockHasher::default();
            hasher.start(4, 2);
            hasher.bytes(&bytes[..cut]);
            hasher.bytes(&bytes[cut..]);
            hasher.finish();
            let mut out = Vec::new();
            hasher.chain(chain_seed("m", ""), &mut out);
            assert_eq!(out, hashes("m", "", 4, &token_bytes(1..=8)), "cut at {cut}");
            assert_eq!(hasher.tokens(), 10);
        }
    }

    #[test]
    fn what_is_beyond_the_cap_need_only_be_counted() {
        for cut in 32..41 {
            let bytes = token_bytes(1..=10);
            let mut hasher = BlockHasher::default();
            hasher.start(4, 2);
            hasher.bytes(&bytes[..cut]);
            assert!(hasher.is_full());
            hasher.skip(bytes[cut..].len() as u64);
            hasher.next_prompt();
            assert!(!hasher.is_full(), "the next prompt has room of its own");
            hasher.bytes(&bytes);
            hasher.finish();
            let mut out = Vec::new();
            hasher.chain(chain_seed("m", ""), &mut out);
            assert_eq!(out[..2], out[2..]);
            assert_eq!(hasher.tokens(), 20);
        }
    }
}
