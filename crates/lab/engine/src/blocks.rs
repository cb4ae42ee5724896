//! Chain hashes of token blocks.

use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Hashes full blocks of tokens so that equal prefixes, and only those, give equal hashes.
///
/// The algorithm is the `xxh64` one of llm-d's router and simulator: the root is XXH64 over XXH64(seed bytes) and the length and
/// bytes of the model name; a block is XXH64 over the parent (u64) and its tokens (u32), all little endian, seed 0. A tail that
/// does not fill a block is left out.
#[derive(Clone)]
pub struct BlockHasher {
    root: u64,
    parent: u64,
    block_size: usize,
    state: Xxh64,
    filled: usize,
    done: Vec<u64>,
}

impl BlockHasher {
    /// A chain for one prompt of a model; `block_size` 0 counts as 1.
    pub fn new(seed: &str, model: &str, block_size: u32) -> Self {
        let mut state = Xxh64::new(0);
        state.update(&xxh64(seed.as_bytes(), 0).to_le_bytes());
        state.update(&(model.len() as u64).to_le_bytes());
        state.update(model.as_bytes());
        let root = state.digest();
        let mut this = Self { root, parent: root, block_size: block_size.max(1) as usize, state, filled: 0, done: Vec::new() };
        this.open_block();
        this
    }

    /// The hash that stands before the first block.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Appends tokens.
    pub fn update(&mut self, tokens: &[u32]) {
        for token in tokens {
            self.state.update(&token.to_le_bytes());
            self.filled += 1;
            if self.filled == self.block_size {
                self.parent = self.state.digest();
                self.done.push(self.parent);
                self.open_block();
            }
        }
    }

    /// The hashes of the full blocks.
    pub fn finish(self) -> Vec<u64> {
        self.done
    }

    fn open_block(&mut self) {
        self.state.reset(0);
        self.state.update(&self.parent.to_le_bytes());
        self.filled = 0;
    }
}

impl std::fmt::Debug for BlockHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockHasher").field("root", &self.root).field("blocks", &self.done.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(seed: &str, model: &str, block_size: u32, tokens: &[u32]) -> (u64, Vec<u64>) {
        let mut hasher = BlockHasher::new(seed, model, block_size);
        hasher.update(tokens);
        (hasher.root(), hasher.finish())
    }

    #[test]
    fn vectors_of_the_reference() {
        let tokens: Vec<u32> = (1..=33).collect();
        assert_eq!(
            hashes("", "test-model", 16, &tokens),
            (0x0924_7acf_12a7_2898, vec![0xbc17_9097_a38e_1274, 0x8939_32c0_5ff0_64ac])
        );
        assert_eq!(
            hashes("42", "test-model", 16, &tokens),
            (0xdc16_c78f_344a_c62c, vec![0x835a_6f3e_9221_798f, 0x7e2d_a0d7_9d1c_a65b])
        );
        let wide = [0, 23, 24, 255, 256, 65_535, 65_536, 4_294_967_295];
        assert_eq!(hashes("", "Qwen/Qwen3-8B", 8, &wide).1, [0x56e1_a1ed_686d_d6df]);
    }

    #[test]
    fn pieces_give_the_hashes_of_the_whole() {
        let tokens: Vec<u32> = (0..100).collect();
        let mut pieces = BlockHasher::new("", "m", 16);
        for piece in tokens.chunks(7) {
            pieces.update(piece);
        }
        assert_eq!(pieces.finish(), hashes("", "m", 16, &tokens).1);
    }
}
