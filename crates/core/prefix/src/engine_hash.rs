//! The names that engines give their blocks, where those can be computed from outside: for stores that several engines share.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::{cbor, extras::ExtraKey};

/// How an engine hashes blocks (vLLM's `--prefix-caching-hash-algo`). The kinds over Python's pickle cannot be computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineAlgorithm {
    /// `sha256_cbor`: 32 bytes.
    Sha256Cbor,
    /// `xxhash_cbor`: 16 bytes.
    XxhashCbor,
}

/// A block's name as its engine writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineHash {
    bytes: [u8; 32],
    len: u8,
}

impl EngineHash {
    fn new(from: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Self { bytes, len: len as u8 }
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The number by which it goes in events: its last 8 bytes, big endian.
    pub fn low64(&self) -> u64 {
        self.as_bytes().iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// Names blocks as an engine does that was started with this seed (`PYTHONHASHSEED`).
#[derive(Clone, Copy, Debug)]
pub struct EngineHasher {
    algorithm: EngineAlgorithm,
    none: EngineHash,
}

impl EngineHasher {
    /// A hasher for engines with this seed.
    pub fn new(algorithm: EngineAlgorithm, seed: &str) -> Self {
        let mut input = Vec::new();
        cbor::text(&mut input, seed);
        Self { algorithm, none: digest(algorithm, &input) }
    }

    /// The parent of first blocks.
    pub fn none(&self) -> EngineHash {
        self.none
    }

    /// The name of one block after `parent`; keys in the engine's order: adapter, media, salt, embeddings.
    pub fn block<'a>(
        &self,
        parent: &EngineHash,
        tokens: &[u32],
        extras: impl Iterator<Item = ExtraKey<'a>> + Clone,
    ) -> EngineHash {
        let mut input = Vec::with_capacity(64 + tokens.len() * 5);
        cbor::array(&mut input, 3);
        cbor::bytes(&mut input, parent.as_bytes());
        cbor::tokens(&mut input, tokens);
        match extras.clone().count() {
            0 => cbor::null(&mut input),
            some => cbor::array(&mut input, some),
        }
        for key in extras {
            match key {
                ExtraKey::Adapter(text) | ExtraKey::Media(text) | ExtraKey::Salt(text) => cbor::text(&mut input, text),
                ExtraKey::Opaque(content) => cbor::bytes(&mut input, content),
            }
        }
        digest(self.algorithm, &input)
    }
}

fn digest(algorithm: EngineAlgorithm, input: &[u8]) -> EngineHash {
    match algorithm {
        EngineAlgorithm::Sha256Cbor => EngineHash::new(&Sha256::digest(input)),
        EngineAlgorithm::XxhashCbor => EngineHash::new(&xxh3_128(input).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn golden_vectors() {
        let table = include_str!("../../../../testdata/kv/engine-hashes.tsv");
        let mut rows = 0;
        for row in table.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
            let [algorithm, seed, item, want] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let algorithm = match algorithm {
                "sha256_cbor" => EngineAlgorithm::Sha256Cbor,
                "xxhash_cbor" => EngineAlgorithm::XxhashCbor,
                other => panic!("{other}"),
            };
            let hasher = EngineHasher::new(algorithm, seed);
            let blocks = match item {
                "none" => 0,
                at => at.parse::<u32>().unwrap() + 1,
            };
            let mut last = hasher.none();
            for block in 0..blocks {
                let tokens: Vec<u32> = (block * 16 + 1..=block * 16 + 16).collect();
                last = hasher.block(&last, &tokens, std::iter::empty());
            }
            assert_eq!(last.as_bytes(), hex(want), "{row}");
            rows += 1;
        }
        assert_eq!(rows, 8);
    }

    #[test]
    fn the_number_of_a_hash_is_its_end() {
        let hasher = EngineHasher::new(EngineAlgorithm::Sha256Cbor, "0");
        let tokens: Vec<u32> = (1..=16).collect();
        let first = hasher.block(&hasher.none(), &tokens, std::iter::empty());
        assert_eq!(first.low64(), 3_236_607_068_019_569_386);
        let other = EngineHasher::new(EngineAlgorithm::Sha256Cbor, "42");
        assert_eq!(other.block(&other.none(), &tokens, std::iter::empty()).low64(), 16_300_212_363_532_267_629);
        let salted = hasher.block(&hasher.none(), &tokens, [ExtraKey::Salt("s")].into_iter());
        let opaque = hasher.block(&hasher.none(), &tokens, [ExtraKey::Opaque(b"s")].into_iter());
        assert!(first != salted && salted != opaque && first != opaque);
    }
}
