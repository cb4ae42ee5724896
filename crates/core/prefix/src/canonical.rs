//! The router's own name of a block: a hash of everything that decides its content.

use std::str::FromStr;

use xxhash_rust::xxh64::Xxh64;

use crate::{
    cbor::{self, Sink},
    extras::{ExtraKey, Extras},
};

/// How blocks are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// FNV-1a of 64 bits over deterministic CBOR.
    #[default]
    CborFnv,
    /// xxHash of 64 bits over little-endian integers. Several times as fast.
    Xxh64,
}

/// There is no such algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported hashAlgorithm `{0}`: use `cbor-fnv` or `xxh64`")]
pub struct UnsupportedAlgorithm(pub String);

impl FromStr for HashAlgorithm {
    type Err = UnsupportedAlgorithm;

    /// An empty text means the default; `xxhash` is llm-d's other name of `xxh64`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "cbor-fnv" => Ok(Self::CborFnv),
            "xxh64" | "xxhash" => Ok(Self::Xxh64),
            other => Err(UnsupportedAlgorithm(other.to_owned())),
        }
    }
}

/// Names blocks as llm-d's indexer does. Both sides of a comparison must be made by equal hashers: the key of a block says
/// nothing by itself.
///
/// Equal keys mean equal model (or adapter), tokens up to the end of the block, media, and salt. Only full blocks have keys.
///
/// ```
/// # use weir_prefix::{Extras, HashAlgorithm, KeyHasher};
/// let hasher = KeyHasher::new(HashAlgorithm::CborFnv, "");
/// let tokens: Vec<u32> = (1..=40).collect();
/// let mut keys = Vec::new();
/// hasher.chain(hasher.root("test-model"), &tokens, 16, &Extras::default(), &mut keys);
/// assert_eq!(keys, [9540012594951042066, 16921089685996993662]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    algorithm: HashAlgorithm,
    seed: u64,
}

impl KeyHasher {
    /// A hasher under a seed, which may be any text.
    pub fn new(algorithm: HashAlgorithm, seed: &str) -> Self {
        let seed = match algorithm {
            HashAlgorithm::CborFnv => {
                let mut state = Fnv::default();
                state.put(seed.as_bytes());
                state.0
            }
            HashAlgorithm::Xxh64 => xxhash_rust::xxh64::xxh64(seed.as_bytes(), 0),
        };
        Self { algorithm, seed }
    }

    /// The parent of a model's first blocks; an adapter's blocks start from the adapter's name.
    pub fn root(&self, model: &str) -> u64 {
        match self.algorithm {
            HashAlgorithm::CborFnv => {
                let mut state = Fnv::default();
                cbor::array(&mut state, 3);
                cbor::unsigned(&mut state, self.seed);
                cbor::null(&mut state);
                cbor::text(&mut state, model);
                state.0
            }
            HashAlgorithm::Xxh64 => {
                let mut state = Xxh64::new(0);
                state.update(&self.seed.to_le_bytes());
                sized(&mut state, model.as_bytes(), 0);
                state.digest()
            }
        }
    }

    /// The key of one block after `parent`. Adapters count nothing here: they are in the [`root`](Self::root).
    pub fn block<'a>(&self, parent: u64, tokens: &[u32], extras: impl Iterator<Item = ExtraKey<'a>> + Clone) -> u64 {
        let extras = extras.filter(|key| !matches!(key, ExtraKey::Adapter(_)));
        let hash = match self.algorithm {
            HashAlgorithm::CborFnv => cbor_fnv(parent, tokens, extras),
            HashAlgorithm::Xxh64 => xxh64(parent, tokens, extras),
        };
        // 0 means that there is no block.
        hash.max(1)
    }

    /// Appends the keys of the full blocks among `tokens`, which follow the block `parent`. Blocks of 0 tokens are none.
    pub fn chain(&self, parent: u64, tokens: &[u32], block_tokens: u32, extras: &Extras<'_>, out: &mut Vec<u64>) {
        if block_tokens == 0 {
            return;
        }
        let mut last = parent;
        let blocks = tokens.chunks_exact(block_tokens as usize);
        out.reserve(blocks.len());
        for (at, block) in blocks.enumerate() {
            last = match extras.is_empty() {
                true => self.block(last, block, std::iter::empty()),
                false => self.block(last, block, extras.of(at as u32)),
            };
            out.push(last);
        }
    }
}

/// FNV-1a of 64 bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sink for Fnv {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn cbor_fnv<'a>(parent: u64, tokens: &[u32], extras: impl Iterator<Item = ExtraKey<'a>> + Clone) -> u64 {
    let mut state = Fnv::default();
    cbor::array(&mut state, 3);
    cbor::unsigned(&mut state, parent);
    cbor::tokens(&mut state, tokens);
    match extras.clone().count() {
        0 => cbor::null(&mut state),
        some => cbor::array(&mut state, some),
    }
    for key in extras {
        cbor::map(&mut state, 1);
        match key {
            ExtraKey::Media(id) | ExtraKey::Salt(id) | ExtraKey::Adapter(id) => {
                cbor::text(&mut state, "Hash");
                cbor::text(&mut state, id);
            }
            ExtraKey::Opaque(content) => {
                cbor::text(&mut state, "Opaque");
                cbor::bytes(&mut state, content);
            }
        }
    }
    state.0
}

/// Tokens that are hashed in one piece.
const PIECE: usize = 64;
/// Set in the length of what is no text, so that no text equals it.
const OPAQUE: u64 = 1 << 63;

fn xxh64<'a>(parent: u64, tokens: &[u32], extras: impl Iterator<Item = ExtraKey<'a>> + Clone) -> u64 {
    let mut piece = [0; 8 + PIECE * 4];
    piece[..8].copy_from_slice(&parent.to_le_bytes());
    let mut put = |place: usize, tokens: &[u32]| {
        let places = piece[place..].chunks_exact_mut(4);
        places.zip(tokens).for_each(|(place, token)| place.copy_from_slice(&token.to_le_bytes()));
    };
    let mut extras = extras.peekable();
    if tokens.len() <= PIECE && extras.peek().is_none() {
        put(8, tokens);
        return xxhash_rust::xxh64::xxh64(&piece[..8 + tokens.len() * 4], 0);
    }
    let mut state = Xxh64::new(0);
    state.update(&parent.to_le_bytes());
    for token in tokens {
        state.update(&token.to_le_bytes());
    }
    for key in extras {
        match key {
            ExtraKey::Media(id) | ExtraKey::Salt(id) | ExtraKey::Adapter(id) => sized(&mut state, id.as_bytes(), 0),
            ExtraKey::Opaque(content) => sized(&mut state, content, OPAQUE),
        }
    }
    state.digest()
}

fn sized(state: &mut Xxh64, bytes: &[u8], mark: u64) {
    state.update(&(bytes.len() as u64 | mark).to_le_bytes());
    state.update(bytes);
}

#[cfg(test)]
mod tests;
